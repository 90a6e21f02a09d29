"""The private folder of a run's sockets."""

from __future__ import annotations

import os
from pathlib import Path

from roo.api import ConnectorError

BASE_BYTES_MAX = 60
"""The path of a socket may have 107 bytes, on macOS 103; beyond this base come the run's folder
and the socket's name.
"""


class RunFolder:
    """A folder for one run's sockets that only this user can enter; gone at the end.

    Folders of runs that died are swept when the next run starts: their name holds the pid.
    """

    def __init__(self) -> None:
        base = _base()
        _sweep(base)
        self._path = _make(base)
        self.path = str(self._path)

    def remove(self) -> None:
        """Remove the folder and everything in it."""
        _remove(self._path)


def alive_folders() -> list[Path]:
    """The folders of this user's runs that are alive."""
    found = []
    for folder in _base().glob("roo-*-*"):
        pid = folder.name.split("-")[1]
        if pid.isdigit() and _alive(int(pid)) and _is_mine(folder):
            found.append(folder)
    return found


def _base() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    temporary = os.environ.get("TMPDIR") or "/tmp"
    base = Path(runtime if runtime and os.access(runtime, os.W_OK) else temporary)
    return Path("/tmp") if len(os.fsencode(base)) > BASE_BYTES_MAX else base


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
