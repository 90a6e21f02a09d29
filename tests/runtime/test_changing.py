"""What a worker does with frames of a change that it has not heard of yet."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import pytest

from roo.core.batch import Header, Kind, Origin
from roo.runtime import copies, moving
from roo.runtime.changing import Changing

VERSION = 4


def frame(version: int, kind: Kind = Kind.STATES_WANTED) -> tuple[Header, list[bytes]]:
    header = Header(kind, 1, 0, 2, version, 0, -1, 0, 1, 4, Origin(-1, -1, 0, 0))
    return header, [b"tkey"]


class Taken(SimpleNamespace):
    """In place of the copies or the move of a change: `got` has the frames that it was given."""

    def receive(self, *got: Any) -> None:
        self.got.append(got)

    def concerns(self, header: Header) -> bool:
        return header.table_version == self.version and header.kind is Kind.COPIES

    def call_off(self) -> None:
        self.is_called_off = True


@pytest.fixture
def changing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A worker's."""

    def copies_of(worker: int, stages: Any, before: Any, after: Any, *_: Any, joins: bool) -> Any:
        return Taken(got=[], before=before, after=after, version=after.version, givers=[1],
                     joins=joins)  # fmt: skip

    monkeypatch.setattr(copies, "Copies", copies_of)
    monkeypatch.setattr(moving, "Move", lambda *args, **options: Taken(got=[]))
    monkeypatch.setattr(gc, "disable", lambda: None)
    nothing: Any = None
    return Changing(0, nothing, {}, {}, nothing, nothing, nothing, nothing, nothing)


def place(version: int) -> Any:
    return SimpleNamespace(version=version, homes={})


def receive(changing: Changing, *frames: tuple[Header, list[bytes]]) -> None:
    for header, parts in frames:
        changing.receive(header, parts, VERSION)


def test_a_frame_of_a_move_may_come_before_its_barrier(changing: Any) -> None:
    """Another worker is past it already, and asks: dropped, its key would come as the last."""
    early, late = frame(5), frame(4)
    receive(changing, early, late)
    changing.begin_copies(place(4), place(5), joins=False)
    receive(changing, early, late)
    assert changing.copies.got == []  # it has no use for a question
    changing.begin_move(few=True)
    assert changing.move.got == [early, early]  # the other one is of the move before
    receive(changing, early, late)
    assert changing.move.got == [early, early, early, late]  # which its move knows itself


def test_a_copy_may_come_before_a_worker_knows_what_for(changing: Any) -> None:
    copy, question = frame(5, Kind.COPIES), frame(5)
    receive(changing, copy, question)
    changing.begin_copies(place(4), place(5), joins=False)
    assert changing.copies.got == [copy]
    receive(changing, copy, question)
    assert changing.copies.got == [copy, copy]
    changing.begin_move(few=True)
    assert changing.move.got == [question, question]


def test_frames_of_a_change_that_was_called_off_count_for_nothing(changing: Any) -> None:
    changing.begin_copies(place(4), place(5), joins=False)
    old, new = frame(5), frame(6, Kind.COPIES)
    receive(changing, old, new)
    changing.call_off()
    assert changing.copies.is_called_off
    changing.copies = None
    receive(changing, old, new)
    changing.begin_copies(place(4), place(6), joins=False)
    assert changing.copies.got == [new, new]
    changing.begin_move(few=True)
    assert changing.move.got == []
