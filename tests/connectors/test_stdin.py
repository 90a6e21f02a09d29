"""Standard input of every kind: pipe, terminal, file, device, none at all."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from roo import connectors
from roo.api import Reader
from tests.connectors.reading import LINES, context, read_until, reads_of


@pytest.fixture
def stdin() -> Iterator[Callable[[int], None]]:
    """Puts a descriptor in the place of stdin for the time of a test."""
    kept = os.dup(0)

    def put(fd: int) -> None:
        os.dup2(fd, 0)
        os.close(fd)

    yield put
    os.dup2(kept, 0)
    os.close(kept)


def reader() -> Reader:
    source = connectors.source("stdin", {})
    source.check()
    (split,) = source.splits()
    return source.open(split, None, LINES, context())


def test_a_pipe_is_read_as_it_fills(stdin: Callable[[int], None]) -> None:
    read_fd, write_fd = os.pipe()
    stdin(read_fd)
    source = reader()
    assert source.fileno() == 0
    assert source.read() is None
    os.write(write_fd, b"a\nb")
    read = source.read()
    assert read is not None
    assert (read.messages, read.start, read.offset, read.bytes_read) == (["a"], 0, 2, 3)
    assert source.read() is None
    os.write(write_fd, b"c\nlast")
    os.close(write_fd)
    reads = reads_of(source)
    assert [m for r in reads for m in r.messages] == ["bc", "last"]
    assert reads[-1].offset == 9


def test_a_file_has_a_size_and_is_always_ready(
    tmp_path: Path, stdin: Callable[[int], None]
) -> None:
    (tmp_path / "in").write_bytes(b"a\nb\n")
    stdin(os.open(tmp_path / "in", os.O_RDONLY))
    assert connectors.source("stdin", {}).splits()[0].size_bytes == 4
    source = reader()
    assert source.fileno() is None
    assert [m for r in reads_of(source) for m in r.messages] == ["a", "b"]


def test_an_empty_device(stdin: Callable[[int], None]) -> None:
    stdin(os.open(os.devnull, os.O_RDONLY))
    assert [m for r in reads_of(reader()) for m in r.messages] == []


def test_a_terminal(stdin: Callable[[int], None]) -> None:
    master, slave = pty.openpty()
    tty.setcbreak(slave)
    stdin(slave)
    source = reader()
    assert source.fileno() == 0
    assert source.read() is None
    os.write(master, b"typed\n")
    assert read_until(source, bool) == ["typed"]
    os.close(master)
    source.close()


def test_a_closed_stdin_is_an_empty_one() -> None:
    code = (
        "import os; os.close(0)\n"
        "from tests.connectors.test_stdin import reader, reads_of\n"
        "print([r.messages for r in reads_of(reader())])\n"
        "assert os.open('.', os.O_RDONLY) != 0\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("[[]]\n", "")
