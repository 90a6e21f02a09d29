"""Words a second, spawn to exit, every update written: Zipf and uniform word files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks import words
from benchmarks.measure import Candidate, Figure, Reach, Sample, Samples, interleave, ratio
from benchmarks.settings import CACHE, Settings
from benchmarks.wordcount import (
    BYTEWAX_1,
    BYTEWAX_2,
    HAND,
    HAND_GC_OFF,
    ROO_1,
    ROO_2,
    Job,
    by_bytewax,
    by_hand,
    by_roo,
    verified_seconds,
)

METRIC = "words_per_s"
NOTE = (
    "Words a second from spawn to exit; every update written as `word => n` and verified. "
    "Roo with 2 workers reads 2 splits of the one file."
)


def zipf(settings: Settings) -> Figure:
    """Zipf(1.1) over 200,000 words."""
    samples = _samples("zipf", settings, words.zipf)
    reaches = {ROO_1: Reach(0.7), ROO_2: Reach(1.2)}
    return _figure("zipf", f"Zipf(1.1), {settings.words:,} words", samples, reaches)


def uniform(settings: Settings) -> Figure:
    """Even draws from 1,000,000 words."""
    samples = _samples("uniform", settings, words.uniform)
    title = f"Uniform over 1 M words, {settings.words:,} words"
    return _figure("uniform", title, samples, {ROO_2: Reach(1.1)}, Reach(1.75))


def _samples(figure: str, settings: Settings, make: Callable[[Path, int], Path]) -> Samples:
    source, counts = make(CACHE, settings.words), settings.scratch / "counts.txt"

    def candidate(name: str, job: Callable[[], Job], messages: int = settings.words) -> Candidate:
        def speed() -> Sample:
            return {METRIC: messages / verified_seconds(job())}

        return Candidate(name, speed)

    candidates = [
        candidate(HAND, lambda: by_hand(source, counts)),
        candidate(HAND_GC_OFF, lambda: by_hand(source, counts, "--gc-off")),
        candidate(ROO_1, lambda: by_roo(source, counts, 1)),
        candidate(ROO_2, lambda: by_roo(source, counts, 2)),
    ]
    if settings.peers:
        messages = settings.peer_words
        peer_source = make(CACHE, messages)
        candidates += [
            candidate(BYTEWAX_1, lambda: by_bytewax(peer_source, counts, 1), messages),
            candidate(BYTEWAX_2, lambda: by_bytewax(peer_source, counts, 2), messages),
        ]
    return interleave(figure, candidates, settings.runs)


def _figure(
    name: str,
    title: str,
    samples: Samples,
    against_hand: dict[str, Reach],
    two_against_one: Reach | None = None,
) -> Figure:
    """Everything against the hand-written loop, and two workers against one."""
    series = samples.all(METRIC)
    hand, one, two = (samples.series(candidate, METRIC) for candidate in (HAND, ROO_1, ROO_2))
    ratios = [
        ratio(f"{other.candidate} / {HAND}", [other], [hand], against_hand.get(other.candidate))
        for other in series
        if other.candidate != HAND
    ]
    ratios.append(ratio(f"{ROO_2} / {ROO_1}", [two], [one], two_against_one))
    return Figure(name, title, NOTE, series, tuple(ratios))
