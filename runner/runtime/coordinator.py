"""The coordinator: starts the workers, hears them, and does what its core decides."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import time
from typing import Any

import zmq

from roo.api import Split
from roo.core import coordinator as core
from roo.core.coordinator import CoordinatorCore, Phase
from roo.core.table import Table
from roo.plan.model import Plan
from roo.runtime import control
from roo.runtime.limits import exceeded
from roo.runtime.process import Workers, say_exit
from roo.runtime.tally import Tally
from roo.runtime.transport import ipc, open_socket, readable
from roo.status import View
from roo.status.snapshot import Summary

LOOK_EVERY_S = 0.25
SIGN_OF_LIFE_S = 60.0
"""How long a worker may take to start, or to say its last word, before it counts as lost."""


STUCK_AFTER_S = 60.0
"""How long a run that is to end may go without any progress: then what holds it up is stuck."""


class ForcedExit(BaseException):
    """A second signal: everything ends at once. code: 130 or 143."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


class _Lines:
    """The stderr of one worker, cut into lines that say whose they are."""

    def __init__(self, worker: int) -> None:
        self._prefix = f"worker {worker}: "
        self._rest = b""

    def split(self, data: bytes) -> list[str]:
        """Whole lines; at the end (no data) the rest as well."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if not data and self._rest:
            lines, self._rest = [self._rest], b""
        return [self._prefix + line.decode("utf-8", "replace") for line in lines]


class Coordinator:
    """One run on this machine. `run` returns its summary; the outcome is in it."""

    def __init__(
        self,
        plan: Plan,
        splits: dict[int, tuple[str, Split]],
        workers: Workers,
        view: View,
    ) -> None:
        self._plan = plan
        self._view = view
        self._workers = workers
        self._count = workers.count
        self._core = CoordinatorCore(workers.count)
        self._table = Table.equal(workers.count)
        self._splits = splits
        self._started_s = time.monotonic()
        self._tally = Tally(plan, self._table, splits, self._started_s)
        self._identities: dict[int, bytes] = {}
        self._heard_s = dict.fromkeys(range(workers.count), self._started_s)
        self._stderr: dict[int, _Lines] = {}
        self._signals = 0
        self._summary: Summary | None = None
        self._gone: set[int] = set()
        self._progress: tuple[Any, float] = (None, self._started_s)

    def run(self) -> Summary:
        """Until the run has ended. Raises ForcedExit on a second signal."""
        wake_read, wake_write = socket.socketpair()
        wake_write.setblocking(False)
        before = signal.set_wakeup_fd(wake_write.fileno())
        handlers = {n: signal.signal(n, self._signal) for n in (signal.SIGINT, signal.SIGTERM)}
        context: zmq.Context[Any] = zmq.Context()
        self._view.start()
        try:
            self._socket = open_socket(context, zmq.ROUTER)
            self._socket.bind(ipc(self._workers.folder, "control"))
            poller = zmq.Poller()
            poller.register(self._socket, zmq.POLLIN)
            poller.register(wake_read, zmq.POLLIN)
            for worker, process in enumerate(self._workers.processes):
                if process.stderr is not None:
                    self._stderr[process.stderr.fileno()] = _Lines(worker)
                    poller.register(process.stderr.fileno(), zmq.POLLIN)
            look_s = time.monotonic()
            while self._summary is None:
                for ready, _ in poller.poll(int(LOOK_EVERY_S * 1000)):
                    if ready is self._socket:
                        self._hear()
                    elif ready in self._stderr:
                        if not self._relay(ready):
                            poller.unregister(ready)
                    else:
                        wake_read.recv(64)
                        self._handle(core.StopRequested())
                if time.monotonic() - look_s >= LOOK_EVERY_S:
                    look_s = time.monotonic()
                    self._look(look_s)
            self._workers.wait()
            for fileno in self._stderr:
                while self._relay(fileno):
                    pass
            return self._summary
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
            self._view.stop()
            context.destroy(0)
            wake_read.close()
            wake_write.close()

    def _signal(self, number: int, frame: Any) -> None:
        self._signals += 1
        if self._signals > 1:
            raise ForcedExit(number)
        self._event("stopping: finishing what has been read (again to stop at once)")

    # Hearing

    def _relay(self, fileno: int) -> bool:
        """Show what a worker wrote to stderr; False when it has closed it."""
        data = os.read(fileno, 1 << 16)
        for line in self._stderr[fileno].split(data):
            self._event(line)
        return bool(data)

    def _hear(self) -> None:
        while readable(self._socket):
            identity, packed = self._socket.recv_multipart()
            index = int(identity.rpartition(b"-")[2])
            self._heard_s[index] = time.monotonic()
            self._take(index, identity, pickle.loads(packed))

    def _take(self, worker: int, identity: bytes, message: Any) -> None:
        match message:
            case control.Hello():
                self._identities[worker] = identity
                self._send(worker, self._assignment(worker))
            case control.Ready():
                self._handle(core.WorkerReady(worker))
            case control.Ended():
                self._handle(core.SplitsEnded(worker))
            case control.Passed(barrier, stats):
                self._tally.report(stats)
                self._handle(core.BarrierReported(worker, barrier))
            case control.Failed(error):
                self._handle(core.RunFailed({"worker": worker, **error}))
            case control.Quit():
                self._handle(core.StdoutClosed())
            case control.Said(line):
                self._event(line)
            case control.WorkerStats():
                self._tally.report(message)

    def _assignment(self, worker: int) -> control.Assignment:
        stdin = self._workers.stdin_worker
        kinds = {s.name: s.type for s in self._plan.spec.sources}
        mine = [
            index
            for index, (name, _) in self._splits.items()
            if (stdin if kinds[name] == "stdin" else index % self._count) == worker
        ]
        data = tuple(ipc(self._workers.folder, f"data-{w}") for w in range(self._count))
        return control.Assignment(
            self._plan, worker, self._count, self._table, self._splits, tuple(mine), data,
            self._workers.folder,
        )  # fmt: skip

    # Doing

    def _handle(self, event: core.Event) -> None:
        for effect in self._core.handle(event):
            match effect:
                case core.Go():
                    self._broadcast(control.Go())
                case core.OpenBarrier(barrier, last):
                    self._broadcast(control.Barrier(barrier, last))
                case core.Release():
                    self._broadcast(control.Exit())
                case core.Kill():
                    self._workers.kill()
                case core.End(outcome, error):
                    self._end(outcome.value, error)

    def _end(self, outcome: str, error: dict[str, Any] | None) -> None:
        if error is None:
            error = exceeded(self._plan, self._tally.errors, self._tally.messages_read, ended=True)
            outcome = "failed" if error else outcome
        seconds = time.monotonic() - self._started_s
        self._view.update(self._tally.snapshot(outcome, time.monotonic()))
        self._summary = self._tally.summary(outcome, seconds, error)

    def _send(self, worker: int, message: Any) -> None:
        self._socket.send_multipart([self._identities[worker], pickle.dumps(message, 5)])

    def _broadcast(self, message: Any) -> None:
        for worker in self._identities:
            self._send(worker, message)

    def _event(self, line: str) -> None:
        self._tally.events.append((time.monotonic() - self._started_s, line))
        self._view.event(line)

    # Looking

    def _look(self, now_s: float) -> None:
        """Show how it goes; see to what nobody reports."""
        self._view.update(self._tally.snapshot(self._core.phase.value, now_s))
        for worker, code in self._workers.exited():
            # Its last words may still be on the way: they say more than its exit code.
            if worker in self._gone:
                self._handle(core.WorkerLost(worker, say_exit(code)))
            self._gone.add(worker)
        if self._core.phase is Phase.STARTING:
            for worker, heard_s in self._heard_s.items():
                if now_s - heard_s > SIGN_OF_LIFE_S:
                    what = f"gave no sign of life for {SIGN_OF_LIFE_S:.0f} s"
                    self._handle(core.WorkerLost(worker, what))
        if self._core.phase is Phase.DRAINING:
            self._see_to_progress(now_s)
        error = exceeded(self._plan, self._tally.errors, self._tally.messages_read, ended=False)
        if error:
            self._handle(core.RunFailed(error))

    def _see_to_progress(self, now_s: float) -> None:
        """While draining: give up on a step or sink that does not come back."""
        progress = self._tally.progress()
        if progress != self._progress[0]:
            self._progress = (progress, now_s)
        elif now_s - self._progress[1] > STUCK_AFTER_S:
            doing = self._tally.doing() or "nobody says what it waits for"
            what = f"no progress for {STUCK_AFTER_S:.0f} s while draining: {doing}"
            hint = "messages that were read and not yet written are lost"
            self._handle(core.RunFailed({"kind": "worker", "what": what, "hint": hint}))
