"""What a worker does with frames of a move that it has not heard of yet."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import pytest

from roo.core.batch import Header, Kind, Origin
from roo.runtime import moving
from roo.runtime.worker import Worker


def frame(version: int) -> tuple[Header, list[bytes]]:
    header = Header(
        Kind.STATES_WANTED, 1, 0, 2, version, 0, -1, 0, 1, 4, Origin(-1, -1, 0, 0)
    )  # fmt: skip
    return header, [b"tkey"]


def test_a_frame_of_a_move_may_come_before_its_barrier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker is past it already, and asks: dropped, its key would come as the last."""
    got: list[Any] = []
    monkeypatch.setattr(
        moving,
        "Move",
        lambda *args, **options: SimpleNamespace(receive=lambda *frame: got.append(frame)),
    )
    monkeypatch.setattr(gc, "disable", lambda: None)
    worker: Any = Worker.__new__(Worker)
    worker.worker, worker.move, worker.stages, worker._early = 0, None, None, []
    worker._stages_with = {}
    worker.core = SimpleNamespace(table_version=4)
    early, late = frame(5), frame(4)
    worker.data = SimpleNamespace(receive=lambda: [early, late], send=None)
    worker._receive()
    placement = SimpleNamespace(homes={})
    worker._begin_move(placement, placement, joins=False)
    assert got == [early]  # the other one is of the move before
    worker._receive()
    assert got == [early, early, late]  # which its move knows itself
