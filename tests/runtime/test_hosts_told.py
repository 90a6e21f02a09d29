"""What the coordinator tells other machines, and one that comes back after it was given up."""

from __future__ import annotations

import pickle
import platform
from types import SimpleNamespace
from typing import Any

import pytest

import roo
from roo import clock
from roo.runtime import hosts as module
from roo.runtime.hosts import (
    HostEnd,
    HostHello,
    HostJoin,
    HostKill,
    HostPing,
    Hosts,
    HostSpawn,
    HostWelcome,
)
from roo.runtime.lines import Peer

PEER = Peer(1, b"host-1")
PLAN: Any = SimpleNamespace(spec=SimpleNamespace(name="p", cluster=SimpleNamespace(timeout_s=10)))


class Told:
    """A coordinator with one machine, and what that was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        self.said: list[Any] = []
        monkeypatch.setattr(clock, "monotonic_s", lambda: self.now_s)
        monkeypatch.setattr(module, "modules_of", lambda plan: [])
        self.hosts = Hosts(PLAN, None, self.tell, self.join, lambda host: None, lambda *words: None)
        self.hosts.hear(PEER, HostHello("b", roo.__version__, platform.python_version(), "b", 1))
        self.hosts.hear(PEER, HostJoin())

    def tell(self, peer: Peer, packed: bytes) -> None:
        assert peer == PEER
        self.said.append(pickle.loads(packed))

    def join(self, host: Any) -> None:
        self.hosts.spawn(host, [2], 1)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(monkeypatch)


def test_a_machine_joins_and_gives_signs_of_life(told: Told) -> None:
    assert [type(message) for message in told.said] == [HostWelcome, HostSpawn]
    told.said.clear()
    for _ in range(5):
        told.now_s += 8
        assert told.hosts.look(told.now_s, 10) == []
        told.hosts.hear(PEER, HostPing())
    assert {type(message) for message in told.said} == {HostPing}


def test_a_machine_that_is_silent_is_given_up_and_told_so_when_it_comes_back(told: Told) -> None:
    """Its workers have successors: it must end them."""
    told.now_s += 11
    (lost,) = told.hosts.look(told.now_s, 10)
    assert lost.workers == {2}
    assert told.hosts.respawn([0, 2], 2) == [0, 2]
    told.said.clear()
    told.hosts.hear(PEER, HostPing())
    (end,) = told.said
    assert isinstance(end, HostEnd)
    assert "no sign of life" in end.why


def test_all_workers_elsewhere_are_ended_with_an_attempt(told: Told) -> None:
    told.said.clear()
    told.hosts.kill()
    assert told.said == [HostKill(None)]
    assert told.hosts.respawn([0, 2], 2) == [0]
    assert told.said[-1] == HostSpawn((2,), 2)
