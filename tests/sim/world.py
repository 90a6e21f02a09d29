"""A simulated cluster: what runs on it is what ships.

Real: the coordinator with all it is made of, the worker's whole process, `roo join`, checkpoints,
snapshots, moves, connectors, codecs. Simulated: what they run on (`standins.py`), that is
processes, links, clock and files. What happens to them comes from the seed, as data: a `Shape`
(what is run), `Event`s (at a time) and `Fault`s (at a call of a process). So a run can be repeated
with fewer of them.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from random import Random
from typing import Any, NamedTuple

import zmq

from tests.sim.calls import SHARED, Calls, Fault, Faults
from tests.sim.filesystem import FileSystem
from tests.sim.input import Growing, Input, append
from tests.sim.job import Pace
from tests.sim.links import Network, Socket
from tests.sim.oracle import Oracle, Wrong
from tests.sim.processes import SIGKILL, Killed, Process, Scheduler
from tests.sim.standins import System

HOME = "home"
"""The machine of the coordinator. Others are called away-1 and so on."""

LATE_S = 0.1
STEPS_MAX = 100_000
RUNS_MAX = 40
GIVEN_UP_MS = 1_000
AGAIN_AFTER_S = 0.05
GROWS_S, LOOK_S, FOLLOWED_WITHIN_S = 0.02, 0.1, 20.0
REFUSALS = ("is on machine",)
"""Errors that end a run for good, and say what to do."""

STOPPED = 200
"""How this world tells a run that was stopped from one that has read everything."""

CHECKPOINTS = f"{SHARED}/checkpoints"


class Event(NamedTuple):
    """Something happens to the cluster at a time. pick: to whom, from 0 to 1. ms: for how long (ten
    times as long as a disk is full).
    """

    at_ms: int
    kind: str
    pick: float = 0.0
    ms: int = 0


@dataclass(frozen=True)
class Shape:
    """What is run. each: every worker writes a file of its own; local: on its own machine. two:
    there is a second state.

    message_ms: how long a message takes. rate: of a thousand calls so many fail, and `most` in all.
    """

    seed: int
    workers: int = 2
    source: str = "files"
    splits: int = 2
    keys: int = 4
    lines: int = 30
    each: bool = False
    committed: bool = False
    append: bool = False
    local: bool = False
    two: bool = False
    every_ms: int = 30
    keep: int = 2
    message_ms: float = 0.5
    delay_ms: float = 2.0
    lag_ms: float = 2.0
    preempts: float = 0.05
    is_linux: bool = True
    away: int = 0
    rate: float = 0.0
    most: int = 0
    events: tuple[Event, ...] = ()
    faults: tuple[Fault, ...] | None = None


EVENTS = ("scale", "scale", "scale", "scale", "weights", "kill", "kill", "kill all", "kill run",
          "stop", "pause", "power", "full")  # fmt: skip
AWAY = ("join", "join", "leave", "cut", "cut both", "pause machine", "kill join", "power of one")


def shape_of(seed: int) -> Shape:
    """A random cluster, and what happens to it."""
    dice = Random(f"{seed} shape")
    away = dice.choice([0, 0, 1, 2])
    lines = dice.choice([20, 60, 120])
    message_ms = dice.choice([0.3, 1.0])
    splits = dice.randint(1, 3)
    workers = dice.randint(1, 3)
    span_ms = int(40 + lines * splits * message_ms / workers)
    source = dice.choice(["files", "files", "ranges", "csv", "follow", "follow", "follow csv"])
    kinds = EVENTS + (AWAY if away else ()) + (("rotate",) * 4 if "follow" in source else ())
    events = [
        Event(
            dice.randint(10, span_ms),
            dice.choice(kinds),
            dice.random(),
            int(10 ** dice.uniform(0, 3.7)),
        )
        for _ in range(dice.choice([1, 2, 3, 4, 8]))
    ]
    if away:
        events += [Event(dice.randint(10, span_ms), "join", dice.random()) for _ in range(away)]
    return Shape(
        seed, workers=workers, source=source,
        splits=splits, keys=dice.randint(1, 6), lines=lines, each=dice.random() < 0.4,
        committed=dice.random() < 0.35, append=dice.random() < 0.3, local=dice.random() < 0.2,
        two=dice.random() < 0.4,
        every_ms=dice.choice([5, 10, 20, 50]), keep=dice.randint(1, 3), message_ms=message_ms,
        delay_ms=dice.choice([0.5, 2.0, 20.0]), lag_ms=dice.choice([0.5, 2.0, 20.0]),
        preempts=dice.choice([0.01, 0.05, 0.3]), is_linux=dice.random() < 0.7, away=away,
        rate=dice.choice([0.0, 5.0, 20.0, 50.0]), most=dice.choice([0, 1, 2, 4]),
        events=tuple(sorted(events)),
    )  # fmt: skip


class Shown:
    """The run's view: what it says is told on."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.event = say

    def start(self) -> None:
        """Nothing."""

    def update(self, snapshot: Any) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


