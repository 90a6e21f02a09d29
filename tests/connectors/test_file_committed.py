"""`visibility: committed`: what the file shows when, and what is said where that can't be."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from roo import connectors, disk
from roo.api import ConnectorError, Context, Sink
from tests.connectors.reading import context


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.txt"


def made(path: Path, **options: Any) -> Sink:
    return connectors.sink("file", {"path": str(path), "visibility": "committed", **options})


def opened(path: Path, *, resumes: bool = False, **options: Any) -> Sink:
    sink = made(path, **options)
    sink.open(replace(context(), resumes=resumes))
    return sink


def checkpoint(sink: Sink) -> Any:
    """Prepare and sync; what was noted."""
    noted = sink.prepare()
    sink.sync()
    return noted


def beside(path: Path) -> list[str]:
    """The side files there are, without the inode of the file in their names."""
    names = (file.name for file in path.parent.iterdir() if file != path)
    return sorted(re.sub(r"(pending-)\d+-", r"\1", name) for name in names)


def test_the_file_shows_what_is_committed(path: Path) -> None:
    sink = opened(path)
    sink.write(b"a\n")
    noted = checkpoint(sink)
    sink.write(b"b\n")
    assert path.read_bytes() == b""
    sink.commit(noted)
    assert path.read_bytes() == b"a\n"
    sink.write(b"c\n")
    noted = checkpoint(sink)
    sink.commit(noted)
    sink.commit(noted)
    assert path.read_bytes() == b"a\nb\nc\n"
    sink.close()
    assert path.read_bytes() == b"a\nb\nc\n"
    assert beside(path) == []


def test_side_files_stay_until_their_copies_are_durable(path: Path) -> None:
    sink = opened(path)
    for letter in (b"a", b"b", b"c"):
        sink.write(letter)
        sink.commit(checkpoint(sink))
    assert beside(path) == [".out.txt.pending-2"]
    sink.close()


def test_batches_of_nothing(path: Path) -> None:
    sink = opened(path)
    for data in (b"", b"a", b"", b"b"):
        sink.write(data)
        checkpoint(sink)
    sink.commit(checkpoint(sink))
    assert path.read_bytes() == b"ab"


def test_one_that_comes_after_a_failed_checkpoint_holds_both(path: Path) -> None:
    sink = opened(path)
    sink.write(b"a\n")
    checkpoint(sink)
    sink.write(b"b\n")
    sink.commit(checkpoint(sink))
    assert path.read_bytes() == b"a\nb\n"


def test_without_checkpoints_all_appears_at_the_end(path: Path) -> None:
    sink = opened(path)
    sink.write(b"a\n")
    sink.write(b"b\n")
    assert path.read_bytes() == b""
    sink.flush()
    assert path.read_bytes() == b"a\nb\n"
    sink.close()
    assert beside(path) == []


def test_close_publishes_nothing(path: Path) -> None:
    sink = opened(path)
    sink.write(b"a\n")
    sink.commit(checkpoint(sink))
    sink.write(b"b\n")
    noted = checkpoint(sink)
    sink.write(b"c\n")
    sink.close()
    assert path.read_bytes() == b"a\n"
    opened(path, resumes=True).rollback(noted)  # its checkpoint was real, and nobody was told
    assert path.read_bytes() == b"a\nb\n"


def test_append_goes_on_and_overwrite_begins_empty(path: Path) -> None:
    path.write_bytes(b"before\n")
    sink = opened(path, mode="append")
    sink.write(b"a\n")
    assert path.read_bytes() == b"before\n"
    sink.flush()
    sink.close()
    assert path.read_bytes() == b"before\na\n"
    opened(path).close()
    assert path.read_bytes() == b""


def test_the_header_begins_the_file(path: Path) -> None:
    sink = made(path)
    sink.header = b"names\n"
    sink.open(context())
    sink.write(b"a\n")
    sink.flush()
    assert path.read_bytes() == b"names\na\n"


def test_a_file_for_each_worker(tmp_path: Path) -> None:
    sinks = [made(tmp_path / "{worker}.txt") for _ in range(2)]
    for worker, sink in enumerate(sinks):
        assert not sink.single_writer
        sink.open(Context("p", "s", worker, 2))
        sink.write(b"%d\n" % worker)
    assert beside(tmp_path / "0.txt") == [".0.txt.pending-0", ".1.txt.pending-0", "1.txt"]
    sinks[0].flush()
    sinks[0].close()
    assert (tmp_path / "0.txt").read_bytes() == b"0\n"
    assert beside(tmp_path / "0.txt") == [".1.txt.pending-0", "1.txt"]
    sinks[1].close()


def test_a_fresh_run_drops_what_a_killed_one_has_left(path: Path) -> None:
    path.write_bytes(b"before\n")
    opened(path, mode="append").write(b"lost\n")
    assert beside(path) == [".out.txt.pending-7"]
    opened(path, mode="append").close()
    assert path.read_bytes() == b"before\n"
    assert beside(path) == []


# After a crash: a sink that is let go of without `close`, and a new one


class Killed(Exception):
    pass


@pytest.mark.parametrize("taken", [0, 1, 5, 10])
def test_killed_while_it_appends(path: Path, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = opened(path)
    sink.write(b"first\n")
    sink.commit(checkpoint(sink))
    sink.write(b"0123456789")
    noted = checkpoint(sink)
    sink.write(b"never\n")
    write = disk.pwrite

    def write_some(fd: int, data: bytes, place: int) -> int:
        write(fd, data[:taken], place)
        raise Killed

    monkeypatch.setattr(disk, "pwrite", write_some)
    with pytest.raises(Killed):
        sink.commit(noted)
    assert path.read_bytes() == b"first\n" + b"0123456789"[:taken]
    with pytest.raises(Killed):  # and once more, in the middle of making it good
        opened(path, resumes=True).rollback(noted)
    monkeypatch.undo()
    again = opened(path, resumes=True)
    again.rollback(noted)
    assert path.read_bytes() == b"first\n0123456789"
    assert beside(path) == []
    again.write(b"!")
    again.flush()
    assert path.read_bytes() == b"first\n0123456789!"


def test_bytes_that_a_power_failure_has_lost_are_copied_again(path: Path) -> None:
    sink = opened(path)
    sink.write(b"a\n")
    noted = checkpoint(sink)
    sink.commit(noted)
    path.write_bytes(b"\0\0")  # the size was stored, the bytes were not
    opened(path, resumes=True).rollback(noted)
    assert path.read_bytes() == b"a\n"


def test_back_to_a_checkpoint_before_the_newest(path: Path) -> None:
    """Only where those after it are damaged: then even what was committed goes."""
    sink = opened(path)
    sink.write(b"a\n")
    first = checkpoint(sink)
    sink.commit(first)
    sink.write(b"b\n")
    sink.commit(checkpoint(sink))
    opened(path, resumes=True).rollback(first)
    assert path.read_bytes() == b"a\n"


def test_a_writer_that_no_checkpoint_knows(path: Path) -> None:
    for mode, there in (("append", b"before\n"), ("overwrite", b"")):
        path.write_bytes(b"before\n")
        opened(path, mode="append").write(b"lost\n")
        opened(path, mode=mode, resumes=True).rollback(None)
        assert path.read_bytes() == there
        assert beside(path) == []


@pytest.mark.parametrize("lost", ["out.txt", ".out.txt.pending-*-2"])
def test_what_somebody_has_removed_is_missed(path: Path, lost: str) -> None:
    sink = opened(path)
    sink.write(b"a\n")
    sink.commit(checkpoint(sink))
    sink.write(b"b\n")
    checkpoint(sink)
    sink.commit({"size_bytes": 2})
    sink.sync()
    sink.write(b"c\n")
    noted = checkpoint(sink)
    sink.commit({"size_bytes": 2})
    assert beside(path) == [".out.txt.pending-2", ".out.txt.pending-4"]
    next(path.parent.glob(lost)).unlink()
    with pytest.raises(ConnectorError, match=r"bytes, and had 6 at the checkpoint") as caught:
        opened(path, resumes=True).rollback(noted)
    assert "side files" in caught.value.hint


# What can't be


def test_no_other_writer(path: Path) -> None:
    sink = opened(path)
    sink.write(b"a\n")
    path.write_bytes(b"somebody\n")
    with pytest.raises(ConnectorError, match="has 9 bytes, and this run has written 0") as caught:
        sink.commit(checkpoint(sink))
    assert "nothing else" in caught.value.hint


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_only_a_plain_file_can_keep_back(tmp_path: Path, kind: str) -> None:
    path = Path("/dev/null")
    if kind == "pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
    sink = made(path)
    for ask in (sink.check, lambda: sink.open(context())):
        with pytest.raises(ConnectorError, match=f"{path} is no plain file") as caught:
            ask()
        assert "visibility" in caught.value.hint


def test_the_folder_must_be_writable_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.touch()
    monkeypatch.setattr(os, "access", lambda asked, mode: asked == path)
    with pytest.raises(ConnectorError, match="Permission denied"):
        made(path).check()
    connectors.sink("file", {"path": str(path)}).check()


def full(*words: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("when", ["write", "commit"])
def test_a_full_disk_is_said_and_nothing_is_lost(
    path: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = opened(path)
    sink.write(b"a\n")
    noted = checkpoint(sink)
    monkeypatch.setattr(disk, "write", full)
    monkeypatch.setattr(disk, "pwrite", full)
    with pytest.raises(ConnectorError, match=f"can't write {path}: No space left") as caught:
        sink.write(b"b\n") if when == "write" else sink.commit(noted)
    assert "the disk is full" in caught.value.hint
    monkeypatch.undo()
    opened(path, resumes=True).rollback(noted)
    assert path.read_bytes() == b"a\n"


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    sink = made(tmp_path)
    for ask in (sink.check, lambda: sink.open(context())):
        with pytest.raises(ConnectorError, match="Is a directory"):
            ask()
