"""The calls that touch files, as simulated processes make them: each may fail, and when it does.

A fault is data, `Fault`: so that a run can be repeated with fewer of them. They are drawn as a run
goes, by the dice of the process that calls, or given.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from roo import disk
from tests.sim.filesystem import FileSystem, Inode
from tests.sim.processes import Process, Scheduler

SHARED = "shared"
"""The folder that all machines have in common."""

HERE = os.getcwd()  # noqa: PTH109

OF_PATHS = {"open": 1, "stat": 1, "unlink": 1, "listdir": 1, "makedirs": 1, "replace": 2,
            "link": 2}  # fmt: skip
"""How many of a call's arguments are paths."""

WRITING = {"write", "pwrite", "ftruncate", "copy_file_range", "replace", "link", "unlink",
           "makedirs"}  # fmt: skip

RARER = 8

KINDS = ("refuse", "after", "short", "slow", "kill before", "kill after", "pause before",
         "pause after", "suspend before", "suspend after", "power before",
         "power after")  # fmt: skip


class Fault(NamedTuple):
    """What goes wrong with the call of that number of a process. ms: how long, where it is slow."""

    process: str
    call: int
    kind: str
    ms: int = 0


@dataclass
class Faults:
    """given: those there are; None: they are drawn, `rate` of a thousand calls, and `most` of them.
    happened: those that there were. made: every call, as (process, its number, name).
    """

    given: dict[tuple[str, int], Fault] | None = None
    rate: float = 0.0
    most: int = 0
    kinds: tuple[str, ...] = KINDS
    happened: list[Fault] = field(default_factory=list)
    made: list[tuple[str, int, str]] = field(default_factory=list)

    @classmethod
    def of(cls, faults: Iterable[Fault]) -> Faults:
        """These, and no others."""
        return cls({(fault.process, fault.call): fault for fault in faults})

    def next(self, process: Process, name: str) -> Fault | None:
        """Of the call that the process makes now. Those that change nothing fail less often."""
        process.calls += 1
        self.made.append((process.name, process.calls, name))
        rate = self.rate if name in WRITING or name == "fsync" else self.rate / RARER
        if self.given is not None:
            fault = self.given.get((process.name, process.calls))
        elif len(self.happened) < self.most and process.fate.random() * 1000 < rate:
            kind = process.fate.choice(self.kinds)
            ms = int(10 ** process.fate.uniform(0, 3.7))
            if kind.startswith("suspend"):
                ms = 1_000 + ms // 20
            fault = Fault(process.name, process.calls, kind, ms)
        else:
            fault = None
        if fault is not None:
            self.happened.append(fault)
        return fault


