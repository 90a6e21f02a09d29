"""Plugin functions of the pipeline that grows and shrinks: a million keys, 100 bytes of state each.

The number of keys is in `$BENCHMARK_KEYS`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random

BYTES = 100
_random = Random(7)


class Kept:
    """100 bytes that cannot be shared or compressed away, and how many messages one key has had."""

    __slots__ = ("data", "n")

    def __init__(self) -> None:
        self.n = 0
        self.data = _random.randbytes(BYTES)


def keys() -> Iterator[str]:
    """All keys, as the feeder names them."""
    return (f"k{index}" for index in range(int(os.environ["BENCHMARK_KEYS"])))


def key(message: str) -> str:
    """The partition function: a message is `KEY NUMBER DUE_NS SENT_NS`."""
    return message.partition(" ")[0]


def number(message: str, kept: Kept) -> str:
    """The message with its place among those of its key behind it."""
    kept.n += 1
    return f"{message} {kept.n}"
