"""What stands in for the system while a world is simulated: all of it, in one place.

Nothing of Roo's own is replaced, only what its modules take from Python and ZeroMQ, and the numbers
that say how much is done at once. `install` puts it there, once for a (real) process; `System` is
the world that answers.
"""

from __future__ import annotations

import contextlib
import fcntl
import fnmatch
import gc
import glob
import importlib
import os
import pkgutil
import queue
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from math import inf
from random import Random
from types import ModuleType
from typing import Any

import zmq

import roo
from roo import clock, disk
from roo.core.worker import WorkerCore
from tests.sim.calls import Calls
from tests.sim.filesystem import FIRST_DESCRIPTOR
from tests.sim.links import Context, Lifeline, Network, Poller
from tests.sim.processes import Event, Exited, Process, Queue, Scheduler

TINY = {
    "BATCH_BYTES": 96,
    "PAGE_KEYS": 4,
    "SLICE_KEYS": 2,
    "KEYS_AT_ONCE": 2,
    "GROUP_KEYS_FIRST": 2,
    "GROUP_KEYS_MAX": 2,
    "BLOCK_BYTES": 64,
    "CHAIN_FILES_MAX": 4,
    "ALL_FROM": 0.9,
    "SMALL_BYTES": 0,
    "AHEAD_KEYS": 4,
    "TIDY_BATCHES": 4,
    "TIDY_KEYS": 4,
    "WINDOW_MESSAGES": 10,
    "WINDOW_BATCHES": 6,
    "WINDOW_MESSAGES_FIRST": 4,
    "READ_BYTES": 128,
    "FEW_KEYS": 2,
    "LOOK_EVERY_MS": 25,
    "REPORT_EVERY_MS": 25,
}
"""Module constants: tiny, so that a small world has many of everything."""


class System:
    """The world that answers. None is `here` outside of one."""

    here: System | None = None

    def __init__(self, scheduler: Scheduler, network: Network, calls: Calls) -> None:
        self.scheduler = scheduler
        self.network = network
        self.calls = calls
        self.dice = Random(f"{scheduler.seed} system")
        self.programs: dict[str, Callable[[list[str]], Any]] = {}

    @contextlib.contextmanager
    def is_here(self) -> Iterator[None]:
        """It answers for a while."""
        install()
        System.here = self
        try:
            with disk.stand_in(self.calls):
                yield
        finally:
            System.here = None

    @property
    def process(self) -> Process:
        """The one that asks."""
        assert self.scheduler.current is not None
        return self.scheduler.current.process


def _here() -> System:
    assert System.here is not None
    return System.here


class _Stand:
    """A module, in part another one. Everything else is as it is in the real one."""

    def __init__(self, real: ModuleType, **names: Any) -> None:
        self._real = real
        self.__dict__.update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def _monotonic_s() -> float:
    system = System.here
    if system is None:
        return time.monotonic()
    system.scheduler.now_s += 1e-6
    return system.scheduler.now_s


class _Popen:
    """A child process: a program that the world knows, by its module."""

    stderr = None

    def __init__(self, command: list[str], *, env: dict[str, str], **options: Any) -> None:
        system, parent = _here(), _here().process
        module, arguments = command[2], command[3:]
        name = f"{parent.name}/{arguments[1]}.{arguments[2]}"
        self._process = Process(system.scheduler, name, parent.machine, env, parent)
        self._process.start(lambda: system.programs[module](arguments), main=True)
        self._process.at_end.append(self._wake)
        self._parent = parent
        self._waits: list[Any] = []
        self.pid = id(self._process) % 30_000

    @property
    def returncode(self) -> int | None:
        return self._process.code

    def _wake(self) -> None:
        for thread in self._waits:
            thread.wake()

    def poll(self) -> int | None:
        return self._process.code

    def kill(self) -> None:
        self._parent.enter()
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int:
        scheduler = _here().scheduler
        end_s = inf if timeout is None else scheduler.now_s + timeout
        self._parent.enter()
        while self._process.code is None:
            if scheduler.now_s >= end_s:
                raise subprocess.TimeoutExpired("simulated", timeout or 0.0)
            assert scheduler.current is not None
            self._waits.append(scheduler.current)
            scheduler.current.wait(end_s)
        return self._process.code


class _Thread:
    """A thread of the process that makes it."""

    def __init__(self, *, target: Callable[..., Any], args: Any = (), **options: Any) -> None:
        self._target, self._arguments = target, args

    def start(self) -> None:
        _here().process.start(lambda: self._target(*self._arguments))


class _Reach:
    """Every address can be reached, unless the link to it is cut."""

    def __init__(self) -> None:
        self._answers: list[tuple[int, int, str]] = []

    def ask(self, worker: int, attempt: int, host: str, port: int) -> None:
        self._answers.append((worker, attempt, ""))

    def answers(self) -> list[tuple[int, int, str]]:
        answers, self._answers = self._answers, []
        return answers


def _exit(code: int) -> None:
    raise Exited(code)


def _pipe() -> tuple[int, int]:
    system = _here()
    number = system.network.port()
    Poller.lifelines[number] = Lifeline(system.process)
    return number, number


