"""Made messages: numbers, a user's function, the schedule of a rate, going on from an offset."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from roo import connectors
from roo.api import ConnectorError, Reader
from tests.connectors.reading import LINES, context, reads_of

DEFAULTS = {"call": None, "with": {}, "start": 0, "step": 1, "rate": None, "count": None}


def generate(offset: int | None = None, **options: Any) -> Reader:
    """A reader of made messages."""
    source = connectors.source("generate", {**DEFAULTS, **options})
    assert source.rewindable
    (split,) = source.splits()
    return source.open(split, offset, LINES, context())


def messages_of(reader: Reader) -> list[Any]:
    return [message for read in reads_of(reader) for message in read.messages]


class Clock:
    """A clock that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)


def test_numbers_from_start_by_step() -> None:
    assert messages_of(generate(start=5, step=-2, count=3)) == [5, 3, 1]
    assert messages_of(generate(count=0)) == []
    assert messages_of(generate(count=2500)) == list(range(2500))
    assert messages_of(generate(offset=2, count=3)) == [2]
    assert messages_of(generate(offset=3, count=3)) == []


def test_a_function_is_given_its_parameters() -> None:
    def words(prefix: str) -> Iterator[str]:
        for i in range(3):
            yield f"{prefix}{i}"

    assert messages_of(generate(call=words, **{"with": {"prefix": "w"}})) == ["w0", "w1", "w2"]
    assert messages_of(generate(call=words, count=2, **{"with": {"prefix": "w"}})) == ["w0", "w1"]
    assert messages_of(generate(offset=1, call=words, **{"with": {"prefix": "w"}})) == ["w1", "w2"]
    assert messages_of(generate(call=lambda: [1, 2])) == [1, 2]


def test_a_function_that_makes_nothing_to_read_is_named() -> None:
    def nothing() -> int:
        return 3

    with pytest.raises(ConnectorError, match="nothing returned int"):
        generate(call=nothing)


def test_its_exception_comes_as_it_is_after_what_it_made() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise KeyError("mine")

    reader = generate(call=failing)
    read = reader.read()
    assert read is not None
    assert (read.messages, read.end, read.offset) == ([1], False, 1)
    with pytest.raises(KeyError, match="mine"):
        reader.read()


def test_a_slow_function_hands_over_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    def slow() -> Iterator[int]:
        for i in range(3):
            clock.now_s += 1
            yield i

    reader = generate(call=slow)
    reads = [reader.read() for _ in range(4)]
    assert [read and read.messages for read in reads] == [[0], [1], [2], []]
    assert [read and read.end for read in reads] == [False, False, False, True]


@pytest.mark.parametrize("offset", [0, 1000])
def test_the_schedule_does_not_drift(monkeypatch: pytest.MonkeyPatch, offset: int) -> None:
    """Message k is due k / rate seconds after the first, however late the reads come."""
    clock = Clock(monkeypatch)
    reader = generate(rate=10, offset=offset)
    seen: list[int] = []
    for now_s, expected in [(0, 1), (0.05, 1), (0.1, 2), (0.35, 4), (0.399, 4), (2.0, 21)]:
        clock.now_s = 100.0001 + now_s if now_s else 100.0
        read = reader.read()
        seen += read.messages if read else []
        assert seen == list(range(offset, offset + expected))
        due_s = 100 + expected / 10
        assert reader.ready_in_ms() == pytest.approx((due_s - clock.now_s) * 1000)
        assert reader.read() is None
    reader.close()


def test_a_batch_is_bounded_however_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    reader = generate(rate=1_000_000)
    assert (read := reader.read()) is not None
    clock.now_s += 60
    assert (read := reader.read()) is not None
    assert 100 <= len(read.messages) <= 10_000
    assert read.locate is not None
    assert read.locate(7) == read.start + 7
    assert reader.ready_in_ms() == 0
