"""A run of real cores over simulated links, disks and deaths; the oracle stands outside.

Real: `CoordinatorCore`, `WorkerCore`, `Table`. Simulated: time, links with delay (FIFO each, as TCP
is) that are cut and found to be, and frames that outlive the attempt they were sent in; worker
processes that die at any event, a coordinator that dies and is run again with another number of
workers; disks that are slow, commits that fail, and manifests that a death leaves torn, so that the
checkpoint before is gone on from.

The work is the sequence detector twice over: numbers go to the owner of their key, whose state
counts them and keeps the last four; every update goes on by another key to a second state, and from
there to a sink with a single writer. Both states are cut at barriers. In some seeds both steps work
on one state, so that their stages have to wait for each other.

Workers join and leave among all that, several at once, or get other weights; the sink's writer may
move. From the cut of a state its donor gives what moves, key by key. Some of this is called off
half-way: a joiner dies, the input ends, or the machine sleeps for more than a minute.
"""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from roo.core import run_events as c
from roo.core.batch import Batch, Header, Kind, Origin, Output
from roo.core.changes import Asked
from roo.core.coordinator import CoordinatorCore
from roo.core.placement import Placement
from roo.core.slicing import moved
from roo.core.worker import (
    Aligned,
    AllSplitsEnded,
    Arrived,
    BarrierOpened,
    BarrierPassed,
    Change,
    Credited,
    Event,
    GiveCredit,
    Link,
    Ran,
    ReadSplit,
    RunStage,
    Send,
    SplitEnded,
    SplitsTaken,
    Started,
    StatesCame,
    WorkerCore,
)

KEYS = 7
STAGES = 4  # sources, first state, second state, sink
LINKS = [Link(0, 0, 1), Link(1, 1, 2), Link(2, 2, 3)]
EVENTS_MAX = 60_000
EVERY_MS = 40
WINDOW_MESSAGES = 8
LEAP_MS = 61_000

Seen = tuple[int, int, tuple[int, ...]]
"""What a state has seen of its key: how many numbers, the last one, the last four."""


class Wrong(AssertionError):
    """The oracle's verdict."""


@dataclass
class Stored:
    """A checkpoint on the simulated disk. torn: it was being written when the power failed."""

    number: int
    offsets: dict[int, int]
    states: dict[str, dict[str, list[int]]]
    size: int
    torn: bool = False


class Frame(NamedTuple):
    """What one worker sends another in a change. kind: "state"; "done", that was all."""

    kind: str
    version: int
    name: str
    giver: int
    key: str = ""
    ring: tuple[int, ...] = ()


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
    # By stage, as they turn over; and what is under way while a change is.
    places: list[Placement] = field(default_factory=list)
    before: Placement | None = None
    after: Placement | None = None
    # Frames of a change that this worker has not heard of.
    unheard: list[Frame] = field(default_factory=list)
    awaits: dict[str, set[int]] = field(default_factory=dict)
    early: list[Frame] = field(default_factory=list)
    outgoing: deque[tuple[int, Frame]] = field(default_factory=deque)
    passed: bool = True
    splits_came: bool = True
    told_moved: bool = True


