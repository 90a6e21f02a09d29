"""What a worker does with frames of a change that it has not heard of yet."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import pytest

from roo.core.batch import Header, Kind, Origin
from roo.runtime import copies, moving
from roo.runtime.worker import Worker


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
def worker(monkeypatch: pytest.MonkeyPatch) -> Any:
    """One that gets what is in `frames`, of version 4 as yet."""
    place = SimpleNamespace(homes={})

    def copies_of(number: int, stages: Any, before: Any, after: Any, *_: Any, joins: bool) -> Any:
        return Taken(got=[], before=before, after=after, version=after.version, givers=[1],
                     joins=joins)  # fmt: skip

    monkeypatch.setattr(copies, "Copies", copies_of)
    monkeypatch.setattr(moving, "Move", lambda *args, **options: Taken(got=[]))
    monkeypatch.setattr(gc, "disable", lambda: None)
    worker: Any = Worker.__new__(Worker)
    worker.worker, worker.move, worker.copies, worker._early = 0, None, None, []
    worker._called_off, worker._stages_with = 0, {}
    worker.stages = SimpleNamespace(place=[place])
    worker.core = SimpleNamespace(table_version=4)
    worker.frames = []
    worker.data = SimpleNamespace(receive=lambda: worker.frames, send=None)
    return worker


def place(version: int) -> Any:
    return SimpleNamespace(version=version, homes={})


def test_a_frame_of_a_move_may_come_before_its_barrier(worker: Any) -> None:
    """Another worker is past it already, and asks: dropped, its key would come as the last."""
    early, late = frame(5), frame(4)
    worker.frames = [early, late]
    worker._receive()
    worker._begin_copies(place(4), place(5), joins=False)
    worker._receive()
    assert worker.copies.got == []  # it has no use for a question
    worker._begin_move(few=True)
    assert worker.move.got == [early, early]  # the other one is of the move before
    worker._receive()
    assert worker.move.got == [early, early, early, late]  # which its move knows itself


def test_a_copy_may_come_before_a_worker_knows_what_for(worker: Any) -> None:
    copy, question = frame(5, Kind.COPIES), frame(5)
    worker.frames = [copy, question]
    worker._receive()
    worker._begin_copies(place(4), place(5), joins=False)
    assert worker.copies.got == [copy]
    worker._receive()
    assert worker.copies.got == [copy, copy]
    worker._begin_move(few=True)
    assert worker.move.got == [question, question]


def test_frames_of_a_change_that_was_called_off_count_for_nothing(worker: Any) -> None:
    worker._begin_copies(place(4), place(5), joins=False)
    old, new = frame(5), frame(6, Kind.COPIES)
    worker.frames = [old, new]
    worker._receive()
    worker._call_off()
    assert worker.copies.is_called_off
    worker.copies = None
    worker._receive()
    worker._begin_copies(place(4), place(6), joins=False)
    assert worker.copies.got == [new, new]
    worker._begin_move(few=True)
    assert worker.move.got == []
