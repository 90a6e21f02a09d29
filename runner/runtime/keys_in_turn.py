"""Which keys of a state are still to be encoded for a checkpoint: those in turn, and those ahead.

Between two batches some keys have their turn; a batch that is about to run over keys asks for those
of them that wait, to have them encoded ahead of their turn. Nothing here walks over all keys at
once, and no set is so large that its growing or going holds a batch up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat, starmap
from typing import Any, Protocol

from roo.core.table import hash_of
from roo.items import pack_keys
from roo.runtime.keyed_states import KeyedStates

PAGE_KEYS = 2048
AHEAD_KEYS = 131_072
"""How large one set of keys that had their turn ahead may grow before there is another."""

ALL_FROM = 0.25
"""The part of all keys from which all are stored and none is noted any more. Storing a key in its
turn takes a third of what it takes to note one, and look it up again.
"""

SMALL_BYTES, SMALL_FROM, MESSAGES_FROM = 64, 1 / 16, 0.5
"""Where a stored key takes so few bytes, a smaller part will do once there were so many messages to
a key: to note many messages to a few keys takes longer than to store all.
"""

EXPECTED_FROM, LOOK_EVERY = 1 / 32, 8
"""Messages to a key from which that may be expected, and how often in a row."""

KEPT_BYTES = 32
"""How long keys may be, on an average, for their packed form to be kept with their page."""

TIDY_BATCHES = 64
TIDY_KEYS = 16_384
"""How many keys of a set that is done with are let go of before a batch, until it has so few."""


class Page:
    """Keys and their state objects, side by side."""

    __slots__ = ("_keys_hash", "_packed", "keys", "states")

    def __init__(self, keys: list[Any], states: list[Any]) -> None:
        self.keys = keys
        self.states = states
        self._packed: bytes | None = None
        self._keys_hash: int | None = None

    def add(self, keys: list[Any], states: list[Any]) -> None:
        """More of them, at the end."""
        self.keys += keys
        self.states += states

    def packed_keys(self) -> bytes:
        """As `pack_keys` has them; nothing is added any more. Kept for the next checkpoint, where
        they are short: packing them takes as long as encoding the states.
        """
        if self._packed is not None:
            return self._packed
        packed = pack_keys(self.keys)
        if len(packed) <= KEPT_BYTES * len(self.keys):
            self._packed = packed
        return packed

    def keys_hash(self) -> int:
        """As `hash_of` has it, likewise."""
        if self._keys_hash is None:
            self._keys_hash = hash_of(self.keys)
        return self._keys_hash

    def part(self, start: int, end: int) -> Page:
        """Some of it, or itself."""
        if start <= 0 and end >= len(self.keys):
            return self
        return Page(self.keys[start:end], self.states[start:end])


class AllKeys:
    """The keys of one state with their state objects, in pages, in the order they came in.

    count: how many keys have come and not gone, as far as this was told. Objects that were made one
    after the other lie so in memory too: going through the pages costs a fifth of looking up each
    key.
    """

    def __init__(self, states: Mapping[Any, Any]) -> None:
        self.count = 0
        self._states = states
        self._pages: list[Page] = []
        self._untidy = 0  # so many of the first pages may have keys that are gone

    def add(self, keys: Sequence[Any]) -> None:
        """These have just got states."""
        self.count += len(keys)
        find = self._states.__getitem__
        at = 0
        while at < len(keys):
            if not self._pages or len(self._pages[-1].keys) >= PAGE_KEYS:
                self._pages.append(Page([], []))
            page = self._pages[-1]
            some = list(keys[at : at + PAGE_KEYS - len(page.keys)])
            page.add(some, list(map(find, some)))
            at += len(some)

    def remove(self, keys: Sequence[Any]) -> None:
        """These are about to lose their states."""
        self.count -= len(keys)
        if keys:
            self._untidy = len(self._pages)

    def tidy(self) -> None:
        """Before a batch: let go of what is gone, within TIDY_BATCHES of them from all pages."""
        for _ in range(min(self._untidy, len(self._pages) // TIDY_BATCHES + 1)):
            self._untidy -= 1
            page = self._pages[self._untidy]
            self._pages[self._untidy] = present(page, self._states, {})

    def at_cut(self) -> tuple[list[Page], bool]:
        """The pages as they are now, and whether something in them may be gone. No more is added
        to any of them, nor to the pages they are copies of but the last.
        """
        self._pages = [page for page in self._pages if page.keys]
        self._untidy = len(self._pages) if self._untidy else 0
        pages = self._pages.copy()
        if pages and len(pages[-1].keys) < PAGE_KEYS:
            pages[-1] = Page(pages[-1].keys.copy(), pages[-1].states.copy())
        return pages, self._untidy > 0


def present(page: Page, states: Mapping[Any, Any], gone: Mapping[Any, Any]) -> Page:
    """What of a page is still there, or has gone with that very state."""
    pairs = zip(page.keys, page.states, strict=True)
    there = [
        (key, state) for key, state in pairs if states.get(key) is state or gone.get(key) is state
    ]
    if len(there) == len(page.keys):
        return page
    return Page([key for key, _ in there], [state for _, state in there])


class Touched:
    """Which keys of a state batches have run over since a cut. keys: None where they are so many
    that all are to be stored. small: whether keys take few bytes where they are stored.

    It takes a set to know that, which costs as much as storing them. So where the last cut found so
    many, and it is not long ago that it was looked at, the set is given up early; should fewer
    messages come then than it took that time, the next time is looked at again.
    """

    def __init__(self, states: Mapping[Any, Any], litter: Litter) -> None:
        self.keys: set[Any] | None = set()
        self.small = False
        self._states = states
        self._litter = litter
        self._messages = 0
        self._enough_messages = 0  # after which there were so many; 0: not known
        self._not_looked = 0

    def note(self, keys: list[Any]) -> None:
        """A batch is about to run over these."""
        self._messages += len(keys)
        touched = self.keys
        if touched is None:
            return
        touched.update(keys)
        if self._are_enough(len(touched)):
            self._enough_messages = self._messages
            self._not_looked = 0
        elif not self._enough_messages or self._messages < EXPECTED_FROM * len(self._states):
            return
        self.everything()

    def _are_enough(self, touched: int) -> bool:
        """Whether so many keys are reason to store all."""
        keys = len(self._states)
        if self.small and self._messages > MESSAGES_FROM * keys:
            return touched > SMALL_FROM * keys
        return touched > ALL_FROM * keys

    def lacks(self, keys: Iterable[Any]) -> bool:
        """Whether any of some keys would not be stored."""
        return self.keys is not None and not self.keys.issuperset(keys)

    def everything(self) -> None:
        """All keys are to be stored, whatever was touched."""
        if self.keys:
            self._litter.add(self.keys)
        self.keys = None

    def start_anew(self) -> set[Any] | None:
        """What was touched until now, nothing from here on."""
        touched, self.keys = self.keys, set()
        enough = max(self._enough_messages, ALL_FROM * len(self._states))
        if self._messages < enough or self._not_looked == LOOK_EVERY:
            self._enough_messages = 0
        self._messages = 0
        self._not_looked += 1
        return touched


class Waiting(Protocol):
    """The keys of a state whose values at a cut are still to be encoded.

    full: whether all keys of the state are stored. in_turn: counts those that have had their turn.
    """

    full: bool

    @property
    def left(self) -> bool:
        """Whether any key may wait."""

    def some(self, count: int) -> Page:
        """So many that have their turn, or fewer; none where `left` says so."""

    def touching(self, keys: Iterable[Any]) -> Page:
        """A batch is about to run over keys: those that wait, and have to be stored now."""

    def taken_in(self, keys: Iterable[Any]) -> None:
        """Keys have got states since the cut: they are not of it."""

    def giving_away(self, keys: Iterable[Any]) -> Page:
        """Keys are about to lose their states: those that have to be stored now."""

    def complaint(self, stored: int, keys_hash: int) -> str:
        """What is wrong when all have had their turn and so many are stored; "" if nothing is.
        stored, keys_hash: of the keys in turn where the file is full, else of all.
        """


class EveryKey:
    """All keys wait, in turn by pages.

    Where a key comes ahead of its turn, its page is not looked for: it comes in its turn as well.
    **Of the two the one that is stored ahead counts**: a batch runs after its keys were stored, so
    that one is as it was at the cut. So each key of the cut has its turn exactly once.
    """

    full = True

    def __init__(self, keyed: KeyedStates, keys: AllKeys, litter: Litter) -> None:
        self._keys = len(keyed.objects)
        self._keys_hash = keyed.keys_hash
        self._states = keyed.objects
        self._pages, self._look = keys.at_cut()
        self._pages.reverse()
        self._next = 0
        self._ahead: list[set[Any]] = [set()]
        self._gone: dict[Any, Any] = {}
        self._litter = litter

    @property
    def left(self) -> bool:
        """As in `Waiting`."""
        return bool(self._pages)

    def some(self, count: int) -> Page:
        """As in `Waiting`."""
        page = self._pages[-1]
        if not self._next and self._look:
            page = self._pages[-1] = present(page, self._states, self._gone)
        start, self._next = self._next, self._next + count
        some = page.part(start, self._next)
        if self._next >= len(page.keys):
            self._pages.pop()
            self._next = 0
            if not self._pages:
                self._gone.clear()
                for had in self._ahead:
                    self._litter.add(had)
        return some

    def touching(self, keys: Iterable[Any]) -> Page:
        """As in `Waiting`."""
        return states_of(self._first(keys), self._states)

    def taken_in(self, keys: Iterable[Any]) -> None:
        """As in `Waiting`."""
        self._first(keys)

    def giving_away(self, keys: Iterable[Any]) -> Page:
        """None: nobody here changes the object any more, and its page has it. But what comes for
        these keys later is another object.
        """
        self._first(keys)
        for key in keys:
            self._gone.setdefault(key, self._states[key])
        return Page([], [])

    def complaint(self, stored: int, keys_hash: int) -> str:
        """As in `Waiting`."""
        if (stored, keys_hash) == (self._keys, self._keys_hash):
            return ""
        return (
            f"{stored} keys (hash {keys_hash:016x}) were stored, and there were {self._keys} "
            f"(hash {self._keys_hash:016x})"
        )

    def _first(self, keys: Iterable[Any]) -> list[Any]:
        """Those that are heard of for the first time since the cut."""
        first = set(keys).difference(*self._ahead)
        if len(self._ahead[-1]) > AHEAD_KEYS:
            self._ahead.append(set())
        self._ahead[-1] |= first
        return list(first)


class TouchedKeys:
    """Only these wait. A key that was touched may have no state: it was refused."""

    full = False

    def __init__(self, keys: set[Any], states: Mapping[Any, Any]) -> None:
        self._waiting = keys
        self._states = states
        self._to_store = len(keys)

    @property
    def left(self) -> bool:
        """As in `Waiting`."""
        return bool(self._waiting)

    def some(self, count: int) -> Page:
        """As in `Waiting`."""
        return self._of(pop_some(self._waiting, count))

    def touching(self, keys: Iterable[Any]) -> Page:
        """As in `Waiting`."""
        first = self._waiting.intersection(keys)
        self._waiting -= first
        return self._of(list(first))

    def taken_in(self, keys: Iterable[Any]) -> None:
        """As in `Waiting`."""
        self._to_store -= len(self._waiting.intersection(keys))
        self._waiting.difference_update(keys)

    giving_away = touching

    def complaint(self, stored: int, keys_hash: int) -> str:
        """As in `Waiting`. The hash is not known."""
        if stored == self._to_store:
            return ""
        return f"{stored} keys were stored, and {self._to_store} were to be"

    def _of(self, keys: list[Any]) -> Page:
        page = states_of(keys, self._states)
        self._to_store -= len(keys) - len(page.keys)
        return page


def pop_some(keys: set[Any], count: int) -> list[Any]:
    """So many of a set, or all there are; they are taken out."""
    return [keys.pop() for _ in range(min(count, len(keys)))]


def states_of(keys: list[Any], states: Mapping[Any, Any]) -> Page:
    """The states of keys. One that is new, or was refused, has none."""
    try:
        return Page(keys, list(map(states.__getitem__, keys)))
    except KeyError:
        keys = [key for key in keys if key in states]
        return Page(keys, list(map(states.__getitem__, keys)))


class Litter:
    """Large sets that are done with, let go of little by little."""

    def __init__(self) -> None:
        self._sets: list[set[Any]] = []

    @property
    def left(self) -> bool:
        """Whether there is any."""
        return bool(self._sets)

    def add(self, keys: set[Any]) -> None:
        """Nobody else may use it from the first `tidy` on."""
        self._sets.append(keys)

    def tidy(self) -> None:
        """Before a batch."""
        if self._sets:
            keys = self._sets[-1]
            if len(keys) <= TIDY_KEYS:
                self._sets.pop()
            else:
                deque(starmap(keys.pop, repeat((), TIDY_KEYS)), maxlen=0)
