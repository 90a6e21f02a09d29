"""A worker's side of a move: states that go, states that come, and what waits for them.

A state goes when it is cut: keys that others own from then on are packed and sent a slice at a time
between batches, and removed here. Only so many slices are on their way to one receiver; it gives
each back when it has taken it in. After the last one of a state comes a frame that says so.

A receiver takes in what comes once it has cut that state itself. Keys that messages are for come
before those that nobody waits for: who routes a batch by the new table sends along what it has of
them, and asks their old owners to send the rest. A message whose key has not come waits, every
other one goes on, and what comes for a key that messages wait for waits behind them. A key that
does not come so (it is new, or who routed it knows nothing of the move any more) the receiver asks
for itself.
"""

from __future__ import annotations

import pickle
import time
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Any

from roo.checkpoint.encoding import StateEncoder, decode
from roo.core.batch import Batch, Header, Kind, Origin
from roo.core.placement import Placement
from roo.core.slicing import moved
from roo.items import pack_items, unpack_items
from roo.runtime.failures import RunFailure, shorten
from roo.runtime.keys_in_turn import Litter
from roo.runtime.payload import Keyed
from roo.runtime.stages import Stages

SLICE_KEYS = 128
SLICE_BYTES = 256 * 1024
"""A slice has so many keys at most, and fewer where states are so large that it would hold more
bytes than this, as far as the slices before it tell.
"""

SLICE_S = 0.0003
"""How long the main thread packs between two batches."""

SHARE, SHARE_LEAST, SHARE_HALVED_EVERY_S = 40.0, 3.0, 10.0
"""How many times as long as a slice the time after it is for batches: the longer a move takes, the
less it gives way. It is in no hurry, since keys that messages are for come before the others.
"""

SLICES_ON_THEIR_WAY = 8
GIVEN_BACK_AT_ONCE = 4
"""How many slices a receiver takes in before it says so: fewer frames, and none is waited for."""

ASKED_ON_THEIR_WAY = 64
"""So many slices more where messages are for them."""

TRY_AGAIN_EVERY_S = 0.001
"""How often what waits is tried again before all that is waited for has come."""

ASK_AFTER_S = 0.002
"""How long a receiver waits for a key before it asks for it itself."""

Send = Callable[[int, Header, list[bytes]], None]
What = tuple[str, str]
"""("state" or "sink", name): what moves."""


