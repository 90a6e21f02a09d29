"""Processes and threads in one real process, on a clock of their own.

Each thread is a greenlet. It runs until it waits for something, or until a system call lets others
go first, as the dice of its process want it. A process can be killed or stopped there: a killed one
gets `Killed`, and every further system call of it raises that again, so nothing it does on its way
out has an effect.
"""

from __future__ import annotations

import heapq
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from random import Random
from typing import Any

import greenlet

CALL_S = 1e-6
"""How long a system call takes: no loop goes round without time going by."""

SIGKILL = -9


class Killed(BaseException):
    """The process of this thread is gone."""


class Exited(BaseException):
    """The process ends itself at once."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Thread:
    """One thread of a process. It is to be started by its process."""

    def __init__(self, process: Process, target: Callable[[], Any], *, main: bool) -> None:
        self.process = process
        self.is_main = main
        self._target = target
        self._turn = 0
        self._is_woken = False
        self.greenlet = greenlet.greenlet(self._run, process.scheduler.hub)

    def _run(self) -> None:
        try:
            code = self._target()
        except Killed:
            return
        except Exited as exited:
            self.process.end(exited.code)
        except BaseException:
            self.process.scheduler.crashes.append((self.process.name, traceback.format_exc()))
            if self.is_main:
                self.process.end(1)
        else:
            if self.is_main:
                self.process.end(code or 0)

    def wait(self, until_s: float = inf) -> None:
        """Let others run until that time, or until somebody wakes this thread."""
        scheduler = self.process.scheduler
        self._turn += 1
        if until_s < inf:
            scheduler.at(until_s, partial(self._go_on, self._turn))
        scheduler.hub.switch()
        if not self.process.is_alive:
            raise Killed

    def wake(self) -> None:
        """What it waits for may have happened: it will look soon."""
        scheduler = self.process.scheduler
        scheduler.at(scheduler.now_s + self.process.latency_s(), partial(self._go_on, self._turn))

    def _go_on(self, turn: int) -> None:
        if turn != self._turn or not self.process.is_alive:
            return
        if self.process.is_stopped:
            self._is_woken = True
            return
        self._turn += 1
        self._is_woken = False
        scheduler = self.process.scheduler
        scheduler.current = self
        self.greenlet.switch()
        scheduler.current = None

    def go_on_after_stop(self) -> None:
        """The process is not stopped any more."""
        if self._is_woken:
            self.wake()


class Process:
    """A process on a machine. code: how it ended; None: it has not. calls: of files, so far. run:
    the run of Roo under way when it was born.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        name: str,
        machine: str,
        environ: Mapping[str, str],
        parent: Process | None = None,
    ) -> None:
        self.scheduler = scheduler
        self.name = name
        self.machine = machine
        self.environ = dict(environ)
        self.parent = parent
        self.children: list[Process] = []
        self.dies_with_parent = False
        self.code: int | None = None
        self.is_stopped = False
        self.run = scheduler.run
        self.calls = 0
        self.handlers: dict[int, Any] = {}
        self.dice = Random(f"{scheduler.seed} {name}")
        self.fate = Random(f"{scheduler.seed} {name} fate")
        self.at_end: list[Callable[[], None]] = []
        self._threads: list[Thread] = []
        if parent is not None:
            parent.children.append(self)
        scheduler.processes.append(self)

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.code is None

    def latency_s(self) -> float:
        """How long something takes that takes no time: sometimes longer."""
        dice = self.dice.random()
        return dice * 1e-4 if dice < 0.9 else self.dice.random() * self.scheduler.lag_s

    def start(self, target: Callable[[], Any], *, main: bool = False) -> None:
        """Another thread. main: the process ends when this one does, with what it returns."""
        thread = Thread(self, target, main=main)
        self._threads.append(thread)
        thread.wake()

    def enter(self) -> None:
        """A system call begins. Raises Killed. Others may go first."""
        if not self.is_alive:
            raise Killed
        scheduler = self.scheduler
        scheduler.now_s += CALL_S
        thread = scheduler.current
        if thread is not None and self.dice.random() < scheduler.preempts:
            thread.wait(scheduler.now_s + self.latency_s())

    def sleep(self, seconds: float) -> None:
        """The thread that runs waits so long."""
        thread = self.scheduler.current
        assert thread is not None
        end_s = self.scheduler.now_s + seconds
        while self.scheduler.now_s < end_s:
            thread.wait(end_s)

    def stop(self) -> None:
        """As SIGSTOP does: the thread that runs goes on to its next system call."""
        self.is_stopped = self.is_alive

    def go_on(self) -> None:
        """As SIGCONT does."""
        if self.is_stopped:
            self.is_stopped = False
            for thread in self._threads:
                thread.go_on_after_stop()

    def kill(self) -> None:
        """As SIGKILL does. Raises Killed in a thread of the process itself."""
        self.end(SIGKILL)
        running = self.scheduler.current
        if running is not None and running.process is self:
            raise Killed

    def signal(self, number: int) -> None:
        """As a signal does that the process handles."""
        if self.is_alive and number in self.handlers:
            self.handlers[number](number, None)

    def end(self, code: int) -> None:
        """It is over with it: other threads unwind, and have no effect."""
        if not self.is_alive:
            return
        self.code = code
        running = self.scheduler.current
        for thread in self._threads:
            if thread is not running and thread.greenlet:
                self.scheduler.current = thread
                thread.greenlet.parent = greenlet.getcurrent()
                thread.greenlet.throw(Killed)
        self.scheduler.current = running
        for child in self.children:
            if child.dies_with_parent:
                child.end(SIGKILL)
        for call in self.at_end:
            call()


