"""Workers in a change that are nothing but their states, with queues in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any

from roo.core.batch import Batch, Header, Kind, Origin
from roo.core.migration import Pacing
from roo.core.placement import Placement
from roo.runtime.keyed_states import KeyedStates
from roo.runtime.moving import PACING, Move
from roo.runtime.parcels import Send
from roo.runtime.payload import Keyed

STATE = ("state", "s")
RAN = 1_000_000
"""What a message adds to the number that is its key's state."""


def then(state: Any) -> Any:
    """A state after a message; None: there was none."""
    return state if isinstance(state, bytes) else (state or 0) + RAN


class States:
    """What a move needs of a worker's stages. seen: keys that a snapshot was told of, where it
    watches.
    """

    def __init__(self, states: dict[str, Any]) -> None:
        keyed = KeyedStates("s")
        keyed.objects.update(states)
        self.keyed = {"s": keyed}
        self.states = keyed.objects
        self.seen: list[str] = []

    def watch(self) -> None:
        """Keep the sum of the hashes of all keys, as where there are checkpoints."""
        self.keyed["s"].watch(self)
        self.seen.clear()

    def run(self, key: str) -> None:
        """As a batch does: a state that there is not yet is created."""
        if key in self.states:
            self.states[key] = then(self.states[key])
        else:
            self.keyed["s"].create(key, then(None))

    def touching(self, keys: list[Any]) -> None: ...

    def taken_in(self, keys: Sequence[Any]) -> None:
        self.seen += keys

    def giving_away(self, keys: Sequence[Any]) -> None:
        self.seen += keys