class World:
    """Everything there is. `run` returns when the run has finished, whatever it took."""

    def __init__(self, seed: int, say: Any = None) -> None:
        self.random = Random(seed)
        self.seed = seed
        self.say = say or (lambda line: None)
        self.now_ms = 0
        self.splits = self.random.randint(1, 4)
        self.length = self.random.randint(5, self.random.choice([60, 60, 200]))
        self.one_state = self.random.random() < 0.3
        self.deaths = self.random.randint(0, 4)
        self.coordinator_deaths = self.random.randint(0, 2)
        self.changes = self.random.choice([0, 1, 2, 6])
        self.changed = 0
        self.window_batches = self.random.choice([1, 2, 4, 32])
        self.failing_commits = self.random.choice([0.0, 0.0, 0.3])
        self.cuts = self.random.choice([0, 0, 1, 2])
        self.cut_links: set[tuple[Any, Any]] = set()
        self.leaps = self.random.choice([0, 0, 1, 2])
        self.disk_speed = self.random.choice([0.02, 0.3, 1.0])
        self.sink: list[tuple[str, Seen, Seen]] = []
        # The newest last; the first is written before the first message.
        self.disk = [Stored(0, {}, {name: {} for name in self.names()}, 0)]
        self.links: dict[tuple[Any, Any], deque[Any]] = {}
        self.runs = 0
        self.begin_run()

    # One run after the other

    def begin_run(self) -> None:
        self.runs += 1
        count = self.random.randint(1, 4)
        place = Placement.fresh(count, ["sink"], range(self.splits))
        durability = c.Durability(EVERY_MS, restarts_max=1000)
        while self.disk[-1].torn:
            self.say(f"checkpoint {self.disk.pop().number} is torn")
        number = self.disk[-1].number
        self.links = {}
        self.coordinator = CoordinatorCore(place, durability, number)
        self.over: c.Outcome | None = None
        self.say(f"run {self.runs}: {count} workers from checkpoint {number}")
        self.begin_attempt()

    def begin_attempt(self) -> None:
        """All worker processes anew, restored from the newest checkpoint."""
        self.parts: dict[int, Worker] = {}
        self.links = self.what_is_on_the_way()
        self.cut_links = set()
        self.forget_change()
        stored = self.disk[-1]
        if stored.size > len(self.sink):
            raise Wrong(f"seed {self.seed}: the sink lacks what checkpoint {stored.number} has")
        del self.sink[stored.size :]
        self.workers: dict[int, Worker] = {}
        place = self.coordinator.placement
        for index in place.workers:
            mine = place.splits_of(index)
            states = {
                name: {
                    key: list(value)
                    for key, value in stored.states[name].items()
                    if place.table.owner_of(key) == index
                }
                for name in self.names()
            }
            core = self.new_core(index, place, mine)
            worker = Worker(index, core, {s: stored.offsets.get(s, 0) for s in mine}, states,
                            places=[place] * STAGES)  # fmt: skip
            self.workers[index] = worker
            self.link(index, "c").append(c.WorkerReady(index))

    def forget_change(self) -> None:
        """What the oracle notes of one: states as they were where they were cut."""
        self.given: dict[tuple[str, str], tuple[int, ...]] = {}

    def what_is_on_the_way(self) -> dict[tuple[Any, Any], deque[Any]]:
        """Some frames of the attempt before still come: a core has to know them for what they are.

        Of a run before none do: where its links lead nobody listens any more.
        """
        links: dict[tuple[Any, Any], deque[Any]] = {}
        for ends, queue in self.links.items():
            frames = [message for message in queue if isinstance(message, Arrived | Frame)]
            links[ends] = deque(frames[: self.random.randint(0, 2)])
        return links

    def new_core(self, index: int, place: Placement, splits: Any) -> WorkerCore:
        return WorkerCore(
            index, place.workers, STAGES, LINKS, splits,
            shared=[(1, 2)] if self.one_state else [], table_version=place.version,
            attempt=self.coordinator.attempt, window_messages=WINDOW_MESSAGES,
            window_batches=self.window_batches,
        )  # fmt: skip

    def join(self, effect: c.Start) -> None:
        """Worker processes that are to join: nothing of their own, and waiting for the rest."""
        for index in effect.workers:
            core = self.new_core(index, effect.after, None)
            worker = Worker(index, core, {}, {name: {} for name in self.names()},
                            places=[effect.after] * STAGES, after=effect.after)  # fmt: skip
            self.await_states(worker, effect.before, effect.after)
            self.workers[index] = worker
            self.link(index, "c").append(c.WorkerReady(index))

    def await_states(self, worker: Worker, before: Placement, after: Placement) -> None:
        pieces = moved(before.table, after.table)
        givers = {old for _, _, old, new in pieces if new == worker.index}
        worker.awaits = {name: set(givers) for name in self.names()}
        was, now = before.homes["sink"], after.homes["sink"]
        worker.awaits["sink"] = {was} if was != now == worker.index else set()
        worker.before = before
        worker.splits_came = worker.told_moved = False

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
            self.look_at_change()
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
            joiners = [w for w in self.workers if self.coordinator.is_joining(w)]
            likely = joiners if self.random.random() < 0.3 else []
            victim = self.random.choice(likely or list(self.workers))
            self.say(f"{self.now_ms} ms: worker {victim} dies")
            self.perform(c.WorkerLost(victim, "died"))
            return
        if dice < 0.003 and self.coordinator_deaths:
            self.coordinator_deaths -= 1
            self.say(f"{self.now_ms} ms: the coordinator dies")
            self.begin_run()
            return
        if dice < 0.0033 and self.cuts and self.links:
            self.cuts -= 1
            ends = self.random.choice(list(self.links))
            self.say(f"{self.now_ms} ms: the link {ends} is cut")
            self.cut_links.add(ends)
            return
        if self.cut_links and dice > 0.99:
            self.find_out(self.cut_links.pop())
            return
        if dice < 0.0038:
            self.say(f"{self.now_ms} ms: stop")
            self.perform(c.StopRequested())
            return
        if dice < 0.0043 and self.leaps and self.coordinator.change is not None:
            self.leaps -= 1
            self.now_ms += LEAP_MS
            self.say(f"{self.now_ms} ms: the machine has slept")
            self.perform(c.Tick(self.now_ms))
            return
        if dice < 0.01 and self.changes and self.coordinator.phase is not c.Phase.STARTING:
            self.changes -= 1
            self.ask()
            return
        if dice < 0.1:
            self.now_ms += self.random.randint(1, 10)
            self.perform(c.Tick(self.now_ms))
            return
        choices: list[Any] = [
            ends for ends, queue in self.links.items() if queue and ends not in self.cut_links
        ]
        choices += list(self.workers)
        if not choices:
            return
        choice = self.random.choice(choices)
        if isinstance(choice, tuple):
            self.deliver(*choice)
        else:
            self.work(self.workers[choice])

    def find_out(self, ends: tuple[Any, Any]) -> None:
        """A gap in what comes, or no sign of life: the worker at an end of a cut link is lost."""
        lost = ends[1] if ends[0] == "c" else ends[0]
        if lost in self.workers:
            self.say(f"{self.now_ms} ms: worker {lost} has not been heard of")
            self.perform(c.WorkerLost(lost, "gave no sign of life"))

    def ask(self) -> None:
        """Some join, some leave; some of it makes no sense and is refused."""
        self.changed += 1
        there = self.coordinator.placement.workers
        leaves = self.random.sample(there, self.random.randint(0, len(there)))
        asked = Asked(self.changed, joins=self.random.randint(0, 3), leaves=tuple(leaves))
        if self.random.random() < 0.3:
            asked = Asked(self.changed, to=self.random.randint(0, 6))
        if self.random.random() < 0.1:
            weights = {worker: self.random.randint(1, 3) for worker in there}
            asked = Asked(self.changed, weights=weights)
        self.say(f"{self.now_ms} ms: {asked}")
        self.perform(c.ChangeAsked(asked))

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
            elif isinstance(message, c.Announce):
                self.link(worker.index, "c").append(c.Settled(worker.index, message.barrier))
            elif isinstance(message, c.OpenBarrier):
                self.open(worker, message)
            elif isinstance(message, tuple) and message[0] == "splits":
                worker.offsets |= message[1]
                worker.splits_came = True
                self.handle(worker, SplitsTaken(tuple(message[1])))
                self.tell_moved(worker)
            elif isinstance(message, Frame):
                self.receive(worker, message)
            else:
                self.handle(worker, message)

    def open(self, worker: Worker, message: c.OpenBarrier) -> None:
        worker.barrier, worker.reporting = message.barrier, False
        worker.cut, worker.noted = {}, None
        stages = {"both": {1, 2}} if self.one_state else {"first": {1}, "second": {2}}
        worker.uncut = stages
        worker.after, change, gives = message.after, None, frozenset[int]()
        if message.after is not None:
            before, after = worker.places[0], message.after
            worker.passed, worker.before = False, before
            change = Change(after.workers, after.version)
            gives = frozenset(
                s for s in before.splits_of(worker.index) if after.readers[s] != worker.index
            )
            if worker.index in after.workers:
                self.await_states(worker, before, after)
        unheard, worker.unheard = worker.unheard, []
        for frame in unheard:
            self.receive(worker, frame)
        self.handle(worker, BarrierOpened(message.barrier, message.last, change, gives))

    # A move

    def hand_over(self, worker: Worker, name: str) -> None:
        """What others own from now on, one by one; then that it was all."""
        before, after = worker.places[0] if worker.before is None else worker.before, worker.after
        assert after is not None
        done = Frame("done", after.version, name, worker.index)
        if name == "sink":
            if before.homes["sink"] == worker.index != after.homes["sink"]:
                worker.outgoing.append((after.homes["sink"], done))
            return
        pieces = moved(before.table, after.table)
        takers = {new for _, _, old, new in pieces if old == worker.index}
        states = worker.states[name]
        for key in [key for key in states if after.table.owner_of(key) != worker.index]:
            ring = self.given[name, key] = tuple(states.pop(key))
            frame = done._replace(kind="state", key=key, ring=ring)
            worker.outgoing.append((after.table.owner_of(key), frame))
        worker.outgoing.extend((taker, done) for taker in takers)

    def receive(self, worker: Worker, frame: Frame) -> None:
        """Of the change under way, of one that is still to be heard of, or of one that is over."""
        if worker.after is not None and frame.version == worker.after.version:
            self.take_in(worker, frame)
        elif frame.version > worker.core.table_version:
            worker.unheard.append(frame)

    def take_in(self, worker: Worker, frame: Frame) -> None:
        name = frame.name
        if name in worker.uncut or (name == "sink" and not worker.passed):
            worker.early.append(frame)  # its own cut of that state comes first
            return
        if frame.kind == "state":
            self.put(worker, name, frame.key, frame.ring)
        else:
            worker.awaits[name].discard(frame.giver)
        self.perform(c.MovedOn())
        self.handle(worker, StatesCame((1, 2, 3)))
        self.tell_moved(worker)

    def put(self, worker: Worker, name: str, key: str, ring: tuple[int, ...]) -> None:
        """A state is where it belongs, as it was where it comes from."""
        if key in worker.states[name]:
            raise Wrong(f"seed {self.seed}: key {key} twice on {worker.index}")
        if ring != self.given[name, key]:
            raise Wrong(f"seed {self.seed}: key {key} came as {ring}, was {self.given[name, key]}")
        worker.states[name][key] = list(ring)

    def take_in_early(self, worker: Worker) -> None:
        early, worker.early = worker.early, []
        for frame in early:
            self.take_in(worker, frame)

    def tell_moved(self, worker: Worker) -> None:
        waits = any(worker.awaits.values())
        if worker.passed and worker.splits_came and not waits and not worker.told_moved:
            worker.told_moved = True
            version = worker.core.table_version
            self.link(worker.index, "c").append(c.MovedIn(worker.index, version))

    def is_awaited(self, worker: Worker, stage: int, key: str) -> bool:
        """Whether a key's state is still on its way."""
        name = "sink" if stage == 3 else self.state_of(stage)
        if not worker.awaits.get(name):
            return False
        if name == "sink":
            return True
        before = worker.before
        assert before is not None
        return key not in worker.states[name] and before.table.owner_of(key) in worker.awaits[name]

    def work(self, worker: Worker) -> None:
        if worker.outgoing and self.random.random() < 0.3:
            receiver, message = worker.outgoing.popleft()
            self.link(worker.index, receiver).append(message)
            return
        # The snapshot is encoded between batches, and is done some time.
        if worker.reporting and self.random.random() < self.disk_speed:
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
        core = worker.core
        header = Header(Kind.BATCH, worker.index, -1, 0, core.table_version, core.attempt, -1, 0,
                        len(made), len(made), Origin(0, split, offset, numbers.stop))  # fmt: skip
        self.send_on(worker, 0, Batch(header, None), made)

    def run_stage(self, worker: Worker, work: RunStage) -> None:
        batch, stage = work.batch, work.stage
        waits = [item for item in batch.payload if self.is_awaited(worker, stage, item[0])]
        waiting = None
        if waits:
            size = len(waits)
            header = batch.header._replace(messages=size, cost_bytes=size)
            waiting = Batch(header, waits)
        if stage == 3:
            if worker.places[3].homes["sink"] != worker.index:
                raise Wrong(f"seed {self.seed}: worker {worker.index} writes the sink")
            self.sink.extend([] if waits else batch.payload)
            self.send_on(worker, 3, batch, [], waiting)
            return
        made: list[tuple[str, Any]] = []
        states = worker.states[self.state_of(stage)]
        for item in batch.payload:
            if item in waits:
                continue
            key, value = item
            if worker.places[stage].table.owner_of(key) != worker.index:
                raise Wrong(f"seed {self.seed}: key {key} on worker {worker.index}")
            number = value if stage == 1 else value[1]
            ring = states.setdefault(key, [])
            ring.append(number)
            split, _, rest = key.partition(".")
            seen = (len(ring), number, tuple(ring[-4:]))
            made.append((f"again {split}.{rest}", seen) if stage == 1 else (key, (seen, value)))
        self.send_on(worker, stage, batch, made, waiting)

    def send_on(
        self,
        worker: Worker,
        stage: int,
        batch: Batch,
        made: list[Any],
        waiting: Batch | None = None,
    ) -> None:
        outputs = []
        place = worker.places[stage]
        for link in LINKS:
            if link.from_stage != stage or not made:
                continue
            if link.to_stage == 3:
                owner = place.homes["sink"]
                items = [(key, *both) for key, both in made]
                outputs.append(Output(link.exchange, owner, len(items), len(items), items))
                continue
            for owner in place.workers:
                mine = [(key, value) for key, value in made if place.table.owner_of(key) == owner]
                if mine:
                    outputs.append(Output(link.exchange, owner, len(mine), len(mine), mine))
        self.handle(worker, Ran(stage, batch, outputs, waiting))

    def handle(self, worker: Worker, event: Event) -> None:
        for effect in worker.core.handle(event):
            match effect:
                case Send(receiver, batch):
                    self.link(worker.index, receiver).append(Arrived(batch))
                case GiveCredit(receiver, exchange):
                    self.link(worker.index, receiver).append(
                        Credited(exchange, worker.index, *effect[2:])
                    )
                case Aligned(stage, _):
                    self.aligned(worker, stage)
                case BarrierPassed():
                    worker.reporting = worker.passed = True
                    self.take_in_early(worker)
                    self.tell_moved(worker)
                case AllSplitsEnded(version):
                    self.link(worker.index, "c").append(c.SplitsEnded(worker.index, version))
        bound = len(LINKS) * (len(self.workers) + 1) * (WINDOW_MESSAGES + 4)
        if worker.core.queued_messages > bound:
            raise Wrong(f"seed {self.seed}: {worker.core.queued_messages} messages queued")

    def aligned(self, worker: Worker, stage: int) -> None:
        if stage == 0:
            worker.cut_offsets = dict(worker.offsets)
            if worker.after is not None:
                mine = worker.after.splits_of(worker.index)
                worker.offsets = {s: o for s, o in worker.offsets.items() if s in mine}
        if stage == 3 and worker.places[3].homes["sink"] == worker.index:
            worker.noted = len(self.sink)
        for name, waiting in list(worker.uncut.items()):
            waiting.discard(stage)
            if not waiting:
                del worker.uncut[name]
                worker.cut[name] = copy.deepcopy(worker.states[name])
                if worker.after is not None:
                    self.hand_over(worker, name)
        if worker.after is not None:
            if stage == 3:
                self.hand_over(worker, "sink")
            worker.places[stage] = worker.after
        self.take_in_early(worker)

    # The coordinator

    def perform(self, event: c.Event) -> None:
        for effect in self.coordinator.handle(event):
            match effect:
                case c.Note(_, number):
                    self.perform(c.Noted(number))
                case c.Go(workers):
                    for index in workers:
                        self.link("c", index).append(effect)
                case c.OpenBarrier():
                    self.forget_change()
                    self.parts = {}
                    for index in self.coordinator.placement.workers:
                        self.link("c", index).append(effect)
                case c.Start():
                    self.join(effect)
                case c.ShareSplits(after):
                    self.share(after)
                case c.Dismiss(workers, why):
                    for index in workers:
                        leaver = self.workers[index]
                        if not why and (leaver.outgoing or leaver.reporting):
                            raise Wrong(f"seed {self.seed}: {index} leaves with something left")
                        self.workers.pop(index, None)
                        for ends in [ends for ends in self.links if index in ends]:
                            del self.links[ends]
                case c.ChangeBegun() | c.ChangeOver() | c.ChangeQueued():
                    self.say(f"{self.now_ms} ms: {effect}")
                    if effect[1:] == ("",) and self.workers:
                        self.look_after_change()
                case c.Commit(barrier):
                    self.commit(barrier)
                case c.Announce(barrier, kept) if kept:
                    for index in self.coordinator.placement.workers:
                        self.link("c", index).append(effect)
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

    def share(self, after: Placement) -> None:
        """Splits from where they were cut, to those that read them from now on."""
        offsets: dict[int, int] = {}
        for part in self.parts.values():
            offsets |= part.cut_offsets
        for index in after.workers:
            before = self.coordinator.placement
            new = [s for s in after.splits_of(index) if before.readers[s] != index]
            self.link("c", index).append(("splits", {s: offsets[s] for s in new}))

    def commit(self, barrier: int) -> None:
        if self.random.random() < self.failing_commits:
            self.perform(c.CommitFailed(barrier, "the disk is full"))
            return
        stored = Stored(barrier, {}, {name: {} for name in self.names()}, 0)
        for part in self.parts.values():
            stored.offsets |= part.cut_offsets
            for name, states in part.cut.items():
                stored.states[name] |= states
            if part.noted is not None:
                stored.size = part.noted
        if (
            set(self.parts) != set(self.coordinator.placement.workers)
            or len(stored.offsets) != self.splits
        ):
            raise Wrong(f"seed {self.seed}: checkpoint {barrier} is not whole")
        self.disk = [*self.disk[-2:], stored]
        self.say(f"{self.now_ms} ms: checkpoint {barrier}, offsets {stored.offsets}")
        # The coordinator may die right after, and the checkpoint is real all the same; or while it
        # is being written.
        if self.coordinator_deaths and self.random.random() < 0.15:
            self.coordinator_deaths -= 1
            stored.torn = self.random.random() < 0.5
            self.begin_run()
            return
        self.perform(c.Committed(barrier))

    # The oracle

    def look_at_change(self) -> None:
        """Nobody has what another one has, at any time."""
        if self.coordinator.change is None:
            return
        for name in self.names():
            keys = [key for worker in self.workers.values() for key in worker.states[name]]
            if len(keys) != len(set(keys)):
                raise Wrong(f"seed {self.seed}: a key of {name} is on two workers")

    def look_after_change(self) -> None:
        """Everything is where it belongs, and nothing is left of the way there."""
        table = self.coordinator.placement.table
        for index, worker in self.workers.items():
            if worker.outgoing or worker.early:
                raise Wrong(f"seed {self.seed}: something of a change is left on {index}")
            for name, states in worker.states.items():
                if any(table.owner_of(key) != index for key in states):
                    raise Wrong(f"seed {self.seed}: {index} has {name} of others")
        for name, key in self.given:
            if key not in self.workers[table.owner_of(key)].states[name]:
                raise Wrong(f"seed {self.seed}: {key} has not come")

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
