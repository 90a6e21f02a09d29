"""A snapshot file: blocks of keys and their states, each with its own checksum.

    magic, then blocks: length (4 bytes), flags (1), xxh3_64 of what follows (8), payload

A payload is keys and states, pickled apart so that a reader can look at the keys before it decodes
a state; it is compressed with zstandard where that pays. A later block's state of a key replaces an
earlier one's, and so does a later file's.
"""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from xxhash import xxh3_64, xxh3_64_intdigest

MAGIC = b"ROOSNAP1"
_HEAD = struct.Struct("<IBQ")
_PACKED = 1
COMPRESS_FROM_BYTES = 512
COMPRESS_LEVEL = 1


class Damaged(Exception):
    """A file of a checkpoint is not as it was written: which, and how."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path
        self.what = what


class Block(NamedTuple):
    """Keys and their encoded states (see `encoding`)."""

    keys: list[Any]
    states: bytes


@dataclass(frozen=True)
class FileInfo:
    """What a manifest keeps of a file. checksum: xxh3_64 of its bytes. keys: how many it holds."""

    name: str
    size_bytes: int
    checksum: str
    keys: int


class BlockWriter:
    """Writes one file. Not safe for several threads; any one thread will do."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("xb", buffering=0)
        self._hash = xxh3_64()
        self._size_bytes = 0
        self._keys = 0
        self._put(MAGIC)

    def add(self, block: Block) -> None:
        """Append a block. Raises OSError."""
        payload = pickle.dumps((block.keys, block.states), 5)
        flags = 0
        if len(payload) >= COMPRESS_FROM_BYTES:
            import zstandard

            packed = zstandard.ZstdCompressor(level=COMPRESS_LEVEL).compress(payload)
            if len(packed) < len(payload) * 0.9:
                payload, flags = packed, _PACKED
        self._put(_HEAD.pack(len(payload), flags, xxh3_64_intdigest(payload)) + payload)
        self._keys += len(block.keys)

    def finish(self) -> FileInfo:
        """Make it durable and close it. Raises OSError."""
        os.fsync(self._file.fileno())
        self._file.close()
        checksum = self._hash.hexdigest()
        return FileInfo(self._path.name, self._size_bytes, checksum, self._keys)

    def abandon(self) -> None:
        """Close and remove it."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._hash.update(data)
        self._size_bytes += len(data)


def read_blocks(path: Path) -> Iterator[Block]:
    """The blocks of a file, one in memory at a time. Raises Damaged."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise Damaged(path, os.strerror(error.errno or 0).lower()) from error
    with file:
        if file.read(len(MAGIC)) != MAGIC:
            raise Damaged(path, "not a snapshot file")
        while head := file.read(_HEAD.size):
            at = file.tell() - len(head)
            if len(head) < _HEAD.size:
                raise Damaged(path, f"cut short at byte {at}")
            length, flags, checksum = _HEAD.unpack(head)
            payload = file.read(length)
            if len(payload) < length:
                raise Damaged(path, f"cut short at byte {at}")
            if xxh3_64_intdigest(payload) != checksum:
                raise Damaged(path, f"the block at byte {at} is not as it was written")
            if flags & _PACKED:
                import zstandard

                payload = zstandard.ZstdDecompressor().decompress(payload)
            yield Block(*pickle.loads(payload))


def check_file(folder: Path, info: FileInfo) -> None:
    """Raises Damaged unless the file is there, whole and as it was written."""
    path = folder / info.name
    try:
        size_bytes = path.stat().st_size
        if size_bytes != info.size_bytes:
            raise Damaged(path, f"{size_bytes} bytes long, and should be {info.size_bytes}")
        digest = xxh3_64()
        with path.open("rb") as file:
            while data := file.read(1 << 20):
                digest.update(data)
    except OSError as error:
        raise Damaged(path, os.strerror(error.errno or 0).lower()) from error
    if digest.hexdigest() != info.checksum:
        raise Damaged(path, "not as it was written (its checksum differs)")
