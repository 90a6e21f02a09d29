"""A snapshot file: blocks of keys and their states, each with its own checksum.

    magic, then blocks: length (4 bytes), flags (1), xxh3_64 of what follows (8), payload

A payload is a list of groups: keys and states, packed apart so that a reader can look at the keys
before it decodes a state. It is compressed with zstandard where that pays.

**Of a key that a file has twice the first state counts**: a snapshot that goes on while batches
run stores a key that is about to change before anything else (`runtime/snapshots.py`). Of two files
of a chain the later one counts.
"""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from xxhash import xxh3_64, xxh3_64_intdigest

from roo.core.checkpoints import FileInfo
from roo.items import unpack_items

MAGIC = b"ROOSNAP2"
_HEAD = struct.Struct("<IBQ")
_PACKED = 1
COMPRESS_FROM_BYTES = 512
COMPRESS_LEVEL = 1
SMALLER, MUCH_SMALLER = 0.9, 0.4
SAMPLE_BYTES = 16_384
"""What compression has to make of a block to be kept: of a large one, whose time counts, more, and
that by a sample of it. A word count's states become half as large, for as much time as it takes to
encode them; text and repeated fields become a fifth.
"""


class Damaged(Exception):
    """A file of a checkpoint is not as it was written: which, and how."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path
        self.what = what


class Block(NamedTuple):
    """Keys and their encoded states (see `encoding`), as they are read."""

    keys: list[Any]
    states: bytes


class Group(NamedTuple):
    """The same as it is written. keys: by `pack_items`. number: how many they are."""

    keys: bytes
    states: bytes
    number: int


class BlockWriter:
    """Writes one file. Not safe for several threads; any one thread will do."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("xb", buffering=0)
        self._hash = xxh3_64()
        self._size_bytes = 0
        self._keys = 0
        self._put(MAGIC)

    def add(self, groups: list[Group]) -> None:
        """Append a block. Raises OSError."""
        payload = pickle.dumps([(group.keys, group.states) for group in groups], 5)
        packed = _compressed(payload)
        flags = 0 if packed is None else _PACKED
        payload = payload if packed is None else packed
        self._put(_HEAD.pack(len(payload), flags, xxh3_64_intdigest(payload)) + payload)
        self._keys += sum(group.number for group in groups)

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
    """What a file holds, group by group, one block in memory at a time. Raises Damaged."""
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
            for keys, states in pickle.loads(payload):
                yield Block(unpack_items(keys), states)


def _compressed(payload: bytes) -> bytes | None:
    """Smaller, or None where that does not pay."""
    if len(payload) < COMPRESS_FROM_BYTES:
        return None
    compress, pays_at = _compressor().compress, SMALLER
    if len(payload) > 4 * SAMPLE_BYTES:
        pays_at = MUCH_SMALLER
        middle = (len(payload) - SAMPLE_BYTES) // 2
        sample = payload[middle : middle + SAMPLE_BYTES]
        if len(compress(sample)) > pays_at * SAMPLE_BYTES:
            return None
    packed = compress(payload)
    return packed if len(packed) <= pays_at * len(payload) else None


@cache
def _compressor() -> Any:
    import zstandard

    return zstandard.ZstdCompressor(level=COMPRESS_LEVEL)


def check_file(folder: Path, info: FileInfo) -> None:
    """Raises Damaged unless the file is there, whole and as it was written; OSError where it can't
    be read, which says nothing of what is in it.
    """
    path = folder / info.name
    try:
        size_bytes = path.stat().st_size
        if size_bytes != info.size_bytes:
            raise Damaged(path, f"{size_bytes} bytes long, and should be {info.size_bytes}")
        digest = xxh3_64()
        with path.open("rb") as file:
            while data := file.read(1 << 20):
                digest.update(data)
    except FileNotFoundError as error:
        raise Damaged(path, "not there") from error
    if digest.hexdigest() != info.checksum:
        raise Damaged(path, "not as it was written (its checksum differs)")