class Move:
    """One change on one worker, from its barrier to the last state in.

    send: to another worker. came: called with what came, when waiting messages may try again.
    notes: what the old writer of a sink noted, until `came` takes it.
    """

    def __init__(
        self,
        worker: int,
        stages: Stages,
        before: Placement,
        after: Placement,
        send: Send,
        came: Callable[[What], None],
        *,
        joins: bool,
    ) -> None:
        self.before, self.after = before, after
        self.worker = worker
        self._stages = stages
        self._send = send
        self._came = came
        states: list[What] = [("state", name) for name in stages.states]
        sinks: list[What] = [("sink", name) for name in after.homes]
        self._whats = [*states, *sinks]
        pieces = moved(before.table, after.table)
        self._takers = sorted({new for _, _, old, new in pieces if old == worker})
        self._all_takers = {new for _, _, _, new in pieces}
        givers = {old for _, _, old, new in pieces if new == worker}
        # What is still to come: for each state its givers, for a sink its old home.
        self._awaits: dict[What, set[int]] = {what: set(givers) for what in states}
        for sink, home in after.homes.items():
            come = home == worker != before.homes[sink]
            self._awaits["sink", sink] = {before.homes[sink]} if come else set()
        self._uncut = set[What]() if joins else set(self._whats)
        self._early: list[tuple[Header, list[bytes]]] = []
        self._coming: deque[tuple[Header, list[bytes]]] = deque()
        self._going: dict[str, Iterator[tuple[int, list[Any]]]] = {}
        self._encoder = StateEncoder()
        self._credit = Counter(dict.fromkeys(self._takers, SLICES_ON_THEIR_WAY))
        self._slice_keys = 1
        # (state, receiver, keys) that were asked for and have not been answered yet.
        self._questions: deque[tuple[str, int, list[Any]]] = deque()
        # Keys that were asked for, and those that their givers never had.
        self._asked: dict[str, set[Any]] = {name: set() for name in stages.states}
        self._unknown: dict[str, set[Any]] = {name: set() for name in stages.states}
        self._notes = Litter()  # once nothing more is asked for
        for noted in (*self._asked.values(), *self._unknown.values()):
            self._notes.add(noted)
        # Keys that messages wait for, and those of them that have not come.
        self._waited_for: dict[str, set[Any]] = {name: set() for name in stages.states}
        self._missing: dict[str, set[Any]] = {name: set() for name in stages.states}
        # Those to be asked for unless they come soon.
        self._to_ask: dict[str, list[Any]] = {}
        self._ask_at_s = 0.0
        # giver -> slices to give back.
        self._taken = Counter[int]()
        self._owner_before = before.table.quick_owner_of()
        self._owner_after = after.table.quick_owner_of()
        self._to_try: set[What] = set()
        self._tried_s = 0.0
        self._begun_s = time.monotonic()
        self._waiting_since_s: dict[What, float] = {}
        self.splits_came = False
        self.keys_in = self.bytes_in = self.keys_out = 0
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
        return here and not self._going and not any(self._awaits.values())

    @property
    def is_busy(self) -> bool:
        """Whether `step` has something to do now."""
        gives = bool(self._going) and self._may_give
        lets_go = self._notes.left and self._is_done
        return bool(self._coming) or self._answerable() or gives or lets_go

    @property
    def share_of_batches(self) -> float:
        """How many times as long as a slice the time after it is to be for batches."""
        halved = int((time.monotonic() - self._begun_s) / SHARE_HALVED_EVERY_S)
        return max(SHARE / 2.0 ** min(halved, 10), SHARE_LEAST)

    @property
    def _may_give(self) -> bool:
        """Whether no receiver has as much on its way as it may."""
        return all(self._credit[taker] > 0 for taker in self._takers)

    # Going

    def cut(self, what: What) -> None:
        """All before the barrier has run on it. Of a state, what is not ours any more goes."""
        self._uncut.discard(what)
        kind, name = what
        if kind == "state" and self._takers:
            self._going[name] = self._slices(name)
        early, self._early = self._early, []
        for header, frames in early:
            self.receive(header, frames)

    def hand_over_sink(self, sink: str, noted: Any) -> None:
        """A single writer is closed here: the new home goes on from what it noted."""
        frames = [pickle.dumps(noted, 5)]
        self._tell(Kind.STATES_END, self.after.homes[sink], ("sink", sink), 0, frames)

    def step(self) -> None:
        """A slice of the work."""
        end_s = time.monotonic() + SLICE_S
        while self._coming and time.monotonic() < end_s:
            self._take_in(*self._coming.popleft())
        self._answer()
        while self._notes.left and self._is_done and time.monotonic() < end_s:
            self._notes.tidy()
        for state, slices in list(self._going.items()):
            while self._may_give:
                part = next(slices, None)
                if part is None:
                    self._end(state)
                    break
                taker, keys = part
                self._give(state, taker, keys)
                if time.monotonic() > end_s:
                    return

    def _slices(self, state: str) -> Iterator[tuple[int, list[Any]]]:
        """(receiver, keys), so many keys at a time. (Nothing runs on these keys here any more.)"""
        states, owner_of = self._stages.states[state], self._owner_after
        gathered: dict[int, list[Any]] = {taker: [] for taker in self._takers}
        left = list(states)
        while left:  # a list of so many keys, most of which have gone, is let go of one by one
            key = left.pop()
            owner = owner_of(key)
            if owner != self.worker:
                keys = gathered[owner]
                keys.append(key)
                if len(keys) >= self._slice_keys:
                    yield owner, self._first_of(keys, states)
        for owner, keys in gathered.items():
            while keys:
                yield owner, self._first_of(keys, states)

    def _first_of(self, keys: list[Any], states: Container[Any]) -> list[Any]:
        """A slice of them, all but those that have gone because they were asked for."""
        first = keys[: self._slice_keys]
        del keys[: self._slice_keys]
        return [key for key in first if key in states]

    def _give(
        self, state: str, taker: int, keys: list[Any], unknown: list[Any] | None = None
    ) -> None:
        """unknown: those asked for that are not here; None where nobody asked."""
        states = self._stages.states[state]
        self._stages.moving(state, keys)  # a snapshot has them as they were at the cut
        values = [states.pop(key) for key in keys]
        try:
            packed = self._encoder.encode(values)
        except Exception as error:
            raise _unsendable(state, keys, values, error) from error
        if keys:
            fit = SLICE_BYTES * len(keys) // len(packed)
            more = max(self._slice_keys, 2 * len(keys))  # the next states may be larger
            self._slice_keys = max(1, min(SLICE_KEYS, more, fit))
        self._credit[taker] -= 1
        self.keys_out += len(keys)
        frames = [pack_items(keys), packed, *([] if unknown is None else [pack_items(unknown)])]
        self._tell(Kind.STATES, taker, ("state", state), len(keys), frames)

    def _answerable(self) -> bool:
        return bool(self._questions) and self._credit[self._questions[0][1]] > -ASKED_ON_THEIR_WAY

    def ahead(self, state: str, receiver: int, keys: list[Any]) -> None:
        """A batch for these keys is about to go to a receiver by the new table: what it needs goes
        before it, or is asked for.
        """
        if receiver not in self._all_takers or self._is_done:
            return
        states = self._stages.states[state]
        if receiver != self.worker and state in self._going:
            here = [key for key in dict.fromkeys(keys) if key in states]
            while here and self._credit[receiver] > -ASKED_ON_THEIR_WAY:
                self._give(state, receiver, self._first_of(here, states), [])
        self._ask(state, receiver, [key for key in keys if key not in states])

    def _answer(self) -> None:
        """Give what was asked for, as far as there may be more on its way."""
        while self._answerable():
            state, taker, wanted = self._questions.popleft()
            if state not in self._going:
                continue  # all of it has gone
            some, rest = wanted[: self._slice_keys], wanted[self._slice_keys :]
            if rest:
                self._questions.appendleft((state, taker, rest))
            states = self._stages.states[state]
            here = [key for key in some if key in states]
            self._give(state, taker, here, [key for key in some if key not in states])

    def _end(self, state: str) -> None:
        """That was all of a state."""
        del self._going[state]
        for taker in self._takers:
            self._tell(Kind.STATES_END, taker, ("state", state), 0, [])

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
            self._tell(Kind.STATES_WANTED, giver, what, len(some), frames, receiver)

    def _tell(
        self, kind: Kind, to: int, what: What, count: int, frames: list[bytes], receiver: int = 0
    ) -> None:
        """count: of keys; of slices where they are given back. receiver: of keys asked for."""
        header = Header(
            kind, self.worker, self._whats.index(what), receiver, self.after.version, 0, -1, 0,
            count, sum(map(len, frames)), Origin(-1, -1, 0, 0),
        )  # fmt: skip
        self._send(to, header, frames)

    # Coming

    def receive(self, header: Header, frames: list[bytes]) -> None:
        """A frame of a move has come in."""
        if header.table_version != self.after.version:
            return  # the last acknowledgements of the move before
        what = kind, name = self._whats[header.exchange]
        if header.kind is Kind.STATES_TAKEN:
            self._credit[header.sender] += header.messages
        elif what in self._uncut:
            self._early.append((header, frames))
        elif header.kind is Kind.STATES_WANTED:
            self._questions.append((name, header.sequence, unpack_items(frames[0])))
            self._answer()
        elif kind == "sink":
            self._awaits[what].discard(header.sender)
            self.notes[what] = pickle.loads(frames[0])
            self._to_try.add(what)
            self._try_again(time.monotonic())
        elif header.kind is Kind.STATES and len(frames) > 2:
            # The answer to a question: messages wait for these. Of a key that was not there any
            # more the state may be among those that have come and have not been taken in yet.
            self._take_in(header, frames)
            unknown = unpack_items(frames[2])
            if unknown:
                states = self._stages.states[name]
                while self._coming and any(key not in states for key in unknown):
                    self._take_in(*self._coming.popleft())
                self._unknown[name].update(unknown)
                self._come(what, unknown)
        else:
            self._coming.append((header, frames))

    def _take_in(self, header: Header, frames: list[bytes]) -> None:
        """Some states, or the news that those were all."""
        what = _, name = self._whats[header.exchange]
        if header.kind is Kind.STATES_END:
            self._awaits[what].discard(header.sender)
            self._to_try.add(what)
            self._try_again(time.monotonic())
            return
        keys = unpack_items(frames[0])
        self._stages.moving(name, keys)
        self._stages.states[name].update(zip(keys, decode(frames[1]), strict=True))
        self.keys_in += header.messages
        self.bytes_in += header.cost_bytes
        self._taken[header.sender] += 1
        if self._taken[header.sender] >= GIVEN_BACK_AT_ONCE:
            slices = self._taken.pop(header.sender)
            self._tell(Kind.STATES_TAKEN, header.sender, what, slices, [])
        self._come(what, keys)

    def _come(self, what: What, keys: list[Any]) -> None:
        """Of these keys the states are here, or there are none."""
        missing = self._missing[what[1]]
        if not missing.isdisjoint(keys):
            missing.difference_update(keys)
            self._to_try.add(what)

    def tend(self) -> None:
        """Before every batch: what messages wait for is not put off until a slice has its turn."""
        if not self._to_ask and not self._to_try:
            return
        now_s = time.monotonic()
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
        dues_s = []
        if self._to_ask:
            dues_s.append(self._ask_at_s)
        if self._to_try:
            dues_s.append(self._tried_s + TRY_AGAIN_EVERY_S)
        return max(0.0, (min(dues_s) - time.monotonic()) * 1000) if dues_s else -1.0

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
        """Whether anything of a state (or a sink's writer) is still to come."""
        return bool(self._awaits[what])

    def split(self, state: str, batch: Batch) -> tuple[Keyed, Batch | None]:
        """(what can run, what has to wait) of a batch for a state."""
        payload = batch.payload
        keys = payload.keys
        states, unknown = self._stages.states[state], self._unknown[state]
        givers, owner_of = self._awaits["state", state], self._owner_before
        waited_for = self._waited_for[state]
        late = [
            i
            for i, key in enumerate(keys)
            if key in waited_for
            or (key not in states and key not in unknown and owner_of(key) in givers)
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
                self._ask_at_s = time.monotonic() + ASK_AFTER_S
            self._to_ask.setdefault(state, []).extend(new)

    def waiting(self, what: What, batch: Batch, payload: Any, messages: int = 0) -> Batch:
        """A part of a batch as one that waits."""
        self._waiting_since_s.setdefault(what, time.monotonic())
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


def _unsendable(
    state: str, keys: Iterable[Any], values: Iterable[Any], error: Exception
) -> RunFailure:
    """Which state can't travel."""
    facts: Mapping[str, Any] = {}
    for key, value in zip(keys, values, strict=True):
        try:
            pickle.dumps(value, 5)
        except Exception as found:
            kind = type(value)
            what = f"a state of type {kind.__module__}.{kind.__qualname__} can't move: {found}"
            facts = {"key": shorten(key), "what": what}
            break
    return RunFailure({
        "kind": "state",
        "step": state,
        "what": str(error),
        "hint": "keep plain data in states: no files, locks or lambdas",
        **facts,
    })  # fmt: skip