class Scheduler:
    """What happens when. current: the thread that runs; None: the world does.

    lag_s: how long something that is usually quick takes at most. preempts: how likely a system
    call lets others go first. crashes: (process, traceback) of what nobody expected.
    """

    def __init__(self, seed: int | str) -> None:
        self.seed = seed
        self.now_s = 1_000.0
        self.lag_s = 0.002
        self.preempts = 0.05
        self.is_linux = True
        self.run = 0
        self.current: Thread | None = None
        self.processes: list[Process] = []
        self.crashes: list[tuple[str, str]] = []
        self.hub = greenlet.getcurrent()
        self._number = 0
        self._coming: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, when_s: float, call: Callable[[], None]) -> None:
        """Something is to happen."""
        self._number += 1
        heapq.heappush(self._coming, (when_s, self._number, call))

    def step(self) -> bool:
        """The next thing happens; False: nothing will ever happen again."""
        if not self._coming:
            return False
        when_s, _, call = heapq.heappop(self._coming)
        self.now_s = max(self.now_s, when_s)
        call()
        return True


class Queue:
    """As `queue.SimpleQueue`, for simulated threads."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._items: list[Any] = []
        self._waits: list[Thread] = []

    def put(self, item: Any) -> None:
        """Never blocks."""
        self._items.append(item)
        waits, self._waits = self._waits, []
        for thread in waits:
            thread.wake()

    def get(self) -> Any:
        """The oldest item, when there is one."""
        while not self._items:
            thread = self._scheduler.current
            assert thread is not None
            self._waits.append(thread)
            thread.wait()
        return self._items.pop(0)

    def qsize(self) -> int:
        """How many items wait."""
        return len(self._items)

    def empty(self) -> bool:
        """Whether none does."""
        return not self._items


class Event:
    """As `threading.Event`, for simulated threads."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._is_set = False
        self._waits: list[Thread] = []

    def is_set(self) -> bool:
        """Whether it is."""
        return self._is_set

    def set(self) -> None:
        """It is, from now on."""
        self._is_set = True
        waits, self._waits = self._waits, []
        for thread in waits:
            thread.wake()

    def clear(self) -> None:
        """It is not, from now on."""
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Until it is set, or that long."""
        end_s = inf if timeout is None else self._scheduler.now_s + timeout
        while not self._is_set and self._scheduler.now_s < end_s:
            thread = self._scheduler.current
            assert thread is not None
            self._waits.append(thread)
            thread.wait(end_s)
        return self._is_set
