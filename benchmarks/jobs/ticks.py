"""Plugin functions of the latency pipeline: one number per key, put behind each message."""

from __future__ import annotations


class Seen:
    """How many messages one key has had."""

    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


def key(message: str) -> str:
    """The partition function: a message is `KEY NUMBER DUE_NS SENT_NS`."""
    return message.partition(" ")[0]


def number(message: str, seen: Seen) -> str:
    """The message with its place among those of its key behind it."""
    seen.n += 1
    return f"{message} {seen.n}"
