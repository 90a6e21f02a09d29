"""How numbers are written, as a table, and what holds for all of them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roo.status import numbers


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (9, "9"),
        (9_999, "9999"),
        (9_999.4, "9999"),
        (9_999.6, "10.0k"),
        (12_345, "12.3k"),
        (99_949, "99.9k"),
        (99_951, "100k"),
        (450_000, "450k"),
        (999_499, "999k"),
        (999_501, "1.00M"),
        (1_234_567, "1.23M"),
        (8_123_456_789, "8.12G"),
        (18_446_744_073_709_551_616, "2e+19"),
        (-12_345, "-12.3k"),
        (None, "-"),
        (math.nan, "-"),
        (math.inf, "-"),
    ],
)
def test_count(value: float | None, said: str) -> None:
    assert numbers.count(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "0"), (0.01, "<0.1"), (0.4, "0.4"), (9.94, "9.9"), (9.96, "10"), (451_200.0, "451k")],
)
def test_rate(value: float, said: str) -> None:
    assert numbers.rate(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0.00"),
        (0.042, "0.04"),
        (0.42, "0.42"),
        (0.996, "1.0"),
        (3.14, "3.1"),
        (9.96, "10"),
        (480.2, "480"),
        (12_345.0, "12.3k"),
        (None, "-"),
        (math.nan, "-"),
    ],
)
def test_milliseconds(value: float | None, said: str) -> None:
    assert numbers.milliseconds(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 KiB"),
        (1_536, "1.5 KiB"),
        (48 * 1024**2, "48 MiB"),
        (999.4 * 1024**2, "999 MiB"),
        (999.6 * 1024**2, "1.0 GiB"),
        (3 * 1024**5, "3.0 PiB"),
        (None, "-"),
    ],
)
def test_size(value: float | None, said: str) -> None:
    assert numbers.size(value) == said


@pytest.mark.parametrize(
    ("value", "said", "whole"),
    [
        (0.0, "0.00 s", "0 s"),
        (0.42, "0.42 s", "0 s"),
        (0.996, "1.0 s", "1 s"),
        (12.34, "12.3 s", "12 s"),
        (59.94, "59.9 s", "1m 00s"),
        (59.96, "1m 00s", "1m 00s"),
        (125.4, "2m 05s", "2m 05s"),
        (3_599.4, "59m 59s", "59m 59s"),
        (3_599.6, "1h 00m", "1h 00m"),
        (11_040.0, "3h 04m", "3h 04m"),
        (183_600.0, "2d 03h", "2d 03h"),
        (-1.5, "-1.5 s", "-2 s"),
        (None, "-", "-"),
        (math.inf, "-", "-"),
    ],
)
def test_duration(value: float | None, said: str, whole: str) -> None:
    assert numbers.duration(value) == said
    assert numbers.duration(value, whole=True) == whole


def test_elapsed_counts_up_in_tenths() -> None:
    assert [numbers.elapsed(s) for s in (0.0, 0.31, 12.34, 61.0)] == [
        "0.0 s",
        "0.3 s",
        "12.3 s",
        "1m 01s",
    ]


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "0%"), (0.001, "1%"), (0.41, "41%"), (0.999, "99%"), (1.0, "100%"), (1.8, "180%")],
)
def test_percent_says_100_only_when_nothing_is_missing(value: float, said: str) -> None:
    assert numbers.percent(value) == said


@pytest.mark.parametrize(
    ("value", "said"), [(0.0, "0%"), (1 / 64, "1.6%"), (1 / 3, "33.3%"), (0.5, "50%"), (1, "100%")]
)
def test_share(value: float, said: str) -> None:
    assert numbers.share(value) == said


@given(st.integers(0, 10**15 - 10**12))
def test_counts_are_short_and_near(value: int) -> None:
    said = numbers.count(value)
    assert len(said) <= 5
    units = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    meant = float(said[:-1]) * units[said[-1]] if said[-1] in units else float(said)
    assert abs(meant - value) <= 0.005 * value


@given(st.integers(0, 2**59))
def test_sizes_are_short(value_bytes: int) -> None:
    assert len(numbers.size(value_bytes)) <= 7


@given(st.floats())
def test_any_float_is_said(value: float) -> None:
    for say in (numbers.count, numbers.rate, numbers.milliseconds, numbers.percent, numbers.share):
        assert say(value).strip() == say(value) != ""
    assert numbers.size(value) and numbers.duration(value)
