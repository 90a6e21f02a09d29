"""Worker processes: spawned, watched, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType

from roo.runtime.run_folder import RunFolder

MODULE = "roo.runtime.worker_main"
EXIT_DEADLINE_S = 5.0


class Workers:
    """The local worker processes of one run, and the folder of their sockets: a context manager.

    Entering spawns the first ones; they import what they need while the coordinator does the same.
    `respawn` puts new ones in their place, as a further attempt; `spawn` adds some. Leaving kills
    those that are left and removes the folder. Raises ConnectorError where no folder can be made.
    processes: by worker.

    stdin_worker: the one that gets this process's stdin. hear_stderr: what workers write to stderr
    (a plugin's prints, a crash) comes through pipes, for a view that owns the terminal; else they
    write to this process's own. environ: what they find in their environment, this process's and
    what is given besides.
    """

    def __init__(
        self,
        count: int,
        *,
        stdin_worker: int | None,
        hear_stderr: bool,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.count = count
        self.attempt = 1
        self.environ = {**os.environ, **(environ or {})}
        self.stdin_worker = stdin_worker
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self._dismissed: dict[int, subprocess.Popen[bytes]] = {}
        self._gone_by_s: dict[int, float] = {}
        self._hear_stderr = hear_stderr
        # Called with each process that has been seen to end, while its pipes are still open.
        self.reaped: Callable[[subprocess.Popen[bytes]], None] = lambda process: None
        self._run_folder = RunFolder()
        self.folder = self._run_folder.path

    def __enter__(self) -> Workers:
        # The workers' end closes with this process, by whatever means it dies.
        self._lifeline_end, self._lifeline = os.pipe()
        self.spawn(range(self.count), attempt=1)
        return self

    def respawn(self, workers: Iterable[int], attempt: int) -> None:
        """New workers in place of the old ones, which are ended first."""
        self.kill()
        for process in (*self.processes.values(), *self._dismissed.values()):
            self.reaped(process)
            if process.stderr is not None:
                process.stderr.close()
        self.processes.clear()
        self._dismissed.clear()
        self.spawn(workers, attempt)

    def dismiss(self, worker: int, *, kill: bool) -> None:
        """One that is not needed any more: it exits by itself within the deadline, or is ended."""
        process = self.processes.pop(worker, None)
        if process is not None:
            if kill:
                process.kill()
            self._dismissed[worker] = process
            self._gone_by_s[worker] = time.monotonic() + EXIT_DEADLINE_S

    def spawn(self, workers: Iterable[int], attempt: int) -> None:
        """Start some.

        Signals are ignored meanwhile, and so in the workers from their first instruction: a Ctrl-C
        reaches the whole process group, and it is the coordinator that answers it.
        """
        self.attempt = attempt
        before = {s: signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            for index in workers:
                arguments = [self.folder, str(index), str(attempt), str(self._lifeline_end)]
                self.processes[index] = subprocess.Popen(
                    [sys.executable, "-m", MODULE, *arguments],
                    stdin=None if index == self.stdin_worker else subprocess.DEVNULL,
                    stderr=subprocess.PIPE if self._hear_stderr else None,
                    pass_fds=(self._lifeline_end,),
                    env=self.environ,
                )
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        os.close(self._lifeline)
        os.close(self._lifeline_end)
        self._run_folder.remove()

    def exited(self) -> list[tuple[int, int]]:
        """(worker, return code) of every one that is gone."""
        codes = ((index, process.poll()) for index, process in self.processes.items())
        return [(index, code) for index, code in codes if code is not None]

    def left(self) -> list[tuple[int, int]]:
        """(worker, return code) of those that were dismissed and have exited since last asked. Who
        hangs is ended.
        """
        for worker, process in self._dismissed.items():
            if process.poll() is None and time.monotonic() > self._gone_by_s[worker]:
                process.kill()
        gone = [(w, p) for w, p in self._dismissed.items() if p.poll() is not None]
        for worker, process in gone:
            self.reaped(process)
            del self._dismissed[worker]
        return [(worker, process.returncode) for worker, process in gone]

    def kill(self) -> None:
        """End all of them at once."""
        for process in (*self.processes.values(), *self._dismissed.values()):
            if process.poll() is None:
                process.kill()
        self.wait()

    def kill_one(self, worker: int) -> None:
        """End one at once, if it runs here."""
        if worker in self.processes:
            self.processes[worker].kill()

    def wait(self) -> set[int]:
        """Until all have exited; who does not within the deadline is killed. Returns who has."""
        in_time = set()
        for worker, process in (*self.processes.items(), *self._dismissed.items()):
            try:
                process.wait(EXIT_DEADLINE_S)
                in_time.add(worker)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return in_time


def say_exit(code: int) -> str:
    """How a worker ended, in words."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
