"""A run from its start to its summary: sockets, signals and the clock around the coordinator."""

from __future__ import annotations

import pickle
import secrets
import signal
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import zmq

from roo.api import ConnectorError, Split
from roo.core.coordinator import BEFORE_ANY
from roo.plan.model import Plan
from roo.runtime import control
from roo.runtime.coordinator import Coordinator, ForcedExit
from roo.runtime.door import Door
from roo.runtime.key import Key
from roo.runtime.lines import Lines
from roo.runtime.process import Workers, say_exit
from roo.runtime.reach import Reach
from roo.runtime.stderr import Stderr
from roo.runtime.transport import ipc
from roo.status import View
from roo.status.snapshot import Summary

if TYPE_CHECKING:
    from roo.runtime.commits import Commits

GOODBYE_MS = 500
RUN_BYTES = 3


class CoordinatorProcess:
    """One run on this machine. `run` returns its summary; the outcome is in it.

    commits, newest, all_ended, opening: as `Coordinator` has them. listen: where other machines may
    join, with the key.
    """

    def __init__(
        self,
        plan: Plan,
        splits: dict[int, tuple[str, Split]],
        workers: Workers,
        view: View,
        *,
        commits: Commits | None = None,
        newest: int = BEFORE_ANY,
        all_ended: bool = True,
        opening: Sequence[str] = (),
        listen: str | None = None,
        key: Key | None = None,
    ) -> None:
        self._workers = workers
        self._view = view
        self._signals = 0
        self._context: zmq.Context[Any] = zmq.Context()
        try:
            self._lines = Lines(self._context, workers.folder, listen, key)
        except ConnectorError:
            self._context.destroy(0)
            raise
        self._coordinator = Coordinator(
            plan,
            splits,
            workers,
            self._lines,
            Reach(),
            view,
            commits=commits,
            newest=newest,
            run=secrets.token_hex(RUN_BYTES),
            all_ended=all_ended,
            opening=opening,
            spawned=self._listen_to_stderr,
        )
        self._door = Door(self._context, ipc(workers.folder, "door"), self._coordinator)
        self._coordinator.attend(self._door)
        self._poller = zmq.Poller()
        self._stderr = Stderr(self._poller, self._coordinator.event)
        workers.reaped = self._stderr.relay_all

    def run(self) -> Summary:
        """Until the run has ended. Raises ForcedExit on a second signal, ConnectorError."""
        wake_read, wake_write = socket.socketpair()
        wake_write.setblocking(False)
        before = signal.set_wakeup_fd(wake_write.fileno())
        handlers = {n: signal.signal(n, self._signal) for n in (signal.SIGINT, signal.SIGTERM)}
        self._view.start()
        try:
            self._coordinator.begin()
            if self._lines.endpoint:
                self._coordinator.event(f"listening at {self._lines.endpoint} for `roo join`")
            for socket_ in (self._door.socket, *self._lines.sockets):
                self._poller.register(socket_, zmq.POLLIN)
            self._poller.register(wake_read, zmq.POLLIN)
            self._listen_to_stderr()
            while self._coordinator.summary is None:
                self._turn(wake_read)
            self._door.close(GOODBYE_MS)
            self._coordinator.close()
            self._see_workers_end()
            return self._coordinator.summary
        except ForcedExit:
            self._door.close(GOODBYE_MS)  # whoever asked for it gets the answer
            self._lines.close(GOODBYE_MS)
            raise
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
            self._view.stop()
            self._lines.close(0)
            self._context.destroy(0)
            wake_read.close()
            wake_write.close()

    def _turn(self, wake: socket.socket) -> None:
        for ready, _ in self._poller.poll(self._coordinator.tick_ms):
            if ready in self._lines.sockets:
                self._coordinator.hear()
            elif ready is self._door.socket:
                self._door.hear()
            elif ready in self._stderr:
                if not self._stderr.relay(ready):
                    self._coordinator.look_soon()  # its process is gone, most likely
            elif isinstance(ready, int) and ready != wake.fileno():
                continue  # the stderr of a worker that has been replaced
            else:
                wake.recv(64)
                self._coordinator.request_stop()
        self._coordinator.turn()

    def _signal(self, number: int, frame: Any) -> None:
        self._signals += 1
        if self._signals > 1:
            raise ForcedExit(number)
        self._coordinator.event("stopping: finishing what has been read (again to stop at once)")

    def _listen_to_stderr(self) -> None:
        self._stderr.listen(self._workers.processes)

    def _see_workers_end(self) -> None:
        """All was done: a worker that does not end well, or not in time, fails the run."""
        in_time = self._workers.wait()
        self._stderr.relay_the_rest()
        failed = [(worker, code) for worker, code in self._workers.exited() if code]
        if not failed or self._coordinator.has_killed:
            return
        worker, code = failed[0]
        how = say_exit(code) if worker in in_time else "did not end in time"
        error: dict[str, Any] = {
            "kind": "worker",
            "what": f"worker {worker} {how} when all was done and it was to end",
            "hint": "see what it wrote above",
        }
        if any(line.poll(GOODBYE_MS) for line in self._lines.sockets):
            for peer, packed in self._lines.receive():
                if peer.identity.startswith(b"worker-"):
                    message = pickle.loads(packed)
                    if type(message) is control.Failed:
                        worker = int(peer.identity.split(b"-")[2])
                        error = message.error
        self._coordinator.fail_late(worker, error)
