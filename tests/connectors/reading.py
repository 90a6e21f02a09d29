"""What tests of sources share: contexts, and reading until something has happened."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from roo import connectors
from roo.api import Codec, Context, Read, Reader, Source

DEADLINE_S = 60.0
LINES = connectors.codec("lines", None, {})


def context(log: Callable[[str], None] = lambda line: None, memory: Any = None) -> Context:
    """A context of the only worker. memory: of a reader that is gone on from."""
    return Context("pipeline", "name", 0, 1, log, memory=memory)


def reads_of(reader: Reader) -> list[Read]:
    """All reads up to the end, within a deadline; closes the reader."""
    reads = []
    until_s = time.monotonic() + DEADLINE_S
    while not (reads and reads[-1].end):
        assert time.monotonic() < until_s, f"no end after {reads}"
        read = reader.read()
        if read is not None:
            reads.append(read)
    reader.close()
    return reads


def messages_of(source: Source, codec: Codec = LINES) -> list[Any]:
    """All messages of all splits, in their order."""
    reads = [r for s in source.splits() for r in reads_of(source.open(s, None, codec, context()))]
    return [message for read in reads for message in read.messages]


def read_until(reader: Reader, done: Callable[[list[Any]], bool]) -> list[Any]:
    """The messages that come until `done` is content with them, within a deadline."""
    messages: list[Any] = []
    until_s = time.monotonic() + DEADLINE_S
    while not done(messages):
        assert time.monotonic() < until_s, f"only {messages}"
        read = reader.read()
        if read is not None:
            messages += read.messages
    return messages


def wait_until(what: Callable[[], bool]) -> None:
    """Ask until it is so, within a deadline."""
    until_s = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < until_s
        time.sleep(0.001)
