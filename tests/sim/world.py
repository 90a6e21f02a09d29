"""A run of real cores over simulated links, disks and deaths; the oracle stands outside.

Real: `CoordinatorCore`, `WorkerCore`, `Table`. Simulated: time, links with delay (FIFO each, as TCP
is), worker processes that die at any event, a coordinator that dies and is run again with another
number of workers, snapshots that take their time, commits that fail.

The work is the sequence detector twice over: numbers go to the owner of their key, whose state
counts them and keeps the last four; every update goes on by another key to a second state, and from
there to a sink with a single writer. Both states are cut at barriers. In some seeds both steps work
on one state, so that their stages have to wait for each other.
"""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import Any

from roo.core import coordinator as c
from roo.core.batch import Batch, Header, Kind, Origin, Output
from roo.core.table import Table
from roo.core.worker import (
    Aligned,
    AllSplitsEnded,
    Arrived,
    BarrierOpened,
    BarrierPassed,
    Credited,
    Event,
    GiveCredit,
    Link,
    Ran,
    ReadSplit,
    RunStage,
    Send,
    SplitEnded,
    Started,
    WorkerCore,
)

KEYS = 7
STAGES = 4  # sources, first state, second state, sink
LINKS = [Link(0, 0, 1), Link(1, 1, 2), Link(2, 2, 3)]
EVENTS_MAX = 60_000
EVERY_MS = 40
WINDOW_MESSAGES = 8


Seen = tuple[int, int, tuple[int, ...]]
"""What a state has seen of its key: how many numbers, the last one, the last four."""


class Wrong(AssertionError):
    """The oracle's verdict."""


@dataclass
class Stored:
    """A checkpoint on the simulated disk."""

    number: int
    offsets: dict[int, int]
    states: dict[str, dict[str, list[int]]]
    size: int
    finished: bool


@dataclass
class Worker:
    """One worker process: a real core, its states, and what it has cut so far."""

    index: int
    core: WorkerCore
    offsets: dict[int, int]
    states: dict[str, dict[str, list[int]]]
    uncut: dict[str, set[int]] = field(default_factory=dict)
    cut: dict[str, Any] = field(default_factory=dict)
    cut_offsets: dict[int, int] = field(default_factory=dict)
    noted: int | None = None
    barrier: int = 0
    reporting: bool = False


