"""A whole cluster of real worker cores in one process: links with delay, one seed, no clock.

Every worker sends numbered messages down a graph of stages; each message of stage s becomes one
message for each exchange out of s, to an owner picked by the seed. The cluster checks after every
event that channels are FIFO, that nothing before a barrier runs after it (or the reverse), and that
what is queued stays within the windows.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random

from roo.core.batch import Batch, Header, Kind, Origin, Output
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

WINDOW_MESSAGES = 6
STEPS_MAX = 200_000


@dataclass
class Message:
    """A message that remembers where it was made and on which side of the barrier."""

    number: int
    made_by: int
    after_barrier: bool


@dataclass
class Cluster:
    """`workers` cores over `links`; each worker reads `reads` batches from its split."""

    seed: int
    workers: int
    stages: int
    links: list[Link]
    reads: int
    barrier_at: int | None = None
    last: bool = True
    random: Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.cores = [
            WorkerCore(w, range(self.workers), self.stages, self.links, [w],
                       window_messages=WINDOW_MESSAGES)
            for w in range(self.workers)
        ]  # fmt: skip
        self.wires: dict[tuple[int, int], deque[Event]] = {
            (a, b): deque() for a in range(self.workers) for b in range(self.workers)
        }
        self.left = [self.reads] * self.workers
        self.cut = [[False] * self.stages for _ in range(self.workers)]
        self.ran: list[tuple[int, int, int]] = []
        self.passed: set[int] = set()
        self.ended: set[int] = set()
        self.held_up: set[int] = set()
        self.number = 0
        self.biggest_queue = 0
        self.last_seen: dict[tuple[int, int, int], int] = {}

    def run(self) -> None:
        """Until every worker has passed the barrier, or has ended and is idle."""
        for worker in range(self.workers):
            self.handle(worker, Started())
        opened = False
        for step in range(STEPS_MAX):
            if self.barrier_at is not None and not opened and step >= self.barrier_at:
                opened = True
                for worker in range(self.workers):
                    # The command reaches each worker at its own time.
                    self.wires[worker, worker].append(BarrierOpened(1, self.last))
            if not self.step():
                if self.barrier_at is not None and not opened:
                    self.barrier_at = step
                    continue
                return
        raise AssertionError(f"seed {self.seed}: no end after {STEPS_MAX} events")

    def step(self) -> bool:
        """One random thing that can happen; False when nothing can."""
        choices: list[tuple[str, object]] = [("wire", k) for k, wire in self.wires.items() if wire]
        choices += [("work", w) for w in range(self.workers) if w not in self.held_up]
        self.random.shuffle(choices)
        for kind, which in choices:
            if kind == "wire":
                sender, receiver = which  # type: ignore[misc]
                self.handle(receiver, self.wires[sender, receiver].popleft())
                return True
            if self.work(which):  # type: ignore[arg-type]
                return True
        return False

    def work(self, worker: int) -> bool:
        work = self.cores[worker].next_work()
        if work is None:
            return False
        if isinstance(work, ReadSplit):
            if not self.left[worker]:
                self.handle(worker, SplitEnded(work.split))
                return True
            self.left[worker] -= 1
            self.number += 1
            message = Message(self.number, worker, self.cut[worker][0])
            header = Header(Kind.BATCH, worker, -1, 0, 1, 1, -1, 0, 1, 1, Origin(0, 0, 0, 0))
            self.finish(worker, 0, Batch(header, message))
            return True
        assert isinstance(work, RunStage)
        message = work.batch.payload
        after = self.cut[worker][work.stage]
        assert message.after_barrier == after, f"seed {self.seed}: the cut of stage {work.stage}"
        self.ran.append((worker, work.stage, message.number))
        self.finish(worker, work.stage, work.batch)
        return True

    def finish(self, worker: int, stage: int, batch: Batch) -> None:
        outputs = []
        for link in self.links:
            if link.from_stage == stage:
                receiver = self.random.randrange(self.workers)
                self.number += 1
                message = Message(self.number, worker, self.cut[worker][stage])
                outputs.append(Output(link.exchange, receiver, 1, 1, message))
        self.handle(worker, Ran(stage, batch, outputs))

    def handle(self, worker: int, event: Event) -> None:
        core = self.cores[worker]
        for effect in core.handle(event):
            match effect:
                case Send(receiver, batch):
                    self.wires[worker, receiver].append(Arrived(batch))
                case GiveCredit(receiver, exchange):
                    credit = Credited(exchange, worker, *effect[2:])
                    self.wires[worker, receiver].append(credit)
                case Aligned(stage, _):
                    self.cut[worker][stage] = True
                case BarrierPassed():
                    self.passed.add(worker)
                case AllSplitsEnded(_):
                    self.ended.add(worker)
        queued = core.queued_messages
        self.biggest_queue = max(self.biggest_queue, queued)
        bound = len(self.links) * self.workers * (WINDOW_MESSAGES + 1)
        assert queued <= bound, f"seed {self.seed}: {queued} queued, the windows allow {bound}"
