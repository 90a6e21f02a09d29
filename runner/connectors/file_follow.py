"""Following a file that grows, like `tail -F`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from roo.api import Codec, Read
from roo.connectors.file_reading import FileReader, failed

FOLLOW_EVERY_MS = 20.0


class FollowReader(FileReader):
    """Waits for more, and survives rotation, truncation and a file not yet there.

    Offsets are places in the file that has the name now. What is left of a file that gave way to
    another, or was cut short, counts as its last line.
    """

    def __init__(self, path: Path, offset: int | None, codec: Codec) -> None:
        super().__init__(codec, offset or 0)
        self._path = path
        self._file: BinaryIO | None = None
        try:
            self._open(offset or 0)
        except OSError as error:
            raise failed(path, error) from error

    def read(self) -> Read | None:
        try:
            return self._read()
        except OSError as error:
            raise failed(self._path, error) from error

    def _read(self) -> Read | None:
        if self._file is None and not self._open(0):
            return None
        assert self._file is not None
        data = self._file.read(self.batch_bytes)
        if not data:
            if os.fstat(self._file.fileno()).st_size < self._fed:
                return self._leave()
            if not self._replaced():
                return None
            # Its writer may have gone on between our look at the file and at the name.
            data = self._file.read(self.batch_bytes)
            if not data:
                return self._leave()
        return self._decode(data, len(data), end=False)

    def _open(self, offset: int) -> bool:
        try:
            self._file = self._path.open("rb", buffering=0)
        except FileNotFoundError:
            return False
        self._file.seek(offset)
        self._decoder = self._codec.decoder()
        self._base = self._fed = offset
        return True

    def _leave(self) -> Read | None:
        """Done with this file: its last line, if that lacked a newline. The next begins at 0."""
        assert self._file is not None
        self._file.close()
        self._file = None
        read = self._decode(b"", 0, end=True)
        read.end, read.offset = False, 0
        self._decoder = self._codec.decoder()
        self._base = self._fed = 0
        return read if read.messages or read.failures else None

    def _replaced(self) -> bool:
        """Whether the path names another file now."""
        assert self._file is not None
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False  # moved away, nothing new yet; more may come to the old one
        here = os.fstat(self._file.fileno())
        return (there.st_ino, there.st_dev) != (here.st_ino, here.st_dev)

    def ready_in_ms(self) -> float:
        return FOLLOW_EVERY_MS

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