class Cluster:
    """Workers in a change, with a queue from each to each and an inbox of batches. What waits goes
    back to the front of the inbox when something comes; `ran` has what ran, in order, and `keys`
    the states as they are to be.
    """

    def __init__(
        self,
        before: Placement,
        after: Placement,
        keys: dict[str, Any],
        pacing: Pacing = PACING,
        *,
        watched: bool = False,
    ) -> None:
        self.before, self.after, self.pacing = before, after, pacing
        self.watched = watched
        self.links: dict[tuple[int, int], deque[tuple[Header, list[Any]]]] = {}
        self.ran: list[str] = []
        self.numbers: dict[str, list[int]] = {}  # of the messages that ran, by key
        self.keys = keys
        self.inbox: dict[int, deque[Batch]] = {}
        self.waiting: dict[int, list[Batch]] = {}
        self.sent: list[tuple[int, int, Kind, int, int]] = []
        self.states: dict[int, States] = {}
        self.own: dict[int, set[str]] = {}
        self.early: dict[int, list[tuple[Header, list[Any]]]] = {}
        self.moves: dict[int, Move] = {}
        for worker in {*before.workers, *after.workers}:
            mine = {k: v for k, v in keys.items() if before.table.owner_of(k) == worker}
            self.states[worker] = States(mine)
            if watched:
                self.states[worker].watch()
            self.own[worker] = set(mine)
            self.inbox[worker] = deque()
            self.waiting[worker] = []
            self.early[worker] = []
            if worker not in before.workers:
                self.begin(worker)

    def begin(self, worker: int) -> None:
        """The barrier has opened there."""
        if worker in self.moves:
            return
        stages: Any = self.states[worker]
        self.moves[worker] = Move(
            worker, stages, self.before, self.after, self._sender(worker), self._comer(worker),
            joins=worker not in self.before.workers, pacing=self.pacing,
        )  # fmt: skip
        for frame in self.early.pop(worker):
            self.moves[worker].receive(*frame)

    def run_where_it_is(self, key: str) -> None:
        """A message for a key comes by the old table."""
        self.states[self.before.table.owner_of(key)].run(key)
        self.keys[key] = then(self.keys.get(key))
        self.own[self.before.table.owner_of(key)].add(key)
        self.ran.append(key)

    def _sender(self, worker: int) -> Send:
        def send(to: int, header: Header, frames: list[bytes]) -> None:
            self.links.setdefault((worker, to), deque()).append((header, frames))
            size = sum(map(len, frames))
            self.sent.append((worker, to, header.kind, header.messages, size))

        return send

    def _comer(self, worker: int) -> Any:
        def came(what: tuple[str, str]) -> None:
            self.inbox[worker].extendleft(reversed(self.waiting[worker]))
            self.waiting[worker].clear()

        return came

    def cut(self, worker: int) -> None:
        """All before the barrier has run: until then nothing may have come or gone."""
        self.begin(worker)
        assert set(self.states[worker].states) == self.own[worker]
        self.moves[worker].cut(STATE)
        for sink, home in self.before.homes.items():
            self.moves[worker].cut(("sink", sink))
            if home == worker != self.after.homes[sink]:
                self.moves[worker].hand_over_sink(sink, f"noted by {worker}")

    def message(self, key: str, number: int = 0, sender: int | None = None) -> None:
        """A message for a key comes by the new table. sender: who routes it, and knows that; None:
        one that knows nothing of the move.
        """
        header = Header(Kind.BATCH, 0, 0, 0, 2, 0, -1, 0, 1, 32, Origin(0, 0, 0, 1))
        worker = self.after.table.owner_of(key)
        if sender is not None:
            self.moves[sender].routed("s", worker, [key])
        if sender in (None, worker):
            self.inbox[worker].append(Batch(header, Keyed([key], [number], [])))
        else:
            self.links.setdefault((sender, worker), deque()).append((header, [key, number]))

    def work(self, worker: int) -> None:
        """Run all that can run."""
        self.moves[worker].tend()
        while self.inbox[worker]:
            self.run_next(worker)
        self.moves[worker].tend()

    def run_next(self, worker: int) -> None:
        """As a worker does: what of a batch can run does."""
        move, states = self.moves[worker], self.states[worker].states
        batch = self.inbox[worker].popleft()
        payload, waits = batch.payload, None
        if move.is_awaited(STATE):
            payload, waits = move.split("s", batch)
        if waits is not None:
            self.waiting[worker].append(waits)
        self.ran += payload.keys
        for key, number in zip(payload.keys, payload.messages, strict=True):
            assert key in states or key not in self.keys, "a state was made anew"
            self.states[worker].run(key)
            self.keys[key] = then(self.keys.get(key))
            assert states[key] == self.keys[key], "not as its old owner had it"
            self.numbers.setdefault(key, []).append(number)

    def deliver(self, ends: tuple[int, int]) -> None:
        header, frames = self.links[ends].popleft()
        if header.kind is Kind.BATCH:
            key, number = frames
            self.inbox[ends[1]].append(Batch(header, Keyed([key], [number], [])))
        elif ends[1] in self.moves:
            self.moves[ends[1]].receive(header, frames)
        else:
            self.early[ends[1]].append((header, frames))

    def go_on(self, chance: Random) -> bool:
        """One thing of all that could happen; False: nothing could."""
        could: list[Callable[[], None]] = [
            partial(self.deliver, ends) for ends, link in self.links.items() if link
        ]
        for worker, move in self.moves.items():
            if move.is_busy:
                could.append(move.step)
            if move.tend_in_ms() >= 0:
                could.append(move.tend)
            if self.inbox[worker]:
                could.append(partial(self.run_next, worker))
        if could and chance.random() < 0.9:
            chance.choice(could)()
        else:  # nothing more comes for now
            for worker in self.moves:
                self.work(worker)
        return bool(could) or any(self.links.values()) or any(self.inbox.values())

    def settle(self, chance: Random) -> None:
        steps = 0
        while self.go_on(chance):
            steps += 1
            assert steps < 500_000, "it never ends"
        for move in self.moves.values():
            move.splits_came = True
            assert move.is_complete


def joined(workers: int, joins: int = 1) -> tuple[Placement, Placement]:
    before = Placement.fresh(workers, [], ())
    return before, before.changed(range(workers, workers + joins), ())
