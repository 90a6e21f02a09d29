"""Where a file sink stands: what it has written, whose file it is, and who else may write to it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_hexdigest

from roo import connectors, disk
from roo.api import ConnectorError, Sink
from roo.connectors.file_writer import TAIL_BYTES, Written
from tests.connectors.reading import context

BOTH = pytest.mark.parametrize("visibility", ["immediate", "committed"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "out.txt"


def opened(path: Path, visibility: str, noted: Any = ..., **facts: Any) -> Sink:
    """A sink that has begun, or that goes on from what was noted. facts: of its context."""
    options = {"path": str(path), "visibility": visibility}
    sink = connectors.sink("file", {**options, **facts.pop("options", {})})
    sink.open(replace(context(), resumes=noted is not ..., **facts))
    if noted is not ...:
        sink.rollback(noted)
    return sink


def checkpoint(sink: Sink, data: bytes = b"") -> Any:
    """Write, prepare, sync, commit; what was noted."""
    if data:
        sink.write(data)
    noted = sink.prepare()
    sink.sync()
    sink.commit(noted)
    return noted


# What has been written


@given(st.lists(st.binary(max_size=700) | st.binary(min_size=1000, max_size=1100)))
def test_the_last_bytes_are_kept(parts: list[bytes]) -> None:
    written = Written()
    for part in parts:
        written.add(part)
    whole = b"".join(parts)
    assert (written.size_bytes, written.tail) == (len(whole), whole[-TAIL_BYTES:])


@BOTH
def test_a_position(path: Path, visibility: str) -> None:
    sink = opened(path, visibility, machine="here")
    lines = b"".join(b"%d\n" % n for n in range(500))
    noted = checkpoint(sink, lines)
    facts = path.stat()
    assert noted == {
        "size_bytes": len(lines),
        "tail_bytes": TAIL_BYTES,
        "tail": xxh3_64_hexdigest(lines[-TAIL_BYTES:]),
        "path": str(path),
        "device": facts.st_dev,
        "inode": facts.st_ino,
        "machine": "here",
    }


@BOTH
def test_a_position_counts_what_was_there(path: Path, visibility: str) -> None:
    path.parent.mkdir()
    path.write_bytes(b"before\n")
    sink = opened(path, visibility, options={"mode": "append"})
    start = sink.prepare()
    noted = checkpoint(sink, b"a\n")
    assert (start["size_bytes"], noted["size_bytes"]) == (7, 9)
    sink.write(b"lost\n")
    again = opened(path, visibility, noted)
    assert again.prepare() == noted
    assert checkpoint(again, b"b\n")["tail"] == xxh3_64_hexdigest(b"before\na\nb\n")
    again.close()
    assert path.read_bytes() == b"before\na\nb\n"


# What others do meanwhile


def unlink(path: Path) -> None:
    path.unlink()


def rename(path: Path) -> None:
    path.rename(path.with_name("old"))


def remove_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("gone"))


def put_another(path: Path) -> None:
    path.with_name("new").write_bytes(path.read_bytes())
    path.with_name("new").replace(path)


def put_a_link(path: Path) -> None:
    path.unlink()
    path.with_name("other").touch()
    path.symlink_to("other")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


CHANGES = {
    unlink: "was removed or renamed",
    rename: "was removed or renamed",
    remove_folder: "was removed or renamed",
    put_another: "was replaced by another file",
    put_a_link: "was replaced by another file",
    empty: "has 0 bytes, and this run has written 2: something has cut it",
    append: "has 3 bytes, and this run has written 2: something else writes",
}


@BOTH
@pytest.mark.parametrize("when", ["prepare", "close"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_others_do_is_said(
    path: Path, visibility: str, change: Callable[[Path], None], when: str
) -> None:
    sink = opened(path, visibility)
    checkpoint(sink, b"a\n")
    change(path)
    with pytest.raises(ConnectorError, match=f"{path} {CHANGES[change]}") as caught:
        getattr(sink, when)()
    assert "--fresh" in caught.value.hint


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_nor_does_writing_on_hide_it(path: Path, change: Callable[[Path], None]) -> None:
    """No gap of zeros in a file that was emptied, which would be as long as it should be."""
    sink = opened(path, "immediate")
    checkpoint(sink, b"a\n")
    change(path)
    sink.write(b"b\n")
    with pytest.raises(ConnectorError, match=f"{path} (was|has)"):
        sink.prepare()


def test_bytes_that_others_have_changed_in_place(path: Path) -> None:
    sink = opened(path, "immediate")
    sink.write(b"a\n")
    path.write_bytes(b"?\n")
    with pytest.raises(ConnectorError, match="does not end with what this run has written"):
        sink.prepare()


@BOTH
def test_a_file_that_is_moved_and_linked_to_is_still_there(path: Path, visibility: str) -> None:
    sink = opened(path, visibility)
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    checkpoint(sink, b"a\n")
    sink.close()
    assert path.read_bytes() == b"a\n"


@BOTH
def test_a_plugin_may_change_the_working_directory(
    tmp_path: Path, visibility: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sink = opened(Path("out.txt"), visibility)
    monkeypatch.chdir("/")
    checkpoint(sink, b"a\n")
    sink.close()
    assert (tmp_path / "out.txt").read_bytes() == b"a\n"


# Going back


@BOTH
def test_a_file_that_was_changed_since(path: Path, visibility: str) -> None:
    sink = opened(path, visibility)
    checkpoint(sink, b"a\n")
    noted = checkpoint(sink)  # so that nothing of it is in side files any more
    path.write_bytes(b"?\nand more\n")
    with pytest.raises(ConnectorError, match="does not go on as at the checkpoint") as caught:
        opened(path, visibility, noted)
    assert "back, or start over" in caught.value.hint
    assert path.read_bytes() == b"?\nand more\n"
    put_another(path)
    with pytest.raises(ConnectorError, match="is another file than at the checkpoint"):
        opened(path, visibility, noted)


@BOTH
def test_a_file_that_is_gone(path: Path, visibility: str) -> None:
    first = opened(path, visibility)
    start, noted = first.prepare(), checkpoint(first, b"a\n")
    checkpoint(first)
    path.unlink()
    with pytest.raises(ConnectorError, match="it has 0 bytes, and had 2 at the checkpoint"):
        opened(path, visibility, noted)
    assert not path.exists()
    opened(path, visibility, start).close()  # nothing of it is missed
    assert path.read_bytes() == b""


@BOTH
def test_a_file_of_another_machine(path: Path, visibility: str) -> None:
    first = opened(path, visibility, machine="a")
    start, noted = first.prepare(), checkpoint(first, b"a\n")
    # The folder is shared: it is the same file.
    opened(path, visibility, noted, machine="b").close()
    assert path.read_bytes() == b"a\n"
    opened(path, visibility, start, machine="b").close()
    assert path.read_bytes() == b""
    # It is not: there is none, or one of another run.
    for there in (None, b"", b"?\n"):
        path.unlink(missing_ok=True)
        path.with_name("keeps the inode").touch()
        if there is not None:
            path.write_bytes(there)
        for position in (start, noted):
            with pytest.raises(ConnectorError, match=f"{path} is on machine a, .*, b$") as caught:
                opened(path, visibility, position, machine="b")
            assert "all machines share" in caught.value.hint
        assert (path.read_bytes() if path.exists() else None) == there


def test_a_file_that_has_become_a_pipe(path: Path) -> None:
    noted = checkpoint(opened(path, "immediate"), b"a\n")
    path.unlink()
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(ConnectorError, match="is no plain file any more"):
        opened(path, "immediate", noted)
    os.close(reader)


# An older writer


@BOTH
@pytest.mark.parametrize("anew", [True, False])
def test_an_older_writer_writes_into_nothing(path: Path, visibility: str, anew: bool) -> None:
    first = opened(path, visibility)
    noted = ... if anew else checkpoint(first, b"a\n")
    path.chmod(0o640)
    second = opened(path, visibility, noted, predecessor_ended=False, attempt=2)
    first.write(b"late\n")
    with suppress(ConnectorError):
        first.commit({"size_bytes": 1000})
    for promise in (first.prepare, first.close):
        with pytest.raises(ConnectorError, match="was replaced"):
            promise()
    checkpoint(second, b"b\n")
    second.close()
    assert path.read_bytes() == (b"b\n" if anew else b"a\nb\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert not list(path.parent.glob(".*.next-*"))


@BOTH
def test_one_that_was_seen_to_end_leaves_its_file(path: Path, visibility: str) -> None:
    noted = checkpoint(opened(path, visibility), b"a\n")
    inode = path.stat().st_ino
    opened(path, visibility, noted).close()
    assert path.stat().st_ino == inode


@BOTH
def test_what_a_link_leads_to_is_taken_away(path: Path, visibility: str) -> None:
    path.parent.mkdir()
    path.symlink_to("data.txt")
    noted = checkpoint(opened(path, visibility), b"a\n")
    data = path.with_name("data.txt")
    inode = data.stat().st_ino
    second = opened(path, visibility, noted, predecessor_ended=False)
    checkpoint(second, b"b\n")
    second.close()
    assert path.is_symlink()
    assert data.read_bytes() == b"a\nb\n"
    assert data.stat().st_ino != inode


def test_side_files_of_a_late_writer_count_for_nothing(path: Path) -> None:
    first = opened(path, "committed")
    noted = checkpoint(first, b"a\n")
    second = opened(path, "committed", noted, predecessor_ended=False)
    first.write(b"late\n")  # makes a side file that begins where the next one does
    second.write(b"b\n")
    noted = second.prepare()
    second.sync()
    path.with_name(f".out.txt.pending-{noted['inode'] + 1}-3").write_bytes(b"?")
    third = opened(path, "committed", noted)
    assert path.read_bytes() == b"a\nb\n"
    third.close()
    assert [file.name for file in path.parent.iterdir()] == ["out.txt"]


@BOTH
def test_one_that_was_held_up_as_it_took_over_comes_too_late(
    path: Path, visibility: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = checkpoint(opened(path, visibility), b"a\n")
    sync = disk.fsync

    def third(fd: int) -> None:
        monkeypatch.setattr(disk, "fsync", sync)
        newest = opened(path, visibility, noted, predecessor_ended=False, attempt=3)
        checkpoint(newest, b"b\n")
        sync(fd)

    monkeypatch.setattr(disk, "fsync", third)
    with pytest.raises(ConnectorError, match="was replaced while it was made ready"):
        opened(path, visibility, noted, predecessor_ended=False, attempt=2)
    assert path.read_bytes() == b"a\nb\n"


@BOTH
@pytest.mark.parametrize("name", ["fsync", "replace", "fchmod", "ftruncate", "pwrite"])
def test_taking_over_may_fail_anywhere(
    path: Path, visibility: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = checkpoint(opened(path, visibility), b"a\n")
    path.write_bytes(b"a\nlost\n")
    monkeypatch.setattr(disk, "copy_file_range", None)
    with monkeypatch.context() as broken:
        broken.setattr(disk, name, full)
        with pytest.raises(ConnectorError, match="No space left"):
            opened(path, visibility, noted, predecessor_ended=False)
    assert path.read_bytes() == b"a\nlost\n"
    opened(path, visibility, noted, predecessor_ended=False).close()
    assert path.read_bytes() == b"a\n"
    assert not list(path.parent.glob(".*.next-*"))


def full(*words: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# Durability


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all files and folders that are synced, in order; `replace` is in it too."""
    names: list[str] = []
    sync, change = disk.fsync, disk.replace

    def fsync(fd: int) -> None:
        names.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        sync(fd)

    def put(source: Path, target: Path) -> None:
        names.append(f"{source.name} -> {target.name}")
        change(source, target)

    monkeypatch.setattr(disk, "fsync", fsync)
    monkeypatch.setattr(disk, "replace", put)
    return names


