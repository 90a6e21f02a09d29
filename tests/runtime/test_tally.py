"""Rates come from reports that lie far enough apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from roo.api import Split
from roo.core.placement import Placement
from roo.plan.build import make
from roo.runtime.control import WorkerStats
from roo.runtime.tally import Tally
from roo.spec.load import load

ROOT = Path(__file__).parents[2]


def test_what_comes_into_a_worker_is_read_there_or_sent_to_it() -> None:
    spec = load(str(ROOT / "pipelines/wordcount.yaml"))
    tally = Tally(make(spec, {"counts": True}), Placement.fresh(2, [], []), {}, 0.0)
    for at_s, messages in ((0.0, 0), (1.0, 60)):
        for worker, read in ((0, 10), (1, 0)):
            tally.report(
                WorkerStats(
                    worker, 1, at_s,
                    sources={"lines": (read * messages // 60, 0)},
                    sinks={"counts": (0, 0)},
                    steps={"split": (read, -1), "count": (messages, -1)},
                )
            )  # fmt: skip
    first, second = tally.snapshot("running", 1.0).workers
    assert (first.in_per_s, second.in_per_s) == (70, 60)


def test_a_report_close_behind_another_makes_no_rate_of_its_own() -> None:
    no_plan: Any = None
    tally = Tally(no_plan, Placement.fresh(1, [], []), {}, 0.0)
    loads = []
    # Busy for half of the time; a checkpoint's report comes 2 ms before another one.
    for at_s in (0.0, 0.25, 0.498, 0.5, 0.75, 1.0, 1.001):
        tally.report(WorkerStats(0, 1, at_s, waited_s=at_s / 2 - 0.004 * (at_s == 0.5)))
        loads.append(tally.loads().get(0))
    assert loads[0] is None
    assert all(0.45 < load < 0.55 for load in loads[1:] if load is not None)
    assert None not in loads[1:]


def test_a_worker_that_is_always_busy_or_finds_no_taker_is_held_back() -> None:
    """Busy is who computes and who waits inside a plugin: whoever has something to do."""
    no_plan: Any = None
    tally = Tally(no_plan, Placement.fresh(4, [], []), {}, 0.0)
    for worker, (waits, held_back) in enumerate(
        [(0.0, False), (0.04, False), (0.5, False), (0.9, True)]
    ):
        for at_s in (0.0, 1.0):
            tally.report(WorkerStats(worker, 1, at_s, waited_s=waits * at_s, held_back=held_back))
    assert tally.loads() == pytest.approx({0: 1.0, 1: 0.96, 2: 0.5, 3: 0.1})
    assert tally.held_back() == 3


def test_progress_counts_what_was_read_before_and_time_does_not() -> None:
    """A run goes on at 40 of 100 bytes; 10 s later it is at 70. Then all go back to 50."""
    spec = load(str(ROOT / "pipelines/wordcount.yaml"))
    splits = {0: ("lines", Split("a", {}, 60)), 1: ("lines", Split("b", {}, 40))}
    tally = Tally(make(spec, {"counts": True}), Placement.fresh(2, [], []), splits, 0.0)
    for worker, split, done in ((0, 0, 50), (1, 1, 20)):
        tally.report(WorkerStats(worker, 1, 10.0, done_bytes={split: (20, done)}))
    seen = tally.snapshot("running", 10.0)
    assert (seen.progress, seen.eta_s) == (0.7, pytest.approx(10.0))
    tally.roll_back()
    tally.report(WorkerStats(0, 1, 11.0, done_bytes={0: (30, 30)}))
    assert tally.snapshot("running", 11.0).progress == 0.5
