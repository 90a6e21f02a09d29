"""Files as sources hold them: opened by `disk`, and known again by what had been read of them."""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xxhash import xxh3_64_hexdigest

from roo import disk
from roo.api import ConnectorError

SAMPLE_BYTES = 1024
"""How much of the beginning and of the end of what was read is compared."""


class OpenFile(io.RawIOBase):
    """A file that is open for reading."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        self._fd = disk.open(path, os.O_RDONLY | os.O_CLOEXEC)

    @property
    def facts(self) -> os.stat_result:
        """As `fstat` gives them. Raises OSError."""
        return disk.fstat(self._fd)

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; b"" at the end. Raises OSError."""
        return disk.read(self._fd, size) if size >= 0 else self.readall()

    def readinto(self, buffer: Any) -> int:
        data = disk.read(self._fd, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def part(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end`, as far as they are there. Raises OSError."""
        return disk.pread(self._fd, end - start, start)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return disk.lseek(self._fd, offset, whence)

    def tell(self) -> int:
        return disk.lseek(self._fd, 0, os.SEEK_CUR)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            disk.close(fd)
        super().close()


@dataclass(frozen=True)
class Known:
    """How a file is known again, as plain data in a checkpoint.

    bytes: how far it had been read. head, tail: digests of the first and the last `SAMPLE_BYTES`
    before that. They decide: numbers of inodes are used again, and file systems are copied.
    device, inode: where to look first.
    """

    device: int
    inode: int
    bytes: int
    head: str
    tail: str

    @classmethod
    def at(cls, file: OpenFile, read_bytes: int) -> Known:
        """A file that has been read so far. Raises OSError."""
        return Trail(file, read_bytes).known()

    @classmethod
    def of(cls, memory: Any) -> Known | None:
        """The file in the memory of a reader; None: it has none."""
        file = memory["file"] if memory is not None else None
        return cls(**file) if file is not None else None

    def has_place_of(self, facts: os.stat_result) -> bool:
        """Whether device and inode are those of a file."""
        return (self.device, self.inode) == (facts.st_dev, facts.st_ino)

    def difference(self, file: OpenFile) -> str:
        """Why a file can't be the one that was read, as the end of a sentence; "": it is. Raises
        OSError.
        """
        size_bytes = file.facts.st_size
        if size_bytes < self.bytes:
            return f"has {size_bytes} bytes, and had been read up to byte {self.bytes}"
        now = Known.at(file, self.bytes)
        if (now.head, now.tail) != (self.head, self.tail):
            return f"is not what had been read up to byte {self.bytes}: its content is another"
        return ""

    def check(self, file: OpenFile) -> None:
        """Raise ConnectorError for a file that is another, or lacks what had been read of it: going
        on would leave lines out or bring some twice. Raises OSError.
        """
        if difference := self.difference(file):
            what = f"{file.path} {difference}"
            raise ConnectorError(what, "put the file back, or start over with --fresh")


class Trail:
    """What has been read of a file, as far as is needed to know it again."""

    def __init__(self, file: OpenFile, read_bytes: int) -> None:
        """read_bytes: how much that is as yet. Raises OSError."""
        facts = file.facts
        self._place = facts.st_dev, facts.st_ino
        self._bytes = read_bytes
        self._head = file.part(0, min(read_bytes, SAMPLE_BYTES))
        self._tail = file.part(max(read_bytes - SAMPLE_BYTES, 0), read_bytes)

    def add(self, data: bytes) -> None:
        """The next bytes of it have been read."""
        if self._bytes < SAMPLE_BYTES:
            self._head += data[: SAMPLE_BYTES - self._bytes]
        self._tail = (self._tail + data[-SAMPLE_BYTES:])[-SAMPLE_BYTES:]
        self._bytes += len(data)

    def known(self) -> Known:
        """How it is known again."""
        return Known(*self._place, self._bytes, digest(self._head), digest(self._tail))


digest = xxh3_64_hexdigest
"""As in `Known.head` and `Known.tail`."""


def open_if_there(path: Path) -> OpenFile | None:
    """A file, open; None: nothing has this name. Raises OSError."""
    try:
        return OpenFile(path)
    except FileNotFoundError:
        return None


def is_regular(facts: os.stat_result) -> bool:
    """Whether it is a file that has an end and can be read from any place."""
    return stat.S_ISREG(facts.st_mode)


def stat_of(path: str | Path) -> os.stat_result | None:
    """The facts of a path; None: nothing is there. Raises OSError."""
    try:
        return disk.stat(path)
    except FileNotFoundError:
        return None
