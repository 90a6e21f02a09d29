"""Files: every line in exactly one split, exact offsets, packed files, what is found by check."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roo import connectors, disk
from roo.api import ConnectorError, Read, Reader, Source
from tests.connectors.reading import LINES, context, messages_of, reads_of

QUICK = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CONTENT = st.lists(
    st.sampled_from([b"a", b"bc", b"\n", b"\r\n", b"\r", "é".encode(), b"long " * 4])
)
PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstandard.compress}


def file(path: Path | str, **options: Any) -> Source:
    """A file source with the defaults of the pipeline file."""
    defaults = {"follow": False, "splits": 1, "compression": "auto"}
    return connectors.source("file", {"path": str(path), **defaults, **options})


def lines_of(content: bytes) -> list[str]:
    """What a plain reader makes of it: the simple thing to compare with."""
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [line.decode().removesuffix("\r") for line in lines]


@QUICK
@given(
    content=CONTENT.map(b"".join),
    splits=st.sampled_from([1, 2, 3, 7, 40]),
    batch_bytes=st.sampled_from([1, 2, 3, 8, 65536]),
)
def test_splits_together_are_the_file(
    tmp_path: Path, content: bytes, splits: int, batch_bytes: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    source = file(path, splits=splits)
    assert len(source.splits()) == splits
    assert sum(s.size_bytes or 0 for s in source.splits()) == len(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reader, "batch_bytes", batch_bytes)
        assert messages_of(source) == lines_of(content)


@QUICK
@given(content=CONTENT.map(b"".join), splits=st.sampled_from([1, 3]))
def test_reading_goes_on_exactly_from_an_offset(
    tmp_path: Path, content: bytes, splits: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    source = file(path, splits=splits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reader, "batch_bytes", 5)
        for split in source.splits():
            reads = reads_of(source.open(split, None, LINES, context()))
            expected = [message for read in reads for message in read.messages]
            for read in reads:
                for index, message in enumerate(read.messages):
                    assert read.locate is not None
                    rest = content[read.locate(index) :]
                    assert rest.split(b"\n")[0].decode().removesuffix("\r") == message
                expected = expected[len(read.messages) :]
                again = reads_of(source.open(split, read.offset, LINES, context()))
                assert [m for r in again for m in r.messages] == expected


@pytest.mark.parametrize("suffix", PACK)
def test_packed_files_are_read_like_plain_ones(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reader, "batch_bytes", 100)
    content = b"".join(b"line %d\r\n" % i for i in range(200))
    packed = PACK[suffix](content[:1000]) + PACK[suffix](content[1000:])  # as `cat a.gz b.gz`
    path = tmp_path / f"file{suffix}"
    path.write_bytes(packed)
    source = file(path)
    source.check()
    (split,) = source.splits()
    reads = reads_of(source.open(split, None, LINES, context()))
    assert [m for r in reads for m in r.messages] == lines_of(content)
    assert sum(read.bytes_read for read in reads) == len(packed) == split.size_bytes
    for offset in (reads[0].offset, 8, len(content)):
        again = reads_of(source.open(split, offset, LINES, context()))
        assert [m for r in again for m in r.messages] == lines_of(content[offset:])


@pytest.mark.parametrize("suffix", PACK)
def test_a_torn_packed_file_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"file{suffix}"
    packed = PACK[suffix](b"\n".join(os.urandom(30).hex().encode() for _ in range(2000)))
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ConnectorError, match=f"can't read .*{suffix}"):
        messages_of(file(path))
    path.write_bytes(b"not packed at all\n" * 10)
    with pytest.raises(ConnectorError, match=f"can't read .*{suffix}"):
        messages_of(file(path))
    assert messages_of(file(path, compression="none")) == ["not packed at all"] * 10


def test_a_folder_or_glob_is_read_in_order_of_names(tmp_path: Path) -> None:
    for name in ["b.txt", "a.txt", ".hidden.txt", "c.log"]:
        (tmp_path / name).write_text(name + "\n")
    (tmp_path / "sub.txt").mkdir()
    (tmp_path / "sub.txt" / "d.txt").write_text("d\n")
    assert messages_of(file(tmp_path)) == ["a.txt", "b.txt", "c.log"]
    assert messages_of(file(tmp_path / "*.txt")) == ["a.txt", "b.txt"]
    assert messages_of(file(tmp_path / "?[.]txt")) == ["a.txt", "b.txt"]
    (tmp_path / "odd[1].txt").write_text("odd\n")
    assert messages_of(file(tmp_path / "odd[1].txt")) == ["odd"]


@pytest.mark.parametrize("follow", [False, True])
def test_what_is_not_there_is_found_before_the_run(tmp_path: Path, follow: bool) -> None:
    (tmp_path / "empty").mkdir()
    for path, what in [("empty", "is an empty folder"), ("*.txt", "matches no file")]:
        with pytest.raises(ConnectorError, match=what):
            file(tmp_path / path, follow=follow).check()
    missing = file(tmp_path / "missing", follow=follow)
    if follow:
        missing.check()  # it may come
    else:
        with pytest.raises(ConnectorError, match=r"there is no file .*missing"):
            missing.check()


def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConnectorError, match="is a pipe or socket") as caught:
        file(tmp_path / "pipe").check()
    assert "stdin" in caught.value.hint


def test_what_can_not_be_cut_is_refused(tmp_path: Path) -> None:
    for name in ["a.txt", "a.gz"]:
        (tmp_path / name).write_bytes(b"")
    for path in ["*", "a.gz"]:
        with pytest.raises(ConnectorError, match="`splits` can't cut it"):
            file(tmp_path / path, splits=2).check()


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (PermissionError(13, "no"), "may not be read"),
        (OSError(5, "no"), "can't read .*output error"),
    ],
)
def test_what_the_system_refuses_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, what: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    path = tmp_path / "file"
    path.write_bytes(b"a\n")
    monkeypatch.setattr(disk, "open", fail)
    with pytest.raises(ConnectorError, match=what):
        file(path).check()
    monkeypatch.setattr(disk, "listdir", fail)
    with pytest.raises(ConnectorError, match=what):
        file(tmp_path).check()


def test_a_line_without_end_is_never_held_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"ok\n" + b"x" * 500_000)
    codec = connectors.codec("lines", None, {"max_frame_bytes": 100_000})
    reader = file(path).open(file(path).splits()[0], None, codec, context())
    first = reader.read()
    assert first is not None
    assert first.messages == ["ok"]
    with pytest.raises(ConnectorError, match="byte 3 is larger than max_frame"):
        while reader.read() is not None:
            pass
    reader.close()


def test_failures_have_places_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b'{"a":1}\n\nbad\n[2]\nbad')
    source = file(path)
    codec = connectors.codec("json", None, {})
    for offset in (0, 8):
        reads = reads_of(source.open(source.splits()[0], offset, codec, context()))
        assert [f.offset for r in reads for f in r.failures] == [9, 17]
        places = [r.locate(i) for r in reads if r.locate for i in range(len(r.messages))]
        assert places == [0, 13][bool(offset) :]


@pytest.mark.parametrize("suffix", ["", *PACK])
def test_a_file_that_lacks_what_was_read_of_it_is_not_gone_on_with(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"in.txt{suffix}"
    path.write_bytes(PACK.get(suffix, bytes)(b"one\ntwo\n"))
    source = file(path)
    with pytest.raises(
        ConnectorError, match="has 8 bytes, and had been read up to byte 9"
    ) as error:
        reads_of(source.open(source.splits()[0], 9, LINES, context()))
    assert "--fresh" in error.value.hint


def test_a_range_that_the_file_lacks_is_missed(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes(b"one\ntwo\nthree\n")
    source = file(path, splits=2)
    last = source.splits()[1]
    path.write_bytes(b"one\ntwo\nth\n")
    with pytest.raises(ConnectorError, match="has 11 bytes, and is read up to byte 14"):
        source.open(last, None, LINES, context())


# Which file it is, and what the codec has learnt

CSV = connectors.codec("csv", None, {})
ROWS = st.lists(
    st.sampled_from([b"1,x", b"2,y", b"", b'"3\n4",z', b"\xef\xbb\xbf5,w", b"bad"]), max_size=12
)
HEADERS = [b"n,m\n", b"\n\n\n\nn,m\n", b'"n\nn",m\r\n', b"\xef\xbb\xbfn,m\n"]


def taken(reads: list[Read]) -> list[Any]:
    """All that readers gave, in its order: messages, and frames that did not decode."""
    found: list[Any] = []
    for read in reads:
        given = list(read.messages)
        for failure in reversed(read.failures):
            given.insert(failure.index, failure.frame)
        found += given
    return found


def positions_of(reader: Reader) -> Iterator[tuple[int | None, Any, list[Read]]]:
    """Where a reader stands after each read, and what it has given out by then; closes it."""
    reads: list[Read] = []
    yield None, json.loads(json.dumps(reader.memory())), []
    while not (reads and reads[-1].end):
        read = reader.read()
        assert read is not None
        reads.append(read)
        yield read.offset, json.loads(json.dumps(reader.memory())), list(reads)
    reader.close()


@settings(QUICK, max_examples=30)
@given(rows=ROWS, splits=st.sampled_from([1, 2, 5]), batch_bytes=st.sampled_from([1, 3, 8, 40]))
@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("pack", [None, *PACK])
def test_csv_keeps_its_columns_from_each_position(
    tmp_path_factory: pytest.TempPathFactory,
    pack: str | None,
    header: bytes,
    rows: list[bytes],
    splits: int,
    batch_bytes: int,
) -> None:
    """Wherever a range begins (its rows are one line each), and wherever one goes on from."""
    if b"\n" in header.strip():
        splits = 1  # of a row that is cut nobody knows where it begins
    if splits > 1:
        rows = [row for row in rows if b"\n" not in row]
    content = header + b"\n".join(rows)
    path = tmp_path_factory.mktemp("rows") / f"rows.csv{pack or ''}"
    path.write_bytes(PACK.get(pack or "", bytes)(content))
    (whole,) = (source := file(path)).splits()
    wanted = taken(reads_of(source.open(whole, None, CSV, context())))
    assert not any(b"n,m" in found for found in wanted if isinstance(found, bytes))
    source = file(path, splits=1 if pack else splits)
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reader, "batch_bytes", batch_bytes)
        for split in source.splits():
            positions = list(positions_of(source.open(split, None, CSV, context())))
            every = taken(positions[-1][2])
            found += every
            for offset, memory, reads in positions:
                other = source.open(split, offset, CSV, context(memory=memory))
                assert taken(reads) + taken(reads_of(other)) == every
    assert found == wanted


def test_a_mark_within_a_file_is_text_wherever_a_range_begins(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes(b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n")
    for splits in (1, 2, 3):
        assert messages_of(file(path, splits=splits)) == ["a", "\ufeffb"]


@pytest.mark.parametrize("suffix", ["", *PACK])
@pytest.mark.parametrize("splits", [1, 2])
def test_a_file_that_became_another_is_not_gone_on_with(
    tmp_path: Path, suffix: str, splits: int
) -> None:
    """As long as before, and of the same inode: its content tells."""
    path = tmp_path / f"in.txt{suffix}"
    path.write_bytes(PACK.get(suffix, bytes)(b"one 1\ntwo\n" * 500))
    source = file(path, splits=1 if suffix else splits)
    split = source.splits()[-1]
    reader = source.open(split, None, LINES, context())
    read = reader.read()
    assert read is not None
    memory = reader.memory()
    reader.close()
    source.open(split, read.offset, LINES, context(memory=memory)).close()
    path.write_bytes(PACK.get(suffix, bytes)(b"one 2\ntwo\n" * 500))
    with pytest.raises(ConnectorError, match="its content is another") as caught:
        source.open(split, read.offset, LINES, context(memory=memory))
    assert "--fresh" in caught.value.hint


@pytest.mark.parametrize("place", [0, 2500, 4999])
def test_what_was_read_first_and_last_is_compared(tmp_path: Path, place: int) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes(b"a" * 4999 + b"\n" + b"more\n")
    source = file(path)
    (split,) = source.splits()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reader, "batch_bytes", 5000)
        reader = source.open(split, None, LINES, context())
        read = reader.read()
    assert read is not None
    memory = reader.memory()
    content = bytearray(path.read_bytes())
    content[place] = ord("b")
    path.write_bytes(content + b"and more\n")  # it may grow
    if place == 2500:  # not looked at: a file is not read twice to go on with it
        assert reader.memory() == memory
        source.open(split, read.offset, LINES, context(memory=memory)).close()
    else:
        with pytest.raises(ConnectorError, match="its content is another"):
            reader.memory()
        with pytest.raises(ConnectorError, match="its content is another"):
            source.open(split, read.offset, LINES, context(memory=memory))
    reader.close()


def test_a_file_that_is_cut_while_it_is_read_is_no_end(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes(b"one\ntwo\n")
    reader = file(path).open(file(path).splits()[0], None, LINES, context())
    assert reader.read() is not None
    path.write_bytes(b"one\n")
    with pytest.raises(ConnectorError, match="has 4 bytes"):
        reader.read()
    reader.close()


def test_a_copied_file_is_the_same_one(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes(b"one\ntwo\n")
    source = file(path)
    reader = source.open(source.splits()[0], None, LINES, context())
    assert reader.read() is not None
    memory = reader.memory()
    reader.close()
    shutil.copy(path, tmp_path / "copy")
    (tmp_path / "copy").rename(path)
    other = source.open(source.splits()[0], 4, LINES, context(memory=memory))
    assert taken(reads_of(other)) == ["two"]
