"""A worker: one flat loop, which takes in what has arrived, asks core what to do next, and does it.

`runtime/worker_main.py` is the process around it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any

import zmq

from roo import api, clock
from roo.core.batch import Batch, Header, Kind, Origin, Output
from roo.core.checkpoints import NOTHING_OPENED, Opened
from roo.core.position import Position
from roo.core.worker import (
    Aligned,
    AllSplitsEnded,
    Arrived,
    BarrierOpened,
    BarrierPassed,
    Change,
    Credited,
    Effect,
    Event,
    GiveCredit,
    Link,
    Ran,
    ReadSplit,
    RunStage,
    Send,
    SplitEnded,
    SplitIdle,
    SplitReady,
    SplitsTaken,
    Started,
    WorkerCore,
)
from roo.runtime import control
from roo.runtime.changing import Changing
from roo.runtime.failures import PoisonMessage, RunFailure, plain
from roo.runtime.latency import Histogram
from roo.runtime.machine import machine
from roo.runtime.outlets import Outlet, make_sink
from roo.runtime.outputs import Outputs, unreadable
from roo.runtime.payload import Keyed
from roo.runtime.preload import keys_of
from roo.runtime.readers import Readers
from roo.runtime.stages import Stages
from roo.runtime.suspects import Notebook, path_of
from roo.runtime.transport import Control, Data, frames_of, payload_of
from roo.runtime.turns import Turns
from roo.runtime.watchdog import Activity, cpu_s, memory_bytes

if TYPE_CHECKING:
    from roo.core.checkpoints import Manifest, Part
    from roo.runtime.cut import Checkpoint

HOT_KEYS = 5

OBEY_EVERY_S = 0.001
"""How often a worker that does not wait looks for messages of the coordinator."""


class Worker:
    """One worker of one run."""

    def __init__(
        self,
        assignment: control.Assignment,
        line: Control,
        data: Data,
        stdout_fd: int,
        run_folder: str,
    ) -> None:
        plan = assignment.plan
        self._run_folder = run_folder
        self.plan = plan
        self.worker = assignment.worker
        self.control = line
        self.data = data
        self.activity = Activity()
        self.latency = Histogram()
        place = assignment.place
        self.stages = Stages(plan, assignment.worker, place)
        self.failures = self.stages.failures
        self.failures.split_names = [split.name for _, split in assignment.splits.values()]
        self.outlets = {
            s.name: Outlet(s, self.failures, self.latency, stdout_fd) for s in plan.spec.sinks
        }
        resume = assignment.resume
        stood: dict[int, Position] = {}
        if resume is not None:
            from roo.runtime.resume import stands_of

            stood = stands_of(resume, assignment.splits)
        self.readers = Readers(plan, assignment.splits, stood)
        # Exchanges to a sink's stage carry encoded bytes, the others keys and messages.
        self._sink_at = {
            s.index: s.entries[0] for s in plan.stages if plan.sink(s.entries[0]) is not None
        }
        self._local_sinks = [
            [s.name for s in plan.spec.sinks if self._writes_here(stage.index, s.name)]
            for stage in plan.stages
        ]
        self.checkpoint: Checkpoint | None = None
        self._assignment = assignment
        self._stages_with = self._stages_of()
        self.core = WorkerCore(
            assignment.worker,
            place.workers,
            len(plan.stages),
            [Link(e.index, e.from_stage, e.to_stage) for e in plan.exchanges],
            None if assignment.before else place.splits_of(assignment.worker),
            shared=self._stages_with.values(),
            table_version=place.version,
            attempt=assignment.attempt,
        )
        self._keyed = {e.index: e.to_stage not in self._sink_at for e in plan.exchanges}
        self._context = api.Context(
            plan.spec.name, "", assignment.worker, len(place.workers), self._log,
            attempt=assignment.attempt, predecessor_ended=assignment.predecessor_ended,
            machine=machine(),
        )  # fmt: skip
        self.changing = Changing(
            self.worker, self.stages, self._stages_with, self.outlets, self.readers,
            self._context, data.send, line.send, self._perform,
        )  # fmt: skip
        self._outputs = Outputs(
            plan, self.worker, self.stages, self.outlets, self._sink_at, self.changing
        )
        self._positions: dict[int, Position] = {}
        self._turns = Turns()
        self._is_last = False  # the barrier that was opened last: nothing is written after it
        self._obey_at_s = 0.0
        self._waited_s = 0.0
        self._waits_since_s: float | None = None
        self._suspicion = assignment.suspicion
        self._notebook: Notebook | None = None
        self._poller = zmq.Poller()
        self._poller.register(self.control.socket, zmq.POLLIN)
        for socket in self.data.sockets:
            self._poller.register(socket, zmq.POLLIN)

    def _writes_here(self, stage: int, sink: str) -> bool:
        """Whether a sink without a single writer gets messages from a stage."""
        if sink in self.plan.stage_of:
            return False
        parts = self.plan.parts(stage)
        return sink in parts or any(self.plan.dead_letters.get(part) == sink for part in parts)

    def _stages_of(self) -> dict[tuple[str, str], frozenset[int]]:
        """("state" or "sink", name) -> the stages that work on it here: its cut is theirs."""
        found: dict[tuple[str, str], set[int]] = {}
        for stage, state in self.stages.state_at.items():
            found.setdefault(("state", state), set()).add(stage)
        for stage, sinks in enumerate(self._local_sinks):
            for sink in sinks:
                found.setdefault(("sink", sink), set()).add(stage)
        for stage, sink in self._sink_at.items():
            found.setdefault(("sink", sink), set()).add(stage)
        return {what: frozenset(stages) for what, stages in found.items()}

    def _log(self, line: str) -> None:
        self.control.send(control.Said(line))

    # Starting

    def prepare(self) -> None:
        """Restore and preload the states, open what this worker writes and reads."""
        folder, resume = self._assignment.checkpoints, self._assignment.resume
        if resume is not None:
            from roo.runtime.resume import knows, noted_by, restore_states

            assert folder is not None
            self.activity.begin("restoring states")
            restore_states(self.stages, folder, resume)
        for state in self.plan.spec.states:
            if state.keys is not None:
                self.activity.begin(f"preloading the keys of state {state.name}")
                joins = self._assignment.before is not None
                self.stages.preload(state, keys_of(state.name, state.keys), create_states=not joins)
        place = self._assignment.place
        for name, outlet in self.outlets.items():
            home = place.homes.get(name)
            if home is None or (home == self.worker and self._assignment.before is None):
                known = resume is not None and knows(resume, name, self.worker)
                outlet.open(replace(self._context, name=name, resumes=known))
                if resume is not None and known:
                    outlet.rollback(noted_by(resume, name, self.worker))
        if resume is not None:
            self._roll_back_the_gone(resume)
        if self._assignment.before is None:
            self.readers.open(place.splits_of(self.worker), self._context)
        if folder is not None:
            from roo.runtime.background import one_thread
            from roo.runtime.cut import Checkpoint

            self._notebook = Notebook(path_of(self._run_folder, self.worker))
            self.checkpoint = Checkpoint(
                folder, self.worker, self.stages, self.outlets, self.readers, self._stages_with,
                resume, self.stats, prefix=f"{self._assignment.run}{self._assignment.attempt}",
                background=one_thread("snapshots"),
            )  # fmt: skip
            self.stages.between_parts = self._go_on_within_batch
        if self._assignment.before is not None:
            self.changing.begin_move(self._assignment.before, place, joins=True)
        self.activity.end()

    def _roll_back_the_gone(self, resume: Manifest) -> None:
        """Files of workers that this run has had, or the one before it, and has no more."""
        from roo.runtime.resume import is_to_roll_back, noted_by

        for spec in self.plan.spec.sinks:
            if spec.name not in self.plan.stage_of:
                for gone in self._assignment.gone:
                    sink = make_sink(spec)
                    if not is_to_roll_back(resume, spec.name, sink, gone):
                        continue
                    sink.open(replace(self._context, name=spec.name, worker=gone, resumes=True))
                    sink.rollback(noted_by(resume, spec.name, gone))
                    sink.close()

    def opened(self) -> Opened:
        """Where splits and open writers stand before anything is read or written."""
        if self.checkpoint is None:
            return NOTHING_OPENED
        noted = {name: o.prepare() for name, o in self.outlets.items() if o.is_open}
        return Opened(self.readers.positions(), noted)

    # Running

    def run(self) -> None:
        """Until the coordinator says exit."""
        self._perform(Started())
        changing = self.changing
        while True:
            if self.data.has_come:
                self._receive()
            if clock.monotonic_s() >= self._obey_at_s and self._obey():
                return
            if changing.move is not None:
                changing.tend()
                self._go_on_in_slices()
            elif self.checkpoint is not None and self.checkpoint.active:
                self._go_on_in_slices()
            work = self.core.next_work()
            if work is None:
                self._wait()
                continue
            if type(work) is RunStage:
                self._run_stage(work)
            else:
                assert type(work) is ReadSplit
                self._read(work.split)
            self._turns.ran(keyed=False)

    def _receive(self) -> None:
        for header, frames in self.data.receive():
            if header.kind is Kind.CREDIT:
                given = header.messages, header.cost_bytes, header.sequence, header.origin.start
                self._perform(Credited(header.exchange, header.sender, *given))
            elif header.kind >= Kind.STATES:
                self.changing.receive(header, frames, self.core.table_version)
            else:
                try:
                    payload = payload_of(header, frames, keyed=self._keyed[header.exchange])
                except Exception as error:
                    stage = self.plan.exchanges[header.exchange].to_stage
                    raise unreadable(self.plan, stage, error) from error
                self._perform(Arrived(Batch(header, payload)))

    def _obey(self) -> bool:
        """Take in the coordinator's messages; whether it said exit."""
        self._obey_at_s = clock.monotonic_s() + OBEY_EVERY_S
        while (message := self.control.receive()) is not None:
            if type(message) is control.Exit:
                return True
            if type(message) is control.Announce:
                self._settle(message)
            if type(message) is control.Barrier:
                self._open_barrier(message)
            if type(message) is control.Splits:
                self.readers.take(message.positions, self._context)
                self._perform(SplitsTaken(tuple(message.positions)))
                assert self.changing.move is not None
                self.changing.move.splits_came = True
            if type(message) is control.Left:
                self.data.forget(message.workers)
        return False

    def _settle(self, message: control.Announce) -> None:
        """A checkpoint is real, or never will be. After the last one every sink is closed here, so
        that the run is over, or this worker has left, only when all that they hold is where it
        belongs, and durable. Raises RunFailure.
        """
        if self.checkpoint is not None:
            self.checkpoint.settle(kept=message.kept)
            if message.kept:
                self.changing.hand_over_sinks(self.checkpoint)
        if self._is_last:
            self.close_outlets()
        self.control.send(control.Settled(message.barrier))

    def _open_barrier(self, message: control.Barrier) -> None:
        self._is_last = message.last
        if message.after is not None and self.worker not in message.after.workers:
            self._is_last = True  # of this worker
        if self.checkpoint is not None:
            moves = message.after is not None
            self.checkpoint.begin(message.barrier, last=message.last, moves=moves)
        after, change, gives = message.after, None, frozenset[int]()
        if after is not None:
            before = self.stages.place[0]
            change = Change(after.workers, after.version)
            gives = frozenset(
                set(before.splits_of(self.worker)) - set(after.splits_of(self.worker))
            )
            self.data.connect(message.data)
            self.changing.begin_move(before, after, joins=False)
        self._perform(BarrierOpened(message.barrier, message.last, change, gives))

    def _wait(self) -> None:
        """Nothing to do until a batch, credit, a command or a source's data arrives."""
        began_s = self._waits_since_s = clock.monotonic_s()
        idle = self.core.idle_splits if self.core.may_read else frozenset()
        ready, wait_ms = self.readers.due(idle)
        if not ready:
            watched = {}
            for split in idle:
                fileno = self.readers.fileno(split)
                if fileno is not None:
                    watched[fileno] = split
                    self._poller.register(fileno, zmq.POLLIN)
            move = self.changing.move
            move_ms = move.tend_in_ms() if move is not None else -1.0
            waits_ms = (wait_ms, self._until_slice_ms(), move_ms)
            wait_ms = min((ms for ms in waits_ms if ms >= 0), default=-1.0)
            events = self._poller.poll(None if wait_ms < 0 else ceil(wait_ms))
            ready = [watched[fileno] for fileno, _ in events if fileno in watched]
            if any(what is self.control.socket for what, _ in events):
                self._obey_at_s = 0.0
            for fileno in watched:
                self._poller.unregister(fileno)
        self._waits_since_s = None
        self._waited_s += clock.monotonic_s() - began_s
        for split in ready:
            self._perform(SplitReady(split))

    def _until_slice_ms(self) -> float:
        """How long until the next slice of a checkpoint or a move; -1 where there is none."""
        move = self.changing.move
        checkpoints = self.checkpoint is not None and self.checkpoint.active
        if move is None and not checkpoints:
            return -1.0
        if self.changing.is_over:
            return 0.0
        put_off_ms = self._turns.in_ms()
        if put_off_ms is not None:
            return put_off_ms
        if move is not None and move.is_busy:
            return 0.0
        return self.checkpoint.wait_ms() if self.checkpoint is not None and checkpoints else -1.0

    def _read(self, split: int) -> None:
        source = self.readers.source_of(split)
        self.activity.begin(f"reading {source}")
        begun_s = clock.monotonic_s()
        read = self.readers.read(split, self.core.read_bytes)
        if read is None:
            self.activity.end()
            self._perform(SplitIdle(split))
            return
        messages = len(read.messages)
        origin = Origin(self.readers.source_index[source], split, read.start, read.offset)
        header = Header(
            Kind.BATCH, self.worker, -1, 0, self.core.table_version, self.core.attempt, -1,
            clock.monotonic_ns(), messages, max(read.bytes_read, 32 * messages), origin,
        )  # fmt: skip
        self.failures.origin = origin
        self.failures.locate = read.locate
        for failure in read.failures:
            self.failures.undecodable(source, failure)
        if messages:
            self._note(0, origin)
            if self._suspicion.concerns(0, origin):
                self._read_one_by_one(source, read, origin)
            else:
                self.stages.run_source(source, read.messages)
        self._ran(0, Batch(header, None), begun_s)
        if read.end:
            self._perform(SplitEnded(split))

    def _run_stage(self, work: RunStage) -> None:
        begun_s = clock.monotonic_s()
        header, payload = work.batch
        self.failures.origin = header.origin
        self.failures.locate = None
        sink = self._sink_at.get(work.stage)
        waiting = None
        if self.changing.move is not None:
            state = self.stages.state_at.get(work.stage)
            payload, waiting = self.changing.split(work.batch, sink, state)
            if payload is None:
                self._perform(Ran(work.stage, work.batch, (), waiting))
                return
        if sink is None:
            self.activity.begin("running a batch")
            self._note(work.stage, header.origin)
            if self._suspicion.concerns(work.stage, header.origin):
                self._run_one_by_one(work.stage, payload, header.origin)
            else:
                self.stages.run_keyed(work.stage, payload)
            self._turns.ran(keyed=True)
        else:
            self.activity.begin(f"writing sink {sink}")
            self.outlets[sink].write(payload, header.messages, header.read_ns)
        self._ran(work.stage, work.batch, begun_s, waiting)

    def _note(self, stage: int, origin: Origin) -> None:
        if self._notebook is not None:
            self._notebook.batch(stage, origin)

    def _read_one_by_one(self, source: str, read: api.Read, origin: Origin) -> None:
        """As `run_source`, but what ends this worker is known afterwards."""
        locate = read.locate
        for index, message in enumerate(read.messages):
            if locate is not None:
                self.failures.locate = partial(_located, locate, index)
            if not self._is_poison(0, origin, source, None, message):
                self.stages.run_source(source, [message])

    def _run_one_by_one(self, stage: int, payload: Keyed, origin: Origin) -> None:
        """As `run_keyed`, likewise."""
        steps = self.plan.stages[stage].entries
        for index, (key, message) in enumerate(zip(payload.keys, payload.messages, strict=True)):
            entries = payload.entries[index : index + 1]
            if not self._is_poison(
                stage, origin, steps[entries[0] if entries else 0], key, message
            ):
                self.stages.run_keyed(stage, Keyed([key], [message], entries))

    def _is_poison(self, stage: int, origin: Origin, part: str, key: Any, message: Any) -> bool:
        """Note a message; where it is known to end its worker, the error policy gets it."""
        assert self._notebook is not None
        if self._notebook.message(stage, origin, key, message) not in self._suspicion.poison:
            return False
        facts: dict[str, Any] = {"message": plain(message)}
        if key is not None:
            facts["key"] = plain(key)
        if self.failures.locate is not None:
            facts["offset"] = self.failures.locate(0)
        error = PoisonMessage("this message ended its worker twice in a row")
        self.failures.handle(part, error, "step", facts)
        return True

    def _ran(self, stage: int, batch: Batch, begun_s: float, waiting: Batch | None = None) -> None:
        """A stage has run a batch, all but what waits: encode and hand over what it made."""
        header = batch.header
        outputs: list[Output] = []
        # Sinks first: what does not encode may become a dead letter, which the rest then takes.
        for sink in self._local_sinks[stage]:
            items = self.stages.take_items(sink)
            if items:
                outlet = self.outlets[sink]
                self.activity.begin(f"writing sink {sink}")
                data, messages = outlet.encode(items)
                if messages:
                    outlet.write(data, messages, header.read_ns)
        while made := [self._outputs.of(stage, one, header) for one in self.stages.take(stage)]:
            outputs += filter(None, made)
        self.activity.end()
        if self._notebook is not None:
            self._notebook.end()
        took_ms = (clock.monotonic_s() - begun_s) * 1000
        self._perform(Ran(stage, batch, outputs, waiting, took_ms))

    def _perform(self, event: Event) -> None:
        for effect in self.core.handle(event):
            self._do(effect)

    def _do(self, effect: Effect) -> None:
        match effect:
            case Send(receiver, batch):
                payload = batch.payload  # messages were packed when their size was needed
                frames = payload if isinstance(payload, list) else frames_of(payload)
                self.data.send(receiver, batch.header, frames)
            case GiveCredit(receiver, exchange, messages, cost_bytes, batches, window):
                header = Header(
                    Kind.CREDIT, self.worker, exchange, batches, 0, 0, -1, 0, messages, cost_bytes,
                    Origin(-1, -1, window, 0),
                )  # fmt: skip
                self.data.send(receiver, header, [])
            case Aligned(stage, _):
                if stage == 0:
                    self._positions = self.readers.positions()
                if self.checkpoint is not None:
                    self.checkpoint.aligned(stage)
                else:
                    for name, outlet in self.outlets.items():
                        if self.plan.stage_of.get(name, stage) == stage:
                            outlet.flush()
                self.changing.turn_over(stage)
            case BarrierPassed(barrier):
                self.changing.barrier_passed()
                if self.checkpoint is not None:
                    self.checkpoint.passed()
                else:
                    self.changing.hand_over_sinks(None)
                    self._report(barrier, None)
            case AllSplitsEnded(version):
                self.control.send(control.Ended(version))

    def _report(self, barrier: int, part: Part | None) -> None:
        counted = self.checkpoint.counted if self.checkpoint is not None else None
        self.control.send(control.Passed(barrier, self.stats(), part, self._positions, counted))

    def _go_on_in_slices(self) -> None:
        """A slice of a checkpoint and of a move, if it is time."""
        begun_s = clock.monotonic_s()
        if not self._turns.is_due(begun_s):
            return
        move, share = self.changing.move, self._share_of_batches
        if self.checkpoint is not None and self.checkpoint.active:
            part = self.checkpoint.step(self._turns.away_s(begun_s))
            if part is not None:
                self._report(part.barrier, part)
        if move is not None:
            move.step()
        self._turns.took(begun_s, share)

    def _go_on_within_batch(self) -> None:
        """The same between the parts of a batch, of a checkpoint alone."""
        assert self.checkpoint is not None
        begun_s = clock.monotonic_s()
        if self.changing.move is None and self._turns.is_due_within(begun_s):
            self.checkpoint.slice(self._turns.away_s(begun_s))
            self._turns.took(begun_s, self._share_of_batches)

    @property
    def _share_of_batches(self) -> float:
        """How many times as long as a slice the time after it is for batches."""
        move = self.changing.move
        return move.share_of_batches if move is not None else 1.0

    # Telling

    def stats(self) -> control.WorkerStats:
        """Everything counted so far. Also called by the watchdog's thread."""
        readers, failures, now_s = self.readers, self.failures, clock.monotonic_s()
        waits_since_s = self._waits_since_s
        moved_keys, moved_bytes = self.changing.progress
        return control.WorkerStats(
            worker=self.worker,
            pid=os.getpid(),
            monotonic_s=now_s,
            waited_s=self._waited_s + (0.0 if waits_since_s is None else now_s - waits_since_s),
            memory_bytes=memory_bytes(),
            cpu_s=cpu_s(),
            keys=sum(len(keyed.objects) for keyed in self.stages.keyed.values()),
            queue_messages=self.core.queued_messages,
            skipped=failures.skipped,
            dropped=self.stages.dropped,
            dead_letters=failures.dead_letters,
            sources={n: (readers.messages[n], readers.bytes_read[n]) for n in readers.messages},
            steps=self.stages.step_counts(),
            sinks={n: (o.messages, o.bytes_written) for n, o in self.outlets.items()},
            errors=dict(failures.counts),
            ended_splits=frozenset(readers.ended),
            done_bytes=dict(readers.done_bytes),
            latency=list(self.latency.counts),
            held_back=self.core.held_back,
            hot_keys=[(s, plain(k), part) for s, k, part in self.stages.hot_keys.top(HOT_KEYS)],
            moved_keys=moved_keys,
            moved_bytes=moved_bytes,
        )

    def close(self) -> None:
        """Close every connector. Raises RunFailure."""
        self.close_outlets()
        self.readers.close()

    def close_outlets(self) -> None:
        """Close every sink. Raises RunFailure of the first that fails, when all are closed."""
        failed: RunFailure | None = None
        for outlet in self.outlets.values():
            try:
                outlet.close()
            except RunFailure as failure:
                failed = failed or failure
        if failed is not None:
            raise failed


def _located(locate: Callable[[int], int], index: int, _: int) -> int:
    """The offset of the message at `index`, whichever the batch of one thinks it is."""
    return locate(index)