def _die_with_parent() -> None:
    """As the kernel does it. (Elsewhere than on Linux it does not: the lifeline has to do.)"""
    system = _here()
    system.process.dies_with_parent = system.scheduler.is_linux


def _signal(number: int, handler: Any) -> Any:
    if System.here is None:
        return signal.signal(number, handler)
    process = _here().process
    before = process.handlers.get(number, signal.SIG_DFL)
    process.handlers[number] = handler
    return before


def _is_ours(path: Any) -> bool:
    return not os.fspath(path).startswith(("/tmp", "/dev/shm", "/proc"))


def _of_files(name: str) -> Callable[..., Any]:
    """A function of `os`: on simulated files, or on real ones (the run's private folder)."""
    real = getattr(os, name)

    def call(what: Any, *arguments: Any, **named: Any) -> Any:
        if System.here is None or (
            what < FIRST_DESCRIPTOR if isinstance(what, int) else not _is_ours(what)
        ):
            return real(what, *arguments, **named)
        return getattr(_here().calls, name)(what, *arguments, **named)

    return call


class _Os(_Stand):
    @property
    def environ(self) -> Any:
        return os.environ if System.here is None else _here().process.environ


def _glob(pattern: str, **options: Any) -> list[str]:
    """Of the names in one folder."""
    folder, name = os.path.split(pattern)
    return [f"{folder}/{n}" for n in disk.listdir(folder) if fnmatch.fnmatch(n, name)]


def _close(descriptor: int) -> None:
    if System.here is not None and descriptor in Poller.lifelines:
        return
    _of_files("close")(descriptor)


def _stand_ins() -> dict[int, Any]:
    """By the id of what is replaced."""
    nothing = lambda *arguments, **named: None  # noqa: E731
    from roo.runtime import digests, machine, reach, watchdog

    files = {name: _of_files(name) for name in disk.CALLS if name not in ("close", "realpath")}
    thread = _Stand(threading, Thread=_Thread, Event=lambda: Event(_here().scheduler))
    times = _Stand(
        time, monotonic=_monotonic_s, sleep=lambda s: _here().process.sleep(s), time=_monotonic_s
    )
    signals = _Stand(signal, signal=_signal, set_wakeup_fd=lambda fd: -1, setitimer=nothing)
    poller = lambda: Poller(_here().network)  # noqa: E731
    context = lambda: Context(_here().network, _here().process)  # noqa: E731
    return {
        id(os): _Os(
            os,
            **files,
            close=_close,
            pipe=_pipe,
            _exit=_exit,
            dup=lambda fd: fd,
            dup2=nothing,
            getpid=lambda: 1,
        ),
        id(glob): _Stand(glob, glob=_glob),
        id(sys): _Stand(sys, path=[]),
        id(gc): _Stand(gc, freeze=nothing, enable=nothing, disable=nothing, set_threshold=nothing),
        id(zmq): _Stand(zmq, Poller=poller, Context=context),
        id(time): times,
        id(signal): signals,
        id(secrets): _Stand(
            secrets, token_hex=lambda n: f"{_here().dice.getrandbits(8 * n):0{2 * n}x}"
        ),
        id(threading): thread,
        id(subprocess): _Stand(subprocess, Popen=_Popen),
        id(socket): _Stand(socket, gethostname=lambda: _here().process.machine),
        id(fcntl): _Stand(fcntl, flock=lambda fd, how: _here().calls.flock(fd, how)),
        id(queue.SimpleQueue): lambda: Queue(_here().scheduler),
        id(reach.Reach): _Reach,
        id(watchdog.die_with_parent): _die_with_parent,
        id(watchdog.memory_bytes): lambda: 0,
        id(watchdog.cpu_s): lambda: 0.0,
        id(machine.machine): lambda: _here().process.machine,
        id(digests.digests): lambda modules: {},
    }


def install() -> None:
    """Put everything in its place; the second time nothing is left to do."""
    if clock.monotonic_s is _monotonic_s:
        return
    for _, name, _ in pkgutil.walk_packages(roo.__path__, "roo."):
        if not name.endswith("__main__"):
            importlib.import_module(name)
    replaced = _stand_ins()
    for module in [m for name, m in sys.modules.items() if name.startswith("roo.")]:
        if module is disk or (
            module.__name__.startswith("roo.cli") and module.__name__ != "roo.cli.resuming"
        ):
            continue
        for name, value in list(vars(module).items()):
            if id(value) in replaced and not name.startswith("__"):
                setattr(module, name, replaced[id(value)])
            elif name in TINY and isinstance(value, int | float):
                setattr(module, name, TINY[name])
    WorkerCore.__init__.__kwdefaults__.update(
        window_messages=TINY["WINDOW_MESSAGES"], window_batches=TINY["WINDOW_BATCHES"]
    )
    clock.monotonic_s = _monotonic_s
    clock.monotonic_ns = lambda: int(_monotonic_s() * 1e9)
    clock.utc_now = lambda: "2026-01-01T00:00:00+00:00"
