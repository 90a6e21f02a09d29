"""A file system in memory that can lose its power.

It answers as Linux does (a test compares the two call by call), and keeps apart what processes see
and what would be there after a power failure: the bytes of a file are durable after an fsync of
that file, the names in a folder after an fsync of that folder. What was not made durable may have
been written all the same, in any part: a power failure takes a choice by its dice.

Paths are absolute. Folders are durable as soon as they are made.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat as kinds
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import TypeVar

T = TypeVar("T")

BLOCK_BYTES = 32
"""What a disk writes whole or not at all: small, so that small files have many of them."""

FIRST_DESCRIPTOR = 1_000
DEVICE = 7
NAME_BYTES_MAX = 255


class File:
    """An inode. seen: its bytes as processes see them; durable: those on the disk. dirty: blocks
    that were written and not synced.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen = bytearray()
        self.durable = b""
        self.dirty: set[int] = set()
        self.links = 0
        self.changed_ns = 0

    def write(self, at: int, data: bytes) -> None:
        """Bytes come to a place; a gap before it is filled with zeros."""
        start = min(at, len(self.seen))
        if at > len(self.seen):
            self.seen.extend(bytes(at - len(self.seen)))
        self.seen[at : at + len(data)] = data
        self._touch(start, at + len(data))

    def cut(self, size: int) -> None:
        """It gets another size."""
        before = len(self.seen)
        if size < before:
            del self.seen[size:]
        else:
            self.seen.extend(bytes(size - before))
        self._touch(min(size, before), max(size, before))

    def _touch(self, start: int, end: int) -> None:
        self.dirty.update(range(start // BLOCK_BYTES, -(-end // BLOCK_BYTES)))

    def sync(self) -> None:
        """What was written is durable."""
        if self.dirty:
            self.durable = self._written(self.dirty, len(self.seen))
            self.dirty.clear()

    def lose_power(self, dice: Random) -> None:
        """Of the blocks that were not synced some have been written, and the size has changed, or
        not. (What a failed sync dropped looks clean, and is not there.)
        """
        if self.dirty:
            written = self._written(chosen(sorted(self.dirty), dice))
            size = dice.choice([len(written), len(self.seen)])
            self.durable = written[:size] + bytes(max(0, size - len(written)))
        self.seen = bytearray(self.durable)
        self.dirty.clear()

    def _written(self, blocks: Iterable[int], size: int | None = None) -> bytes:
        """The durable bytes with some blocks as they are seen. size: of the file then."""
        written = bytearray(self.durable)
        for block in blocks:
            start = block * BLOCK_BYTES
            part = self.seen[start : start + BLOCK_BYTES]
            written.extend(bytes(max(0, start + len(part) - len(written))))
            written[start : start + len(part)] = part
        if size is not None:
            written = written[:size] + bytes(max(0, size - len(written)))
        return bytes(written)


class Folder:
    """An inode. seen: name -> inode, as processes see it; durable: on the disk."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen: dict[str, File | Folder] = {}
        self.durable: dict[str, File | Folder] = {}


Inode = File | Folder
Change = list[tuple[Folder, str, Inode | None]]
"""Names that get another inode, or none, all at once."""


@dataclass
class Open:
    """An open file."""

    inode: Inode
    flags: int
    place: int = 0

    @property
    def writes(self) -> bool:
        """Whether it was opened for writing."""
        return self.flags & os.O_ACCMODE != os.O_RDONLY

    @property
    def reads(self) -> bool:
        """Whether it was opened for reading."""
        return self.flags & os.O_ACCMODE != os.O_WRONLY


class FileSystem:
    """Functions named and meant as those of `os`."""

    def __init__(self) -> None:
        self._numbers = 1
        self.root = Folder(1)
        self._open: dict[int, Open] = {}
        self._next = FIRST_DESCRIPTOR
        self._unsynced: list[Change] = []
        self.now_ns: Callable[[], int] = lambda: 0

    # Names

    def _walk(self, path: str) -> Inode:
        inode: Inode = self.root
        for name in _parts(path):
            if not isinstance(inode, Folder):
                raise _error(errno.ENOTDIR, path)
            if name not in inode.seen:
                raise _error(errno.ENOENT, path)
            inode = inode.seen[name]
        return inode

    def _place(self, path: str) -> tuple[Folder, str]:
        """The folder of a path, and its last name."""
        above, name = posixpath.split(posixpath.normpath(path))
        folder = self._walk(above)
        if not isinstance(folder, Folder):
            raise _error(errno.ENOTDIR, path)
        if len(name.encode()) > NAME_BYTES_MAX:
            raise _error(errno.ENAMETOOLONG, path)
        return folder, name

    def _change(self, change: Change) -> None:
        for folder, name, inode in change:
            before = folder.seen.pop(name, None)
            if isinstance(before, File):
                before.links -= 1
            if inode is not None:
                folder.seen[name] = inode
                if isinstance(inode, File):
                    inode.links += 1
        self._unsynced.append(change)

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def open(self, path: str | os.PathLike[str], flags: int, mode: int = 0o777) -> int:
        path = os.fspath(path)
        if not _parts(path):
            inode: Inode | None = self.root
        else:
            folder, name = self._place(path)
            inode = folder.seen.get(name)
        if inode is None:
            if not flags & os.O_CREAT:
                raise _error(errno.ENOENT, path)
            inode = File(self._number())
            self._change([(folder, name, inode)])
        elif flags & os.O_CREAT and flags & os.O_EXCL:
            raise _error(errno.EEXIST, path)
        elif isinstance(inode, Folder):
            if flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_CREAT:
                raise _error(errno.EISDIR, path)
        elif flags & os.O_DIRECTORY:
            raise _error(errno.ENOTDIR, path)
        elif flags & os.O_TRUNC and inode.seen:
            inode.cut(0)
        self._next += 1
        self._open[self._next] = Open(inode, flags)
        return self._next

    def stat(self, path: str | os.PathLike[str]) -> os.stat_result:
        return _facts(self._walk(os.fspath(path)))

    def replace(self, source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
        source, target = os.fspath(source), os.fspath(target)
        above, name = self._place(source)
        inode = above.seen.get(name)
        if inode is None:
            raise _error(errno.ENOENT, source)
        to, new_name = self._place(target)
        there = to.seen.get(new_name)
        if there is inode:
            return
        if isinstance(there, Folder) and isinstance(inode, File):
            raise _error(errno.EISDIR, target)
        if isinstance(inode, Folder):
            raise _error(errno.ENOSYS, source)
        self._change([(above, name, None), (to, new_name, inode)])

    def unlink(self, path: str | os.PathLike[str]) -> None:
        path = os.fspath(path)
        folder, name = self._place(path)
        inode = folder.seen.get(name)
        if inode is None:
            raise _error(errno.ENOENT, path)
        if isinstance(inode, Folder):
            raise _error(errno.EISDIR, path)
        self._change([(folder, name, None)])

    def link(self, source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
        inode = self._walk(os.fspath(source))
        if isinstance(inode, Folder):
            raise _error(errno.EPERM, os.fspath(source))
        folder, name = self._place(os.fspath(target))
        if name in folder.seen:
            raise _error(errno.EEXIST, os.fspath(target))
        self._change([(folder, name, inode)])

    def listdir(self, path: str | os.PathLike[str] = ".") -> list[str]:
        path = os.fspath(path)
        inode = self._walk(path)
        if not isinstance(inode, Folder):
            raise _error(errno.ENOTDIR, path)
        return list(inode.seen)

    def makedirs(
        self, path: str | os.PathLike[str], mode: int = 0o777, exist_ok: bool = False
    ) -> None:
        path = os.fspath(path)
        folder, made = self.root, False
        for name in _parts(path):
            inode = folder.seen.get(name)
            if inode is None:
                made, inode = True, Folder(self._number())
                folder.seen[name] = folder.durable[name] = inode
            if not isinstance(inode, Folder):
                raise _error(errno.ENOTDIR if name != _parts(path)[-1] else errno.EEXIST, path)
            folder = inode
        if not made and not exist_ok:
            raise _error(errno.EEXIST, path)

    # Open files

    def _opened(self, descriptor: int) -> Open:
        if descriptor not in self._open:
            raise _error(errno.EBADF)
        return self._open[descriptor]

    def _file(self, descriptor: int, *, writes: bool) -> tuple[Open, File]:
        opened = self._opened(descriptor)
        if not (opened.writes if writes else opened.reads):
            raise _error(errno.EBADF)
        if isinstance(opened.inode, Folder):
            raise _error(errno.EISDIR)
        return opened, opened.inode

    def close(self, descriptor: int) -> None:
        self._opened(descriptor)
        del self._open[descriptor]

    def read(self, descriptor: int, count: int) -> bytes:
        opened, file = self._file(descriptor, writes=False)
        data = bytes(file.seen[opened.place : opened.place + count])
        opened.place += len(data)
        return data

    def pread(self, descriptor: int, count: int, place: int) -> bytes:
        _, file = self._file(descriptor, writes=False)
        if place < 0:
            raise _error(errno.EINVAL)
        return bytes(file.seen[place : place + count])

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        opened, file = self._file(descriptor, writes=True)
        if opened.flags & os.O_APPEND:
            opened.place = len(file.seen)
        if data:
            file.write(opened.place, bytes(data))
            file.changed_ns = self.now_ns()
        opened.place += len(data)
        return len(data)

    def pwrite(self, descriptor: int, data: bytes | memoryview, place: int) -> int:
        opened, file = self._file(descriptor, writes=True)
        if place < 0:
            raise _error(errno.EINVAL)
        if data:  # Linux appends here too, wherever the place is
            at = len(file.seen) if opened.flags & os.O_APPEND else place
            file.write(at, bytes(data))
            file.changed_ns = self.now_ns()
        return len(data)

    def copy_file_range(
        self,
        source: int,
        target: int,
        count: int,
        offset_src: int | None = None,
        offset_dst: int | None = None,
    ) -> int:
        from_, file = self._file(source, writes=False)
        to, other = self._file(target, writes=True)
        if to.flags & os.O_APPEND:
            raise _error(errno.EBADF)
        at = from_.place if offset_src is None else offset_src
        place = to.place if offset_dst is None else offset_dst
        data = bytes(file.seen[at : at + count])
        if data:
            other.write(place, data)
        if offset_src is None:
            from_.place += len(data)
        if offset_dst is None:
            to.place += len(data)
        return len(data)

    def lseek(self, descriptor: int, place: int, how: int) -> int:
        opened = self._opened(descriptor)
        size = 0 if isinstance(opened.inode, Folder) else len(opened.inode.seen)
        base = {os.SEEK_SET: 0, os.SEEK_CUR: opened.place, os.SEEK_END: size}[how]
        if base + place < 0:
            raise _error(errno.EINVAL)
        opened.place = base + place
        return opened.place

    def ftruncate(self, descriptor: int, size: int) -> None:
        opened = self._opened(descriptor)
        if not opened.writes or size < 0 or isinstance(opened.inode, Folder):
            raise _error(errno.EINVAL)
        if size != len(opened.inode.seen):
            opened.inode.cut(size)

    def fstat(self, descriptor: int) -> os.stat_result:
        return _facts(self._opened(descriptor).inode)

    def fchmod(self, descriptor: int, mode: int) -> None:
        self._opened(descriptor)

    def fchown(self, descriptor: int, owner: int, group: int) -> None:
        self._opened(descriptor)

    def fsync(self, descriptor: int) -> None:
        inode = self._opened(descriptor).inode
        if isinstance(inode, File):
            inode.sync()
            return
        left = []
        for change in self._unsynced:
            if any(folder is inode for folder, _, _ in change):
                _make_durable(change)
            else:
                left.append(change)
        self._unsynced = left

    # Not of `os`

    def drop_dirty(self, descriptor: int) -> None:
        """A sync has failed: what waited counts as written from now on, and is not."""
        inode = self._opened(descriptor).inode
        if isinstance(inode, File):
            inode.dirty.clear()

    def exists(self, path: str) -> bool:
        """Whether there is something of that name."""
        try:
            self._walk(path)
        except OSError:
            return False
        return True

    def inode_of(self, descriptor: int) -> Inode:
        """What an open file is."""
        return self._opened(descriptor).inode

    def folder(self, path: str) -> Folder:
        """A folder with its durable names."""
        inode = self._walk(path)
        assert isinstance(inode, Folder)
        return inode

    def lose_power(self, dice: Random) -> None:
        """All that is not durable may be gone, and all files are closed."""
        self._open.clear()
        for change in chosen(self._unsynced, dice):
            _make_durable(change)
        self._unsynced = []
        inodes = list(_all(self.root))
        for inode in inodes:
            if isinstance(inode, File):
                inode.lose_power(dice)
                inode.links = inodes.count(inode)
            else:
                inode.seen = dict(inode.durable)


def _all(folder: Folder) -> Iterator[Inode]:
    """Every inode that has a durable name."""
    yield folder
    for inode in folder.durable.values():
        if isinstance(inode, Folder):
            yield from _all(inode)
        else:
            yield inode


def chosen(things: list[T], dice: Random) -> list[T]:
    """None, the first ones, the last ones, any, or all, in their order."""
    match dice.randrange(5):
        case 0:
            return []
        case 1:
            return things[: dice.randint(0, len(things))]
        case 3:
            return things[dice.randint(0, len(things)) :]
        case 2:
            return [thing for thing in things if dice.random() < 0.5]
        case _:
            return list(things)


def _make_durable(change: Change) -> None:
    for folder, name, inode in change:
        if inode is None:
            folder.durable.pop(name, None)
        else:
            folder.durable[name] = inode


def _parts(path: str) -> list[str]:
    return [part for part in posixpath.normpath(path).split("/") if part not in ("", ".")]


def _error(number: int, path: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), path)


def _facts(inode: Inode) -> os.stat_result:
    if isinstance(inode, Folder):
        mode, links, size, ns = kinds.S_IFDIR | 0o755, 2, 0, 0
    else:
        mode, links = kinds.S_IFREG | 0o644, inode.links
        size, ns = len(inode.seen), inode.changed_ns
    times = (ns // 10**9, ns / 1e9, ns)
    return os.stat_result(
        (mode, inode.number, DEVICE, links, 0, 0, size, *(t for t in times for _ in range(3)))
    )