class World:
    """Everything there is. `run` returns when the run has finished, whatever it took."""

    def __init__(self, seed: int, say: Any = None) -> None:
        self.random = Random(seed)
        self.seed = seed
        self.say = say or (lambda line: None)
        self.now_ms = 0
        self.splits = self.random.randint(1, 4)
        self.length = self.random.randint(5, 60)
        self.one_state = self.random.random() < 0.3
        self.deaths = self.random.randint(0, 4)
        self.coordinator_deaths = self.random.randint(0, 2)
        self.failing_commits = self.random.choice([0.0, 0.0, 0.3])
        self.sink: list[tuple[str, Seen, Seen]] = []
        self.disk: Stored | None = None
        self.runs = 0
        self.begin_run()

    # One run after the other

    def begin_run(self) -> None:
        self.runs += 1
        self.count = self.random.randint(1, 4)
        self.table = Table.equal(self.count)
        durability = c.Durability(EVERY_MS, restarts_max=1000)
        number = self.disk.number if self.disk else 0
        self.coordinator = c.CoordinatorCore(self.count, durability, number)
        self.over: c.Outcome | None = None
        self.say(f"run {self.runs}: {self.count} workers from checkpoint {number}")
        self.begin_attempt()

    def begin_attempt(self) -> None:
        """All worker processes anew, restored from the newest checkpoint."""
        self.parts: dict[int, Worker] = {}
        self.links: dict[tuple[Any, Any], deque[Any]] = {}
        stored = self.disk
        offsets = stored.offsets if stored else {}
        del self.sink[stored.size if stored else 0 :]
        self.workers: dict[int, Worker] = {}
        for index in range(self.count):
            mine = [split for split in range(self.splits) if split % self.count == index]
            core = WorkerCore(
                index, self.count, STAGES, LINKS, mine,
                shared=[(1, 2)] if self.one_state else [],
                attempt=self.coordinator.attempt, window_messages=WINDOW_MESSAGES,
            )  # fmt: skip
            states = {
                name: {
                    key: list(value)
                    for key, value in (stored.states[name] if stored else {}).items()
                    if self.table.owner_of(key) == index
                }
                for name in self.names()
            }
            self.workers[index] = Worker(index, core, {s: offsets.get(s, 0) for s in mine}, states)
            self.link(index, "c").append(c.WorkerReady(index))

    def names(self) -> tuple[str, ...]:
        return ("both",) if self.one_state else ("first", "second")

    def state_of(self, stage: int) -> str:
        return "both" if self.one_state else ("first", "second")[stage - 1]

    def link(self, sender: Any, receiver: Any) -> deque[Any]:
        return self.links.setdefault((sender, receiver), deque())

    def run(self) -> None:
        """Until everything is read and committed."""
        for _ in range(EVENTS_MAX):
            self.step()
            if self.over is c.Outcome.FINISHED:
                self.judge()
                return
            if self.over is not None:
                self.begin_run()
        raise Wrong(f"seed {self.seed}: no end after {EVENTS_MAX} events")

    # One thing after the other

    def step(self) -> None:
        dice = self.random.random()
        if dice < 0.002 and self.deaths and self.workers:
            self.deaths -= 1
            victim = self.random.choice(list(self.workers))
            self.say(f"{self.now_ms} ms: worker {victim} dies")
            self.perform(c.WorkerLost(victim, "died"))
            return
        if dice < 0.003 and self.coordinator_deaths:
            self.coordinator_deaths -= 1
            self.say(f"{self.now_ms} ms: the coordinator dies")
            self.begin_run()
            return
        if dice < 0.0035:
            self.say(f"{self.now_ms} ms: stop")
            self.perform(c.StopRequested())
            return
        if dice < 0.1:
            self.now_ms += self.random.randint(1, 10)
            self.perform(c.Tick(self.now_ms))
            return
        choices: list[Any] = [key for key, queue in self.links.items() if queue]
        choices += list(self.workers)
        if not choices:
            return
        choice = self.random.choice(choices)
        if isinstance(choice, tuple):
            self.deliver(*choice)
        else:
            self.work(self.workers[choice])

    def deliver(self, sender: Any, receiver: Any) -> None:
        message = self.links[sender, receiver].popleft()
        if receiver == "c":
            if isinstance(message, c.BarrierReported):
                self.parts[message.worker] = self.workers[message.worker]
            self.perform(message)
        elif receiver in self.workers:
            worker = self.workers[receiver]
            if isinstance(message, c.Go):
                self.handle(worker, Started())
            elif isinstance(message, c.OpenBarrier):
                worker.barrier, worker.reporting = message.barrier, False
                worker.cut, worker.noted = {}, None
                stages = {"both": {1, 2}} if self.one_state else {"first": {1}, "second": {2}}
                worker.uncut = stages
                self.handle(worker, BarrierOpened(message.barrier, message.last))
            else:
                self.handle(worker, message)

    def work(self, worker: Worker) -> None:
        # The snapshot is encoded between batches, and is done some time.
        if worker.reporting and self.random.random() < 0.3:
            worker.reporting = False
            self.link(worker.index, "c").append(c.BarrierReported(worker.index, worker.barrier))
            return
        if self.coordinator.phase is c.Phase.STARTING:
            return
        work = worker.core.next_work()
        if isinstance(work, ReadSplit):
            self.read(worker, work.split)
        elif isinstance(work, RunStage):
            self.run_stage(worker, work)

    def read(self, worker: Worker, split: int) -> None:
        offset = worker.offsets[split]
        if offset >= self.length:
            self.handle(worker, SplitEnded(split))
            return
        size = self.random.randint(1, 3)
        numbers = range(offset, min(offset + size, self.length))
        worker.offsets[split] = numbers.stop
        made = [(f"{split}.{number % KEYS}", number) for number in numbers]
        header = Header(Kind.BATCH, worker.index, -1, 0, 1, worker.core.attempt, -1, 0, len(made),
                        len(made), Origin(0, split, offset, numbers.stop))  # fmt: skip
        self.send_on(worker, 0, Batch(header, None), made)

    def run_stage(self, worker: Worker, work: RunStage) -> None:
        batch, stage = work.batch, work.stage
        if stage == 3:
            self.sink.extend(batch.payload)
            self.send_on(worker, 3, batch, [])
            return
        made: list[tuple[str, Any]] = []
        states = worker.states[self.state_of(stage)]
        for key, value in batch.payload:
            if self.table.owner_of(key) != worker.index:
                raise Wrong(f"seed {self.seed}: key {key} on worker {worker.index}")
            number = value if stage == 1 else value[1]
            ring = states.setdefault(key, [])
            ring.append(number)
            split, _, rest = key.partition(".")
            seen = (len(ring), number, tuple(ring[-4:]))
            made.append((f"again {split}.{rest}", seen) if stage == 1 else (key, (seen, value)))
        self.send_on(worker, stage, batch, made)

    def send_on(self, worker: Worker, stage: int, batch: Batch, made: list[Any]) -> None:
        outputs = []
        for link in LINKS:
            if link.from_stage != stage or not made:
                continue
            if link.to_stage == 3:
                owner = self.table.owner_of("sink")
                items = [(key, *both) for key, both in made]
                outputs.append(Output(link.exchange, owner, len(items), len(items), items))
                continue
            for owner in range(self.count):
                mine = [(key, value) for key, value in made if self.table.owner_of(key) == owner]
                if mine:
                    outputs.append(Output(link.exchange, owner, len(mine), len(mine), mine))
        self.handle(worker, Ran(stage, batch, outputs))

    def handle(self, worker: Worker, event: Event) -> None:
        for effect in worker.core.handle(event):
            match effect:
                case Send(receiver, batch):
                    self.link(worker.index, receiver).append(Arrived(batch))
                case GiveCredit(receiver, exchange, messages, cost_bytes):
                    self.link(worker.index, receiver).append(
                        Credited(exchange, worker.index, messages, cost_bytes)
                    )
                case Aligned(stage, _):
                    self.aligned(worker, stage)
                case BarrierPassed():
                    worker.reporting = True
                case AllSplitsEnded():
                    self.link(worker.index, "c").append(c.SplitsEnded(worker.index))
        bound = len(LINKS) * self.count * (WINDOW_MESSAGES + 4)
        if worker.core.queued_messages > bound:
            raise Wrong(f"seed {self.seed}: {worker.core.queued_messages} messages queued")

    def aligned(self, worker: Worker, stage: int) -> None:
        if stage == 0:
            worker.cut_offsets = dict(worker.offsets)
        if stage == 3 and self.table.owner_of("sink") == worker.index:
            worker.noted = len(self.sink)
        for name, waiting in list(worker.uncut.items()):
            waiting.discard(stage)
            if not waiting:
                del worker.uncut[name]
                worker.cut[name] = copy.deepcopy(worker.states[name])

    # The coordinator

    def perform(self, event: c.Event) -> None:
        for effect in self.coordinator.handle(event):
            match effect:
                case c.Go() | c.OpenBarrier():
                    if isinstance(effect, c.OpenBarrier):
                        self.parts = {}
                    for index in range(self.count):
                        self.link("c", index).append(effect)
                case c.Commit(barrier, finished):
                    self.commit(barrier, finished)
                case c.Kill():
                    self.workers, self.links = {}, {}
                case c.Restart():
                    self.begin_attempt()
                case c.End(outcome, error):
                    # A worker that dies in its first start ends the run, which is then run again.
                    started = self.coordinator.attempt > 1
                    if error is not None and error["kind"] != "checkpoint" and started:
                        raise Wrong(f"seed {self.seed}: {error}")
                    self.over = outcome

    def commit(self, barrier: int, finished: bool) -> None:
        if self.random.random() < self.failing_commits:
            self.perform(c.CommitFailed(barrier, "the disk is full"))
            return
        stored = Stored(barrier, {}, {name: {} for name in self.names()}, 0, finished)
        for part in self.parts.values():
            stored.offsets |= part.cut_offsets
            for name, states in part.cut.items():
                stored.states[name] |= states
            if part.noted is not None:
                stored.size = part.noted
        if len(self.parts) != self.count or len(stored.offsets) != self.splits:
            raise Wrong(f"seed {self.seed}: checkpoint {barrier} is not whole")
        self.disk = stored
        self.say(f"{self.now_ms} ms: checkpoint {barrier}, offsets {stored.offsets}")
        # The coordinator may die right after: the checkpoint is real all the same.
        if self.coordinator_deaths and self.random.random() < 0.05:
            self.coordinator_deaths -= 1
            self.over = None if not finished else c.Outcome.FINISHED
            if not finished:
                self.begin_run()
            return
        self.perform(c.Committed(barrier))

    # The oracle

    def judge(self) -> None:
        """Every key's outputs are 1 to n, each ring follows from the one before, nothing lacks."""
        rings: dict[str, tuple[int, ...]] = {}
        counts: dict[str, int] = {}
        for key, (count, number, ring), before in self.sink:
            if before != (count, number, ring):  # what the first state had made of the same number
                raise Wrong(f"seed {self.seed}: {key} is {count}, {ring} and was {before}")
            if count != counts.get(key, 0) + 1:
                raise Wrong(f"seed {self.seed}: {key} came to {count} after {counts.get(key, 0)}")
            if ring[:-1] != rings.get(key, ())[-3:]:
                raise Wrong(f"seed {self.seed}: {key} went from {rings.get(key)} to {ring}")
            if len(ring) > 1 and ring[-1] != ring[-2] + KEYS:
                raise Wrong(f"seed {self.seed}: {key} skipped a number in {ring}")
            counts[key], rings[key] = count, ring
        expected = {
            f"again {split}.{rest}": len(range(rest, self.length, KEYS))
            for split in range(self.splits)
            for rest in range(KEYS)
            if rest < self.length
        }
        if counts != expected:
            raise Wrong(f"seed {self.seed}: {counts} in place of {expected}")
