"""The calls that touch files which outlive a process: checkpoints, and what sources and sinks hold.

The functions are those of `os`, under their names there. The simulation puts a file system of its
own in their place (`stand_in`), so what it runs is what ships. Callers name the module
(`disk.fsync(fd)`), never the function.
"""

from __future__ import annotations

import contextlib
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
copy_file_range = getattr(os, "copy_file_range", None)
"""None where the system has none."""

CALLS = (
    "open", "close", "read", "pread", "write", "pwrite", "lseek", "fsync", "ftruncate", "fstat",
    "stat", "replace", "unlink", "listdir", "makedirs", "copy_file_range",
)  # fmt: skip

CHUNK_BYTES = 1 << 20


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


def sync_folder(path: str | Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    fd = open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fsync(fd)
    finally:
        close(fd)
