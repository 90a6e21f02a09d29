"""A snapshot file: blocks of keys and their states, each with its own checksum.

    magic, then blocks: head, payload
    head: length of the payload and what it is unpacked (4 bytes each), flags (1), xxh3_64 of the
          payload (8)
    payload, maybe compressed: groups, each its head, keys, states
    head: flags (1), how many keys, bytes of the keys, bytes of the states (4 each)

Keys (`items.pack_keys`) and states (`encoding`) are apart, so that a reader can look at the keys
before it decodes a state. Nothing but the states is a pickle.

A file that holds all keys of a worker has each of them **in turn** exactly once. A key that was
about to change while the file was written is there **ahead** as well, as it was at the cut, and of
the two that one counts (`runtime/snapshots.py`). A delta has a key once. Of two files of a chain
the later one counts.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from xxhash import xxh3_64, xxh3_64_intdigest

from roo import disk
from roo.core.checkpoints import FileInfo
from roo.items import unpack_keys

MAGIC = b"ROOSNAP3"
_HEAD = struct.Struct("<IIBQ")
_GROUP = struct.Struct("<BIII")
_PACKED, _AHEAD = 1, 1
COMPRESS_FROM_BYTES = 512
COMPRESS_UP_TO_BYTES = 64 * 1024 * 1024
"""Larger blocks are not compressed, so none that is becomes larger than this: a small file can't
fill the memory of who reads it.
"""

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
    """Keys and their encoded states (see `encoding`), as they are read. ahead: they count, where
    the file has them in turn as well.
    """

    keys: list[Any]
    states: bytes
    ahead: bool


class Group(NamedTuple):
    """The same as it is written. keys: by `pack_keys`. number: how many they are."""

    keys: bytes
    states: bytes
    number: int
    ahead: bool


class BlockWriter:
    """Writes one file, which must not be there yet. Not safe for several threads; any one thread
    will do.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._hash = xxh3_64()
        self._size_bytes = 0
        self._keys = 0

    def add(self, groups: list[Group]) -> None:
        """Append a block. Raises OSError."""
        self._begin()
        payload = b"".join(
            part
            for keys, states, number, ahead in groups
            for part in (
                _GROUP.pack(_AHEAD * ahead, number, len(keys), len(states)), keys, states
            )
        )  # fmt: skip
        unpacked_bytes = len(payload)
        packed = _compressed(payload)
        flags = 0 if packed is None else _PACKED
        payload = payload if packed is None else packed
        checksum = xxh3_64_intdigest(payload)
        self._put(_HEAD.pack(len(payload), unpacked_bytes, flags, checksum) + payload)
        self._keys += sum(group.number for group in groups)

    def finish(self) -> FileInfo:
        """Make it durable and close it. Raises OSError: then nobody knows what is on the disk, and
        it must be abandoned.
        """
        self._begin()
        disk.fsync(self._fd)
        self._close()
        checksum = self._hash.hexdigest()
        return FileInfo(self._path.name, self._size_bytes, checksum, self._keys)

    def abandon(self) -> None:
        """Close and remove it: no manifest has it, nor ever will."""
        with contextlib.suppress(OSError):
            self._close()
        with contextlib.suppress(OSError):
            disk.unlink(self._path)

    def _begin(self) -> None:
        if not self._size_bytes:
            self._put(MAGIC)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            disk.close(fd)

    def _put(self, data: bytes) -> None:
        disk.write_all(self._fd, data)
        self._hash.update(data)
        self._size_bytes += len(data)


def read_blocks(path: Path) -> Iterator[Block]:
    """What a file holds, group by group, one block in memory at a time.

    Raises Damaged; OSError where it can't be read, which says nothing of what it holds.
    """
    fd = _open(path)
    try:
        size_bytes = disk.fstat(fd).st_size
        if _read(fd, len(MAGIC)) != MAGIC:
            raise Damaged(path, "not a snapshot file, or one of another release's format")
        at = len(MAGIC)
        while at < size_bytes:
            head = _read(fd, _HEAD.size)
            if len(head) < _HEAD.size:
                raise Damaged(path, f"cut short at byte {at}")
            length, unpacked_bytes, flags, checksum = _HEAD.unpack(head)
            if at + _HEAD.size + length > size_bytes:
                raise Damaged(path, f"cut short at byte {at}")
            payload = _read(fd, length)
            if len(payload) < length or xxh3_64_intdigest(payload) != checksum:
                raise Damaged(path, f"the block at byte {at} is not as it was written")
            if flags & _PACKED:
                payload = _unpacked(path, at, payload, unpacked_bytes)
            yield from _groups(path, at, payload)
            at += _HEAD.size + length
    finally:
        disk.close(fd)


def _groups(path: Path, at: int, payload: bytes) -> Iterator[Block]:
    """The groups of the block at a byte of a file."""
    place = 0
    try:
        while place < len(payload):
            flags, number, key_bytes, state_bytes = _GROUP.unpack_from(payload, place)
            states_at = place + _GROUP.size + key_bytes
            keys = unpack_keys(payload[place + _GROUP.size : states_at])
            place = states_at + state_bytes
            if place > len(payload) or len(keys) != number:
                raise ValueError("a group is cut short")
            yield Block(keys, payload[states_at:place], bool(flags & _AHEAD))
    except (ValueError, struct.error) as error:
        raise Damaged(path, f"the block at byte {at} can't be read: {error}") from error


def _unpacked(path: Path, at: int, payload: bytes, unpacked_bytes: int) -> bytes:
    """What was compressed, which must be as long as the head says and no longer than is allowed."""
    import zstandard

    if unpacked_bytes > COMPRESS_UP_TO_BYTES:
        raise Damaged(path, f"the block at byte {at} is larger than blocks are")
    try:
        with zstandard.ZstdDecompressor(max_window_size=COMPRESS_UP_TO_BYTES).stream_reader(
            payload
        ) as reader:
            data: bytes = reader.read(unpacked_bytes + 1)
    except (zstandard.ZstdError, MemoryError) as error:
        raise Damaged(path, f"the block at byte {at} can't be unpacked: {error}") from error
    if len(data) != unpacked_bytes:
        raise Damaged(path, f"the block at byte {at} is not as long as it says")
    return data


def _read(fd: int, length: int) -> bytes:
    """So many bytes, or as many as there are. Raises OSError."""
    data = disk.read(fd, length)
    while len(data) < length and (more := disk.read(fd, length - len(data))):
        data += more
    return data


def _open(path: Path) -> int:
    """For reading. Raises Damaged where it is not there, OSError."""
    try:
        return disk.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Damaged(path, "not there") from error


def _compressed(payload: bytes) -> bytes | None:
    """Smaller, or None where that does not pay."""
    if not COMPRESS_FROM_BYTES <= len(payload) <= COMPRESS_UP_TO_BYTES:
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
    fd = _open(path)
    try:
        size_bytes = disk.fstat(fd).st_size
        if size_bytes != info.size_bytes:
            raise Damaged(path, f"{size_bytes} bytes long, and should be {info.size_bytes}")
        digest = xxh3_64()
        while data := disk.read(fd, disk.CHUNK_BYTES):
            digest.update(data)
    finally:
        disk.close(fd)
    if digest.hexdigest() != info.checksum:
        raise Damaged(path, "not as it was written (its checksum differs)")
