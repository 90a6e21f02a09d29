"""Which keys take most of the messages, at next to no cost: one key of each batch is counted.

Space-saving, after Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k
Elements in Data Streams" (2005): a fixed number of counters; a key without one takes over the
smallest, count and all. Whatever is truly frequent is among them.
"""

from __future__ import annotations

from typing import Any

COUNTERS = 64
SAMPLES_MIN = 200
"""Fewer say nothing."""


class HotKeys:
    """The frequent keys of a sampled stream. Counts are never too low, and too high by at most the
    smallest.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, Any], int] = {}
        self._samples = 0

    def see(self, state: str, keys: list[Any]) -> None:
        """A batch runs over these keys."""
        if not keys:
            return
        self._samples += 1
        what = state, keys[self._samples % len(keys)]
        counts = self._counts
        if what in counts:
            counts[what] += 1
        elif len(counts) < COUNTERS:
            counts[what] = 1
        else:
            least = min(counts, key=counts.__getitem__)
            counts[what] = counts.pop(least) + 1

    def top(self, number: int) -> list[tuple[str, Any, float]]:
        """(state, key, part of this worker's messages), the most frequent first."""
        counts, samples = dict(self._counts), self._samples
        if samples < SAMPLES_MIN:
            return []
        first = sorted(counts.items(), key=lambda item: -item[1])[:number]
        return [(state, key, count / samples) for (state, key), count in first]
