"""Start-up: a run on an empty file, from spawn to exit."""

from __future__ import annotations

import sys

from benchmarks import words
from benchmarks.measure import Candidate, Figure, Reach, interleave
from benchmarks.processes import timed
from benchmarks.settings import CACHE, Settings
from benchmarks.wordcount import BYTEWAX_2, ROO_2, by_bytewax, by_roo, verified_seconds

METRIC = "seconds"
ROUNDS_A_RUN = 4
"""These runs are short and their times scatter: more of them."""

PYTHON = "python -c pass"
NOTE = "Seconds from spawn to exit on an empty input file; `python -c pass` is the floor."


def startup(settings: Settings) -> Figure:
    """Roo with 2 workers, with peers Bytewax on 2 processes, and Python alone."""
    source = words.empty(CACHE)
    counts = settings.scratch / "counts.txt"
    python, roo = [sys.executable, "-c", "pass"], by_roo(source, counts, 2)
    candidates = [
        Candidate(PYTHON, lambda: {METRIC: timed(python)}),
        Candidate(ROO_2, lambda: {METRIC: verified_seconds(roo)}),
    ]
    if settings.peers:
        candidates.append(
            Candidate(BYTEWAX_2, lambda: {METRIC: verified_seconds(by_bytewax(source, counts, 2))})
        )
    samples = interleave("startup", candidates, settings.runs * ROUNDS_A_RUN)
    reaches = {ROO_2: Reach(0.35, at_least=False)}
    return Figure("startup", "Start-up", NOTE, samples.all(METRIC, reaches))
