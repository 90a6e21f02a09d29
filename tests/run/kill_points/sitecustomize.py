"""Dies, or lets another process die, at a named point of Roo's code: exactly once.

Python imports this at its start where the folder is on PYTHONPATH. ROO_KILL says what is to happen,
as JSON: `point` (one of POINTS, or one that a plugin calls), `host` (who gets there: a worker's
number or "coordinator"), `victim` (who dies), `nth` (at which time of getting there), `flag` (a
file that is made first: whoever takes the victim's place does not die again).

ROO_FAULTS makes calls of `roo.disk` go wrong, as a JSON list: `call` (one of `disk.CALLS`), `part`
(of the path), `host`, `nth` and `count` (at which times), `how` ("refuse", "after": it works and
says that it has not, or "slow"), `errno`, and `slow_s`. Each process counts for itself. `flag`: a
file that is made when it strikes; no process is struck once it is there.
"""

from __future__ import annotations

import builtins
import errno
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

POINTS: dict[str, tuple[str, str, str]] = {
    "reading": ("roo.runtime.readers", "Readers.read", "after"),
    "snapshot": ("roo.runtime.snapshots", "Snapshots._write", "after"),
    "files are there": ("roo.runtime.snapshots", "Snapshots._finish", "after"),
    "before the rename": ("roo.checkpoint.folder", "Folder.commit", "before"),
    "after the rename": ("roo.checkpoint.folder", "Folder.commit", "after"),
    "restore": ("roo.runtime.resume", "restore_states", "after"),
    "before the barrier": ("roo.runtime.coordinator", "Coordinator._open_barrier", "before"),
    "state streams": ("roo.runtime.parcels", "Parcels.give", "after"),
    "last slice": ("roo.runtime.parcels", "Parcels.end", "after"),
}


def who(pid: int | str) -> str:
    """A worker's number, "coordinator", or "" for anything else."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return ""
    if "roo.runtime.worker_main" in words:
        return words[words.index("roo.runtime.worker_main") + 2]
    return "coordinator" if "roo" in words and "run" in words else ""


class Trap:
    """Counts how often its process gets to the point."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.point: str = facts["point"]
        self._facts = facts
        self._host = who("self") == str(facts["host"])
        self._count = 0

    def here(self, point: str) -> None:
        """This process is at a point."""
        if not self._host or point != self.point or Path(self._facts["flag"]).exists():
            return
        self._count += 1
        if self._count != self._facts["nth"]:
            return
        victim = self._pid(str(self._facts["victim"]))
        os.close(os.open(self._facts["flag"], os.O_CREAT | os.O_EXCL))
        os.kill(victim, signal.SIGKILL)
        if victim == os.getppid():  # stay at the point, as everything does when a machine dies
            signal.pause()

    def _pid(self, name: str) -> int:
        if name == who("self"):
            return os.getpid()
        if name == "coordinator":
            return os.getppid()
        parent = os.getpid() if who("self") == "coordinator" else os.getppid()
        tasks = Path(f"/proc/{parent}/task")
        children = " ".join((task / "children").read_text() for task in tasks.iterdir()).split()
        return next(int(child) for child in children if who(child) == name)


def watch(trap: Trap) -> None:
    """Put the trap into the function that a point names."""
    module_name, path, when = POINTS[trap.point]
    owner: Any = import_module(module_name)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    function: Callable[..., Any] = getattr(owner, name)

    @wraps(function)
    def watched(*words: Any, **options: Any) -> Any:
        if when == "before":
            trap.here(trap.point)
        result = function(*words, **options)
        if when == "after":
            trap.here(trap.point)
        return result

    setattr(owner, name, watched)


class Fault:
    """One call that goes wrong for some paths."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self._facts = facts
        self._left = facts.get("nth", 1)
        self._count = facts.get("count", 1)

    def watch(self, disk: Any) -> None:
        """Put it in the place of the call."""
        name = self._facts["call"]
        real = getattr(disk, name)

        @wraps(real)
        def faulty(what: Any, *words: Any, **options: Any) -> Any:
            path = Path(f"/proc/self/fd/{what}").readlink() if isinstance(what, int) else what
            paths = " ".join(map(str, [path, *(word for word in words if isinstance(word, Path))]))
            if self._facts["part"] not in paths or not self._strikes():
                return real(what, *words, **options)
            print(f"fault: {name} {path}", file=sys.stderr, flush=True)
            how = self._facts.get("how", "refuse")
            if how == "slow":
                time.sleep(self._facts["slow_s"])
                return real(what, *words, **options)
            if how == "after":
                real(what, *words, **options)
            number = self._facts.get("errno", errno.EIO)
            raise OSError(number, os.strerror(number))

        setattr(disk, name, faulty)

    def _strikes(self) -> bool:
        flag = self._facts.get("flag")
        if flag and Path(flag).exists():
            return False
        if self._left > 1:
            self._left -= 1
            return False
        self._count -= 1
        if flag and self._count >= 0:
            os.close(os.open(flag, os.O_CREAT | os.O_WRONLY))
        return self._count >= 0


for the_fault in json.loads(os.environ.get("ROO_FAULTS", "[]")):
    if who("self") == str(the_fault["host"]):
        Fault(the_fault).watch(import_module("roo.disk"))

if "ROO_KILL" in os.environ and who("self"):
    the_trap = Trap(json.loads(os.environ["ROO_KILL"]))
    builtins.kill_point = the_trap.here  # type: ignore[attr-defined]
    if the_trap.point in POINTS:
        watch(the_trap)
