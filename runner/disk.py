"""The calls that touch files which outlive a process: checkpoints, and what sources and sinks hold.

The functions are those of `os`, under their names there. The simulation puts a file system of its
own in their place (`stand_in`), so what it runs is what ships. Callers name the module
(`disk.fsync(fd)`), never the function.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

open = os.open
close = os.close
read = os.read
pread = os.pread
write = os.write
pwrite = os.pwrite
lseek = os.lseek
fsync = os.fsync
ftruncate = os.ftruncate
fstat = os.fstat
stat = os.stat
replace = os.replace
unlink = os.unlink
listdir = os.listdir
makedirs = os.makedirs
fchmod = os.fchmod
fchown = os.fchown
realpath = os.path.realpath
copy_file_range = getattr(os, "copy_file_range", None)
"""None where the system has none."""

CALLS = (
    "open", "close", "read", "pread", "write", "pwrite", "lseek", "fsync", "ftruncate", "fstat",
    "stat", "replace", "unlink", "listdir", "makedirs", "fchmod", "fchown", "realpath",
    "copy_file_range",
)  # fmt: skip

CHUNK_BYTES = 1 << 20

CANT_COPY = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ETXTBSY)
"""What a file system says that can't copy by itself."""


@contextlib.contextmanager
def stand_in(other: Any) -> Iterator[None]:
    """Use the functions of another file system, an object that has all of CALLS, for a while."""
    names = globals()
    before = {name: names[name] for name in CALLS}
    names.update({name: getattr(other, name) for name in CALLS})
    try:
        yield
    finally:
        names.update(before)


def read_file(path: str | Path) -> bytes:
    """All bytes of a file. Raises OSError."""
    fd = open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while data := read(fd, CHUNK_BYTES):
            parts.append(data)
        return b"".join(parts)
    finally:
        close(fd)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write everything, however little the file takes at a time. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[write(fd, view) :]


def write_file(path: str | Path, data: bytes) -> None:
    """A file with these bytes, in place of what it had. Raises OSError."""
    fd = open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        write_all(fd, data)
    finally:
        close(fd)


def pread_all(fd: int, size_bytes: int, place: int) -> bytes:
    """The bytes from a place on, fewer only where the file ends before. Raises OSError."""
    parts = []
    while size_bytes and (data := pread(fd, min(size_bytes, CHUNK_BYTES), place)):
        parts.append(data)
        place += len(data)
        size_bytes -= len(data)
    return b"".join(parts)


def pwrite_all(fd: int, data: bytes | memoryview, place: int) -> None:
    """Write everything at a place. Raises OSError."""
    view = memoryview(data)
    while view:
        written = pwrite(fd, view, place)
        place += written
        view = view[written:]


def copy(from_fd: int, to_fd: int, size_bytes: int) -> None:
    """The first bytes of one file to the same place of another, which does not append: by sharing
    them where the file system can. Raises OSError, also where there are fewer.
    """
    place = 0
    while copy_file_range is not None and place < size_bytes:
        try:
            copied = copy_file_range(from_fd, to_fd, size_bytes - place, place, place)
        except OSError as error:
            if error.errno not in CANT_COPY:
                raise
            break
        if not copied:
            break
        place += copied
    while place < size_bytes:
        data = pread(from_fd, min(size_bytes - place, CHUNK_BYTES), place)
        if not data:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        pwrite_all(to_fd, data, place)
        place += len(data)


def sync_folder(path: str | Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    fd = open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fsync(fd)
    finally:
        close(fd)