class World:
    """One cluster from its first run to the one that has read everything. `run` raises Wrong.

    happened: the faults that there were.
    """

    def __init__(self, shape: Shape, say: Callable[[str], None] | None = None) -> None:
        self.shape = shape
        self._tell = say
        self.dice = Random(f"{shape.seed} world")
        self.scheduler = Scheduler(shape.seed)
        self.scheduler.lag_s = shape.lag_ms / 1000
        self.scheduler.preempts = shape.preempts
        self.scheduler.is_linux = shape.is_linux
        self.network = Network(self.scheduler)
        self.network.delay_s = shape.delay_ms / 1000
        self.faults = (
            Faults(rate=shape.rate, most=shape.most)
            if shape.faults is None
            else Faults.of(shape.faults)
        )
        self.files = FileSystem()
        self.files.now_ns = lambda: int(self.scheduler.now_s * 1e9)
        self.calls = Calls(self.files, self.scheduler, self.faults, self._trouble)
        self.system = System(self.scheduler, self.network, self.calls)
        self.system.programs["roo.runtime.worker_main"] = _worker
        self.input = Input(shape.source, shape.splits, shape.keys, shape.lines, self.dice)
        self.machines = [HOME, *(f"away-{i + 1}" for i in range(shape.away))]
        self.oracle = Oracle(self)
        self.calls.seen = self.oracle.called
        self.calls.lose_power = self._lose_power
        self.plan = plan_of(self.text())
        self.runs = 0
        self.run_process: Process | None = None
        self.run_folder = ""
        self.joins: dict[str, Process] = {}
        self.growing: list[Growing] = []
        self.whole_s = 0.0
        self.troubles = 0
        self.failures_in_a_row = 0
        self.is_over = self.is_refused = False
        self.error: dict[str, Any] | None = None

    def say(self, line: str) -> None:
        """For people."""
        if self._tell is not None:
            self._tell(f"{(self.scheduler.now_s - 1000) * 1000:8.1f} ms  {line}")

    def _trouble(self, what: str) -> None:
        self.troubles += 1
        self.say(what)

    # From beginning to end

    def run(self) -> None:
        """Until everything has been read and written, whatever it took. Raises Wrong."""
        Pace.wait = partial(self._pace, self.shape.message_ms / 1000)
        with tempfile.TemporaryDirectory() as self._temporary, self.system.is_here():
            self._lay_out()
            for event in self.shape.events:
                self.scheduler.at(1_000 + event.at_ms / 1000, partial(self._happen, event))
            self._begin_run(self.shape.workers)
            for _ in range(STEPS_MAX):
                self.scheduler.step()
                self.oracle.raise_what_was_found()
                if self.is_over:
                    break
            else:
                raise Wrong(f"no end after {STEPS_MAX} steps")
            self._end_all()

    def _pace(self, seconds: float) -> None:
        self.system.process.sleep(seconds)

    def _lay_out(self) -> None:
        """What is there before anything runs."""
        for folder in (f"/{CHECKPOINTS}", f"/{SHARED}/in", *self.oracle.folders):
            self.files.makedirs(folder)
        for machine in self.machines:
            self.files.makedirs(f"/{machine}", exist_ok=True)
        for name, data in self.input.files().items():
            append(self.files, f"/{SHARED}/in/{name}", data)
        if self.shape.append:
            for name in self.oracle.first_outputs():
                append(self.files, name, self.oracle.OLD)
        if self.input.follows:
            self.growing = [
                Growing(self.files, self.input, split) for split in range(self.shape.splits)
            ]
            self.scheduler.at(self.scheduler.now_s, self._grow)

    def read(self, path: str) -> bytes:
        """A whole file, as processes see it."""
        descriptor = self.files.open(path, os.O_RDONLY)
        try:
            return self.files.read(descriptor, 1 << 30)
        finally:
            self.files.close(descriptor)

    # Runs

    def _begin_run(self, workers: int) -> None:
        if self.is_over:
            return
        self.runs += 1
        if self.runs > RUNS_MAX:
            raise Wrong(f"no end after {RUNS_MAX} runs: {self.error}")
        self.scheduler.run = self.runs
        self.say(f"run {self.runs} with {workers} workers")
        process = Process(self.scheduler, f"run{self.runs}", HOME, self._environ(), None)
        self.run_process = process
        self.troubles = len(self.calls.full | self.calls.read_only)
        self.newest_as_it_began = self._newest()
        process.at_end.append(partial(self._run_ended, process))
        process.start(partial(self._coordinate, workers), main=True)

    def _environ(self) -> dict[str, str]:
        return {"TMPDIR": self._temporary}

    def _coordinate(self, count: int) -> int:
        """The program of `roo run`; its exit code."""
        from roo.api import ConnectorError
        from roo.cli.resuming import open_folder
        from roo.cli.run import _kept
        from roo.runtime.coordinator import ForcedExit
        from roo.runtime.coordinator_main import CoordinatorProcess
        from roo.runtime.outlets import make_source
        from roo.runtime.process import Workers

        self.error = None
        environ = dict(self.system.process.environ)
        listen = "tcp://0.0.0.0:7070" if self.shape.away else None
        if listen is not None:
            environ["ROO_BIND"] = "0.0.0.0"
        try:
            found = make_source(self.plan.spec.sources[0]).splits()
            splits = dict(enumerate(("lines", split) for split in found))
            begun = open_folder(self.plan, splits, fresh=False)
            with Workers(count, stdin_worker=None, hear_stderr=False, environ=environ) as workers:
                self.run_folder = workers.folder
                summary = CoordinatorProcess(
                    self.plan, begun.splits, workers, Shown(self.say), listen=listen,
                    **_kept(self.plan, begun),
                ).run()  # fmt: skip
        except ForcedExit as forced:
            return forced.code
        except ConnectorError as error:
            self.error = {"what": error.message, "hint": error.hint}
            return 3
        self.error = summary.error
        self.say(f"outcome: {summary.outcome} {summary.error or ''}")
        return {"finished": 0, "stopped": STOPPED}.get(summary.outcome, 1)

    def _newest(self) -> int:
        """The number of the newest checkpoint there is; -1: there is none."""
        try:
            return max(self.oracle.manifests(), default=-1)
        except OSError:  # there is no folder yet
            return -1

    def _run_ended(self, process: Process) -> None:
        self.say(f"{process.name} has ended with {process.code}")
        if process is not self.run_process:
            return
        if process.code in (0, STOPPED):
            self.oracle.ended_well()
        whole = self.input.follows and all(file.is_whole for file in self.growing)
        # Who is stopped as it starts keeps nothing: what an earlier run has written may be there,
        # but is not of a checkpoint. The next run writes it anew.
        kept = self._newest() != self.newest_as_it_began
        stopped = process.code == STOPPED and whole and kept and self.oracle.is_all_there()
        if process.code == 0 or stopped or self.oracle.has_finished():
            self.is_over = True
            return
        if self.error is not None and any(why in self.error["what"] for why in REFUSALS):
            self.is_over = self.is_refused = True
            return
        if process.code in (1, 3):
            troubles = self.troubles + len(self.calls.full | self.calls.read_only)
            self.failures_in_a_row = 0 if troubles else self.failures_in_a_row + 1
            if self.error and "traceback" in self.error and "[Errno" not in self.error["what"]:
                self.oracle.found(f"{self.error['what']}\n{self.error['traceback']}")
            if self.failures_in_a_row > 1:
                self.oracle.found(f"run {self.runs} fails, and nothing is wrong: {self.error}")
        again = partial(self._begin_run, self.dice.randint(1, 3))
        self.scheduler.at(self.scheduler.now_s + AGAIN_AFTER_S, again)

    def _end_all(self) -> None:
        """Whoever is stopped goes on, too late; then power off: all has to be there."""
        for process in self.scheduler.processes:
            process.go_on()
        late_s = self.scheduler.now_s + LATE_S
        while self.scheduler.now_s < late_s and self.scheduler.step():
            self.oracle.raise_what_was_found()
        self.say("power off, for good")
        for process in self.scheduler.processes:
            process.end(SIGKILL)
        self.files.lose_power(self.dice)
        if not self.is_refused:
            self.oracle.judge()

    def text(self) -> str:
        """The pipeline file."""
        shape = self.shape
        out = f"{'' if shape.local else f'{SHARED}/'}out/out{'-{worker}' if shape.each else ''}.txt"
        step = "{name: chain%s, type: stateful, state: %s, call: '%s', partition: '%s'}"
        job = "tests.sim.job"
        return "\n".join(filter(None, [
            "version: 1",
            "name: sim",
            f"sources: {{lines: {{type: file, {self.input.options()}}}}}",
            "states:",
            f"  chains: {{factory: '{job}:Chain'}}",
            f"  groups: {{factory: '{job}:Chain'}}" if shape.two else "",
            "steps:",
            "  - " + step % ("", "chains", f"{job}:chain", f"{job}:key"),
            "  - " + step % ("_group", "groups", f"{job}:chain_group", f"{job}:group")
            if shape.two else "",
            f"sinks:\n  out: {{type: file, path: '{out}',",
            f"mode: {'append' if shape.append else 'overwrite'}, "
            f"visibility: {'committed' if shape.committed else 'immediate'}}}",
            f"checkpoint: {{every: {shape.every_ms}ms, keep: {shape.keep}, dir: {CHECKPOINTS}}}",
            "cluster: {workers: 1, timeout: 1s, restarts: {max: 100000, within: 60s}}",
        ])) + "\n"  # fmt: skip

    # What is read grows

    def _grow(self) -> None:
        """Some more comes to each file; when all has come and gone out, the run is stopped."""
        for file in self.growing:
            if not file.is_whole:
                file.grow(self.dice.randint(0, 60))
        now_s = self.scheduler.now_s
        if any(not file.is_whole for file in self.growing):
            self.whole_s = now_s
            self.scheduler.at(now_s + self.dice.random() * GROWS_S, self._grow)
            return
        if self.oracle.is_all_there():
            self.ask({"command": "stop"})
        elif now_s - self.whole_s > FOLLOWED_WITHIN_S:
            self.oracle.found("what has come to the followed files does not come out")
        if not self.is_over:
            self.scheduler.at(now_s + LOOK_S, self._grow)

    # Events

    def _happen(self, event: Event) -> None:
        if self.is_over:
            return
        self.troubles += 1
        self.say(f"* {event.kind} {event.pick:.2f} {event.ms} ms")
        run = self.run_process
        workers = [
            p for p in self.scheduler.processes if p.is_alive and "/" in p.name and not p.children
        ]
        match event.kind:
            case "scale":
                joins = [1, 1, 2, -1, -1][int(event.pick * 5)]
                self.ask({"command": "change", "joins": joins})
            case "rotate" if self.input.follows and self.oracle.has_begun:
                file = self.growing[int(event.pick * len(self.growing))]
                file.rotate(event.ms % 40)
            case "weights":
                self.ask({"command": "change", "rebalance": True, "weights": {"0": 3}})
            case "stop":
                self.ask({"command": "stop"})
            case "kill" if workers:
                workers[int(event.pick * len(workers))].kill()
            case "kill all":
                for process in list(self.scheduler.processes):
                    process.kill()
            case "power":
                self._lose_power()
            case "kill run" if run is not None:
                run.kill()
            case "pause" if workers:
                self._pause([workers[int(event.pick * len(workers))]], event.ms)
            case "full":
                self._make_full(event)
            case "join":
                self._join(self.machines[1 + int(event.pick * self.shape.away)])
            case "leave":
                for process in self.joins.values():
                    if process.is_alive:
                        process.signal(15)
            case "kill join":
                for process in self.joins.values():
                    process.kill()
            case "pause machine" | "power of one":
                machine = self.machines[1 + int(event.pick * self.shape.away)]
                there = [p for p in self.scheduler.processes if p.machine == machine]
                if event.kind == "pause machine":
                    self._pause(there, GIVEN_UP_MS + event.ms // 20)
                else:
                    for process in there:
                        process.kill()
            case "cut" | "cut both":
                self._cut(event)

    def _lose_power(self) -> None:
        """Everywhere. Raises Killed in a thread of a process."""
        running = self.scheduler.current
        for process in list(self.scheduler.processes):
            process.end(SIGKILL)
        durable = self.oracle.durable()
        self.files.lose_power(self.dice)
        self.oracle.power_failed(durable)
        if running is not None:
            raise Killed

    def _pause(self, processes: list[Process], ms: int) -> None:
        for process in processes:
            process.stop()
            self.scheduler.at(self.scheduler.now_s + ms / 1000, process.go_on)

    def _make_full(self, event: Event) -> None:
        where = self.calls.full if event.pick < 0.7 else self.calls.read_only
        where.update(self.machines)
        self.scheduler.at(self.scheduler.now_s + event.ms / 10_000, where.clear)

    def _cut(self, event: Event) -> None:
        machine = self.machines[1 + int(event.pick * self.shape.away)]
        ends = [(HOME, machine), (machine, HOME)]
        if event.kind == "cut":
            ends = [ends[event.ms % 2]]
        for end in ends:
            self.network.cut.add(end)
            self.scheduler.at(
                self.scheduler.now_s + event.ms / 1000, partial(self.network.heal, end)
            )

    def ask(self, request: dict[str, Any]) -> None:
        """As `roo scale` and its like do, of the run that there is."""
        asker = Process(self.scheduler, f"ask{len(self.scheduler.processes)}", HOME, {}, None)
        asker.dice.random()

        def program() -> None:
            socket = Socket(self.network, asker, zmq.DEALER)
            socket.connect(f"ipc://{self.run_folder}/door")
            socket.send(json.dumps(request).encode())
            asker.sleep(1.0)

        asker.start(program, main=True)

    def _join(self, machine: str) -> None:
        if machine in self.joins and self.joins[machine].is_alive:
            return
        process = Process(
            self.scheduler, f"join{len(self.scheduler.processes)}", machine, self._environ(), None
        )
        self.joins[machine] = process

        def program() -> int:
            from roo.api import ConnectorError
            from roo.runtime.joining import Joining

            try:
                Joining(f"tcp://{HOME}:7070", 1, None, machine, self.say, lambda _: None).stay()
            except ConnectorError as error:
                self.say(f"{process.name}: {error.message}")
                return 1
            return 0

        process.start(program, main=True)


def _worker(arguments: list[str]) -> Any:
    """The program of a worker process."""
    from roo.runtime.worker_main import main

    return main(arguments)


@cache
def plan_of(text: str) -> Any:
    """The plan of a pipeline file."""
    from roo.cli.common import plan_of as make
    from roo.spec.load import load

    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        return make(load(file.name))
