"""Following a file: growth, rotation, truncation, a file that comes later; nothing is lost."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from roo import clock, connectors
from roo.api import ConnectorError, Reader
from roo.connectors import file_rotation
from roo.connectors.file_follow import FollowReader
from roo.core.position import START, Position
from tests.connectors.reading import LINES, context, read_until

CSV = connectors.codec("csv", None, {})
PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstandard.compress}
QUICK = settings(max_examples=100, deadline=None)


@pytest.fixture(autouse=True)
def _little_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_rotation, "TELLING_BYTES", 1)


def follow(
    path: Path, at: Position = START, *, log: list[str] | None = None, **options: Any
) -> FollowReader:
    """A reader that follows a path, from a position on, and waits for nobody at a rotation."""
    options = {"path": str(path), "follow": True, "rotate_wait_s": 0, **options}
    source = connectors.source("file", options)
    (split,) = source.splits()
    assert split.size_bytes is None
    say = [].append if log is None else log.append
    memory = json.loads(json.dumps(at.memory))
    reader = source.open(
        split, at.offset, CSV if options.get("csv") else LINES, context(say, memory)
    )
    assert isinstance(reader, FollowReader)
    return reader


def take(reader: Reader, count: int) -> list[str]:
    """The next messages, and that no more are there."""
    messages = read_until(reader, lambda messages: len(messages) >= count)
    for _ in range(3):
        read = reader.read()
        assert read is None or not read.messages
        assert read is None or not read.end
    return messages


def append(path: Path, content: str) -> None:
    with path.open("a") as file:
        file.write(content)


def test_it_waits_for_the_file_and_for_more(tmp_path: Path) -> None:
    path = tmp_path / "log"
    reader = follow(path)
    assert reader.read() is None
    assert reader.ready_in_ms() > 0
    path.write_text("a\nb")
    assert take(reader, 1) == ["a"]
    append(path, "c\n")
    assert take(reader, 1) == ["bc"]
    reader.close()


def test_a_rotated_file_is_read_to_its_end_first(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("a\n")
    reader = follow(path)
    assert take(reader, 1) == ["a"]
    append(path, "b\n")
    path.rename(tmp_path / "log.1")
    append(tmp_path / "log.1", "c\nno newline")
    assert take(reader, 2) == ["b", "c"]
    path.write_text("new\n")
    assert take(reader, 2) == ["no newline", "new"]
    reader.close()


def test_what_is_written_just_before_a_rotation_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    path.write_text("a\n")
    reader = follow(path)
    assert take(reader, 1) == ["a"]
    is_over = reader._is_over

    def rotate_meanwhile() -> bool:
        monkeypatch.undo()
        append(path, "late\n")
        path.rename(tmp_path / "log.1")
        path.write_text("new\n")
        return is_over()

    monkeypatch.setattr(reader, "_is_over", rotate_meanwhile)
    assert take(reader, 2) == ["late", "new"]
    reader.close()


def test_a_truncated_file_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("a long line\nand one more\n")
    reader = follow(path)
    assert take(reader, 2) == ["a long line", "and one more"]
    path.write_text("b\n")
    assert take(reader, 1) == ["b"]
    append(path, "c\n")
    read = reader.read()
    assert read is not None
    assert (read.messages, read.start, read.offset) == (["c"], 2, 4)
    reader.close()


def test_the_last_line_stands_in_the_old_file_and_an_empty_read_leads_to_the_next(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log"
    path.write_text("a\nrest")
    reader = follow(path)
    assert take(reader, 1) == ["a"]
    path.rename(tmp_path / "log.1")
    path.write_text("new\n")
    reads = [read for _ in range(5) if (read := reader.read()) is not None]
    assert [(r.messages, r.start, r.offset, r.end) for r in reads] == [
        (["rest"], 2, 6, False),
        ([], 0, 0, False),
        (["new"], 0, 4, False),
    ]
    reader.close()


# Going on


class Followed:
    """A reader, what it has given out, and its position after each read: it may be killed there."""

    def __init__(self, path: Path, **options: Any) -> None:
        self._path, self._options = path, options
        self.said: list[str] = []
        self.messages: list[Any] = []
        self._offset: int | None = None
        self.reader = follow(path, log=self.said, **options)
        self.positions = [(self.position, 0)]

    @property
    def position(self) -> Position:
        return Position(self._offset, False, self.reader.memory())

    def read(self, times: int = 8) -> list[Any]:
        """What it gives in so many looks."""
        before = len(self.messages)
        for _ in range(times):
            read = self.reader.read()
            if read is not None:
                assert read.start <= read.offset
                self._offset = read.offset
                self.messages += read.messages
                self.positions.append((self.position, len(self.messages)))
        return self.messages[before:]

    def again(self, at: Position | None = None) -> list[Any]:
        """What another one gives that goes on from a position."""
        other = Followed.__new__(Followed)
        at = at or self.position
        other.__dict__.update(self.__dict__, messages=[], positions=[], _offset=at.offset)
        other.reader = follow(self._path, at, log=self.said, **self._options)
        try:
            return other.read(30)
        finally:
            other.reader.close()


def rotate(path: Path, content: str = "") -> None:
    """As logrotate does: path.2 becomes path.3, path.1 path.2, path path.1."""
    for number in range(8, -1, -1):
        old = path.with_name(f"{path.name}.{number}") if number else path
        if old.exists():
            old.rename(path.with_name(f"{path.name}.{number + 1}"))
    path.write_text(content)


def test_it_goes_on_from_an_offset(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("a\n")
    first = Followed(path)
    assert first.read() == ["a"]
    append(path, "b\n")
    assert first.again() == ["b"]
    first.reader.close()


def test_what_was_rotated_while_nobody_read_is_read_first(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("a\n")
    first = Followed(path)
    assert first.read() == ["a"]
    append(path, "b\n")
    for number in range(1, 12):
        rotate(path, f"new {number}\n")
        wanted = ["b", *(f"new {n}" for n in range(1, number + 1))]
        assert first.again() == wanted[: len(wanted)]
        if number == 6:
            break
    first.reader.close()


@pytest.mark.parametrize(
    "names",
    [
        ["log-20261125", "log-20261126", "log-20261127"],
        ["log-20261125", "log-20261125.1", "log-20261126"],
        ["log.2026-11-25_10:00:00", "log.2026-11-25_11:00:00", "log.2026-11-26_00:00:00"],
        ["app.3.txt", "app.2.txt", "app.1.txt"],
    ],
)
def test_names_that_rotation_gives(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / ("app.txt" if "app" in names[0] else "log")
    path.write_text("a\n")
    first = Followed(path)
    assert first.read() == ["a"]
    for number, name in enumerate(names):
        path.rename(tmp_path / name)
        path.write_text(f"new {number}\n")
    for name in names:  # the clock of the file system is coarse: names decide
        os.utime(tmp_path / name, ns=(10**18, 10**18))
    (tmp_path / "other.1").write_text("of another\n")
    (tmp_path / f"{path.name}.old").write_text("put aside by somebody\n")
    assert first.again() == ["new 0", "new 1", "new 2"]
    first.reader.close()


def test_what_was_rotated_before_it_was_followed_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("long ago\n")
    rotate(path, "a\n")
    first = Followed(path)
    assert first.read() == ["a"]
    rotate(path, "b\n")
    assert first.read() == ["b"]
    assert first.again() == []
    first.reader.close()


def test_several_rotations_while_it_reads(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("a\n")
    first = Followed(path)
    assert first.read() == ["a"]
    append(path, "b\n")
    for number in range(4):
        rotate(path, f"new {number}\n")
    assert first.read(40) == ["b", "new 0", "new 1", "new 2", "new 3"]
    first.reader.close()


def test_the_old_file_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(clock, "monotonic_s", lambda: now_s)
    path = tmp_path / "log"
    path.write_text("a\n")
    first = Followed(path, rotate_wait_s=1.0)
    assert first.read() == ["a"]
    rotate(path, "new\n")
    assert first.read() == []
    now_s += 0.9
    append(tmp_path / "log.1", "late\n")
    assert first.read() == ["late"]
    now_s += 0.9
    assert first.read() == []
    now_s += 0.1
    assert first.read() == ["new"]
    first.reader.close()


@pytest.mark.parametrize("leave", ["removed", "cut", "written anew", "copied over"])
def test_a_lost_rest_is_an_error(tmp_path: Path, leave: str) -> None:
    path = tmp_path / "log"
    path.write_text("a\nb\n")
    first = Followed(path)
    assert first.read() == ["a", "b"]
    if leave == "removed":
        path.unlink()
    elif leave == "cut":
        path.write_text("x\n")
    elif leave == "written anew":
        path.write_text("another, and longer\n")
    else:
        (tmp_path / "other").write_text("another, and longer\n")
        (tmp_path / "other").rename(path)
    with pytest.raises(ConnectorError, match=r"read up to byte 4 as .*log is not there") as caught:
        first.again()
    assert "--fresh" in caught.value.hint
    first.reader.close()


@pytest.mark.parametrize("pack", [".gz", ".bz2", ".zst"])
def test_a_packed_rest_is_named(tmp_path: Path, pack: str) -> None:
    path = tmp_path / "log"
    path.write_text("a\n")
    first = Followed(path)
    assert first.read() == ["a"]
    append(path, "b\n")
    packed = tmp_path / f"log.1{pack}"
    packed.write_bytes(PACK[pack](path.read_bytes()))
    (tmp_path / f"junk{pack}").write_bytes(b"not packed")
    path.unlink()
    path.write_text("new\n")
    with pytest.raises(ConnectorError, match=f"but packed as log.1{pack}") as caught:
        first.again()
    assert f"unpack log.1{pack}" in caught.value.hint
    (tmp_path / "log.1").write_text("a\nb\n")  # as the hint says
    packed.unlink()
    assert first.again() == ["b", "new"]
    first.reader.close()


def test_what_came_between_and_is_packed_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("a\n")
    first = Followed(path)
    assert first.read() == ["a"]
    rotate(path, "between\n")
    rotate(path, "new\n")
    between = tmp_path / "log.1"
    (tmp_path / "log.1.gz").write_bytes(gzip.compress(between.read_bytes()))
    between.unlink()
    for go_on in (first.read, first.again):
        with pytest.raises(ConnectorError, match="came between is packed as log"):
            go_on()
    first.reader.close()


def test_a_packed_copy_of_the_old_file_is_nothing_that_came_between(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("a\n")
    first = Followed(path)
    assert first.read() == ["a"]
    rotate(path, "new\n")
    (tmp_path / "log.1.gz").write_bytes(gzip.compress(b"a\n"))
    shutil.copy(tmp_path / "log.1", tmp_path / "log.2")
    assert first.again() == ["new"]
    assert first.read() == ["new"]
    first.reader.close()


def test_a_copied_folder_is_gone_on_with(tmp_path: Path) -> None:
    """Other inodes, the same content."""
    path = tmp_path / "log"
    path.write_text("a\n")
    first = Followed(path)
    assert first.read() == ["a"]
    append(path, "b\n")
    shutil.copy(path, tmp_path / "copy")
    path.unlink()
    (tmp_path / "copy").rename(path)
    assert first.again() == ["b"]
    first.reader.close()


@pytest.mark.parametrize("regrown", [False, True])
@pytest.mark.parametrize("while_reading", [False, True])
def test_copytruncate(tmp_path: Path, regrown: bool, while_reading: bool) -> None:
    """The rest is in the copy, also if the file has grown beyond where it was read."""
    path = tmp_path / "log"
    path.write_text("a\n")
    first = Followed(path)
    assert first.read() == ["a"]
    append(path, "late\n")
    shutil.copy(path, tmp_path / "log.1")
    path.write_text("new line of text\n" if regrown else "n\n")
    wanted = ["late", "new line of text" if regrown else "n"]
    assert (first.read() if while_reading else first.again()) == wanted
    assert not first.said
    first.reader.close()


@pytest.mark.parametrize("copied", [True, False])
def test_a_file_is_cut_and_grows_while_its_reader_lags_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copied: bool
) -> None:
    """What stands in the same place of the new content is no rest of the old one."""
    monkeypatch.setattr(FollowReader, "batch_bytes", 8)
    path = tmp_path / "log"
    path.write_text("".join(f"old {n:03}\n" for n in range(9)))
    said: list[str] = []
    reader = follow(path, log=said)
    assert reader.read().messages == ["old 000"]
    if copied:
        shutil.copy(path, tmp_path / "log.1")
    new = [f"new {n:03}" for n in range(20)]
    path.write_text("".join(f"{line}\n" for line in new))
    rest = [f"old {n:03}" for n in range(1, 9)] if copied else []
    assert take(reader, len(rest) + len(new)) == rest + new
    assert len(said) == (0 if copied else 1)
    reader.close()


@pytest.mark.parametrize("content", ["", "b\n", "the same as before, and more\nb\n"])
def test_a_file_that_was_cut_without_a_copy_begins_anew_and_that_is_said(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "log"
    path.write_text("a long line\nand an unfinished")
    first = Followed(path)
    assert first.read() == ["a long line"]
    path.write_text(content)
    assert first.read() == ["and an unfinished", *content.splitlines()]
    assert len(first.said) == 1
    assert "from its beginning" in first.said[0]
    assert first.again() == []
    first.reader.close()


def test_a_file_of_which_nothing_was_read_is_known_by_its_inode(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("")
    first = Followed(path)
    assert first.read() == []
    append(path, "a\n")
    rotate(path, "b\n")
    assert first.again() == ["a", "b"]
    (tmp_path / "log.1").unlink()
    with pytest.raises(ConnectorError, match="up to byte 0"):
        first.again()
    first.reader.close()


@pytest.mark.parametrize("moved", [True, False])
def test_a_file_is_not_known_by_a_header_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    """The next one begins with the same, and is as long: it is the old one only by its inode."""
    monkeypatch.setattr(file_rotation, "TELLING_BYTES", 256)
    path = tmp_path / "log"
    path.write_text("n,m\n")
    first = Followed(path, csv=True)
    assert first.read() == []
    append(path, "1,x\n")
    path.rename(tmp_path / "log.1")
    path.write_text("n,m\n2,x\n")
    if moved:
        assert first.again() == [{"n": "1", "m": "x"}, {"n": "2", "m": "x"}]
    else:
        (tmp_path / "log.1").unlink()
        with pytest.raises(ConnectorError, match="is not there any more"):
            first.again()
    first.reader.close()


def test_what_is_being_packed_did_not_come_between(tmp_path: Path) -> None:
    """It is half written, and newer than what was rotated after it."""
    path = tmp_path / "log"
    path.write_text("long ago\n")
    rotate(path, "a\n")
    first = Followed(path)
    assert first.read() == ["a"]
    rotate(path, "new\n")
    for name in ("log.1", "log.2"):
        packed = tmp_path / f"{name}.gz"
        packed.write_bytes(gzip.compress((tmp_path / name).read_bytes())[:12])
        os.utime(packed, ns=(2 * 10**18, 2 * 10**18))
    assert first.again() == ["new"]
    assert first.read() == ["new"]
    first.reader.close()


def test_of_a_folder_what_was_rotated_is_no_split_of_its_own(tmp_path: Path) -> None:
    mine = ["app.log", "other-2026.txt", "part.1", "part.2", "web.txt"]
    rotated = ["app.log.1", "app.log.2.gz", "app.log-20261127", "app-2026-11-27.log", "web.1.txt"]
    for name in mine + rotated:
        (tmp_path / name).write_text("")
    source = connectors.source("file", {"path": str(tmp_path), "follow": True})
    assert [Path(split.name).name for split in source.splits()] == mine
    source = connectors.source("file", {"path": str(tmp_path), "follow": False})
    assert len(source.splits()) == len(mine + rotated)


STORY = st.lists(
    st.sampled_from(["write", "half", "end", "rotate", "copytruncate", "look", "look"]), max_size=14
)


@QUICK
@given(story=STORY)
@pytest.mark.parametrize("header", [False, True])
def test_from_each_position_the_rest_comes_exactly_once(
    tmp_path_factory: pytest.TempPathFactory, header: bool, story: list[str]
) -> None:
    """Whatever happens to the file, and wherever the reader is killed."""
    path = tmp_path_factory.mktemp("story") / "log"
    path.write_text("n,m\n" if header else "")
    first = Followed(path, csv=header)
    lines, whole = 0, True
    for what in [*story, "end"]:
        if what == "look":
            first.read(1)
        elif what == "write" and whole:
            lines += 1
            append(path, f"{lines},x\n")
        elif what == "half" and whole:
            lines, whole = lines + 1, False
            append(path, f"{lines},")
        elif what in ("end", "rotate", "copytruncate"):
            append(path, "" if whole else "x\n")
            whole = True
            if what == "rotate":
                rotate(path, "n,m\n" if header else "")
            elif what == "copytruncate" and path.stat().st_size > 4:
                first.read(60)  # what is cut before any of it was read is lost
                for number in range(8, 0, -1):
                    old = path.with_name(f"log.{number}")
                    if old.exists():
                        old.rename(path.with_name(f"log.{number + 1}"))
                shutil.copy(path, path.with_name("log.1"))
                path.write_text("n,m\n" if header else "")
    first.read(60)
    wanted = [{"n": str(n), "m": "x"} if header else f"{n},x" for n in range(1, lines + 1)]
    assert first.messages == wanted
    for position, count in first.positions:
        if position.memory["file"]["bytes"] <= 4 and "copytruncate" in story:
            continue  # nothing but a header was read, as the file has it again after it was cut
        assert first.again(position) == wanted[count:], position
    first.reader.close()
