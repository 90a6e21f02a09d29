"""File sinks on a disk that loses its power, killed between any two calls, with older writers that
go on late. After each rollback and at the end the file is what the newest checkpoint says.
"""

from __future__ import annotations

import os
import posixpath
from contextlib import suppress
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from roo import connectors, disk
from roo.api import ConnectorError, Context, Sink
from tests.sim.filesystem import FileSystem

PATH = "/d/out"
OLD, HEADER = b"old\n", b"names\n"
STEPS = 40
SEEDS = 200


class Killed(BaseException):
    """At a call of the disk."""


class World:
    """One sink after the other on one file. manifest: what the newest checkpoint has noted, and
    what the file holds up to there; written: all that has been written on top of that.
    """

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.files = FileSystem()
        self.calls_left: int | None = None
        self.committed = self.dice.random() < 0.5
        self.options = {
            "path": PATH,
            "visibility": "committed" if self.committed else "immediate",
            "mode": self.dice.choice(["overwrite", "append"]),
        }
        self.header = self.dice.choice([b"", HEADER])
        self.sink: Sink | None = None
        self.late: list[Sink] = []
        self.attempt = self.number = 0
        self.manifest: tuple[Any, bytes] | None = None
        self.written = b""
        self.files.makedirs("/d")
        if self.options["mode"] == "append" and self.dice.random() < 0.5:
            fd = self.files.open(PATH, os.O_CREAT | os.O_WRONLY)
            self.files.write(fd, OLD)
            self.files.fsync(fd)
            self.files.fsync(self.files.open("/d", os.O_RDONLY))

    def disk(self) -> Any:
        """The calls, of which any may be the last."""
        calls = {name: self._gated(name) for name in disk.CALLS if name != "realpath"}
        return SimpleNamespace(**calls, realpath=posixpath.normpath)

    def _gated(self, name: str) -> Any:
        function = getattr(self.files, name)

        def call(*words: Any, **more: Any) -> Any:
            if self.calls_left is not None:
                self.calls_left -= 1
                if self.calls_left < 0:
                    raise Killed
            return function(*words, **more)

        return call

    def content(self) -> bytes:
        """What the file shows."""
        fd = self.files.open(PATH, os.O_RDONLY)
        try:
            return self.files.pread(fd, 1 << 20, 0)
        finally:
            self.files.close(fd)

    # What happens

    def run(self) -> None:
        """Everything, with a power failure at the end of all."""
        for _ in range(STEPS):
            self.calls_left = self.dice.randrange(12) if self.dice.random() < 0.25 else None
            try:
                self.step()
            except Killed:
                self.crash()
        self.calls_left = None
        if self.sink is None:
            self.begin()
        assert self.sink is not None
        self.write()
        self.sink.commit(self.checkpoint(alone=True))
        self.sink.close()
        for _ in range(2):
            assert self.content() == self.written
            self.files.lose_power(self.dice)

    def step(self) -> None:
        """One thing of many."""
        if self.sink is None:
            self.begin()
            return
        match self.dice.randrange(7):
            case 0 | 1:
                self.write()
            case 2 | 3:
                noted = self.checkpoint(alone=self.dice.random() < 0.5)
                if self.dice.random() < 0.9 and noted is not None:
                    self.sink.commit(noted)
                    self.looks()
            case 4 if self.late:
                self.act_late(self.dice.choice(self.late))
            case 5 if self.dice.random() < 0.3:
                self.sink.close()
                self.sink = None
                assert self.manifest is not None
                if self.committed:  # perhaps the newest has not been told of
                    assert self.manifest[1].startswith(self.content())
            case 6:
                self.crash()

    def begin(self) -> None:
        """A new attempt."""
        self.attempt += 1
        ended = not self.late and self.dice.random() < 0.8
        sink = connectors.sink("file", self.options)
        sink.header = self.header
        sink.open(Context("p", "s", 0, 1, resumes=self.manifest is not None,
                          attempt=self.attempt, predecessor_ended=ended))  # fmt: skip
        if self.manifest is not None:
            sink.rollback(self.manifest[0])
            self.written = self.manifest[1]
            self.looks()
            assert self.content() == self.written
        self.sink = sink
        if self.manifest is None:
            noted = sink.prepare()
            sink.sync()
            self.written = self.content()
            self.manifest = noted, self.written

    def write(self) -> None:
        """One line."""
        assert self.sink is not None
        self.number += 1
        line = b"%d\n" % self.number
        self.sink.write(line)
        self.written += line

    def checkpoint(self, *, alone: bool) -> Any:
        """What was noted for one that is real; None: it failed. alone: nothing else happens."""
        assert self.sink is not None
        noted, written = self.sink.prepare(), self.written
        if not alone:
            self.write()
        self.sink.sync()
        if not alone and self.dice.random() < 0.2:
            return None
        self.manifest = noted, written
        return noted

    def act_late(self, sink: Sink) -> None:
        """Whatever an older writer does, nobody sees it."""
        self.calls_left = None
        before = self.content()
        with suppress(ConnectorError, AssertionError):  # closed already
            match self.dice.randrange(5):
                case 0:
                    sink.write(b"late\n")
                case 1:
                    sink.prepare()
                case 2:
                    sink.sync()
                case 3:
                    sink.commit({"size_bytes": 1 << 20})
                case 4:
                    sink.close()
        assert self.content() == before

    def crash(self) -> None:
        """The writer is killed, or may wake later; or all is without power."""
        match self.dice.randrange(3):
            case 0 if self.sink is not None:
                self.late.append(self.sink)
            case 1:
                self.files.lose_power(self.dice)
                self.late.clear()
        self.sink = None

    def looks(self) -> None:
        """A committed file shows what the newest checkpoint has, and nothing more."""
        if self.committed:
            assert self.manifest is not None
            assert self.content() == self.manifest[1]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_the_newest_checkpoint_says_is_there(seed: int) -> None:
    world = World(seed)
    with disk.stand_in(world.disk()):
        world.run()
