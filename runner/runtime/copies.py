"""A worker's side of what goes before a move: copies of the states that will move.

Batches run on over the states while these are copied; a copy that has fallen behind its state is
made again, until few have. Then the barrier comes: of each state the old owner says which copies
are behind, gives those keys as `runtime/moving.py` does, and the others count. So few messages ever
wait for a state, however many keys move. (As virtual machines move: Clark et al., "Live Migration
of Virtual Machines", NSDI 2005.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from roo import clock
from roo.core.batch import Header, Kind
from roo.core.placement import Placement
from roo.core.slicing import moved
from roo.runtime.failures import RunFailure
from roo.runtime.keys_in_turn import Page, pop_some, states_of
from roo.runtime.parcels import Parcels, Send, What, unpack
from roo.runtime.stages import Stages
from roo.runtime.turns import share_since

SLICE_S = 0.0003
"""How long the main thread packs or unpacks between two batches."""

SHARE, SHARE_AGAIN = 16.0, 8.0
"""How many times as long as a slice the time after it is for batches: in the first pass, which is
most of the work and in no hurry, and in later ones, which are to be faster than messages. (Both as
`share_since` has them.)
"""

SHARE_OF_TAKING_IN = 4.0
"""How many times as long as a slice one that joins waits before the next: it has nothing else to
do, but its machine has.
"""

FEW_KEYS = 512
"""Of a state: with so many copies behind the barrier may come."""

CONVERGES = 0.5
PASSES_MAX = 8
"""A pass that leaves more than this part of the keys it had behind, or is the last one: messages
come faster than copies are made, and the barrier comes with what there is.
"""

LOOK_AT_KEYS = 256
LIST_PARTS = 16
LET_GO_KEYS = 1024


class Outgoing:
    """The keys of one state that its owner copies.

    behind: those that move and that batches ran over since they were copied, or before; so also all
    that were created since the beginning. again: of a later pass, those that have not had their
    turn; they are behind too. sent: all that were copied, as they went. gathered: receiver -> keys
    that are to be copied next. passes: begun, over all keys and then over those behind.
    """

    def __init__(
        self, states: dict[Any, Any], takers: Iterable[int], elsewhere: Callable[[Any], list[Any]]
    ) -> None:
        self.states = states
        self.elsewhere = elsewhere
        self.gathered: dict[int, list[Any]] = {taker: [] for taker in takers}
        self.behind: set[Any] = set()
        self.again: set[Any] = set()
        self.sent: list[list[Any]] = []
        self.enough = False
        self.passes = 1
        self._parts = keys_in_parts(states, LOOK_AT_KEYS)
        self.all_seen = False  # of the pass
        self._had = len(states)

    def touch(self, keys: list[Any]) -> None:
        """A batch is about to run over these."""
        self.behind.update(self.elsewhere(keys))

    @property
    def keys_behind(self) -> int:
        """How many copies do not count; one that fell behind again before its turn counts twice."""
        return len(self.again) + len(self.behind)

    def all_behind(self) -> list[Any]:
        """Those that have copies that do not count, or none."""
        return list({*self.again, *self._gathered(), *self.behind})

    def some(self) -> list[Any]:
        """Of the keys that come next those that move; the pass is over where there are none left,
        as `all_seen` says.
        """
        some = next(self._parts, None)
        if some is None:
            self.all_seen = True
            return []
        return self.elsewhere(some)

    def note_copied(self, keys: list[Any]) -> None:
        """These have just been copied."""
        self.behind.difference_update(keys)
        self.sent.append(keys)

    def next_pass(self) -> bool:
        """A pass is over; whether there is another one."""
        behind = len(self.behind)
        slow = behind > CONVERGES * self._had or self.passes >= PASSES_MAX
        self.enough = self.enough or slow or behind <= FEW_KEYS
        if behind <= FEW_KEYS:
            return False
        self.passes += 1
        self.again, self.behind = self.behind, set()
        self._parts = _taken_from(self.again, LOOK_AT_KEYS)
        self.all_seen = False
        self._had = behind
        return True

    def rest(self) -> list[Any]:
        """All that has no copy as it is, each once; also some that stay here, or never were."""
        unseen = (key for keys in self._parts for key in keys)
        return list(dict.fromkeys([*self.behind, *self._gathered(), *unseen]))

    def _gathered(self) -> Iterator[Any]:
        return (key for keys in self.gathered.values() for key in keys)


def keys_in_parts(states: Mapping[Any, Any], count: int) -> Iterator[list[Any]]:
    """So many keys at a time, in the order they came in: all that are there at the beginning. None
    goes in the meantime. Where others come a sixteenth is listed at once: to find the place again
    takes two thirds of the time of listing all up to there.
    """
    at_first, seen = len(states), 0
    keys: Iterator[Any] = iter(states)
    while seen < min(at_first, len(states)):
        try:
            part = list(islice(keys, count))
        except RuntimeError:  # of a dict whose size has changed
            part_end = seen + max(count, at_first // LIST_PARTS)
            keys = iter(list(islice(states, seen, part_end)))
            continue
        if part:
            seen += len(part)
            yield part
        else:  # of those that were listed
            keys = islice(states, seen, None)


def _taken_from(keys: set[Any], count: int) -> Iterator[list[Any]]:
    """So many at a time, until there are none."""
    while keys:
        yield pop_some(keys, count)


class Copies:
    """One change on one worker, up to its barrier and, as a receiver, until all copies are used.

    joins: it has begun with this change. fail: called, once, with why a state can't be copied, or
    not be made again; no more is copied then. keys_here: how many copies have come and are not
    taken over. bytes_in: what came, those included that have fallen behind since.

    came: state -> giver -> key -> copy. One that joins has nothing else yet: these are its states.
    """

    def __init__(
        self, worker: int, stages: Stages, before: Placement, after: Placement, send: Send,
        fail: Callable[[dict[str, Any]], None], *, joins: bool,
    ) -> None:  # fmt: skip
        self.before, self.after = before, after
        self.version = after.version
        self.whats: list[What] = [
            *(("state", name) for name in stages.keyed), *(("sink", name) for name in after.homes)
        ]  # fmt: skip
        pieces = moved(before.table, after.table)
        takers = {new for _, _, old, new in pieces if old == worker}
        self.givers = {old for _, _, old, new in pieces if new == worker}
        self.receivers = {new for _, _, _, new in pieces}
        self.parcels = Parcels(worker, self.whats, after.version, takers, send)
        self.owner_after = after.table.quick_owner_of()
        self.came: dict[str, dict[int, dict[Any, Any]]] = {
            name: {giver: keyed.objects if joins else {} for giver in self.givers}
            for name, keyed in stages.keyed.items()
        }
        self.joins = joins
        self.keys_here = self.bytes_in = 0
        self._stages = stages
        self._fail = fail
        self._failure: RunFailure | None = None
        self.is_called_off = False
        self._told = joins or not takers
        self._coming: deque[tuple[Header, list[bytes]]] = deque()
        self._out: dict[str, Outgoing] = {}
        self._begun_s = clock.monotonic_s()
        self._touch_before = stages.touch
        if takers and not joins:
            elsewhere = after.table.elsewhere(worker)
            for name, keyed in stages.keyed.items():
                self._out[name] = Outgoing(keyed.objects, takers, elsewhere)
            stages.touch = self._touch

    # Giving

    def _touch(self, state: str, keys: list[Any]) -> None:
        if self._touch_before is not None:
            self._touch_before(state, keys)
        out = self._out.get(state)
        if out is not None:
            out.touch(keys)

    def tells(self) -> bool:
        """Whether the barrier may come now, as far as this worker goes. (Says so once.)"""
        if self._told or self._failure or not all(out.enough for out in self._out.values()):
            return False
        self._told = True
        return True

    @property
    def are_few(self) -> bool:
        """Whether nearly all copies are as their states are."""
        return all(out.keys_behind <= 2 * FEW_KEYS for out in self._out.values())

    @property
    def share_of_batches(self) -> float:
        """How many times as long as a slice the time after it is to be for batches."""
        again = any(out.passes > 1 for out in self._out.values())
        return share_since(SHARE_AGAIN if again else SHARE, self._begun_s)

    @property
    def have_come(self) -> bool:
        """Whether any are to be taken in."""
        return bool(self._coming)

    @property
    def is_busy(self) -> bool:
        """Whether `step` has something to do now."""
        return self.have_come or (self.parcels.may_give and any(map(self._has_more, self._out)))

    def _has_more(self, state: str) -> bool:
        out = self._out[state]
        return self._failure is None and (not out.enough or out.keys_behind > FEW_KEYS)

    def step(self) -> None:
        """A slice of the work."""
        end_s = clock.monotonic_s() + SLICE_S
        self.take_in(end_s)
        for state in self._out:
            while self.parcels.may_give and self._has_more(state):
                if not self._copy_some(state) or clock.monotonic_s() > end_s:
                    return

    def _copy_some(self, state: str) -> bool:
        """Send a slice that is full, or look at some keys; whether there may be more."""
        out = self._out[state]
        for taker, keys in out.gathered.items():
            if len(keys) >= self.parcels.keys_at_once or (keys and out.all_seen):
                self._copy(out, state, taker, keys)
                return True
        if out.all_seen:
            return out.next_pass()
        keys = out.some()
        if len(out.gathered) == 1:
            for gathered in out.gathered.values():
                gathered += keys
        else:
            for key in keys:
                out.gathered[self.owner_after(key)].append(key)
        return True

    def _copy(self, out: Outgoing, state: str, taker: int, keys: list[Any]) -> None:
        some = keys[: self.parcels.keys_at_once]
        del keys[: self.parcels.keys_at_once]
        page = states_of(some, out.states)  # a key that was refused has none
        try:
            self.parcels.give(Kind.COPIES, taker, state, page.keys, page.states)
        except RunFailure as failure:
            out.behind.update(some)
            self._give_up(failure)
        else:
            out.note_copied(some)

    def _give_up(self, failure: RunFailure) -> None:
        if self._failure is None:
            self._failure = failure
            self._fail(failure.error)

    def cut(self, state: str) -> tuple[list[Any], list[Any], list[list[Any]]]:
        """(keys that have no copy that counts, those with copies that do not, all that were ever
        copied). Nothing runs on them here any more.
        """
        out = self._out.pop(state)
        if not self._out:
            self._stages.touch = self._touch_before
        behind = out.all_behind()  # before `rest` takes those of them that were to have their turn
        return out.rest(), behind, out.sent

    def call_off(self) -> None:
        """There will be no barrier."""
        self.is_called_off = True
        self._out.clear()
        self._coming.clear()
        self._stages.touch = self._touch_before

    # Coming

    def concerns(self, header: Header) -> bool:
        """Whether a frame is for this, and not for the move that follows."""
        ours = header.table_version == self.version and not self.is_called_off
        return ours and header.kind in (Kind.COPIES, Kind.STATES_TAKEN)

    def receive(self, header: Header, frames: list[bytes]) -> None:
        """Copies have come in, or a receiver has taken some in."""
        if header.kind is Kind.STATES_TAKEN:
            self.parcels.given_back(header)
        else:
            self._coming.append((header, frames))

    def take_in(self, end_s: float) -> None:
        """Some of what has come."""
        while self._coming and clock.monotonic_s() < end_s:
            self._take_in(*self._coming.popleft())

    def take_in_all(self) -> None:
        """All of it."""
        while self._coming:
            self._take_in(*self._coming.popleft())

    def _take_in(self, header: Header, frames: list[bytes]) -> None:
        what = _, name = self.whats[header.exchange]
        copies = self.came[name][header.sender]
        before = len(copies)
        try:
            keys, states = unpack(name, frames)
        except RunFailure as failure:
            self._give_up(failure)
            return
        if self.joins:
            keyed = self._stages.keyed[name]
            keyed.give_away([key for key in keys if key in copies])
            keyed.take_in(keys, states)
        else:
            copies.update(zip(keys, states, strict=True))
        self.keys_here += len(copies) - before
        self.bytes_in += header.cost_bytes
        self.parcels.took(header.sender, what)

    def pop(self, state: str, giver: int, keys: Iterable[Any]) -> Page:
        """Those that there are copies of. They no longer count as copies.

        Raises RunFailure where one of them could not be made again: it is too late to call it off.
        """
        self.take_in_all()
        if self._failure is not None:
            raise self._failure
        copies = self.came[state][giver]
        there = [key for key in keys if key in copies]
        self.keys_here -= len(there)
        if self.joins:
            return Page(there, self._stages.keyed[state].give_away(there))
        return Page(there, list(map(copies.pop, there)))

    def let_go(self) -> bool:
        """Of some of the copies that will not be used; whether there are more."""
        for by in self.came.values():
            for copies in by.values():
                for _ in range(min(len(copies), LET_GO_KEYS)):
                    copies.popitem()
                    self.keys_here -= 1
        return self.keys_here > 0
