"""A file sink with `visibility: committed`: its file shows nothing that could be taken back.

What is written goes to side files, `.NAME.pending-INODE-START`: each holds what belongs at START of
the file and behind, up to where the next `prepare` came. At `commit` those before the checkpoint
are copied to where they belong. A side file stays until its copy is durable, and copying it once
more changes nothing: so it does not matter where in all this a process is killed.

INODE is the file's. An older writer that goes on late has another file open, so it neither makes
nor removes what has the name of a newer one's.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roo import disk
from roo.api import Context
from roo.connectors.file_writer import MODE, Writer, remove


@dataclass
class Pending:
    """One side file. start, end: the places in the file of what it holds."""

    path: Path
    fd: int
    start: int
    end: int


class Committed(Writer):
    """Writes one file; the methods are those of `roo.connectors.file_sink.Output`."""

    _back_hint = "put it and its side files back, or start over with --fresh"

    def __init__(self, path: str, header: bytes, context: Context, *, append: bool) -> None:
        super().__init__(path, header, context, append=append)
        # In order: what is copied but not known to be durable, what waits for its commit.
        self._copied: list[Pending] = []
        self._waiting: list[Pending] = []
        self._current: Pending | None = None
        # Up to where the file is published, and up to where that is durable.
        self._end = self._durable = 0

    def begin(self) -> None:
        """Side files that a killed run has left are of no use: its checkpoints are not gone on
        from.
        """
        super().begin()
        self._nothing_waits()

    def _nothing_waits(self) -> None:
        """The file is as it should be: whatever lies beside it is of no use any more."""
        for path, _, _ in self._side_files():
            remove(path)
        self._end = self._written.size_bytes

    # As a run goes

    def write(self, data: Any) -> None:
        if not data:
            return  # else there were two side files of one name
        place = self._written.size_bytes
        if self._current is None:
            path = self._path.with_name(f"{self._prefix}{disk.fstat(self._fd).st_ino}-{place}")
            fd = disk.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
            self._current = Pending(path, fd, place, place)
        disk.write_all(self._current.fd, data)
        self._written.add(data)
        self._current.end = self._written.size_bytes

    def flush(self) -> None:
        """Only runs without checkpoints ask for it: then everything appears."""
        self.commit(self.prepare())

    def prepare(self) -> Any:
        self.look(self._end)
        if self._current is not None:
            self._waiting.append(self._current)
            self._current = None
        return self.note()

    def sync(self) -> None:
        # A thread of its own: `write` goes on meanwhile, the other methods do not.
        for pending in self._waiting:
            disk.fsync(pending.fd)
        durable = self._end
        disk.fsync(self._fd)
        disk.sync_folder(self._path.parent)
        self.sync_names()
        self._durable = durable

    def commit(self, noted: Any) -> None:
        while self._waiting and self._waiting[0].end <= noted["size_bytes"]:
            self.look(self._end)
            _copy(self._waiting[0], self._fd)
            self._end = self._waiting[0].end
            self._copied.append(self._waiting.pop(0))
        done = [pending for pending in self._copied if pending.end <= self._durable]
        self._copied = self._copied[len(done) :]
        self._remove(done)

    def finish(self) -> None:
        """What waits stays beside the file: a checkpoint may have it that has not been told of."""
        self.look(self._end)
        self.sync()
        self._remove(self._copied)
        self._copied = []

    def let_go(self) -> None:
        current = [] if self._current is None else [self._current]
        for pending in (*self._copied, *self._waiting, *current):
            disk.close(pending.fd)
        self._copied, self._waiting, self._current = [], [], None
        super().let_go()

    # After a crash

    def rollback(self, noted: Any) -> None:
        """The checkpoint is real, so what belongs to it is committed, if that had not come yet."""
        # Side files first: what a late commit removes of them meanwhile is in the file then.
        pending = self._pending_of(noted["inode"]) if noted is not None else []
        there = self.find()
        # Nothing but a commit writes the file: without one it is as the run found it.
        nothing = there if self._append else 0
        size_bytes = noted["size_bytes"] if noted is not None else nothing
        usable, end = [], there
        for part in pending:
            # A place may have been written when the power failed, its bytes not: all over again.
            if part.start <= end and part.end <= size_bytes:
                usable.append(part)
                end = max(end, part.end)

        def read(start: int, stop: int) -> bytes:
            """As `fill` will make it."""
            data = bytearray(self.read(start, stop).ljust(stop - start, b"\0"))
            for part in usable:
                low, high = max(start, part.start), min(stop, part.end)
                if low < high:
                    data[low - start : high - start] = disk.pread_all(
                        part.fd, high - low, low - part.start
                    )
            return bytes(data)

        def fill(fd: int) -> None:
            for part in usable:
                _copy(part, fd)

        if noted is not None:
            self.check(noted, end, read)
        # Shorter than it was only if the newest checkpoints were damaged, and this is one before.
        self.take_over(size_bytes, fill)
        disk.fsync(self._fd)
        for part in pending:
            disk.close(part.fd)
        self._nothing_waits()

    # Side files

    @property
    def _prefix(self) -> str:
        return f".{self._path.name}.pending-"

    def _side_files(self) -> list[tuple[Path, int, int]]:
        """(path, inode of the file it belongs to, start) of all there are."""
        found = []
        for name in disk.listdir(self._path.parent):
            inode, _, start = name.removeprefix(self._prefix).partition("-")
            if name.startswith(self._prefix) and inode.isdecimal() and start.isdecimal():
                found.append((self._path.with_name(name), int(inode), int(start)))
        return found

    def _pending_of(self, inode: int) -> list[Pending]:
        """The side files of a file, in order, open."""
        found = []
        for path, file, start in self._side_files():
            if file == inode:
                fd = disk.open(path, os.O_RDONLY | os.O_CLOEXEC)
                found.append(Pending(path, fd, start, start + disk.fstat(fd).st_size))
        return sorted(found, key=lambda pending: pending.start)

    def _remove(self, pending: list[Pending]) -> None:
        for part in pending:
            disk.close(part.fd)
            remove(part.path)


def _copy(pending: Pending, fd: int) -> None:
    """Put it where it belongs in a file. Raises OSError."""
    place = pending.start
    while place < pending.end:
        data = disk.pread(pending.fd, disk.CHUNK_BYTES, place - pending.start)
        if not data:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        disk.pwrite_all(fd, data, place)
        place += len(data)
