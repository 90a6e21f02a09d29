"""Latency from read to sink, as counts in log-linear buckets of about 9 % each.

The idea is HdrHistogram's (Gil Tene): an exponent and three bits of mantissa. Adding is two
shifts and a list index per batch; percentiles are worked out only when somebody looks.
"""

from __future__ import annotations

from collections.abc import Sequence

_MANTISSA_BITS = 3
BUCKETS = 64 << _MANTISSA_BITS


class Histogram:
    """Counts of messages by latency in nanoseconds."""

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS

    def add(self, latency_ns: int, messages: int) -> None:
        """So many messages took so long. A negative latency counts as none."""
        self.counts[_bucket(latency_ns)] += messages


def percentile_ms(counts: Sequence[int], part: float) -> float | None:
    """The latency in ms that `part` (0 to 1) of the messages stayed within; None without any."""
    total = sum(counts)
    if not total:
        return None
    wanted = part * total
    seen = 0
    for bucket, count in enumerate(counts):
        seen += count
        if count and seen >= wanted:
            return _upper_ns(bucket) / 1e6
    return None


def _bucket(latency_ns: int) -> int:
    if latency_ns < (1 << _MANTISSA_BITS):
        return max(latency_ns, 0)
    exponent = latency_ns.bit_length() - 1 - _MANTISSA_BITS
    bucket = (exponent << _MANTISSA_BITS) + (latency_ns >> exponent)
    return min(bucket, BUCKETS - 1)


def _upper_ns(bucket: int) -> int:
    """The largest latency that falls into a bucket, plus one."""
    if bucket < (1 << _MANTISSA_BITS):
        return bucket + 1
    exponent, mantissa = divmod(bucket, 1 << _MANTISSA_BITS)
    return ((1 << _MANTISSA_BITS) + mantissa + 1) << (exponent - 1)
