"""What the coordinator knows of each worker process of the current attempt: one object each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from roo.core.checkpoints import NOTHING_OPENED, Opened
from roo.runtime.lines import Peer
from roo.runtime.transport import Address


@dataclass
class Member:
    """One worker."""

    heard_s: float
    """When it last gave a sign of life."""
    peer: Peer | None = None
    """Its line, once it has said hello."""
    address: Address | None = None
    """Where its data come in, once it is ready."""
    opened: Opened = NOTHING_OPENED
    """What it had opened when it was ready."""
    exit_code: int | None = None
    """How it has exited, if it runs on another machine and has."""
    is_gone: bool = False
    """Its exit has been seen once. Its last words may still be on the way."""


class Members:
    """All of them, by worker. Who is not in it has left, or was never there."""

    def __init__(self) -> None:
        self._by_worker: dict[int, Member] = {}

    def start(self, workers: Iterable[int], now_s: float) -> None:
        """These processes start, beside those there are."""
        self._by_worker |= {worker: Member(now_s) for worker in workers}

    def restart(self, workers: Iterable[int], now_s: float) -> None:
        """All processes are new."""
        self._by_worker.clear()
        self.start(workers, now_s)

    def leave(self, worker: int) -> None:
        """One is out of it."""
        self._by_worker.pop(worker, None)

    def get(self, worker: int) -> Member | None:
        """One of them; None: it is not there any more."""
        return self._by_worker.get(worker)

    def __getitem__(self, worker: int) -> Member:
        return self._by_worker[worker]

    def addresses(self, workers: Iterable[int]) -> dict[int, Address]:
        """Where data come in, of those that are ready."""
        found = {worker: self._by_worker[worker].address for worker in workers}
        return {worker: address for worker, address in found.items() if address is not None}

    def opened(self, workers: Iterable[int]) -> dict[int, Opened]:
        """What some of them had opened."""
        return {worker: self._by_worker[worker].opened for worker in workers}

    def exited_elsewhere(self) -> list[tuple[int, int]]:
        """(worker, exit code) of those on other machines that have exited."""
        return [(w, m.exit_code) for w, m in self._by_worker.items() if m.exit_code is not None]

    def silent(self) -> list[tuple[int, float]]:
        """(worker, when it was last heard), of all."""
        return [(worker, member.heard_s) for worker, member in self._by_worker.items()]
