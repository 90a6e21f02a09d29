"""A worker's second thread: says how it goes, and ends the process when the coordinator is gone.

It wakes twice a second, so it costs the hot path nothing, and it goes on while a plugin blocks:
then it looks at the main thread's stack to tell which step is to blame.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import zmq

from roo import clock
from roo.core.fencing import Lease
from roo.runtime import control
from roo.runtime.transport import Control, Site

if TYPE_CHECKING:
    from roo.runtime.worker import Worker

REPORT_EVERY_MS = 500
BUSY_AFTER_S = 1.0


class Activity:
    """What the main thread is at: set for every batch, so as cheap as can be."""

    def __init__(self) -> None:
        self.text = ""
        self.since_s = 0.0

    def begin(self, text: str) -> None:
        """The main thread begins something that may take long."""
        self.since_s = clock.monotonic_s()
        self.text = text

    def end(self) -> None:
        """It is done."""
        self.text = ""


class Watchdog:
    """The thread. identity: on the line to the coordinator. lifeline: a pipe whose other end is the
    coordinator's: it closes when that dies, by whatever means.
    """

    def __init__(self, site: Site, identity: str, lifeline: int) -> None:
        # A context of its own: closing the worker's must not wait for this thread to wake.
        self._context: zmq.Context[Any] = zmq.Context()
        self._site = site
        self._identity = identity
        self._lifeline = lifeline
        self._worker: Worker | None = None
        self._main = threading.main_thread().ident or 0
        self._lease: Lease | None = None
        self._frame: FrameType | None = None
        self._frame_since_s = 0.0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def watch(self, worker: Worker) -> None:
        """From now on report this worker's numbers."""
        if self._site.is_away:
            timeout_ms = int(worker.plan.spec.cluster.timeout_s * 1000)
            self._lease = Lease(timeout_ms, _now_ms())
        self._worker = worker

    def stop(self) -> None:
        """No more reports. The thread itself ends with the process."""
        self._stopping = True

    def _run(self) -> None:
        line: Control | None = None
        poller = zmq.Poller()
        poller.register(self._lifeline, zmq.POLLIN)
        while True:
            if poller.poll(REPORT_EVERY_MS):
                os._exit(1)
            if self._stopping:
                if line is not None:
                    line.close(0)
                return
            if line is not None and not self._may_go_on(line):
                os._exit(1)
            if line is None:
                line = Control(self._context, self._site, self._identity)
                import roo.runtime.moving  # noqa: F401  a change would load it while messages wait
            stats = self._stats()
            if stats is not None:
                line.send(stats)

    def _may_go_on(self, line: Control) -> bool:
        """Whether the coordinator still counts on this worker, as far as the worker knows. It may
        have been paused, and have successors by now.
        """
        while (message := line.receive()) is not None:
            if type(message) is control.NotWanted:
                return False
            if type(message) is control.Heard and self._lease is not None:
                self._lease.heard(int(message.monotonic_s * 1000))
        return self._lease is None or not self._lease.is_over(_now_ms())

    def _stats(self) -> control.WorkerStats | None:
        if self._worker is None:
            return None
        try:
            stats = self._worker.stats()
        except RuntimeError:  # a dict or deque grew while it was being added up; next time, then
            return None
        stats.doing = self._doing(self._worker)
        return stats

    def _doing(self, worker: Worker) -> str:
        """What the main thread has been at for longer than BUSY_AFTER_S, or ""."""
        activity, since_s = worker.activity.text, worker.activity.since_s
        now_s = clock.monotonic_s()
        if not activity or now_s - since_s < BUSY_AFTER_S:
            self._frame = None
            return ""
        name, frame = self._step(worker)
        if frame is None:
            return f"{activity} for {now_s - since_s:.0f} s"
        if frame is not self._frame:  # a new call since the last look: slow, but not stuck
            first = self._frame is None
            self._frame, self._frame_since_s = frame, since_s if first else now_s
        return f"{name} for {now_s - self._frame_since_s:.0f} s"

    def _step(self, worker: Worker) -> tuple[str, FrameType | None]:
        """The step whose function the main thread is in, and that function's frame."""
        frame = sys._current_frames().get(self._main)
        called: FrameType | None = None
        while frame is not None:
            if frame.f_code.co_filename.startswith("<roo "):
                where = worker.stages.code.where.get(frame.f_lineno)
                return (f"step {where.part} ({where.function})" if where else "a step"), called
            called, frame = frame, frame.f_back
        return "", None


def _now_ms() -> int:
    return int(clock.monotonic_s() * 1000)


def cpu_s() -> float:
    """What this process has computed so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def memory_bytes() -> int:
    """Resident memory of this process."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    except OSError:  # not Linux: the high-water mark, in bytes on macOS
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def die_with_parent() -> None:
    """Ask Linux to end this process with its parent, should a plugin hold the interpreter lock."""
    if sys.platform == "linux":
        import ctypes
        import signal

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
