"""A worker's side of a move: states that go, states that come, and what waits for them.

Most states have gone before the barrier, as copies (`runtime/copies.py`). When a state is cut, its
owner says which copies are behind; the others count. What has no copy that counts is packed and
sent a slice at a time between batches, and removed here. Only so many slices are on their way to
one receiver; it gives each back when it has taken it in. After the last one of a state comes a
frame that says so.

A receiver takes in what comes once it has cut that state itself. Keys that messages are for come
before those that nobody waits for: who routes a batch by the new table sends along what it has of
them, and asks their old owners to send the rest. A message whose key has not come waits, every
other one goes on, and what comes for a key that messages wait for waits behind them. A key that
does not come so (it is new, or who routed it knows nothing of the move any more) the receiver asks
for itself.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from itertools import islice
from typing import Any

from roo import clock
from roo.core.batch import Batch, Header, Kind
from roo.items import pack_items, unpack_items
from roo.runtime.copies import SHARE_OF_TAKING_IN, Copies
from roo.runtime.keys_in_turn import Litter
from roo.runtime.parcels import What, unpack
from roo.runtime.payload import Keyed
from roo.runtime.stages import Stages
from roo.runtime.turns import share_since

SLICE_S = 0.0003
"""How long the main thread packs between two batches."""

SHARE = 40.0
"""How many times as long as a slice the time after it is for batches, as `share_since` has it. A
move is in no hurry, since keys that messages are for come before the others.
"""

SHARE_OF_FEW = 10.0
"""The same where nearly all has gone before: what is left is to let go and to take over."""

TIDY_KEYS = 128
"""How many keys are taken over at once."""

BEHIND_KEYS = 2048
"""How many keys, of which the copies are behind, are named at once."""

TRY_AGAIN_EVERY_S = 0.001
"""How often what waits is tried again before all that is waited for has come."""

ASK_AFTER_S = 0.002
"""How long a receiver waits for a key before it asks for it itself."""


class Move:
    """One change on one worker, from its barrier to the last state in.

    copies: what went before. came: called with what came, when waiting messages may try again.
    few: whether nearly all states have gone before, so that nobody asks for keys ahead of messages.
    notes: what the old writer of a sink noted, until `came` takes it.
    """

    def __init__(
        self,
        worker: int,
        stages: Stages,
        copies: Copies,
        came: Callable[[What], None],
        *,
        few: bool = False,
    ) -> None:
        self.before, self.after = before, after = copies.before, copies.after
        self.worker = worker
        self._stages = stages
        self._copies = copies
        self._parcels = copies.parcels
        self._came = came
        self._few = few
        self._whats = copies.whats
        states = [what for what in self._whats if what[0] == "state"]
        # What is still to come: for each state its givers, for a sink its old home.
        self._awaits: dict[What, set[int]] = {what: set(copies.givers) for what in states}
        for sink, home in after.homes.items():
            come = home == worker != before.homes[sink]
            self._awaits["sink", sink] = {before.homes[sink]} if come else set()
        self._uncut = set[What]() if copies.joins else set(self._whats)
        self._early: list[tuple[Header, list[bytes]]] = []
        self._coming: deque[tuple[Header, list[bytes]]] = deque()
        # Per state: what is to be given, in turn, and all of that; keys whose copies are behind, to
        # be named; what was copied, as long as it is here; givers whose copies count and are still
        # to be taken over.
        self._going: dict[str, Iterator[tuple[int, list[Any]]]] = {}
        self._behind: dict[str, list[Any]] = {}
        self._rest: dict[str, set[Any]] = {}
        self._gone: dict[str, list[list[Any]]] = {}
        self._usable: dict[str, list[int]] = {name: [] for name in stages.keyed}
        # Those givers of one that joins of whom it is not known which copies count.
        self._uncounted: dict[str, set[int]] = {
            name: set(copies.givers) if copies.joins else set() for name in stages.keyed
        }
        # (state, receiver, keys) that were asked for and have not been answered yet.
        self._questions: deque[tuple[str, int, list[Any]]] = deque()
        # Keys that were asked for, and those that their givers never had.
        self._asked: dict[str, set[Any]] = {name: set() for name in stages.keyed}
        self._unknown: dict[str, set[Any]] = {name: set() for name in stages.keyed}
        self._notes = Litter()  # once nothing more is asked for
        for noted in (*self._asked.values(), *self._unknown.values()):
            self._notes.add(noted)
        # Keys that messages wait for, and those of them that have not come.
        self._waited_for: dict[str, set[Any]] = {name: set() for name in stages.keyed}
        self._missing: dict[str, set[Any]] = {name: set() for name in stages.keyed}
        # Those to be asked for unless they come soon.
        self._to_ask: dict[str, list[Any]] = {}
        self._ask_at_s = 0.0
        self._owner_before = before.table.quick_owner_of()
        self._owner_after = copies.owner_after
        self._to_try: set[What] = set()
        self._tried_s = 0.0
        self._begun_s = clock.monotonic_s()
        self._waiting_since_s: dict[What, float] = {}
        self.splits_came = False
        self._keys_in = self.keys_out = 0
        self.longest_wait_s = 0.0
        self.notes: dict[What, Any] = {}

    @property
    def is_complete(self) -> bool:
        """Whether everything that comes here is here, everything that goes is sent, and what was
        noted for that let go of.
        """
        return self._is_done and not self._notes.left

    @property
    def _is_done(self) -> bool:
        here = self.splits_came or self.worker not in self.after.workers
        tidy = not any(self._gone.values()) and not any(self._usable.values())
        return here and tidy and not self._going and not any(self._awaits.values())

    @property
    def is_busy(self) -> bool:
        """Whether `step` has something to do now."""
        gives = bool(self._going) and not self._behind and self._parcels.may_give
        tidies = any(self._gone.values()) or any(self._usable.values())
        lets_go = self._notes.left and self._is_done
        comes = bool(self._coming) or self._copies.have_come
        return comes or self._answerable() or gives or tidies or lets_go

    @property
    def waits_for_barrier(self) -> bool:
        """Whether this worker joins and takes copies in: no message is for it yet."""
        return self._copies.joins and self._copies.have_come and not self._coming

    @property
    def share_of_batches(self) -> float:
        """How many times as long as a slice the time after it is to be for batches."""
        if self.waits_for_barrier:
            return SHARE_OF_TAKING_IN
        if self._few:
            return SHARE_OF_FEW
        return share_since(SHARE, self._begun_s)

    @property
    def keys_came(self) -> int:
        """How many keys have come, before the barrier or after it."""
        return self._keys_in + self._copies.keys_here

    @property
    def bytes_in(self) -> int:
        """How many bytes of states have come, those of copies included that fell behind."""
        return self._copies.bytes_in

    # Going

    def cut(self, what: What) -> None:
        """All before the barrier has run on it. Of a state, what is not ours any more goes."""
        self._uncut.discard(what)
        kind, name = what
        if kind == "state" and self._parcels.takers:
            rest, self._behind[name], self._gone[name] = self._copies.cut(name)
            self._rest[name] = set(rest)
            self._notes.add(self._rest[name])
            self._going[name] = self._slices(name, rest)
            self._name_behind()
        early, self._early = self._early, []
        for header, frames in early:
            self.receive(header, frames)

    def _name_behind(self) -> None:
        """Say which copies do not count, and at the end that all others do."""
        for state, keys in list(self._behind.items()):
            some = keys[-BEHIND_KEYS:]
            del keys[-BEHIND_KEYS:]
            by_taker: dict[int, list[Any]] = {taker: [] for taker in self._parcels.takers}
            for key in some:
                by_taker[self._owner_after(key)].append(key)
            for taker, theirs in by_taker.items():
                what, frames = ("state", state), [pack_items(theirs)]
                self._parcels.tell(
                    Kind.COPIES_BEHIND, taker, what, len(theirs), frames, int(not keys)
                )
            if not keys:
                del self._behind[state]

    def hand_over_sink(self, sink: str, noted: Any) -> None:
        """A single writer is closed here: the new home goes on from what it noted."""
        frames = [pickle.dumps(noted, 5)]
        self._parcels.tell(Kind.STATES_END, self.after.homes[sink], ("sink", sink), 0, frames)

    def step(self) -> None:
        """A slice of the work."""
        end_s = clock.monotonic_s() + SLICE_S
        while self._coming and clock.monotonic_s() < end_s:
            self._take_in(*self._coming.popleft())
        self._copies.take_in(end_s)
        self._answer()
        while self._notes.left and self._is_done and clock.monotonic_s() < end_s:
            self._notes.tidy()
        for state, slices in [] if self._behind else list(self._going.items()):
            while self._parcels.may_give:
                part = next(slices, None)
                if part is None:
                    self._end(state)
                    break
                taker, keys = part
                self._give(state, taker, keys)
                if clock.monotonic_s() > end_s:
                    return
        self._tidy(end_s)

    def _tidy(self, end_s: float) -> None:
        """Keys that have gone are let go of, and copies that count taken over."""
        for state, gone in self._gone.items():
            keyed, rest = self._stages.keyed[state], self._rest[state]
            while gone and clock.monotonic_s() < end_s:
                keys = [key for key in gone.pop() if key in keyed.objects and key not in rest]
                keyed.give_away(keys)
                self.keys_out += len(keys)
        for state, usable in self._usable.items():
            while usable and clock.monotonic_s() < end_s:
                copies = self._copies.came[state][usable[0]]
                self._take_over(state, usable[0], list(islice(copies, TIDY_KEYS)))
                if not copies:
                    usable.pop(0)

    def _take_over(self, state: str, giver: int, keys: list[Any]) -> None:
        """Some of the copies become what they are copies of."""
        page = self._copies.pop(state, giver, keys)
        self._stages.keyed[state].take_in(page.keys, page.states)
        self._keys_in += len(page.keys)

    def _slices(self, state: str, left: list[Any]) -> Iterator[tuple[int, list[Any]]]:
        """(receiver, keys), so many keys at a time. (Nothing runs on these keys here any more.)"""
        states, owner_of = self._stages.keyed[state].objects, self._owner_after
        gathered: dict[int, list[Any]] = {taker: [] for taker in self._parcels.takers}
        while left:  # a list of so many keys, most of which have gone, is let go of one by one
            key = left.pop()
            owner = owner_of(key)
            if owner != self.worker:
                keys = gathered[owner]
                keys.append(key)
                if len(keys) >= self._parcels.keys_at_once:
                    yield owner, self._first_of(keys, states)
        for owner, keys in gathered.items():
            while keys:
                yield owner, self._first_of(keys, states)

    def _first_of(self, keys: list[Any], states: Container[Any]) -> list[Any]:
        """A slice of them, all but those that have gone because they were asked for."""
        first = keys[: self._parcels.keys_at_once]
        del keys[: self._parcels.keys_at_once]
        return [key for key in first if key in states]

    def _give(
        self, state: str, taker: int, keys: list[Any], unknown: list[Any] | None = None
    ) -> None:
        """unknown: those asked for that are not here; None where nobody asked."""
        values = self._stages.keyed[state].give_away(keys)
        self._parcels.give(Kind.STATES, taker, state, keys, values, unknown)
        self.keys_out += len(keys)

    def _is_to_give(self, state: str, key: Any) -> bool:
        """Whether a key that has a new owner is still here, and has no copy that counts."""
        return key in self._rest[state] and key in self._stages.keyed[state].objects

    def _answerable(self) -> bool:
        questions = bool(self._questions) and not self._behind
        return questions and self._parcels.may_answer(self._questions[0][1])

    def ahead(self, state: str, receiver: int, keys: list[Any]) -> None:
        """A batch for these keys is about to go to a receiver by the new table: what it needs goes
        before it, or is asked for.
        """
        if receiver not in self._copies.receivers or self._is_done:
            return
        states = self._stages.keyed[state].objects
        if receiver != self.worker and state in self._going and not self._behind:
            here = [key for key in dict.fromkeys(keys) if self._is_to_give(state, key)]
            while here and self._parcels.may_answer(receiver):
                self._give(state, receiver, self._first_of(here, states), [])
        if not self._few:
            self._ask(state, receiver, [key for key in keys if key not in states])

    def _answer(self) -> None:
        """Give what was asked for, as far as there may be more on its way."""
        while self._answerable():
            state, taker, wanted = self._questions.popleft()
            if state not in self._going:
                continue  # all of it has gone
            at_once = self._parcels.keys_at_once
            some, rest = wanted[:at_once], wanted[at_once:]
            if rest:
                self._questions.appendleft((state, taker, rest))
            here = [key for key in some if self._is_to_give(state, key)]
            self._give(state, taker, here, [k for k in some if not self._is_to_give(state, k)])

    def _end(self, state: str) -> None:
        """That was all of a state."""
        del self._going[state]
        for taker in self._parcels.takers:
            self._parcels.tell(Kind.STATES_END, taker, ("state", state), 0, [])

    def _ask(self, state: str, receiver: int, keys: Iterable[Any]) -> None:
        """Have their old owners send keys to a receiver, where these are others; each key once."""
        asked, wanted = self._asked[state], dict[int, list[Any]]()
        for key in keys:
            if key not in asked:
                giver = self._owner_before(key)
                if giver not in (receiver, self.worker):
                    asked.add(key)
                    wanted.setdefault(giver, []).append(key)
        for giver, some in wanted.items():
            what, frames = ("state", state), [pack_items(some)]
            self._parcels.tell(Kind.STATES_WANTED, giver, what, len(some), frames, receiver)

    # Coming

    def receive(self, header: Header, frames: list[bytes]) -> None:
        """A frame of a move has come in."""
        if header.table_version != self.after.version:
            return  # the last acknowledgements of the move before
        what = kind, name = self._whats[header.exchange]
        if header.kind in (Kind.STATES_TAKEN, Kind.COPIES):
            self._copies.receive(header, frames)
        elif what in self._uncut:
            self._early.append((header, frames))
        elif header.kind is Kind.STATES_WANTED:
            self._questions.append((name, header.sequence, unpack_items(frames[0])))
            self._answer()
        elif header.kind is Kind.COPIES_BEHIND:
            self._copies.pop(name, header.sender, unpack_items(frames[0]))
            if header.sequence:  # all others count
                self._use_copies(what, header.sender)
        elif kind == "sink":
            self._awaits[what].discard(header.sender)
            self.notes[what] = pickle.loads(frames[0])
            self._to_try.add(what)
            self._try_again(clock.monotonic_s())
        elif header.kind is Kind.STATES and len(frames) > 2:
            # The answer to a question: messages wait for these. Of a key that was not there any
            # more the state may be among those that have come and have not been taken in yet.
            self._take_in(header, frames)
            unknown = unpack_items(frames[2])
            if unknown:
                self._find(name, header.sender, unknown)
                self._unknown[name].update(unknown)
                self._come(what, unknown)
        else:
            self._coming.append((header, frames))

    def _find(self, state: str, giver: int, keys: list[Any]) -> None:
        """Keys that their giver has no more, among what it had given before it was asked."""
        states = self._stages.keyed[state].objects
        while self._coming and any(key not in states for key in keys):
            self._take_in(*self._coming.popleft())
        self._copies.take_in_all()
        if not self._copies.joins:
            self._take_over(state, giver, keys)

    def _use_copies(self, what: What, giver: int) -> None:
        """The copies of a giver are as its states were at its cut."""
        copies = self._copies.came[what[1]][giver]
        if self._copies.joins:
            self._uncounted[what[1]].discard(giver)
        elif copies:
            self._usable[what[1]].append(giver)
        self._come(what, [key for key in self._missing[what[1]] if key in copies])

    def _take_in(self, header: Header, frames: list[bytes]) -> None:
        """Some states, or the news that those were all."""
        what = _, name = self._whats[header.exchange]
        if header.kind is Kind.STATES_END:
            self._awaits[what].discard(header.sender)
            self._to_try.add(what)
            self._try_again(clock.monotonic_s())
            return
        keys, states = unpack(name, frames)
        self._stages.keyed[name].take_in(keys, states)
        self._keys_in += header.messages
        self._copies.bytes_in += header.cost_bytes
        self._parcels.took(header.sender, what)
        self._come(what, keys)

    def _come(self, what: What, keys: list[Any]) -> None:
        """Of these keys the states are here, or there are none."""
        missing = self._missing[what[1]]
        if not missing.isdisjoint(keys):
            missing.difference_update(keys)
            self._to_try.add(what)

    def tend(self) -> None:
        """Before every batch: what messages wait for is not put off until a slice has its turn."""
        if self._behind:
            self._name_behind()
        if not self._to_ask and not self._to_try:
            return
        now_s = clock.monotonic_s()
        if self._to_ask and now_s >= self._ask_at_s:
            to_ask, self._to_ask = self._to_ask, {}
            for state, keys in to_ask.items():
                missing = self._missing[state]
                self._ask(state, self.worker, [key for key in keys if key in missing])
        if self._to_try and (
            now_s - self._tried_s > TRY_AGAIN_EVERY_S
            or not any(self._missing[name] for kind, name in self._to_try if kind == "state")
        ):
            self._try_again(now_s)

    def tend_in_ms(self) -> float:
        """How long until `tend` has something to do where nothing comes; -1: nothing."""
        if self._behind:
            return 0.0
        dues_s = []
        if self._to_ask:
            dues_s.append(self._ask_at_s)
        if self._to_try:
            dues_s.append(self._tried_s + TRY_AGAIN_EVERY_S)
        return max(0.0, (min(dues_s) - clock.monotonic_s()) * 1000) if dues_s else -1.0

    def _try_again(self, now_s: float) -> None:
        whats, self._to_try = self._to_try, set()
        self._tried_s = now_s
        for what in whats:
            if what[0] == "state":  # those that still wait will say so again
                self._waited_for[what[1]].clear()
                self._missing[what[1]].clear()
            since_s = self._waiting_since_s.pop(what, now_s)
            self.longest_wait_s = max(self.longest_wait_s, now_s - since_s)
            self._came(what)

    def is_awaited(self, what: What) -> bool:
        """Whether anything of a state (or a sink's writer) is still to come or to be taken over."""
        return bool(self._awaits[what]) or (what[0] == "state" and bool(self._usable[what[1]]))

    def split(self, state: str, batch: Batch) -> tuple[Keyed, Batch | None]:
        """(what can run, what has to wait) of a batch for a state."""
        payload = batch.payload
        keys = payload.keys
        for giver in self._usable[state]:
            copies = self._copies.came[state][giver]
            here = [key for key in dict.fromkeys(keys) if key in copies]
            if here:
                self._take_over(state, giver, here)
        states, unknown = self._stages.keyed[state].objects, self._unknown[state]
        givers, uncounted = self._awaits["state", state], self._uncounted[state]
        owner_of, waited_for = self._owner_before, self._waited_for[state]
        late = [
            i
            for i, key in enumerate(keys)
            if key in waited_for
            or (
                (uncounted or key not in states)
                and key not in unknown
                and (owner := owner_of(key)) in givers
                and (owner in uncounted or key not in states)
            )
        ]
        if not late:
            return payload, None
        self._wait_for(state, {keys[i] for i in late})
        waits = set(late)
        now = [i for i in range(len(keys)) if i not in waits]
        return _picked(payload, now), self.waiting(("state", state), batch, _picked(payload, late))

    def _wait_for(self, state: str, keys: set[Any]) -> None:
        """Messages wait for these keys: each is asked for once."""
        new = keys - self._waited_for[state]
        self._waited_for[state] |= new
        self._missing[state] |= new
        new -= self._asked[state]
        if new:
            if not self._to_ask:
                self._ask_at_s = clock.monotonic_s() + ASK_AFTER_S
            self._to_ask.setdefault(state, []).extend(new)

    def waiting(self, what: What, batch: Batch, payload: Any, messages: int = 0) -> Batch:
        """A part of a batch as one that waits."""
        self._waiting_since_s.setdefault(what, clock.monotonic_s())
        header = batch.header
        count = messages or len(payload.keys)
        cost = header.cost_bytes * count // max(header.messages, 1)
        return Batch(header._replace(messages=count, cost_bytes=cost), payload)


def _picked(payload: Keyed, indexes: list[int]) -> Keyed:
    keys, messages, entries = payload
    return Keyed(
        [keys[i] for i in indexes],
        [messages[i] for i in indexes],
        [entries[i] for i in indexes] if entries else [],
    )
