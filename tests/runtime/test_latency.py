"""The histogram: percentiles within its nine per cent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roo.runtime.latency import Histogram, percentile_ms


@given(st.integers(1, 10**12))
def test_one_latency_is_reported_within_its_bucket(latency_ns: int) -> None:
    histogram = Histogram()
    histogram.add(latency_ns, 1)
    reported = percentile_ms(histogram.counts, 0.5)
    assert reported is not None
    assert latency_ns <= reported * 1e6 <= latency_ns * 1.126 + 1


def test_nothing_has_no_percentile() -> None:
    assert percentile_ms(Histogram().counts, 0.5) is None


def test_percentiles_count_messages_not_batches() -> None:
    histogram = Histogram()
    histogram.add(1_000_000, 990)
    histogram.add(100_000_000, 10)
    assert percentile_ms(histogram.counts, 0.5) == pytest.approx(1, rel=0.13)
    assert percentile_ms(histogram.counts, 0.99) == pytest.approx(1, rel=0.13)
    assert percentile_ms(histogram.counts, 0.999) == pytest.approx(100, rel=0.13)


def test_a_clock_that_ran_backwards_counts_as_no_latency() -> None:
    histogram = Histogram()
    histogram.add(-5, 1)
    assert percentile_ms(histogram.counts, 1) == pytest.approx(0, abs=0.001)
