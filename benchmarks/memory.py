"""Memory per key over all processes, against a plain dict of the same objects."""

from __future__ import annotations

import signal
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path

from benchmarks import words
from benchmarks.jobs.wordcount import Total, count, format
from benchmarks.measure import Candidate, Figure, Reach, Sample, interleave, ratio
from benchmarks.processes import finish, next_line, running, settled_memory_bytes, wait_until
from benchmarks.settings import CACHE, KEYS_MAX, Settings
from benchmarks.verify import check_counts_apart
from benchmarks.wordcount import HAND, ROO_1, ROO_2, Job, by_hand, by_roo

FEW_KEYS = 10
METRIC = "bytes_per_key"
NOTE = (
    "Proportional set size of all processes when every message is out and the run is held open, "
    "less the same with 10 keys and as many messages, per key."
)


def memory(settings: Settings) -> Figure:
    """At 1,000,000 keys (or as many as there are words, if that is less), one message each."""
    keys = min(KEYS_MAX, settings.words)
    full = words.every_key(CACHE, keys, keys)
    bare = words.every_key(CACHE, keys, FEW_KEYS)
    counts = settings.scratch / "counts.txt"

    def candidate(name: str, held_bytes: Callable[[Path], int]) -> Candidate:
        def per_key() -> Sample:
            return {METRIC: (held_bytes(full) - held_bytes(bare)) / (keys - FEW_KEYS)}

        return Candidate(name, per_key)

    candidates = [
        candidate(HAND, lambda file: _held_by_hand(by_hand(file, counts, "--hold"))),
        candidate(ROO_1, lambda file: _held_by_roo(by_roo(file, counts, 1, follow=True))),
        candidate(ROO_2, lambda file: _held_by_roo(by_roo(file, counts, 2, follow=True))),
    ]
    hand, *others = interleave("memory", candidates, settings.runs).all(METRIC)
    reach = Reach(1.25, at_least=False)
    ratios = tuple(ratio(f"{one.candidate} / {HAND}", [one], [hand], reach) for one in others)
    return Figure("memory", f"Memory per key at {keys:,} keys", NOTE, (hand, *others), ratios)


def _held_by_hand(job: Job) -> int:
    """What the hand-written loop holds with all its states, in bytes."""
    with running(job.commands[0]) as process:
        next_line(process)
        held_bytes = settled_memory_bytes(process.pid)
        finish(process)
    check_counts_apart(job.words, job.counts)
    return held_bytes


def _held_by_roo(job: Job) -> int:
    """What coordinator and workers hold with all their states, in bytes.

    The source follows its file, so the run stays open after the last message; then it is stopped.
    """
    output_bytes = _output_bytes(job.words)
    counts = job.counts[0]
    counts.unlink(missing_ok=True)
    with running(job.commands[0]) as process:
        wait_until(lambda: counts.exists() and counts.stat().st_size >= output_bytes, process)
        held_bytes = settled_memory_bytes(process.pid)
        process.send_signal(signal.SIGTERM)
        finish(process)
    check_counts_apart(job.words, job.counts)
    return held_bytes


@cache
def _output_bytes(source: Path) -> int:
    """How long the file of all updates must be, whatever their order."""
    totals: defaultdict[str, Total] = defaultdict(Total)
    size_bytes = 0
    with source.open() as lines:
        for line in lines:
            for word in line.split():
                size_bytes += len(format(count(word, totals[word]))) + 1
    return size_bytes
