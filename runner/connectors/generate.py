"""`type: generate`: a plugin's generator function, or whole numbers in sequence."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import count, islice
from typing import Any

from roo.api import BATCH_BYTES, Codec, ConnectorError, Context, Read, Reader, Source, Split

MESSAGES_MAX = 1_000
"""How many messages one read makes at most."""
TAKE_S = 0.005
"""How long one read goes on asking a slow function for more."""


class GenerateSource(Source):
    """Options: call (a function; None: numbers), with, start, step, rate (messages/s), count.

    Rewindable: an offset is a number of messages, and the same call makes the same messages again.
    """

    rewindable = True

    def splits(self) -> list[Split]:
        call = self.options.get("call")
        return [Split(getattr(call, "__name__", "numbers"))]

    def open(self, split: Split, offset: int | None, codec: Codec, context: Context) -> Reader:
        return GenerateReader(self.options, offset or 0)


class GenerateReader(Reader):
    """Messages on schedule: the k-th after opening is due k / rate seconds after it."""

    def __init__(self, options: Mapping[str, Any], offset: int) -> None:
        self._rate: float | None = options.get("rate")
        self._count: int | None = options.get("count")
        self._messages = _messages(options)
        for _ in islice(self._messages, offset):
            pass
        self._first = self._offset = offset
        self._opened_s: float | None = None
        self._error: Exception | None = None

    def read(self) -> Read | None:
        due = self._due()
        if due <= 0:
            return None
        if self._error is not None:
            raise self._error
        start = self._offset
        messages, ended = self._take(due)
        self._offset += len(messages)
        end = ended or self._offset == self._count
        return Read(messages, start, self._offset, end=end, locate=lambda index: start + index)

    def _take(self, due: int) -> tuple[list[Any], bool]:
        """So many messages, fewer from a function that takes its time; whether they have ended.

        What a function made before it failed counts; its exception is for the next read.
        """
        messages: list[Any] = []
        give_s = time.monotonic() + TAKE_S
        try:
            for message in islice(self._messages, due):
                messages.append(message)
                if time.monotonic() > give_s:
                    return messages, False
        except Exception as error:
            if not messages:
                raise
            self._error = error
            return messages, False
        return messages, len(messages) < due

    def _due(self) -> int:
        """How many messages should be made now. At least 1 where only the end is left to find."""
        if self._opened_s is None:
            self._opened_s = time.monotonic()
        wanted = max(MESSAGES_MAX * self.batch_bytes // BATCH_BYTES, 1)
        if self._rate is not None:
            elapsed_s = time.monotonic() - self._opened_s
            on_time = int(elapsed_s * self._rate) + 1 - (self._offset - self._first)
            wanted = min(wanted, on_time)
        if self._count is not None:
            left = self._count - self._offset
            return 1 if left <= 0 else min(wanted, left)
        return wanted

    def ready_in_ms(self) -> float:
        """Until the next message is due."""
        if self._rate is None or self._opened_s is None:
            return 0.0
        due_s = self._opened_s + (self._offset - self._first) / self._rate
        return max(due_s - time.monotonic(), 0.0) * 1000


def _messages(options: Mapping[str, Any]) -> Iterator[Any]:
    call = options.get("call")
    limit: int | None = options.get("count")
    if call is None:
        return islice(count(options.get("start", 0), options.get("step", 1)), limit)
    made = call(**(options.get("with") or {}))
    try:
        return islice(made, limit)
    except TypeError:
        name = getattr(call, "__name__", "the function")
        what = f"{name} returned {type(made).__name__}, which holds no messages"
        raise ConnectorError(what, "make it a generator, or return a list") from None
