"""`type: file`: one path, a glob or a folder; packed or plain; followed, or cut into byte ranges.

A byte range [start, end) of a file holds the lines that *begin* in it. So a reader of a range with
start > 0 skips through the first newline at or after start - 1 (if the byte before start is that
newline, the line at start is its own first), and reads on past end until the line that began before
end is whole. Every line is in exactly one range, wherever the cuts fall.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from roo.api import BATCH_BYTES, Codec, ConnectorError, Context, Read, Reader, Source, Split

PACKED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
FOLLOW_EVERY_MS = 20.0


class FileSource(Source):
    """Options: path, follow (False), splits (1), compression (auto | none | gzip | zstd | bz2)."""

    rewindable = True

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._path = str(options["path"])
        self._follow = bool(options.get("follow", False))
        self._count = int(options.get("splits", 1))

    def check(self) -> None:
        """Every file is there and can be read."""
        paths = self._paths()
        if not paths:
            what = "is an empty folder" if Path(self._path).is_dir() else "matches no file"
            raise ConnectorError(f"{self._path} {what}", "check the path")
        if self._count > 1 and (len(paths) > 1 or self._packing(paths[0])):
            what = f"{self._path} is not one plain file, so `splits` can't cut it"
            raise ConnectorError(what, "leave `splits` out: each file is a split already")
        for path in paths:
            if self._follow and not path.exists():
                continue
            try:
                with path.open("rb"):
                    pass
            except OSError as error:
                raise _failed(path, error) from error

    def splits(self) -> list[Split]:
        """One for each file, or `splits` byte ranges of one file."""
        paths = self._paths()
        if self._count == 1:
            return [
                Split(str(path), {"path": str(path)}, None if self._follow else _size(path))
                for path in paths
            ]
        path, size = str(paths[0]), _size(paths[0])
        cuts = [size * i // self._count for i in range(self._count + 1)]
        return [
            Split(f"{path}[{start}:{end}]", {"path": path, "start": start, "end": end}, end - start)
            for start, end in zip(cuts, cuts[1:], strict=False)
        ]

    def open(self, split: Split, offset: int | None, codec: Codec, context: Context) -> Reader:
        path = Path(split.options["path"])
        if self._follow:
            return FollowReader(path, offset, codec)
        packing = self._packing(path)
        if packing:
            return PackedReader(path, packing, offset, codec)
        start, end = split.options.get("start", 0), split.options.get("end")
        return RangeReader(path, start, end, offset, codec)

    def _paths(self) -> list[Path]:
        path = Path(self._path)
        if path.is_dir():
            return sorted(p for p in path.iterdir() if p.is_file() and p.name[0] != ".")
        if glob.has_magic(self._path) and not path.exists():
            return sorted(Path(p) for p in glob.glob(self._path, recursive=True) if Path(p).is_file())
        return [path]

    def _packing(self, path: Path) -> str | None:
        compression = str(self.options.get("compression", "auto"))
        if compression == "auto":
            return PACKED.get(path.suffix)
        return None if compression == "none" else compression


class FileReader(Reader):
    """What all three readers share: chunks through the decoder, clean offsets, places of messages.

    _fed: offset in the (unpacked) file after the last byte given to the decoder.
    """

    def __init__(self, codec: Codec, offset: int) -> None:
        self._codec = codec
        self._decoder = codec.decoder()
        self._base = self._fed = offset

    def _decode(self, data: bytes, bytes_read: int, *, end: bool) -> Read:
        start = self._fed - self._decoder.pending_bytes
        pending = self._decoder.pending_bytes
        messages, failures = self._decoder.feed(data) if data else ([], [])
        self._fed += len(data)
        if end:
            more, failed = self._decoder.finish()
            failures += [replace(f, index=f.index + len(messages)) for f in failed]
            messages = messages + more
        failures = [replace(f, offset=f.offset + self._base) for f in failures]
        offset = self._fed - self._decoder.pending_bytes
        return Read(messages, start, offset, failures, bytes_read, end,
                    _locator(data, start, pending))  # fmt: skip


class RangeReader(FileReader):
    """The lines that begin in [start, end) of a plain file; end None: to its end."""

    def __init__(
        self, path: Path, start: int, end: int | None, offset: int | None, codec: Codec
    ) -> None:
        self._path = path
        self._end = end
        try:
            self._file: BinaryIO = path.open("rb", buffering=0)
            begin = _first_line(self._file, start) if offset is None else offset
        except OSError as error:
            raise _failed(path, error) from error
        self._file.seek(begin)
        super().__init__(codec, begin)

    def read(self) -> Read | None:
        try:
            return self._read()
        except OSError as error:
            raise _failed(self._path, error) from error

    def _read(self) -> Read:
        data = self._file.read(BATCH_BYTES)
        if self._end is None or not data:
            return self._decode(data, len(data), end=not data)
        left = self._end - self._fed
        if left > len(data):
            return self._decode(data, len(data), end=False)
        # The range ends in this chunk, or has ended: only the line that began before goes on. The
        # last byte of the range may be its newline.
        stop = data.find(b"\n", max(left - 1, 0)) + 1
        data = data[:stop] if stop else data
        if left <= 0 and not self._decoder.pending_bytes:
            data = b""
        ours = min(max(left, 0), len(data))
        return self._decode(data, ours, end=bool(stop) or not data)

    def close(self) -> None:
        self._file.close()


class PackedReader(FileReader):
    """A packed file from its beginning. bytes_read counts packed bytes, so progress is true."""

    def __init__(self, path: Path, packing: str, offset: int | None, codec: Codec) -> None:
        self._path = path
        self._raw: BinaryIO | None = None
        super().__init__(codec, offset or 0)
        try:
            self._raw = path.open("rb")
            self._file = _unpacked(self._raw, packing)
            self._skip(offset or 0)
        except (OSError, EOFError, ValueError) as error:
            raise _failed(path, error) from error
        self._packed = 0

    def _skip(self, count: int) -> None:
        while count > 0:
            data = self._file.read(min(count, BATCH_BYTES))
            if not data:
                return
            count -= len(data)

    def read(self) -> Read | None:
        assert self._raw is not None
        try:
            data = self._file.read(BATCH_BYTES)
        except Exception as error:  # each library has errors of its own for a torn file
            raise _failed(self._path, error) from error
        before, self._packed = self._packed, self._raw.tell()
        return self._decode(data, self._packed - before, end=not data)

    def close(self) -> None:
        self._file.close()
        if self._raw is not None:
            self._raw.close()


class FollowReader(FileReader):
    """Like `tail -F`: waits for more, survives rotation, truncation and a file not yet there."""

    def __init__(self, path: Path, offset: int | None, codec: Codec) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        super().__init__(codec, offset or 0)
        self._open(offset or 0)

    def _open(self, offset: int) -> bool:
        try:
            self._file = self._path.open("rb", buffering=0)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _failed(self._path, error) from error
        self._file.seek(offset)
        self._decoder = self._codec.decoder()
        self._base = self._fed = offset
        return True

    def read(self) -> Read | None:
        if self._file is None and not self._open(0):
            return None
        assert self._file is not None
        try:
            data = self._file.read(BATCH_BYTES)
            if data:
                return self._decode(data, len(data), end=False)
            if os.fstat(self._file.fileno()).st_size < self._fed:  # truncated: a new beginning
                self._file.close()
                self._open(0)
            elif self._replaced():
                self._file.close()
                self._file = None
        except OSError as error:
            raise _failed(self._path, error) from error
        return None

    def _replaced(self) -> bool:
        """Whether the path names another file now. All of the old one has been read."""
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


def _first_line(file: BinaryIO, start: int) -> int:
    """Offset of the first line that begins at or after `start`."""
    if start == 0:
        return 0
    place = start - 1
    file.seek(place)
    while data := file.read(BATCH_BYTES):
        end = data.find(b"\n")
        if end >= 0:
            return place + end + 1
        place += len(data)
    return place


def _unpacked(raw: BinaryIO, packing: str) -> Any:
    if packing == "gzip":
        import gzip

        return gzip.GzipFile(fileobj=raw)
    if packing == "bz2":
        import bz2

        return bz2.BZ2File(raw)
    import zstandard

    return zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)


def _locator(data: bytes, start: int, pending: int) -> Callable[[int], int]:
    """Where messages[i] begins: after the i-th newline since `start` (blank lines not skipped)."""

    def locate(index: int) -> int:
        if not index:
            return start
        place = -1
        for _ in range(index):
            place = data.find(b"\n", place + 1)
            if place < 0:
                return start
        return start + pending + place + 1

    return locate


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _failed(path: Path, error: Exception) -> ConnectorError:
    if isinstance(error, FileNotFoundError):
        return ConnectorError(f"there is no file {path}", "check the path; it starts from the folder "
                              "you are in")  # fmt: skip
    if isinstance(error, PermissionError):
        return ConnectorError(f"{path} may not be read", "see its owner and mode")
    if isinstance(error, IsADirectoryError):
        return ConnectorError(f"{path} is a folder", "name a file")
    said = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return ConnectorError(f"can't read {path}: {said or type(error).__name__}", "is it whole?")
