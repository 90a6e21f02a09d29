"""Worker processes: spawned, watched, ended; and the private folder of their sockets."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

MODULE = "roo.runtime.worker"
EXIT_DEADLINE_S = 5.0


class RunFolder:
    """A folder for one run's sockets that only this user can enter; gone at the end.

    Folders of runs that died are swept when the next run starts: their name holds the pid.
    """

    def __init__(self) -> None:
        base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
        if not os.access(base, os.W_OK):
            base = Path(tempfile.gettempdir())
        _sweep(base)
        self.path = tempfile.mkdtemp(prefix=f"roo-{os.getpid()}-", dir=base)  # 0700 by contract

    def remove(self) -> None:
        """Remove the folder and everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def _sweep(base: Path) -> None:
    for left in base.glob("roo-*-*"):
        pid = left.name.split("-")[1]
        if not pid.isdigit() or _alive(int(pid)):
            continue
        try:
            if left.stat().st_uid == os.getuid():
                shutil.rmtree(left, ignore_errors=True)
        except OSError:
            continue


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Workers:
    """The local worker processes of one run."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._lifeline_read, self._lifeline_write = os.pipe()
        self.processes: list[subprocess.Popen[bytes]] = []

    def spawn(self, count: int, *, stdin_worker: int | None, hear_stderr: bool) -> None:
        """Start `count` workers. stdin_worker: the one that gets this process's stdin.

        hear_stderr: what workers write to stderr (a plugin's prints, a crash) comes through pipes,
        for a view that owns the terminal; else they write to this process's own.

        Signals are ignored while spawning, and so in the workers from their first instruction: a
        Ctrl-C reaches the whole process group, and it is the coordinator that answers it.
        """
        before = {s: signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            for index in range(count):
                command = [sys.executable, "-m", MODULE, self._folder, str(index)]
                self.processes.append(
                    subprocess.Popen(
                        [*command, str(self._lifeline_read)],
                        stdin=None if index == stdin_worker else subprocess.DEVNULL,
                        stderr=subprocess.PIPE if hear_stderr else None,
                        pass_fds=(self._lifeline_read,),
                    )
                )
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        os.close(self._lifeline_read)

    def exited(self) -> list[tuple[int, int]]:
        """(index, return code) of every worker that is gone."""
        codes = ((index, process.poll()) for index, process in enumerate(self.processes))
        return [(index, code) for index, code in codes if code is not None]

    def kill(self) -> None:
        """End all of them at once."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
        self.wait()

    def wait(self) -> None:
        """Until all have exited; those that do not within the deadline are killed."""
        for process in self.processes:
            try:
                process.wait(EXIT_DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def say_exit(code: int) -> str:
    """How a worker ended, in words."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
