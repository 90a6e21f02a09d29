"""What a worker does with frames of a change that it has not heard of yet."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import pytest

from roo.core.batch import Header, Kind, Origin
from roo.runtime import moving
from roo.runtime.changing import Changing

VERSION = 4


def frame(version: int) -> tuple[Header, list[bytes]]:
    header = Header(Kind.STATES_WANTED, 1, 0, 2, version, 0, -1, 0, 1, 4, Origin(-1, -1, 0, 0))
    return header, [b"tkey"]


class Taken(SimpleNamespace):
    """In place of the move of a change: `got` has the frames that it was given."""

    def receive(self, *got: Any) -> None:
        self.got.append(got)


@pytest.fixture
def changing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A worker's."""
    monkeypatch.setattr(moving, "Move", lambda *args, **options: Taken(got=[]))
    monkeypatch.setattr(gc, "disable", lambda: None)
    nothing: Any = None
    return Changing(0, nothing, {}, {}, nothing, nothing, nothing, nothing, nothing)


def place(version: int) -> Any:
    return SimpleNamespace(version=version, homes={})


def test_a_frame_of_a_move_may_come_before_its_barrier(changing: Any) -> None:
    """Another worker is past it already, and asks: dropped, its key would come as the last."""
    early, late = frame(5), frame(4)
    for one in (early, late):
        changing.receive(*one, VERSION)
    changing.begin_move(place(4), place(5), joins=False)
    assert changing.move.got == [early]  # the other one is of the move before
    for one in (early, late):
        changing.receive(*one, VERSION)
    assert changing.move.got == [early, early, late]  # which its move knows itself
