"""The coordinator's side of checkpoints: what is gathered, written, gone on from and removed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from roo import disk
from roo.api import Split
from roo.checkpoint.folder import CommitUnknown, Folder, NotCommitted
from roo.core.checkpoints import FileInfo, NotWhole, Opened, Part, StatePart
from roo.core.placement import Placement
from roo.core.position import Position
from roo.runtime.commits import Commits, WriterFailed

PLACE = Placement.fresh(2, ["out"], [0])
SPLITS = {0: ("lines", Split("in.txt", {"path": "in.txt"}, 10))}
PLAN: Any = SimpleNamespace(
    spec=SimpleNamespace(
        name="p",
        sinks=[SimpleNamespace(name="out")],
        states=[SimpleNamespace(name="s", version=1)],
    ),
    stage_of={"out": 2},
    fingerprint="f" * 32,
    shape={},
)


def snapshot(folder: Path, barrier: int, worker: int) -> FileInfo:
    path = folder / f"c{barrier:08}-run1-w{worker}-s.snap"
    path.write_bytes(b"x")
    return FileInfo(path.name, 1, "5c80c09683041123", 1)


def part(folder: Path, barrier: int, worker: int, **more: Any) -> Part:
    facts: dict[str, Any] = {
        "splits": {0: Position(barrier, False)} if worker == 0 else {},
        "sinks": {"out": barrier * 10} if worker == 0 else {},
        "states": {"s": StatePart(snapshot(folder, barrier, worker), True, 1, 0)},
    }
    return Part(barrier, **(facts | more))


@pytest.fixture
def commits(tmp_path: Path) -> Commits:
    made = Commits(Folder(tmp_path), 1, PLAN, SPLITS, None)
    made.note(0, {0: Opened({0: Position()}, {"out": 0}), 1: Opened({}, {})}, PLACE)
    return made


def checkpoint(commits: Commits, barrier: int) -> None:
    commits.open(1, barrier, PLACE, PLACE)
    for worker in (0, 1):
        commits.take(1, worker, part(commits.folder.path, barrier, worker))
    commits.commit()


def test_there_is_a_manifest_before_the_first_message(commits: Commits) -> None:
    assert commits.folder.numbers() == [0]
    assert commits.folder.read(0) == commits.latest


def test_parts_of_another_barrier_or_attempt_count_for_nothing(
    commits: Commits, tmp_path: Path
) -> None:
    commits.open(1, 1, PLACE, PLACE)
    commits.take(1, 0, part(tmp_path, 1, 0))
    commits.drop()  # a worker has died
    commits.open(2, 2, PLACE, PLACE)
    commits.take(1, 1, part(tmp_path, 1, 1))
    commits.take(2, 0, part(tmp_path, 2, 0))
    commits.take(2, 1, part(tmp_path, 2, 1))
    commits.take(1, 0, part(tmp_path, 2, 0, sinks={"out": 99}))
    manifest = commits.commit()
    assert manifest.sinks == {"out": {"single": 20}}
    assert {file.name[:9] for file in manifest.files} == {"c00000002"}


def test_parts_are_gone_with_their_barrier_whatever_became_of_it(
    commits: Commits, tmp_path: Path
) -> None:
    commits.open(1, 1, PLACE, PLACE)
    commits.take(1, 0, part(tmp_path, 1, 0))
    commits.take(1, 1, part(tmp_path, 1, 1, error="no space left on device"))
    with pytest.raises(NotCommitted, match="worker 1: no space left on device"):
        commits.commit()
    checkpoint(commits, 2)
    assert commits.latest is not None
    assert commits.latest.sinks == {"out": {"single": 20}}
    assert {file.name[:9] for file in commits.latest.files} == {"c00000002"}


def test_a_part_of_the_barrier_before_stands_in_for_nobody(
    commits: Commits, tmp_path: Path
) -> None:
    commits.open(1, 1, PLACE, PLACE)
    commits.take(1, 1, part(tmp_path, 1, 1))
    commits.drop()
    commits.open(1, 2, PLACE, PLACE)
    commits.take(1, 0, part(tmp_path, 2, 0))
    with pytest.raises(NotWhole, match=r"parts of \[0\]"):
        commits.commit()


def test_a_manifest_of_its_own_says_nothing_of_the_open_barrier(
    commits: Commits, tmp_path: Path
) -> None:
    checkpoint(commits, 1)
    commits.open(1, 2, PLACE, PLACE)
    commits.take(1, 0, part(tmp_path, 2, 0))
    commits.note(3, {2: Opened({}, {"other": 5})}, PLACE)
    assert commits.latest is not None
    assert commits.latest.sinks == {"out": {"single": 10}, "other": {"2": 5}}
    assert [split.offset for split in commits.latest.splits] == [1]


def test_a_sink_that_could_not_be_synced_ends_its_writer(commits: Commits, tmp_path: Path) -> None:
    commits.open(1, 1, PLACE, PLACE)
    commits.take(1, 0, part(tmp_path, 1, 0))
    commits.take(1, 1, part(tmp_path, 1, 1, sink_error="input/output error"))
    with pytest.raises(WriterFailed, match="input/output error") as failed:
        commits.commit()
    assert failed.value.worker == 1
    assert commits.folder.numbers() == [0]


def test_what_is_gone_on_from_is_what_the_disk_has(commits: Commits, tmp_path: Path) -> None:
    """Not what this process remembers: the next run could not know of it."""
    commits.folder.path.joinpath("c00000001-run1-w0-s.snap").unlink(missing_ok=True)
    checkpoint(commits, 1)
    commits.prune()
    commits.folder.manifest_path(1).write_text("{")
    found = commits.recover()
    assert found.manifest is None
    assert commits.latest is None
    assert [d.path.name for d in found.damaged] == ["manifest-00000001.json"]


def test_a_commit_of_unknown_outcome_is_found_by_the_next_look(
    commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch, pytest.raises(CommitUnknown):
        patch.setattr(disk, "sync_folder", fails)
        checkpoint(commits, 1)
    assert commits.latest is not None
    assert commits.latest.checkpoint == 0
    monkeypatch.setattr(commits.folder, "verify", lambda manifest: None)
    found = commits.recover()
    assert found.manifest is not None
    assert found.manifest.checkpoint == 1


def test_old_files_go_after_the_commit_and_what_it_names_stays(commits: Commits) -> None:
    checkpoint(commits, 1)
    checkpoint(commits, 2)
    assert commits.prune() == ""
    names = sorted(path.name for path in commits.folder.path.iterdir())
    assert names == [
        "c00000002-run1-w0-s.snap",
        "c00000002-run1-w1-s.snap",
        "manifest-00000002.json",
    ]


def test_old_files_that_can_not_go_fail_nothing(
    commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint(commits, 1)

    def fails(path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(disk, "unlink", fails)
    assert commits.prune() == "input/output error"
    assert commits.latest is not None
    assert commits.latest.checkpoint == 1


def test_the_end_is_a_manifest_of_its_own(commits: Commits) -> None:
    checkpoint(commits, 1)
    before = commits.folder.manifest_path(1).read_bytes()
    commits.finish(2)
    assert commits.folder.manifest_path(1).read_bytes() == before
    assert commits.folder.is_finished
