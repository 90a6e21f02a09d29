"""Candidates run in turn (A B C A B C …), and what comes of it: medians and ratios, as data."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from statistics import median

Sample = Mapping[str, float]
"""What one run measured: value by metric, the metric's name carrying its unit."""


@dataclass(frozen=True)
class Candidate:
    """One way to do the work. run: do it once, verify its output, return what was measured."""

    name: str
    run: Callable[[], Sample]


@dataclass(frozen=True)
class Reach:
    """What a value should reach: at least (or at most) `limit`."""

    limit: float
    at_least: bool = True

    def holds(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:g}"


@dataclass(frozen=True)
class Series:
    """One metric of one candidate: a value per round."""

    candidate: str
    metric: str
    values: tuple[float, ...]
    reach: Reach | None = None

    @property
    def median(self) -> float:
        return median(self.values)


@dataclass(frozen=True)
class Ratio:
    """One series against another: of their medians, and the median of each round's own ratio."""

    name: str
    of_medians: float
    of_rounds: float
    reach: Reach | None = None


@dataclass(frozen=True)
class Figure:
    """One section of the report. note: how it was measured, in a sentence."""

    name: str
    title: str
    note: str
    series: tuple[Series, ...]
    ratios: tuple[Ratio, ...] = ()


class Samples:
    """What all runs of a figure measured."""

    def __init__(self, samples: Mapping[str, Sequence[Sample]]) -> None:
        self._samples = samples

    def series(self, candidate: str, metric: str, reach: Reach | None = None) -> Series:
        """The values of one metric of one candidate, round by round."""
        values = tuple(sample[metric] for sample in self._samples[candidate])
        return Series(candidate, metric, values, reach)

    def all(self, metric: str, reaches: Mapping[str, Reach] | None = None) -> tuple[Series, ...]:
        """The same metric of every candidate, in the order they run. reaches: by candidate."""
        reaches = reaches or {}
        return tuple(self.series(name, metric, reaches.get(name)) for name in self._samples)


def interleave(figure: str, candidates: Sequence[Candidate], rounds: int) -> Samples:
    """Run every candidate once, then every candidate again, `rounds` times.

    A line for each run goes to stderr. Whatever a run raises ends the benchmark.
    """
    samples: dict[str, list[Sample]] = {candidate.name: [] for candidate in candidates}
    for number in range(1, rounds + 1):
        for candidate in candidates:
            sample = candidate.run()
            samples[candidate.name].append(sample)
            values = ", ".join(f"{metric} {value:,.4g}" for metric, value in sample.items())
            print(f"{figure} {number}/{rounds} {candidate.name}: {values}", file=sys.stderr)
    return Samples(samples)


def ratio(
    name: str, over: Sequence[Series], under: Sequence[Series], reach: Reach | None = None
) -> Ratio:
    """The product of the series in `over` divided by the product of those in `under`."""

    def of(values: Callable[[Series], float]) -> float:
        return prod(map(values, over)) / prod(map(values, under))

    rounds = range(len(over[0].values))
    by_round = [of(lambda series, n=n: series.values[n]) for n in rounds]  # type: ignore[misc]
    return Ratio(name, of(lambda series: series.median), median(by_round), reach)
