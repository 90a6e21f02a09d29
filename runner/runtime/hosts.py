"""The coordinator's side of other machines: who has joined, and what runs there."""

from __future__ import annotations

import os
import pickle
import platform
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import roo
from roo import clock, disk
from roo.plan.model import Plan
from roo.runtime.digests import digests, modules_of
from roo.runtime.lines import Peer

TOKEN = "host-token"
"""What a machine has to find in the checkpoint folder, so that the folder is the same one."""

Tell = Callable[[Peer, bytes], None]


class HostHello(NamedTuple):
    """A machine wants to join, with so many workers. address: where others reach it."""

    name: str
    roo_version: str
    python_version: str
    address: str
    workers: int


class HostWelcome(NamedTuple):
    """What the machine has to have. token: what it has to find in the checkpoint folder."""

    pipeline: str
    modules: dict[str, str]
    checkpoints: Path | None
    token: str
    timeout_s: float


class HostJoin(NamedTuple):
    """It has all of that."""


class HostSpawn(NamedTuple):
    """Start these workers."""

    workers: tuple[int, ...]
    attempt: int


class HostKill(NamedTuple):
    """End these workers at once; None: all."""

    workers: tuple[int, ...] | None


class HostEnd(NamedTuple):
    """It is not needed any more. why: "" where all is well."""

    why: str


class HostExited(NamedTuple):
    """A worker there has exited."""

    worker: int
    attempt: int
    code: int


class HostLeave(NamedTuple):
    """Its workers are to leave, each in peace."""


class HostNews(NamedTuple):
    """What has become of the change that it asked for: an answer of the door, as JSON."""

    answer: bytes


class HostPing(NamedTuple):
    """A sign of life, both ways."""


@dataclass
class Host:
    """One machine. wants: workers that it offers and that do not run yet."""

    peer: Peer
    name: str
    address: str
    wants: int
    heard_s: float
    workers: set[int] = field(default_factory=set)
    joined: bool = False


class Hosts:
    """All machines but this one.

    tell: sends a pickled message to one. join: called when a machine that has everything wants so
    many workers to join; leave: when it wants them to leave; exited: when one there has exited.
    """

    def __init__(
        self,
        plan: Plan,
        checkpoints: Path | None,
        tell: Tell,
        join: Callable[[Host], None],
        leave: Callable[[Host], None],
        exited: Callable[[int, int, int], None],
    ) -> None:
        self._plan = plan
        self._checkpoints = checkpoints
        self._tell = tell
        self._join = join
        self._leave = leave
        self._exited = exited
        self._hosts: dict[Peer, Host] = {}
        self._token = secrets.token_hex(8)
        self._pinged_s = 0.0

    def hear(self, peer: Peer, message: Any) -> None:
        """Take in what a machine says."""
        host = self._hosts.get(peer)
        if host is not None:
            host.heard_s = clock.monotonic_s()
        match message:
            case HostHello():
                self._hello(peer, message)
            case HostJoin() if host is not None and not host.joined:
                host.joined = True
                self._join(host)
            case HostLeave() if host is not None:
                self._leave(host)
            case HostExited(worker, attempt, code) if host is not None:
                if worker in host.workers:
                    self._exited(worker, attempt, code)
            case HostPing() if host is None:
                # It was given up, and does not know: it may have been paused.
                self._say(peer, HostEnd("it had given no sign of life, and others do its work"))

    def _hello(self, peer: Peer, hello: HostHello) -> None:
        ours = (roo.__version__, platform.python_version_tuple()[:2])
        theirs = (hello.roo_version, tuple(hello.python_version.split(".")[:2]))
        if ours != theirs:
            why = (
                f"this run is Roo {roo.__version__} on Python {platform.python_version()}, and "
                f"{hello.name} has Roo {hello.roo_version} on Python {hello.python_version}"
            )
            self._say(peer, HostEnd(why))
            return
        token = ""
        if self._checkpoints is not None:
            token = self._token
            try:
                disk.write_file(self._checkpoints / TOKEN, token.encode())
            except OSError as error:
                said = os.strerror(error.errno or 0).lower()
                self._say(peer, HostEnd(f"it can't write to {self._checkpoints}: {said}"))
                return
        self._hosts[peer] = Host(
            peer, hello.name, hello.address, hello.workers, clock.monotonic_s()
        )
        self._say(peer, HostWelcome(
            self._plan.spec.name, digests(modules_of(self._plan)),
            self._checkpoints, token, self._plan.spec.cluster.timeout_s,
        ))  # fmt: skip

    def has(self, host: Host) -> bool:
        """Whether a machine is still there."""
        return host.peer in self._hosts

    def host_of(self, worker: int) -> Host | None:
        """The machine that a worker runs on; None: this one."""
        return next((host for host in self._hosts.values() if worker in host.workers), None)

    def spawn(self, host: Host, workers: Iterable[int], attempt: int) -> None:
        """Start workers there."""
        workers = tuple(workers)
        host.workers |= set(workers)
        self._say(host.peer, HostSpawn(workers, attempt))

    def respawn(self, workers: Iterable[int], attempt: int) -> list[int]:
        """Start those workers again that ran on machines that are still there; the others."""
        left = list(workers)
        for host in self._hosts.values():
            mine = [worker for worker in left if worker in host.workers]
            host.workers = set(mine)
            if mine:
                self.spawn(host, mine, attempt)
            left = [worker for worker in left if worker not in mine]
        return left

    def answer(self, host: Host, packed: bytes) -> None:
        """Tell a machine what has become of the change that it asked for."""
        self._say(host.peer, HostNews(packed))

    def dismiss(self, worker: int, why: str) -> None:
        """A worker is not needed any more; its machine neither, if that was its last. why: it is
        to be ended; "": it exits by itself.
        """
        host = self.host_of(worker)
        if host is None:
            return
        host.workers.discard(worker)
        if why:
            self._say(host.peer, HostKill((worker,)))
        if not host.workers:
            self.end(host, why)

    def kill(self) -> None:
        """End every worker elsewhere."""
        for host in self._hosts.values():
            self._say(host.peer, HostKill(None))

    def end(self, host: Host, why: str) -> None:
        """Let a machine go."""
        self._say(host.peer, HostEnd(why))
        self._hosts.pop(host.peer, None)

    def end_all(self, why: str) -> None:
        """The run is over."""
        for host in list(self._hosts.values()):
            self.end(host, why)

    def look(self, now_s: float, timeout_s: float) -> list[Host]:
        """Give signs of life; the machines that have given none for too long are forgotten."""
        if now_s - self._pinged_s > min(1.0, timeout_s / 4):
            self._pinged_s = now_s
            for host in self._hosts.values():
                self._say(host.peer, HostPing())
        silent = [h for h in self._hosts.values() if now_s - h.heard_s > timeout_s]
        for host in silent:
            del self._hosts[host.peer]
        return silent

    def _say(self, peer: Peer, message: Any) -> None:
        self._tell(peer, pickle.dumps(message, 5))
