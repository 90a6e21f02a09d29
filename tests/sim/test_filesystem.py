"""The simulated file system does what a real one does; and what only it can do."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sim.filesystem import FileSystem

NAMES = st.sampled_from(["a", "b", "d/a", "d/b", "d", "x/a", "e", ""])
FLAGS = st.sampled_from([os.O_RDONLY, os.O_WRONLY, os.O_RDWR]).flatmap(
    lambda how: st.lists(
        st.sampled_from([os.O_CREAT, os.O_EXCL | os.O_CREAT, os.O_TRUNC, os.O_APPEND])
    ).map(lambda flags: how | sum({*flags} - {os.O_CREAT}) | (os.O_CREAT if flags else 0))
)
PLACES = st.integers(0, 100)
DATA = st.binary(max_size=80)
NUMBERS = st.integers(0, 3)  # which of the open files
CALLS = st.one_of(
    st.tuples(st.just("open"), NAMES, FLAGS),
    st.tuples(st.just("open"), NAMES, FLAGS),
    st.tuples(st.just("close"), NUMBERS),
    st.tuples(st.just("read"), NUMBERS, PLACES),
    st.tuples(st.just("pread"), NUMBERS, PLACES, PLACES),
    st.tuples(st.just("write"), NUMBERS, DATA),
    st.tuples(st.just("write"), NUMBERS, DATA),
    st.tuples(st.just("pwrite"), NUMBERS, DATA, PLACES),
    st.tuples(st.just("lseek"), NUMBERS, PLACES, st.sampled_from([0, 1, 2])),
    st.tuples(st.just("ftruncate"), NUMBERS, PLACES),
    st.tuples(st.just("copy_file_range"), NUMBERS, NUMBERS, PLACES, PLACES, PLACES),
    st.tuples(st.just("fstat"), NUMBERS),
    st.tuples(st.just("fsync"), NUMBERS),
    st.tuples(st.just("stat"), NAMES),
    st.tuples(st.just("replace"), NAMES, NAMES),
    st.tuples(st.just("link"), NAMES, NAMES),
    st.tuples(st.just("unlink"), NAMES),
    st.tuples(st.just("listdir"), NAMES),
    st.tuples(st.just("makedirs"), st.sampled_from(["e", "e/f", "d"])),
)
ON_DESCRIPTORS = {"close", "read", "pread", "write", "pwrite", "lseek", "ftruncate",
                  "copy_file_range", "fstat", "fsync"}  # fmt: skip


class Caller:
    """Makes calls on one of the two. open: descriptors, the newest last."""

    def __init__(self, system: Any, root: str) -> None:
        self.system = system
        self.root = root
        self.open: list[int] = []
        for name in ("d", "x"):
            system.makedirs(f"{root}/{name}")

    def call(self, name: str, *arguments: Any) -> Any:
        """What comes of it, as both systems can say it."""
        given = list(arguments)
        if name in ON_DESCRIPTORS:
            count = 2 if name == "copy_file_range" else 1
            for place in range(count):
                if not self.open:
                    return None
                given[place] = self.open[given[place] % len(self.open)]
        else:
            given = [f"{self.root}/{a}" if isinstance(a, str) else a for a in given]
        try:
            made = getattr(self.system, name)(*given)
        except OSError as error:
            return error.errno
        if name == "open":
            self.open.append(made)
            return "open"
        if name == "close":
            self.open.remove(given[0])
        if isinstance(made, os.stat_result):
            folder = made.st_mode & 0o170000 == 0o040000
            return ("folder",) if folder else (made.st_size, made.st_nlink)
        return sorted(made) if isinstance(made, list) else made

    def end(self) -> None:
        for descriptor in self.open:
            self.system.close(descriptor)


@pytest.mark.skipif(sys.platform != "linux", reason="others append and copy in other ways")
@given(st.lists(CALLS, max_size=30))
def test_it_does_what_a_real_one_does(calls: list[Any]) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as real:
        there, here = Caller(os, real), Caller(FileSystem(), "/r")
        for name, *arguments in calls:
            if _differs_between_kernels(there, name, arguments):
                continue
            assert here.call(name, *arguments) == there.call(name, *arguments), name
        there.end()


def _differs_between_kernels(caller: Caller, name: str, arguments: list[Any]) -> bool:
    """What nobody does: folders that move, ranges of one file copied over themselves."""
    if name == "copy_file_range":
        return True if not caller.open else len({*_inodes(caller, arguments[:2])}) < 2
    return (name == "replace" and Path(f"{caller.root}/{arguments[0]}").is_dir()) or (
        name in ("replace", "unlink", "link", "open") and "" in arguments
    )  # fmt: skip


def _inodes(caller: Caller, numbers: list[int]) -> list[int]:
    return [os.fstat(caller.open[n % len(caller.open)]).st_ino for n in numbers]


def made(sync: Callable[[FileSystem, int], Any]) -> FileSystem:
    """A file of two blocks in a folder, with something done to it."""
    system = FileSystem()
    system.makedirs("/f")
    descriptor = system.open("/f/a", os.O_CREAT | os.O_RDWR)
    system.write(descriptor, b"x" * 40)
    sync(system, descriptor)
    return system


def sync_all(system: FileSystem, descriptor: int) -> None:
    system.fsync(descriptor)
    system.fsync(system.open("/f", os.O_RDONLY))


def content(system: FileSystem, path: str) -> bytes | None:
    try:
        return system.read(system.open(path, os.O_RDONLY), 1_000)
    except FileNotFoundError:
        return None


def after_power_failures(how: Callable[[FileSystem, int], Any]) -> set[bytes | None]:
    """All that may be left of it."""
    found = set()
    for seed in range(200):
        system = made(how)
        system.lose_power(Random(seed))
        found.add(content(system, "/f/a"))
    return found


def test_what_is_synced_survives() -> None:
    assert after_power_failures(sync_all) == {b"x" * 40}


def test_a_name_may_be_lost_though_its_bytes_are_durable() -> None:
    assert after_power_failures(lambda s, d: s.fsync(d)) == {None, b"x" * 40}


def test_any_block_may_be_lost_though_its_name_is_durable() -> None:
    found = after_power_failures(lambda s, _: s.fsync(s.open("/f", os.O_RDONLY)))
    assert found == {b"", b"x" * 32, b"x" * 40, bytes(32) + b"x" * 8, b"x" * 32 + bytes(8),
                     bytes(40)}  # fmt: skip


def test_what_was_written_after_the_sync_may_be_lost() -> None:
    def change(system: FileSystem, descriptor: int) -> None:
        sync_all(system, descriptor)
        system.ftruncate(descriptor, 10)

    assert after_power_failures(change) == {b"x" * 40, b"x" * 10}


def test_a_sync_that_failed_has_dropped_what_it_was_to_write() -> None:
    def drop(system: FileSystem, descriptor: int) -> None:
        sync_all(system, descriptor)
        system.write(descriptor, b"y" * 40)
        system.drop_dirty(descriptor)
        system.fsync(descriptor)  # finds nothing to do

    def drop_all(system: FileSystem, descriptor: int) -> None:
        system.drop_dirty(descriptor)
        system.fsync(system.open("/f", os.O_RDONLY))

    assert content(made(drop_all), "/f/a") == b"x" * 40
    assert after_power_failures(drop_all) == {b""}
    assert after_power_failures(drop) == {b"x" * 40}


def test_an_unlinked_file_stays_open() -> None:
    system = made(sync_all)
    descriptor = system.open("/f/a", os.O_RDWR)
    system.unlink("/f/a")
    assert system.write(descriptor, b"yy") == 2
    assert system.pread(descriptor, 3, 0) == b"yyx"
    assert content(system, "/f/a") is None


def test_a_rename_is_durable_whole_or_not_at_all() -> None:
    found = set()
    for seed in range(50):
        system = made(sync_all)
        system.fsync(system.open("/f/b", os.O_CREAT | os.O_WRONLY))
        system.fsync(system.open("/f", os.O_RDONLY))
        system.replace("/f/a", "/f/b")
        system.lose_power(Random(seed))
        found.add((content(system, "/f/a"), content(system, "/f/b")))
    assert found == {(b"x" * 40, b""), (None, b"x" * 40)}


def test_open_files_are_closed_by_a_power_failure() -> None:
    system = made(sync_all)
    descriptor = system.open("/f/a", os.O_RDONLY)
    system.lose_power(Random(1))
    with pytest.raises(OSError, match="Bad file descriptor"):
        system.read(descriptor, 1)
