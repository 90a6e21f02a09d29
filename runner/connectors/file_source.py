"""`type: file`: one path, a glob or a folder; packed or plain; followed, or cut into byte ranges.

A byte range [start, end) of a file holds the lines that *begin* in it. So a reader of a range with
start > 0 skips through the first newline at or after start - 1 (if the byte before start is that
newline, the line at start is its own first), and reads on past end until the line that began before
end is whole. Every line is in exactly one range, wherever the cuts fall.
"""

from __future__ import annotations

import glob
import stat
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from roo import disk
from roo.api import BATCH_BYTES, Codec, ConnectorError, Context, Read, Reader, Source, Split
from roo.connectors.file_known import Known, OpenFile, Trail, is_regular, stat_of
from roo.connectors.file_reading import PACKED, FileReader, failed, learn, shorter


class FileSource(Source):
    """Options: path, follow (False), rotate_wait_s (1), splits (1), compression (auto | none | gzip
    | zstd | bz2).
    """

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
            what = "is an empty folder" if _is_folder(Path(self._path)) else "matches no file"
            raise ConnectorError(f"{self._path} {what}", "check the path")
        if self._count > 1 and (len(paths) > 1 or self._packing(paths[0])):
            what = f"{self._path} is not one plain file, so `splits` can't cut it"
            raise ConnectorError(what, "leave `splits` out: each file is a split already")
        for path in paths:
            if self._follow and stat_of(path) is None:
                continue
            _readable(path)

    def splits(self) -> list[Split]:
        """One for each file, or `splits` byte ranges of one file."""
        paths = self._paths()
        if self._follow:
            from roo.connectors.file_rotation import without_rotated

            paths = without_rotated(paths)
        if self._count == 1:
            return [
                Split(str(path), {"path": str(path)}, None if self._follow else _size(path))
                for path in paths
            ]
        path = str(paths[0])
        try:
            size = disk.stat(paths[0]).st_size
        except OSError as error:  # cuts of a size that nobody knows would leave lines out
            raise failed(paths[0], error) from error
        cuts = [size * i // self._count for i in range(self._count + 1)]
        return [
            Split(f"{path}[{start}:{end}]", {"path": path, "start": start, "end": end}, end - start)
            for start, end in pairwise(cuts)
        ]

    def open(self, split: Split, offset: int | None, codec: Codec, context: Context) -> Reader:
        path = Path(split.options["path"])
        if self._follow:
            from roo.connectors.file_follow import FollowReader

            wait_s = float(self.options.get("rotate_wait_s", 1.0))
            return FollowReader(path, offset, codec, context, wait_s)
        packing = self._packing(path)
        if packing:
            from roo.connectors.file_packed import PackedReader

            return PackedReader(path, packing, offset, codec, context.memory)
        start, end = split.options.get("start", 0), split.options.get("end")
        return RangeReader(path, start, end, offset, codec, context.memory)

    def _paths(self) -> list[Path]:
        path = Path(self._path)
        try:
            if _is_folder(path):
                found = [path / name for name in disk.listdir(path) if name[0] != "."]
                return sorted(filter(_is_file, found))
            if glob.has_magic(self._path) and stat_of(path) is None:
                names = glob.glob(self._path, recursive=True)  # noqa: PTH207, takes absolute ones
                return sorted(filter(_is_file, map(Path, names)))
        except OSError as error:
            raise failed(path, error) from error
        return [path]

    def _packing(self, path: Path) -> str | None:
        compression = str(self.options.get("compression", "auto"))
        if compression == "auto":
            return PACKED.get(path.suffix)
        return None if compression == "none" else compression


class RangeReader(FileReader):
    """The lines that begin in [start, end) of a plain file; end None: to its end."""

    def __init__(
        self,
        path: Path,
        start: int,
        end: int | None,
        offset: int | None,
        codec: Codec,
        memory: Any,
    ) -> None:
        super().__init__(codec)
        self._path = path
        self._end = end
        try:
            self._file = OpenFile(path)
            self._regular = is_regular(self._file.facts)
            if (known := Known.of(memory)) is not None:
                known.check(self._file)
            learnt = memory["decoder"] if memory is not None and offset is not None else None
            begin = _first_line(self._file, start) if offset is None else offset
            if begin and learnt is None:
                learnt, learnt_bytes = learn(self._file, codec)
                begin = max(begin, learnt_bytes)
            if self._regular:
                self._check_size(begin)
                self._trail = Trail(self._file, begin)
            if begin:
                self._file.seek(begin)
        except OSError as error:
            raise failed(path, error) from error
        self.skipped_bytes = begin - start
        self._begin(begin, learnt)

    def read(self) -> Read | None:
        try:
            return self._read()
        except OSError as error:
            raise failed(self._path, error) from error

    def _read(self) -> Read:
        data = self._file.read(self.batch_bytes)
        if self._regular:
            if not data:
                self._check_size(self._fed)
            self._trail.add(data)
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

    def _check_size(self, read_bytes: int) -> None:
        """Raise ConnectorError for a file that has been cut."""
        size_bytes = self._file.facts.st_size
        if size_bytes < read_bytes:
            raise shorter(self._path, size_bytes, read_bytes)
        if size_bytes < (self._end or 0):
            what = f"{self._path} has {size_bytes} bytes, and is read up to byte {self._end}"
            raise ConnectorError(what, "put the file back, or start over with --fresh")

    def _known(self) -> Known | None:
        if not self._regular:
            return None
        known = self._trail.known()
        try:
            known.check(self._file)
        except OSError as error:
            raise failed(self._path, error) from error
        return known

    def close(self) -> None:
        self._file.close()


def _first_line(file: OpenFile, start: int) -> int:
    """Offset of the first line that begins at or after `start`."""
    if start == 0:
        return 0
    place = start - 1
    while data := file.part(place, place + BATCH_BYTES):
        end = data.find(b"\n")
        if end >= 0:
            return place + end + 1
        place += len(data)
    return place


def _size(path: Path) -> int:
    try:
        return disk.stat(path).st_size
    except OSError:
        return 0


def _is_folder(path: Path) -> bool:
    facts = stat_of(path)
    return facts is not None and stat.S_ISDIR(facts.st_mode)


def _is_file(path: Path) -> bool:
    facts = stat_of(path)
    return facts is not None and is_regular(facts)


def _readable(path: Path) -> None:
    """Raise ConnectorError unless a file can be opened and read from any place."""
    try:
        mode = disk.stat(path).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):  # opening one would wait for its writer
            what = f"{path} is a pipe or socket, not a file"
            raise ConnectorError(what, f"use `type: stdin`, and run with `< {path}`")
        if stat.S_ISDIR(mode):
            raise IsADirectoryError
        OpenFile(path).close()
    except OSError as error:
        raise failed(path, error) from error
