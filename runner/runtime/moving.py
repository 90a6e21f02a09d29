"""A worker's side of a move: performs what `core/migration.py` decides, for each state.

States go in chunks between batches, and are taken away here as they are sent. What comes is taken
in between batches too, or at once where messages wait for it. A sink with a single writer moves
with what its writer noted.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from typing import Any

from roo import clock
from roo.core.batch import Batch, Header, Kind
from roo.core.migration import (
    Ask,
    Donor,
    Effect,
    Give,
    MoveMismatch,
    Pacing,
    Questions,
    Receiver,
    Release,
    SayEnd,
    SayTaken,
    TakeIn,
)
from roo.core.placement import Placement
from roo.core.slicing import moved
from roo.items import unpack_items
from roo.runtime.failures import RunFailure
from roo.runtime.parcels import Parcels, Send, What, unpack_states
from roo.runtime.payload import Keyed
from roo.runtime.stages import Stages

PACING = Pacing()


class Move:
    """One change on one worker, from its barrier to the last state in.

    joins: this worker begins with the change. came: called with what came, when waiting messages
    may try again. notes: what the old writer of a sink noted, until `came` takes it.
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
        pacing: Pacing = PACING,
    ) -> None:
        self.before, self.after = before, after
        self.worker = worker
        self._stages = stages
        self._came = came
        self._pacing = pacing
        self._whats: list[What] = [
            *(("state", name) for name in stages.keyed), *(("sink", name) for name in after.homes)
        ]  # fmt: skip
        self._parcels = Parcels(worker, self._whats, after.version, send)
        pieces = moved(before.table, after.table)
        takers = {new for _, _, old, new in pieces if old == worker}
        donors = {old for _, _, old, new in pieces if new == worker}
        self._receivers = {new for _, _, _, new in pieces}
        owner_before = before.table.quick_owner_of()
        self._questions: dict[str, Questions] = {}
        self._donors: dict[str, Donor] = {}
        self._comes: dict[str, Receiver] = {}
        for name, keyed in stages.keyed.items():
            questions = self._questions[name] = Questions(worker, owner_before)
            if takers:
                self._donors[name] = Donor(worker, takers, keyed.objects, after.table, pacing)
            if donors:
                self._comes[name] = Receiver(
                    worker, donors, owner_before, keyed.objects, questions, pacing, is_cut=joins
                )
        self._awaited_sinks = {
            sink
            for sink, home in after.homes.items()
            if home == worker and before.homes[sink] != worker
        }
        self._uncut = set[What]() if joins else set(self._whats)
        self._early: list[tuple[Header, list[bytes]]] = []
        self._sinks_wait_since_ms: dict[str, float] = {}
        self._longest_sink_wait_ms = 0.0
        self._begun_ms = _now_ms()
        self.splits_came = False
        self.bytes_in = 0
        self.notes: dict[What, Any] = {}

    @property
    def is_complete(self) -> bool:
        """Whether everything that comes here is here, and everything that goes is sent."""
        here = self.splits_came or self.worker not in self.after.workers
        return here and not self._awaited_sinks and self._are_states_done

    @property
    def _are_states_done(self) -> bool:
        return all(donor.is_done for donor in self._donors.values()) and all(
            receiver.is_done for receiver in self._comes.values()
        )

    @property
    def is_busy(self) -> bool:
        """Whether `step` has something to do now."""
        return any(donor.has_more for donor in self._donors.values()) or any(
            receiver.has_more for receiver in self._comes.values()
        )

    @property
    def share_of_batches(self) -> float:
        """How many times as long as a time slice the time after it is to be for batches."""
        return self._pacing.share_after(_now_ms() - self._begun_ms)

    @property
    def keys_in(self) -> int:
        """How many keys have come."""
        return sum(receiver.keys_taken for receiver in self._comes.values())

    @property
    def keys_out(self) -> int:
        """How many keys have gone."""
        return sum(donor.keys_given for donor in self._donors.values())

    @property
    def longest_wait_ms(self) -> float:
        """The longest that messages waited for something to come."""
        waits_ms = [receiver.longest_wait_ms for receiver in self._comes.values()]
        return max(self._longest_sink_wait_ms, *waits_ms, 0.0)

    # Events

    def cut(self, what: What) -> None:
        """All before the barrier has run on it. Raises RunFailure for a state that can't move."""
        self._uncut.discard(what)
        kind, name = what
        if kind == "state" and name in self._donors:
            keyed = self._stages.keyed[name]
            key = next(iter(keyed.objects), None)
            if key is not None:
                self._parcels.try_one(name, key, keyed.objects[key])
            self._donors[name].cut(keyed.counted_hash)
        if kind == "state" and name in self._comes:
            self._perform(name, self._comes[name].cut())
        early, self._early = self._early, []
        for header, frames in early:
            self.receive(header, frames)

    def hand_over_sink(self, sink: str, noted: Any) -> None:
        """A single writer is closed here: the new home goes on from what it noted."""
        self._parcels.hand_over(sink, self.after.homes[sink], noted)

    def receive(self, header: Header, frames: list[bytes]) -> None:
        """A frame of a move has come in."""
        if header.table_version != self.after.version:
            return  # the last acknowledgements of the move before
        what = kind, name = self._whats[header.exchange]
        if kind == "sink" and what in self._uncut:
            self._early.append((header, frames))
        elif kind == "sink":
            self._take_sink(name, frames[0])
        elif header.kind is Kind.STATES:
            self.bytes_in += header.cost_bytes
            absent = unpack_items(frames[2]) if len(frames) > 2 else None
            came = self._comes[name].came(header.sender, unpack_items(frames[0]), frames[1], absent)
            self._perform(name, came)
        elif header.kind is Kind.STATES_END:
            self._comes[name].ended(header.sender, header.messages, header.sequence)
        elif header.kind is Kind.STATES_TAKEN:
            self._donors[name].taken(header.sender, header.messages)
        else:
            donor = self._donors[name]
            donor.wanted(header.sequence, unpack_items(frames[0]))
            while (answer := donor.next_answer()) is not None:
                self._perform(name, (answer,))

    def routed(self, state: str, receiver: int, keys: list[Any]) -> None:
        """A batch for these keys is about to go to a receiver by the new table: what it needs goes
        before it, or is asked for.
        """
        if receiver not in self._receivers or self._are_states_done:
            return
        donor = self._donors.get(state)
        if donor is not None and receiver != self.worker:
            self._perform(state, donor.routed(receiver, keys))
        here = self._stages.keyed[state].objects
        asked = self._questions[state].ask(receiver, [key for key in keys if key not in here])
        self._perform(state, asked)

    def tend(self) -> None:
        """Before every batch: what messages wait for is not put off until a time slice comes."""
        for name, receiver in self._comes.items():
            self._perform(name, receiver.tick(_now_ms()))

    def tend_in_ms(self) -> float:
        """How long until `tend` has something to do where nothing comes; -1: nothing."""
        now_ms = _now_ms()
        dues_ms = (receiver.due_in_ms(now_ms) for receiver in self._comes.values())
        return min((due_ms for due_ms in dues_ms if due_ms >= 0), default=-1.0)

    def step(self) -> None:
        """A time slice of the work."""
        end_ms = _now_ms() + self._pacing.slice_ms
        for name, receiver in self._comes.items():
            while receiver.has_more:
                self._perform(name, receiver.next(_now_ms()))
                if _now_ms() > end_ms:
                    break
        for name, donor in self._donors.items():
            while donor.has_more:
                try:
                    effect = donor.next()
                except MoveMismatch as error:
                    raise _mismatch(name, error) from error
                if effect is not None:
                    self._perform(name, (effect,))
                if effect is None or _now_ms() > end_ms:
                    break

    def is_awaited(self, what: What) -> bool:
        """Whether messages for a state (or a sink's writer) may have to wait."""
        kind, name = what
        if kind == "sink":
            return name in self._awaited_sinks
        return name in self._comes and self._comes[name].is_awaited

    def split(self, state: str, batch: Batch) -> tuple[Keyed, Batch | None]:
        """(what can run, what has to wait) of a batch for a state."""
        payload: Keyed = batch.payload
        late = self._comes[state].messages(payload.keys, _now_ms())
        if not late:
            return payload, None
        waits = set(late)
        now = [i for i in range(len(payload.keys)) if i not in waits]
        return _picked(payload, now), _part(batch, _picked(payload, late), len(late))

    def wait_for_sink(self, sink: str, batch: Batch) -> Batch:
        """All of a batch for a sink, as one that waits."""
        self._sinks_wait_since_ms.setdefault(sink, _now_ms())
        return _part(batch, batch.payload, batch.header.messages)

    # Effects

    def _perform(self, state: str, effects: Iterable[Effect]) -> None:
        """Perform effects, each before the next one is asked for. Raises RunFailure."""
        try:
            for effect in effects:
                self._do(state, effect)
        except MoveMismatch as error:
            raise _mismatch(state, error) from error

    def _do(self, state: str, effect: Effect) -> None:
        match effect:
            case Give(_, keys, _):
                values = self._stages.keyed[state].give_away(keys)
                size_bytes = self._parcels.give(state, effect, values)
                self._donors[state].packed(len(keys), size_bytes)
            case TakeIn(_, keys, chunk):
                self._stages.keyed[state].take_in(keys, unpack_states(state, chunk))
            case SayEnd():
                self._parcels.end(state, effect)
            case SayTaken():
                self._parcels.taken(state, effect)
            case Ask():
                self._parcels.ask(state, effect)
            case Release():
                self._came(("state", state))

    def _take_sink(self, sink: str, noted: bytes) -> None:
        self._awaited_sinks.discard(sink)
        self.notes["sink", sink] = pickle.loads(noted)
        now_ms = _now_ms()
        waited_ms = now_ms - self._sinks_wait_since_ms.pop(sink, now_ms)
        self._longest_sink_wait_ms = max(self._longest_sink_wait_ms, waited_ms)
        self._came(("sink", sink))


def _now_ms() -> float:
    return clock.monotonic_s() * 1000


def _mismatch(state: str, error: MoveMismatch) -> RunFailure:
    return RunFailure({
        "kind": "state",
        "step": state,
        "what": f"the move of state {state} does not add up: {error}",
        "hint": "run again: it goes on from the last checkpoint; this is a fault of Roo, report it",
    })  # fmt: skip


def _picked(payload: Keyed, indexes: list[int]) -> Keyed:
    keys, messages, entries = payload
    return Keyed(
        [keys[i] for i in indexes],
        [messages[i] for i in indexes],
        [entries[i] for i in indexes] if entries else [],
    )


def _part(batch: Batch, payload: Any, messages: int) -> Batch:
    """A part of a batch, with its part of the cost."""
    header = batch.header
    cost = header.cost_bytes * messages // max(header.messages, 1)
    return Batch(header._replace(messages=messages, cost_bytes=cost), payload)
