"""Packed files: gzip, zstd, bz2."""

from __future__ import annotations

from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from roo.api import Codec, Read
from roo.connectors.file_known import Known, OpenFile
from roo.connectors.file_reading import FileReader, failed, shorter

PACKED_BYTES = 1024
"""What goes to the zstd library at once: it can't be told how much may come out."""


class Unpacked(Protocol):
    """The content of a packed file."""

    def read(self, size: int, /) -> bytes:
        """About so many bytes; b"" at the end."""


class PackedReader(FileReader):
    """A packed file from its beginning. bytes_read counts packed bytes, so progress is true.

    A file that ends in the middle of its packing is an error, and so is anything behind it.
    """

    def __init__(
        self, path: Path, packing: str, offset: int | None, codec: Codec, memory: Any
    ) -> None:
        super().__init__(codec)
        self._begin(offset or 0, memory["decoder"] if memory is not None else None)
        self._path = path
        self._packed_bytes = 0
        self._known_bytes = 0  # so many are compared where they are more than were read here
        try:
            self._raw = OpenFile(path)
            if (known := Known.of(memory)) is not None:
                known.check(self._raw)
                self._known_bytes = known.bytes
        except OSError as error:
            raise failed(path, error) from error
        self._buffer = BufferedReader(self._raw)
        self._file = unpacked(self._buffer, packing)
        self._skip_bytes = offset or 0

    def read(self) -> Read | None:
        try:
            data = self._file.read(self.batch_bytes)
            while data and len(data) <= self._skip_bytes:
                self._skip_bytes -= len(data)
                data = self._file.read(self.batch_bytes)
        except Exception as error:  # each library has errors of its own for a torn file
            raise failed(self._path, error) from error
        if self._skip_bytes and not data:
            raise shorter(self._path, self._base - self._skip_bytes, self._base)
        if self._skip_bytes:
            data = data[self._skip_bytes :]
            self._skip_bytes = 0
        before, self._packed_bytes = self._packed_bytes, self._buffer.tell()
        return self._decode(data, self._packed_bytes - before, end=not data)

    def _known(self) -> Known | None:
        try:
            return Known.at(self._raw, max(self._packed_bytes, self._known_bytes))
        except OSError as error:
            raise failed(self._path, error) from error

    def close(self) -> None:
        self._raw.close()


class _Zstd:
    """Frames of zstd one after the other. The library's own reader takes a torn file for a whole
    one, so this one looks whether the last frame has ended.
    """

    def __init__(self, raw: BinaryIO) -> None:
        import zstandard

        self._raw = raw
        self._new = zstandard.ZstdDecompressor().decompressobj
        self._frame: Any = None  # None between two frames
        self._rest = b""

    def read(self, size: int) -> bytes:
        """About `size` unpacked bytes; b"" at the end. Raises EOFError for a torn file."""
        parts: list[bytes] = []
        while size > 0:
            packed = self._rest or self._raw.read(PACKED_BYTES)
            self._rest = b""
            if not packed:
                if self._frame is not None:
                    raise EOFError("it ends in the middle of its packing")
                break
            if self._frame is None:
                self._frame = self._new()
            data = self._frame.decompress(packed)
            if self._frame.eof:
                self._rest, self._frame = self._frame.unused_data, None
            parts.append(data)
            size -= len(data)
        return b"".join(parts)


def unpacked(raw: BinaryIO, packing: str) -> Unpacked:
    """The content of a packed file, whose `read` raises an error of its library's own for what is
    not whole.
    """
    if packing == "gzip":
        import gzip

        return gzip.GzipFile(fileobj=raw)
    if packing == "bz2":
        import bz2

        return bz2.BZ2File(raw)
    return _Zstd(raw)
