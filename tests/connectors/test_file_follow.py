"""Following a file: growth, rotation, truncation, a file that comes later; nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from roo import connectors
from roo.api import Reader
from roo.connectors.file_follow import FollowReader
from tests.connectors.reading import LINES, context, read_until


def follow(path: Path, offset: int | None = None) -> FollowReader:
    """A reader that follows a path."""
    source = connectors.source("file", {"path": str(path), "follow": True})
    (split,) = source.splits()
    assert split.size_bytes is None
    reader = source.open(split, offset, LINES, context())
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
    replaced = reader._replaced

    def rotate_meanwhile() -> bool:
        monkeypatch.undo()
        append(path, "late\n")
        path.rename(tmp_path / "log.1")
        path.write_text("new\n")
        return replaced()

    monkeypatch.setattr(reader, "_replaced", rotate_meanwhile)
    assert reader._replaced is rotate_meanwhile
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


def test_it_goes_on_from_an_offset(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("a\nb\n")
    reader = follow(path, 2)
    assert take(reader, 1) == ["b"]
    reader.close()
    path.write_text("x\n")  # shorter than the offset: it was cut while nobody looked
    reader = follow(path, 4)
    assert take(reader, 1) == ["x"]
    reader.close()


def test_the_offset_of_a_last_line_is_the_beginning_of_the_next_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("a\nrest")
    reader = follow(path)
    assert take(reader, 1) == ["a"]
    path.rename(tmp_path / "log.1")
    path.write_text("new\n")
    read = reader.read()
    assert read is not None
    assert (read.messages, read.start, read.offset, read.end) == (["rest"], 2, 0, False)
    assert take(reader, 1) == ["new"]
    reader.close()
