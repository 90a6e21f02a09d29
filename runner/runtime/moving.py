"""A worker's side of a move: states that go, states that come, and what waits for them.

A state goes when it is cut: keys that others own from then on are packed and sent a slice at a time
between batches, and removed here. Only so many slices are on their way to one receiver; it gives
each back when it has taken it in. After the last one of a state comes a frame that says so.

A receiver takes in what comes once it has cut that state itself. A message for a key that is still
on its way waits, and that key is asked for, so that it comes before those that nobody waits for;
every other key goes on.
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
from roo.runtime.payload import Keyed
from roo.runtime.stages import Stages

SLICE_KEYS = 256
SLICE_BYTES = 256 * 1024
"""A slice has so many keys at most, and fewer where states are so large that it would hold more
bytes than this, as far as the slices before it tell.
"""

SLICE_S = 0.001
"""How long the main thread packs between two batches."""

SLICES_ON_THEIR_WAY = 4
ASKED_ON_THEIR_WAY = 64
"""So many slices more where the receiver has asked for them."""

TRY_AGAIN_EVERY_S = 0.002
"""How often messages that wait are tried again while states keep coming."""

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
        self._owner_before = before.table.quick_owner_of()
        self._owner_after = after.table.quick_owner_of()
        self._to_try: set[What] = set()
        self._tried_s = 0.0
        self._waiting_since_s: dict[What, float] = {}
        self.splits_came = False
        self.keys_in = self.bytes_in = self.keys_out = 0
        self.longest_wait_s = 0.0
        self.notes: dict[What, Any] = {}

    @property
    def is_complete(self) -> bool:
        """Whether everything that comes here is here, and everything that goes is sent."""
        here = self.splits_came or self.worker not in self.after.workers
        return here and not self._going and not any(self._awaits.values())

    @property
    def is_busy(self) -> bool:
        """Whether `step` has something to do now."""
        return bool(self._to_try or self._coming or self._answerable()) or any(
            self._credit[taker] > 0 for taker in self._going_to()
        )

    def _going_to(self) -> list[int]:
        return self._takers if self._going else []

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
        now_s = time.monotonic()
        if self._to_try and now_s - self._tried_s > TRY_AGAIN_EVERY_S:
            self._try_again(now_s)
        end_s = now_s + SLICE_S
        while self._coming and time.monotonic() < end_s:
            self._take_in(*self._coming.popleft())
        self._answer()
        for state, slices in list(self._going.items()):
            while min((self._credit[taker] for taker in self._takers), default=1) > 0:
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
        for key in list(states):
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

    def _tell(self, kind: Kind, to: int, what: What, keys: int, frames: list[bytes]) -> None:
        header = Header(
            kind, self.worker, self._whats.index(what), 0, self.after.version, 0, -1, 0, keys,
            sum(map(len, frames)), Origin(-1, -1, 0, 0),
        )  # fmt: skip
        self._send(to, header, frames)

    # Coming

    def receive(self, header: Header, frames: list[bytes]) -> None:
        """A frame of a move has come in."""
        if header.table_version != self.after.version:
            return  # the last acknowledgements of the move before
        what = kind, name = self._whats[header.exchange]
        if header.kind is Kind.STATES_TAKEN:
            self._credit[header.sender] += 1
        elif what in self._uncut:
            self._early.append((header, frames))
        elif header.kind is Kind.STATES_WANTED:
            self._questions.append((name, header.sender, unpack_items(frames[0])))
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
            self._coming.append((header, frames[2:]))
            now_s = time.monotonic()
            if now_s - self._tried_s > TRY_AGAIN_EVERY_S:
                self._try_again(now_s)
        else:
            self._coming.append((header, frames))

    def _take_in(self, header: Header, frames: list[bytes]) -> None:
        """Some states, or the news that those were all."""
        what = _, name = self._whats[header.exchange]
        self._to_try.add(what)
        if header.kind is Kind.STATES_END:
            self._awaits[what].discard(header.sender)
            self._try_again(time.monotonic())
            return
        if len(frames) == 1:
            self._unknown[name].update(unpack_items(frames[0]))
            return
        keys, values = unpack_items(frames[0]), decode(frames[1])
        self._stages.moving(name, keys)
        self._stages.states[name].update(zip(keys, values, strict=True))
        self.keys_in += header.messages
        self.bytes_in += header.cost_bytes
        self._tell(Kind.STATES_TAKEN, header.sender, what, 0, [])

    def _try_again(self, now_s: float) -> None:
        whats, self._to_try = self._to_try, set()
        self._tried_s = now_s
        for what in whats:
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
        late = [
            i
            for i, key in enumerate(keys)
            if key not in states and key not in unknown and owner_of(key) in givers
        ]
        if not late:
            return payload, None
        self._ask_for(state, {keys[i] for i in late})
        waits = set(late)
        now = [i for i in range(len(keys)) if i not in waits]
        return _picked(payload, now), self.waiting(("state", state), batch, _picked(payload, late))

    def _ask_for(self, state: str, keys: set[Any]) -> None:
        """Keys that messages wait for, once each."""
        wanted: dict[int, list[Any]] = {}
        for key in keys - self._asked[state]:
            wanted.setdefault(self._owner_before(key), []).append(key)
        self._asked[state] |= keys
        for giver, some in wanted.items():
            self._tell(Kind.STATES_WANTED, giver, ("state", state), len(some), [pack_items(some)])

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
