"""What all writers of a plain file have in common: where they stand, and whose file it is.

A position says how much this writer has *written*, not how large a file is that it finds, and is
enough to go on from or to refuse: the file of the next writer must be as long, and end there with
the same bytes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xxhash import xxh3_64_hexdigest

from roo import disk
from roo.api import ConnectorError, Context

MODE = 0o666

TAIL_BYTES = 1024
"""How many bytes before a position are compared."""

NO_SYNC = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""Of a folder that this user may not look into, or that has nothing to sync."""


class Written:
    """How much has been written up to here, and the last bytes of it."""

    def __init__(self, size_bytes: int = 0, tail: bytes = b"") -> None:
        self.size_bytes = size_bytes
        self.tail = tail

    def add(self, data: bytes) -> None:
        """It is written."""
        self.size_bytes += len(data)
        last = data[-TAIL_BYTES:]
        if len(last) < TAIL_BYTES:
            last = (self.tail + last)[-TAIL_BYTES:]
        self.tail = bytes(last)


class Writer:
    """Writes one plain file, which may not be there yet. `begin` or `rollback` opens it.

    path: as it is said to users. flags: for opening it, beside reading and writing. append: what is
    in the file before the run stays. Methods raise OSError and ConnectorError.
    """

    flags = 0

    def __init__(self, path: str, header: bytes, context: Context, *, append: bool) -> None:
        self._said = path
        # Absolute, for a plugin may change the working directory; and behind links, for what is
        # renamed over a link takes its place.
        self._asked = Path(os.path.abspath(path))  # noqa: PTH100
        self._path = Path(disk.realpath(path))
        self._header = header
        self._context = context
        self._append = append
        self._fd = -1
        self._written = Written()
        self._names_durable = False

    # Opening

    def begin(self) -> None:
        """A run starts anew. Without `append` the file is emptied."""
        there = self.find()
        self.take_over(there if self._append else 0)

    def find(self) -> int:
        """Open the file if it is there; how many bytes it has."""
        try:
            self._fd = disk.open(self._path, os.O_RDWR | os.O_CLOEXEC | self.flags)
        except FileNotFoundError:
            return 0
        return disk.fstat(self._fd).st_size

    def read(self, start: int, end: int) -> bytes:
        """What the file has between two places; fewer bytes where it ends before."""
        return disk.pread_all(self._fd, end - start, start) if self._fd >= 0 else b""

    def take_over(self, size_bytes: int, fill: Callable[[int], None] = lambda fd: None) -> None:
        """The file as it was found, or a new one, is this writer's, with its first bytes and
        nothing more. fill: writes to a descriptor what lacks of them.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | self.flags
        if self._fd >= 0 and not self._context.predecessor_ended:
            self._take_away(size_bytes, fill)
        else:
            if self._fd < 0:
                self._fd = disk.open(self._path, flags, MODE)
            fill(self._fd)
            if disk.fstat(self._fd).st_size != size_bytes:
                disk.ftruncate(self._fd, size_bytes)
        if not size_bytes and self._header:
            disk.write_all(self._fd, self._header)  # no output, so it is never taken back
            size_bytes = len(self._header)
        self._written = Written(size_bytes, self.read(max(0, size_bytes - TAIL_BYTES), size_bytes))

    def _take_away(self, size_bytes: int, fill: Callable[[int], None]) -> None:
        """Put a copy in the place of the file that an older writer may still have open: what that
        one writes late goes into a file without a name.
        """
        was = disk.fstat(self._fd)
        beside = self._path.with_name(f".{self._path.name}.next-{self._context.attempt}")
        remove(beside)  # of one that was killed in here
        copy_fd = disk.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
        try:
            disk.copy(self._fd, copy_fd, min(size_bytes, was.st_size))
            fill(copy_fd)
            disk.ftruncate(copy_fd, size_bytes)
            disk.fchmod(copy_fd, stat.S_IMODE(was.st_mode))
            now = disk.fstat(copy_fd)
            if (now.st_uid, now.st_gid) != (was.st_uid, was.st_gid):
                disk.fchown(copy_fd, was.st_uid, was.st_gid)
            disk.fsync(copy_fd)
            new_fd = disk.open(beside, os.O_RDWR | os.O_CLOEXEC | self.flags)
        finally:
            disk.close(copy_fd)
        # Whoever was held up in here until its own successor has done the same comes too late.
        if not (same(disk.stat(self._path), was) and same(disk.stat(beside), now)):
            raise ConnectorError(
                f"{self._said} was replaced while it was made ready to go on", MEND_HINT
            )
        disk.replace(beside, self._path)
        disk.sync_folder(self._path.parent)
        disk.close(self._fd)
        self._fd = new_fd

    # Positions

    def note(self) -> dict[str, Any]:
        """The position of what has been written so far, as plain data."""
        here = disk.fstat(self._fd)
        return {
            "size_bytes": self._written.size_bytes,
            "tail_bytes": len(self._written.tail),
            "tail": xxh3_64_hexdigest(self._written.tail),
            "path": str(self._path),
            "device": here.st_dev,
            "inode": here.st_ino,
            "machine": self._context.machine,
        }

    def check(self, noted: dict[str, Any], there: int, read: Callable[[int, int], bytes]) -> None:
        """Refuse to go on from a position that the file, as it was found, does not have.

        there: how many bytes there are. read: (start, end) -> bytes of the file.
        """
        end, length = noted["size_bytes"], noted["tail_bytes"]
        ends_so = there >= end and xxh3_64_hexdigest(read(end - length, end)) == noted["tail"]
        is_same = self._fd >= 0 and disk.fstat(self._fd).st_ino == noted["inode"]
        if noted["machine"] != self._context.machine and not (ends_so and (length or is_same)):
            raise ConnectorError(
                f"{noted['path']} is on machine {noted['machine']}, where its writer was, and not "
                f"on this one, {self._context.machine}",
                "write to a folder that all machines share, let a worker of that machine join, or "
                "start over with --fresh",
            )
        if there < end:
            found = f"{self._said} has {there} bytes"
            if self._fd < 0:
                found = f"{self._said} is not there: it has {there} bytes"
            raise ConnectorError(f"{found}, and had {end} at the checkpoint", self._back_hint)
        if not ends_so:
            what = "is another file than" if not is_same else "does not go on as"
            raise ConnectorError(
                f"{self._said} {what} at the checkpoint: its {length} bytes before byte {end} "
                "are others",
                self._back_hint,
            )

    _back_hint = "put the file back, or start over with --fresh"

    def look(self, size_bytes: int) -> None:
        """Raise ConnectorError where the file is no longer what this writer has written.

        size_bytes: how long it should be.
        """
        mine = disk.fstat(self._fd)
        try:
            there = disk.stat(self._asked)
        except (FileNotFoundError, NotADirectoryError):
            what = f"{self._said} was removed or renamed while this run wrote to it"
            raise ConnectorError(what, MEND_HINT) from None
        if not same(there, mine):
            what = f"{self._said} was replaced by another file while this run wrote to it"
            raise ConnectorError(what, MEND_HINT)
        if mine.st_size != size_bytes:
            how = "something has cut it" if mine.st_size < size_bytes else "something else writes"
            what = (
                f"{self._said} has {mine.st_size} bytes, and this run has written {size_bytes}: "
                f"{how}"
            )
            raise ConnectorError(what, MEND_HINT)

    # Durability

    def sync_names(self) -> None:
        """The file is found under its name also when the power has failed; once is enough."""
        if self._names_durable:
            return
        for folder in self._path.parents:
            try:
                disk.sync_folder(folder)
            except OSError as error:
                if error.errno not in NO_SYNC:
                    raise
        self._names_durable = True

    def let_go(self) -> None:
        """Close the file, whatever is in it."""
        if self._fd >= 0:
            disk.close(self._fd)
            self._fd = -1


MEND_HINT = (
    "let nothing else touch it while a run writes to it; then start over with --fresh, or put it "
    "back as it was and run again"
)


def same(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether both are of one file."""
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def remove(path: Path) -> None:
    """It is not there any more."""
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(path)
