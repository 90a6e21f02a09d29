"""Worker processes: spawned, watched, ended; and the private folder of their sockets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from roo.api import ConnectorError

MODULE = "roo.runtime.worker"
EXIT_DEADLINE_S = 5.0


class RunFolder:
    """A folder for one run's sockets that only this user can enter; gone at the end.

    Folders of runs that died are swept when the next run starts: their name holds the pid.
    """

    def __init__(self) -> None:
        runtime = os.environ.get("XDG_RUNTIME_DIR", "")
        temporary = os.environ.get("TMPDIR") or "/tmp"
        base = Path(runtime if runtime and os.access(runtime, os.W_OK) else temporary)
        _sweep(base)
        self._path = _make(base)
        self.path = str(self._path)

    def remove(self) -> None:
        """Remove the folder and everything in it."""
        _remove(self._path)


def _make(base: Path) -> Path:
    for number in range(1000):
        path = base / f"roo-{os.getpid()}-{number}"
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        except OSError as error:
            what = f"can't make a folder in {base}: {os.strerror(error.errno or 0)}"
            raise ConnectorError(what, "set TMPDIR to a folder that can be written",
                                 environment=True) from error  # fmt: skip
        return path
    raise ConnectorError(f"{base} is full of run folders", f"remove {base}/roo-*", environment=True)


def _remove(path: Path) -> None:
    """A run folder holds sockets and no folders."""
    try:
        for entry in path.iterdir():
            entry.unlink(missing_ok=True)
        path.rmdir()
    except OSError:
        pass  # somebody else's, or gone already


def _sweep(base: Path) -> None:
    for left in base.glob("roo-*-*"):
        pid = left.name.split("-")[1]
        if pid.isdigit() and not _alive(int(pid)) and _is_mine(left):
            _remove(left)


def _is_mine(path: Path) -> bool:
    try:
        return path.is_dir() and not path.is_symlink() and path.stat().st_uid == os.getuid()
    except OSError:
        return False


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