class Calls:
    """Stands in for `roo.disk`. Calls of the world itself, outside any process, never fail.

    full, read_only: machines whose disk is. say: told of each fault; told: of every other call, in
    words; seen: of every one that has worked, and what came of it. lose_power: makes the power
    fail, everywhere.
    """

    def __init__(
        self, system: FileSystem, scheduler: Scheduler, faults: Faults, say: Callable[[str], None]
    ) -> None:
        self.system = system
        self.full: set[str] = set()
        self.read_only: set[str] = set()
        self.lose_power: Callable[[], None] = lambda: None
        self.told: Callable[[str], None] | None = None
        self.seen: Callable[[Process, str, tuple[Any, ...], Any], None] = lambda *_: None
        self._scheduler = scheduler
        self._faults = faults
        self._say = say
        self._locks: dict[int, tuple[Inode, Process, bool]] = {}
        for name in {*disk.CALLS, "link"} - {"realpath"}:
            setattr(self, name, partial(self._call, name))

    def on_machine(self, machine: str, path: Any) -> str:
        """Where the path of a process on a machine leads to."""
        text = os.fspath(path).removeprefix(HERE).lstrip("/")
        return f"/{text}" if text.split("/")[0] == SHARED else f"/{machine}/{text}"

    def realpath(self, path: Any) -> str:
        """As a process says it: without its machine."""
        return "/" + os.fspath(path).removeprefix(HERE).lstrip("/")

    def flock(self, descriptor: int, how: int) -> None:
        """As `fcntl.flock`: a lock goes with its descriptor, or with its process."""
        inode = self.system.inode_of(descriptor)
        assert self._scheduler.current is not None
        process = self._scheduler.current.process
        process.enter()
        for other, (locked, holder, exclusive) in self._locks.items():
            others = locked is inode and other != descriptor and holder.is_alive
            if others and (exclusive or how & fcntl.LOCK_EX):
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self._locks[descriptor] = (inode, process, bool(how & fcntl.LOCK_EX))

    def _call(self, name: str, *arguments: Any, **named: Any) -> Any:
        thread = self._scheduler.current
        real = getattr(self.system, name)
        if thread is None:
            return real(*arguments, **named)
        process = thread.process
        process.enter()
        paths = OF_PATHS.get(name, 0)
        placed = [self.on_machine(process.machine, a) for a in arguments[:paths]]
        arguments = (*placed, *arguments[paths:])
        if name == "close":
            self._locks.pop(arguments[0], None)
        fault = self._faults.next(process, name)
        if fault is not None:
            self._say(f"{process.name}: {name} {_shown(arguments)}: {fault.kind}")
            call = partial(real, *arguments, **named)
            return self._faulty(process, fault, name, call, arguments)
        if self.told is not None:
            self.told(f"{process.name}: {name} {_shown(arguments)}")
        self._refuse(process, name, arguments)
        made = real(*arguments, **named)
        self.seen(process, name, arguments, made)
        return made

    def _refuse(self, process: Process, name: str, arguments: tuple[Any, ...]) -> None:
        """A full disk takes no more bytes and no new names, a read-only one nothing."""
        grows = name in ("write", "pwrite", "copy_file_range", "replace", "link") or (
            name == "open" and arguments[1] & os.O_CREAT and not self.system.exists(arguments[0])
        )
        writes = name == "open" and arguments[1] & os.O_ACCMODE != os.O_RDONLY
        if process.machine in self.read_only and (name in WRITING or grows or writes):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if process.machine in self.full and grows:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _faulty(
        self, process: Process, fault: Fault, name: str, real: Callable[[], Any],
        arguments: tuple[Any, ...],
    ) -> Any:  # fmt: skip
        match fault.kind:
            case "refuse":
                if name == "fsync":
                    self.system.drop_dirty(arguments[0])
                if name == "close":  # it is closed all the same
                    real()
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            case "kill before":
                process.kill()
            case "power before":
                self.lose_power()
            case "pause before":
                self._pause(process, [process], fault.ms)
            case "suspend before":
                self._pause(process, self._on_its_machine(process), fault.ms)
            case "slow":
                process.sleep(fault.ms / 1000)
            case "short" if name in ("write", "pwrite") and len(arguments[1]) > 1:
                data = arguments[1][: len(arguments[1]) // 2]
                made = getattr(self.system, name)(arguments[0], data, *arguments[2:])
                self.seen(process, name, (arguments[0], data, *arguments[2:]), made)
                return made
        made = real()
        self.seen(process, name, arguments, made)
        match fault.kind:
            case "after":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            case "kill after":
                process.kill()
            case "power after":
                self.lose_power()
            case "pause after":
                self._pause(process, [process], fault.ms)
            case "suspend after":
                self._pause(process, self._on_its_machine(process), fault.ms)
        return made

    def _on_its_machine(self, process: Process) -> list[Process]:
        return [p for p in self._scheduler.processes if p.machine == process.machine]

    def _pause(self, running: Process, processes: list[Process], ms: int) -> None:
        """They are stopped, and go on after a while; the one that runs with this very call."""
        for process in processes:
            process.stop()
            self._scheduler.at(self._scheduler.now_s + ms / 1000, process.go_on)
        running.sleep(1e-6)


def _shown(arguments: tuple[Any, ...]) -> str:
    said = (bytes(a) if isinstance(a, memoryview) else a for a in arguments)
    return " ".join(a if isinstance(a, str) else repr(a)[:40] for a in said)
