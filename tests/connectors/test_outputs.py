"""File and stdout sinks: what lands in the file, and what is said where nothing can."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from roo import connectors
from roo.api import ConnectorError, Context, Sink
from roo.connectors import writing
from tests.connectors.reading import context


def write(sink: Sink, *batches: Any, where: Context | None = None) -> None:
    """Open, write, flush, close."""
    sink.open(where or context())
    for batch in batches:
        sink.write(batch)
    sink.flush()
    sink.close()


def test_overwrite_and_append(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "out.txt"
    options = {"path": str(path), "mode": "overwrite"}
    write(connectors.sink("file", options), b"a\n", b"b\n")
    assert path.read_bytes() == b"a\nb\n"
    write(connectors.sink("file", {**options, "mode": "append"}), b"c\n")
    assert path.read_bytes() == b"a\nb\nc\n"
    write(connectors.sink("file", options), b"d\n")
    assert path.read_bytes() == b"d\n"


def test_the_header_begins_an_empty_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    for batch in (b"1\n", b"2\n"):
        sink = connectors.sink("file", {"path": str(path), "mode": "append"})
        sink.header = b"a\n"
        write(sink, batch)
    assert path.read_bytes() == b"a\n1\n2\n"


def test_a_file_for_each_worker(tmp_path: Path) -> None:
    options = {"path": str(tmp_path / "{worker}" / "out-{worker}.txt")}
    assert not connectors.sink("file", options).single_writer
    assert connectors.sink("file", {"path": "out.txt"}).single_writer
    for worker in (0, 3):
        sink = connectors.sink("file", options)
        sink.check()
        write(sink, b"%d\n" % worker, where=Context("p", "s", worker, 4))
    assert (tmp_path / "3" / "out-3.txt").read_bytes() == b"3\n"
    assert (tmp_path / "0" / "out-0.txt").read_bytes() == b"0\n"


def test_check_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_bytes(b"keep\n")
    connectors.sink("file", {"path": str(path)}).check()
    connectors.sink("file", {"path": str(tmp_path / "a" / "b")}).check()
    assert path.read_bytes() == b"keep\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_or_a_file_in_the_way_is_found_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, what in [(tmp_path, "Is a directory"), (tmp_path / "file" / "x", "Not a directory")]:
        sink = connectors.sink("file", {"path": str(path)})
        with pytest.raises(ConnectorError, match=what):
            sink.check()
        with pytest.raises(ConnectorError, match=f"can't write {path}"):
            sink.open(context())


def test_a_read_only_place_is_found_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    for path in (tmp_path / "x", tmp_path / "a" / "b"):
        with pytest.raises(ConnectorError, match="Permission denied") as caught:
            connectors.sink("file", {"path": str(path)}).check()
        assert "owner and mode" in caught.value.hint


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_is_said() -> None:
    sink = connectors.sink("file", {"path": "/dev/full"})
    sink.check()
    sink.open(context())
    with pytest.raises(ConnectorError, match="can't write /dev/full: No space left") as caught:
        sink.write(b"a\n")
    assert "the disk is full" in caught.value.hint
    sink.close()


def test_short_writes_and_full_pipes_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = bytearray()
    busy = [True]

    def write_some(fd: int, data: memoryview) -> int:
        busy[0] = not busy[0]
        if busy[0]:
            raise BlockingIOError
        taken.extend(data[:3])
        return len(data[:3])

    waits: list[int] = []
    monkeypatch.setattr(os, "write", write_some)
    monkeypatch.setattr(writing, "wait_writable", waits.append)
    writing.write_all(7, b"0123456789")
    assert taken == b"0123456789"
    assert waits == [7, 7, 7]


def test_a_full_pipe_set_non_blocking_is_waited_for() -> None:
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    filled = 0
    try:
        while True:
            filled += os.write(write_fd, b"x" * 4096)
    except BlockingIOError:
        pass
    assert not os.set_blocking(read_fd, True)
    assert os.read(read_fd, filled) == b"x" * filled
    writing.wait_writable(write_fd)
    sink = connectors.sink("stdout", {"fd": write_fd})
    write(sink, b"y")
    assert os.read(read_fd, 10) == b"y"
    os.close(read_fd)
    os.close(write_fd)


def test_stdout_begins_with_the_header() -> None:
    read_fd, write_fd = os.pipe()
    sink = connectors.sink("stdout", {"fd": write_fd})
    assert sink.single_writer
    sink.header = b"a,b\n"
    write(sink, b"1,2\n")
    os.close(write_fd)
    assert os.read(read_fd, 100) == b"a,b\n1,2\n"
    os.close(read_fd)


def test_nobody_reads_stdout_any_more() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    sink = connectors.sink("stdout", {"fd": write_fd})
    sink.open(context())
    with pytest.raises(BrokenPipeError):
        sink.write(b"a\n")
    os.close(write_fd)


def test_null_takes_messages_of_every_worker() -> None:
    sink = connectors.sink("null", {})
    assert (sink.takes_bytes, sink.single_writer) == (False, False)
    write(sink, [1, object()])


def test_a_pipe_or_device_is_not_promised_to_be_rolled_back(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "file").touch()
    promised = {
        path: connectors.sink("file", {"path": path}).rolls_back
        for path in (str(pipe), "/dev/null", str(tmp_path / "file"), str(tmp_path / "new"))
    }
    assert list(promised.values()) == [False, False, True, True]
