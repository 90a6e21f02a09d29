"""A file sink with `visibility: committed`: its file shows nothing that could be taken back.

What is written goes to side files, `.NAME.pending-START`: each holds what belongs at START of the
file and behind, up to where the next `prepare` came. At `commit` those before the checkpoint are
copied to where they belong. A side file stays until its copy is durable, and copying it once more
changes nothing: so it does not matter where in all this a process is killed.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roo.api import ConnectorError
from roo.connectors.writing import write_all

MODE = 0o666
CHUNK_BYTES = 1 << 20


@dataclass
class Pending:
    """One side file. start, end: the places in the file of what it holds."""

    path: Path
    fd: int
    start: int
    end: int


class Committed:
    """Writes one file, which is open as `fd`; the methods are those of `Sink`.

    append: what is in the file already stays. resumes: `rollback` will follow; else side files that
    a killed run has left are of no use, for its checkpoints are not gone on from.
    """

    def __init__(self, path: Path, fd: int, header: bytes, *, append: bool, resumes: bool) -> None:
        self._path = path
        self._fd = fd
        self._header = header
        self._append = append
        # In order: what is copied but not known to be durable, what waits for its commit.
        self._copied: list[Pending] = []
        self._waiting: list[Pending] = []
        self._current: Pending | None = None
        self._durable = 0
        if not resumes:
            self._remove(self._left_behind())
        self._begin()

    def _begin(self) -> None:
        """The file is as it should be, and nothing waits."""
        if self._header and not os.fstat(self._fd).st_size:
            write_all(self._fd, self._header)  # no output, so it is never taken back
        # end: of the file; position: where the next thing that is written belongs.
        self._end = self._position = os.fstat(self._fd).st_size

    # As a run goes

    def write(self, data: Any) -> None:
        if self._current is None:
            path = self._path.with_name(f"{self._prefix}{self._position}")
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE)
            self._current = Pending(path, fd, self._position, self._position)
        write_all(self._current.fd, data)
        self._position = self._current.end = self._position + len(data)

    def flush(self) -> None:
        """Only runs without checkpoints ask for it, at their end: then everything appears."""
        self.commit(self.prepare())

    def prepare(self) -> Any:
        if self._current is not None:
            self._waiting.append(self._current)
            self._current = None
        return {"size_bytes": self._position}

    def sync(self) -> None:
        # A thread of its own: `write` goes on meanwhile, the other methods do not.
        for pending in self._waiting:
            os.fsync(pending.fd)
        durable = self._end
        os.fsync(self._fd)
        _sync_folder(self._path.parent)
        self._durable = durable

    def commit(self, noted: Any) -> None:
        while self._waiting and self._waiting[0].end <= noted["size_bytes"]:
            self._copy(self._waiting[0])
            self._copied.append(self._waiting.pop(0))
        done = [pending for pending in self._copied if pending.end <= self._durable]
        self._copied = self._copied[len(done) :]
        self._remove(done)

    def close(self) -> None:
        # It is closed after the last commit only, so there is nothing to take back any more.
        self.flush()
        os.fsync(self._fd)
        self._remove(self._copied)
        os.close(self._fd)

    # After a crash

    def rollback(self, noted: Any) -> None:
        """The checkpoint is real, so what belongs to it is committed, if that had not come yet."""
        there = os.fstat(self._fd).st_size
        # Nothing but a commit writes the file: without one it is as the run found it.
        nothing = there if self._append else 0
        size_bytes = noted["size_bytes"] if noted else nothing
        pending = self._left_behind()
        end = there
        for part in pending:
            # A place may have been written when the power failed, its bytes not: all over again.
            if part.start <= end and part.end <= size_bytes:
                self._end = part.start
                self._copy(part, again=True)
                end = max(end, part.end)
        if end < size_bytes:
            what = f"{self._path} has {there} bytes, and had {size_bytes} at the checkpoint"
            raise ConnectorError(what, "put it and its side files back, or start over with --fresh")
        # Longer only if the newest checkpoints were damaged, and this is one before them.
        os.ftruncate(self._fd, size_bytes)
        os.fsync(self._fd)
        self._remove(pending)
        self._begin()

    # Side files

    @property
    def _prefix(self) -> str:
        return f".{self._path.name}.pending-"

    def _left_behind(self) -> list[Pending]:
        """The side files there are, in order, open."""
        found = []
        for path in self._path.parent.iterdir():
            start = path.name.removeprefix(self._prefix)
            if start != path.name and start.isdecimal():
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                size = os.fstat(fd).st_size
                found.append(Pending(path, fd, int(start), int(start) + size))
        return sorted(found, key=lambda pending: pending.start)

    def _copy(self, pending: Pending, *, again: bool = False) -> None:
        """Put it where it belongs. Raises OSError, ConnectorError."""
        there = os.fstat(self._fd).st_size
        if not again and there != self._end:
            what = f"{self._path} has {there} bytes, and should have {self._end}"
            raise ConnectorError(what, "let nothing else write to it")
        place = pending.start
        while place < pending.end:
            data = os.pread(pending.fd, CHUNK_BYTES, place - pending.start)
            if not data:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            place += os.pwrite(self._fd, data, place)
        self._end = place

    def _remove(self, pending: list[Pending]) -> None:
        for part in pending:
            os.close(part.fd)
            part.path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """The names in it are durable as well."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
