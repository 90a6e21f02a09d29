"""Messages keep their type and value across workers."""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roo.runtime.payload import Keyed, own, pack, unpack


@dataclass
class Reading:
    name: str
    values: list[float]


class Color(Enum):
    RED = 1


class Word(str):
    """A str with a type of its own."""


Pair = namedtuple("Pair", "left right")

atoms = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
)
messages = st.recursive(
    atoms
    | st.builds(Word, st.text())
    | st.just(Color.RED)
    | st.decimals(allow_nan=False)
    | st.builds(bytearray, st.binary()),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
        | st.builds(Pair, inner, inner)
        | st.builds(Reading, st.text(), st.lists(st.floats(allow_nan=False), max_size=3))
    ),
    max_leaves=8,
)
keys = st.text() | st.binary()


def alike(a: Any, b: Any) -> bool:
    """Equal, and of the same type all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(alike(a[k], b[k]) for k in a)
    if isinstance(a, float):
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    return bool(a == b)


@given(st.lists(st.tuples(keys, messages), min_size=1, max_size=6), st.booleans())
def test_what_arrives_is_what_was_sent(sent: list[tuple[Any, Any]], several: bool) -> None:
    payload = Keyed([k for k, _ in sent], [m for _, m in sent], [0] * len(sent) * several)
    arrived = unpack(pack(payload))
    assert alike(list(arrived), list(payload))


@given(st.lists(st.text(), min_size=1, max_size=6))
def test_words_that_are_their_own_keys_travel_once(words: list[str]) -> None:
    frames = pack(Keyed(words, words, []))
    assert frames[1] == b"s"
    arrived = unpack(frames)
    assert arrived.keys == arrived.messages == words


@given(st.lists(messages, min_size=1, max_size=6))
def test_what_stays_looks_like_what_travelled(sent: list[Any]) -> None:
    kept = own(Keyed(["k"] * len(sent), sent, []))
    assert alike(kept.messages, sent)


def test_an_object_handed_out_does_not_change_in_the_queue() -> None:
    ring = [1, 2, 3]
    kept = own(Keyed(["k"], [ring], []))
    ring.append(4)
    assert kept.messages == [[1, 2, 3]]


def test_text_with_the_separator_arrives_whole() -> None:
    words = ["a\0b", "", "\0"]
    assert unpack(pack(Keyed(words, list(words), []))).keys == words


@pytest.mark.parametrize(
    "message",
    [
        OrderedDict(a=1), datetime.now(UTC), timedelta(1), Decimal("1.10"), {1, 2}, frozenset({1}),
        2**100, complex(1, 2), range(3), Reading("x", [1.0]),
    ],
)  # fmt: skip
def test_types_of_the_standard_library(message: Any) -> None:
    (arrived,) = unpack(pack(Keyed(["k"], [message], []))).messages
    assert type(arrived) is type(message)
    assert arrived == message


@pytest.mark.parametrize("message", [lambda: 0, (i for i in ()), open])
def test_what_cannot_be_sent_says_so_wherever_it_stays(message: Any) -> None:
    if message is open:
        assert unpack(pack(Keyed(["k"], [message], []))).messages == [open]
        return
    for way in (pack, own):
        with pytest.raises((pickle.PicklingError, TypeError, AttributeError)):
            way(Keyed(["k"], [message], []))
