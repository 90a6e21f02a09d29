"""Which keys of a state are still to be encoded for a checkpoint: those in turn, and those ahead.

Between two batches some keys have their turn; a batch that is about to run over keys asks for those
of them that wait, to have them encoded ahead of their turn. Nothing here walks over all keys at
once, and no set is so large that its growing or going holds a batch up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from itertools import islice, repeat, starmap
from typing import Any

from roo.items import pack_items

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

    __slots__ = ("_packed", "keys", "states")

    def __init__(self, keys: list[Any], states: list[Any]) -> None:
        self.keys = keys
        self.states = states
        self._packed: bytes | None = None

    def packed_keys(self) -> bytes:
        """As `pack_items` has them; keys are not added to any more. Kept for the next checkpoint,
        where they are short: packing them takes as long as encoding the states.
        """
        if self._packed is not None:
            return self._packed
        packed = pack_items(self.keys)
        if len(packed) <= KEPT_BYTES * len(self.keys):
            self._packed = packed
        return packed

    def part(self, start: int, end: int) -> Page:
        """Some of it, or itself."""
        if start <= 0 and end >= len(self.keys):
            return self
        return Page(self.keys[start:end], self.states[start:end])


class AllKeys:
    """The keys of one state with their state objects, in pages, in the order they came in.

    Objects that were made one after the other lie so in memory too: going through the pages costs
    a fifth of looking up each key.
    """

    def __init__(self, states: Mapping[Any, Any]) -> None:
        self._states = states
        self._pages: list[Page] = []
        self._count = 0
        self._page_is_open = False
        self._untidy = self._tidied = 0
        self.note_new()

    def note_new(self) -> None:
        """Look for keys that were created: a dict has the last ones at its end."""
        new = len(self._states) - self._count
        if new <= 0:
            return
        keys = list(islice(reversed(self._states), new))[::-1]
        values = self._states.values()
        states = list(islice(reversed(values), new))[::-1]  # type: ignore[call-overload]
        self._count += new
        at = 0
        while at < new:
            if not self._page_is_open or len(self._pages[-1].keys) >= PAGE_KEYS:
                self._pages.append(Page([], []))
                self._page_is_open = True
                self._untidy += self._untidy > 0  # going through them takes one step more
            page = self._pages[-1]
            end = at + PAGE_KEYS - len(page.keys)
            page.keys.extend(keys[at:end])
            page.states.extend(states[at:end])
            at = end

    def going(self, keys: Iterable[Any]) -> None:
        """Keys will no longer be there, if they are now."""
        self.note_new()
        gone = sum(map(self._states.__contains__, keys))
        self._count -= gone
        if gone:
            self._page_is_open = False
            self._untidy = len(self._pages)

    def tidy(self) -> None:
        """Before a batch: let go of what is gone, within TIDY_BATCHES of them from all pages."""
        for _ in range(min(self._untidy, len(self._pages) // TIDY_BATCHES + 1)):
            self._untidy -= 1
            self._tidied = (self._tidied + 1) % len(self._pages)
            self._pages[self._tidied] = self.present(self._pages[self._tidied])

    def present(self, page: Page) -> Page:
        """What of a page is still there, and not there again as another object."""
        pairs = zip(page.keys, page.states, strict=True)
        there = [(key, state) for key, state in pairs if self._states.get(key) is state]
        if len(there) == len(page.keys):
            return page
        return Page([key for key, _ in there], [state for _, state in there])

    def as_they_are(self) -> tuple[list[Page], bool]:
        """The pages, to which no more is added, and whether something in them may be gone."""
        self.note_new()
        self._page_is_open = False
        self._pages = [page for page in self._pages if page.keys]
        self._untidy = len(self._pages) if self._untidy else 0
        return self._pages.copy(), self._untidy > 0


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


class EveryKey:
    """All keys wait, in turn by pages.

    Where a key comes ahead of its turn, its page is not looked for: it comes again with that, or
    has come with it before. So of a key that comes twice **the first one counts**: a batch runs
    after its keys came ahead, and a page that came before them came as it was at the cut.
    """

    full = True

    def __init__(self, keys: AllKeys, litter: Litter) -> None:
        self._keys = keys
        self._pages, self._look = keys.as_they_are()
        self._pages.reverse()
        self._next = 0
        self._ahead: list[set[Any]] = [set()]
        self._litter = litter

    @property
    def left(self) -> bool:
        """Whether any key may wait."""
        return bool(self._pages)

    def ahead(self, keys: Iterable[Any]) -> list[Any]:
        """Those of a batch that may wait, and those that are new. They no longer wait."""
        first = set(keys).difference(*self._ahead)
        if len(self._ahead[-1]) > AHEAD_KEYS:
            self._ahead.append(set())
        self._ahead[-1] |= first
        return list(first)

    def some(self, count: int) -> Page:
        """So many that have their turn, or fewer; none where `left` says so."""
        page = self._pages[-1]
        if not self._next and self._look:
            page = self._pages[-1] = self._keys.present(page)
        start, self._next = self._next, self._next + count
        some = page.part(start, self._next)
        if self._next >= len(page.keys):
            self._pages.pop()
            self._next = 0
            if not self._pages:
                for had in self._ahead:
                    self._litter.add(had)
        return some


class TouchedKeys:
    """Only these wait."""

    full = False

    def __init__(self, keys: set[Any], states: Mapping[Any, Any]) -> None:
        self._waiting = keys
        self._states = states

    @property
    def left(self) -> bool:
        """As in `EveryKey`."""
        return bool(self._waiting)

    def ahead(self, keys: Iterable[Any]) -> list[Any]:
        """Those of a batch that wait. They no longer do."""
        first = self._waiting.intersection(keys)
        self._waiting -= first
        return list(first)

    def some(self, count: int) -> Page:
        """As in `EveryKey`."""
        return states_of(pop_some(self._waiting, count), self._states)


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