@BOTH
def test_all_that_was_prepared_is_synced(path: Path, visibility: str, synced: list[str]) -> None:
    sink = opened(path, visibility)
    sink.sync()  # with the names of all folders above
    synced.clear()
    sink.write(b"a\n")
    sink.prepare()
    sink.write(b"b\n")
    sink.prepare()
    sink.write(b"for the next one\n")
    sink.sync()
    side = [f".out.txt.pending-{path.stat().st_ino}-{start}" for start in (0, 2)]
    aside = visibility == "committed"
    assert synced == ([*side, "out.txt", "folder"] if aside else ["out.txt"])


@BOTH
def test_what_takes_the_place_of_a_file_is_durable(
    path: Path, visibility: str, synced: list[str]
) -> None:
    noted = checkpoint(opened(path, visibility), b"a\n")
    synced.clear()
    opened(path, visibility, noted, predecessor_ended=False)
    new = ".out.txt.next-1"
    assert synced[:3] == [new, f"{new} -> out.txt", "folder"]


@BOTH
def test_names_are_synced_once(
    path: Path, visibility: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(disk, "sync_folder", lambda folder: synced.append(Path(folder)))
    sink = opened(path, visibility)
    sink.sync()
    assert set(synced) == set(path.parents)
    synced.clear()
    sink.sync()
    assert set(synced) <= {path.parent}  # where side files have come


@BOTH
@pytest.mark.parametrize(
    ("number", "fails"), [(errno.EACCES, False), (errno.EINVAL, False), (errno.EIO, True)]
)
def test_a_folder_that_can_t_be_synced(
    path: Path, visibility: str, number: int, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    above = path.parent.parent
    sync = disk.sync_folder

    def refuse(folder: Path) -> None:
        if folder == above:
            raise OSError(number, os.strerror(number))
        sync(folder)

    monkeypatch.setattr(disk, "sync_folder", refuse)
    sink = opened(path, visibility)
    if fails:
        with pytest.raises(ConnectorError, match=f"can't write {path}: Input/output error"):
            sink.sync()
    else:
        sink.sync()


@BOTH
def test_what_is_there_is_synced_at_the_end(
    path: Path, visibility: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = opened(path, visibility)
    sink.write(b"a\n")
    sink.flush()
    monkeypatch.setattr(disk, "fsync", full)
    with pytest.raises(ConnectorError, match="No space left"):
        sink.close()


@given(st.binary(max_size=50), st.integers(0, 50), st.integers(1, 9), st.booleans())
def test_copying(data: bytes, size: int, at_once: int, by_itself: bool) -> None:
    """However little the system takes at a time, and where it can't copy by itself."""
    size = min(size, len(data))
    file, other = os.memfd_create("from"), os.memfd_create("to")
    try:
        os.write(file, data)

        def some(from_fd: int, to_fd: int, count: int, start: int, place: int) -> int:
            if not by_itself:
                raise OSError(errno.EXDEV, "")
            part = os.pread(from_fd, min(count, at_once), start)
            return os.pwrite(to_fd, part, place)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(disk, "copy_file_range", some)
            patch.setattr(disk, "CHUNK_BYTES", at_once)
            disk.copy(file, other, size)
            assert disk.pread_all(other, 100, 0) == data[:size]
            with pytest.raises(OSError, match="Input/output"):
                disk.copy(file, other, len(data) + 1)
    finally:
        os.close(file)
        os.close(other)
