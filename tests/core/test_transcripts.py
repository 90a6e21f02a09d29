"""The stories of a durable run, event by event, as the coordinator's machine answers them.

`ROO_GOLDEN=rewrite pytest tests/core` writes the golden files anew: look at the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from roo.core.coordinator import (
    BarrierReported,
    CommitFailed,
    Committed,
    CoordinatorCore,
    Durability,
    Event,
    RunFailed,
    SplitsEnded,
    StdoutClosed,
    StopRequested,
    Tick,
    WorkerLost,
    WorkerReady,
)

GOLDEN = Path(__file__).parent / "golden"
READY: list[Event] = [WorkerReady(0), WorkerReady(1)]
GOING = [*READY, Tick(0)]
BARRIER_1 = [*GOING, Tick(5_000)]
REPORTED_1 = [*BARRIER_1, BarrierReported(0, 1), BarrierReported(1, 1)]
LOST = WorkerLost(1, "was killed by SIGKILL")

STORIES: dict[str, list[Event]] = {
    "checkpoint": [*REPORTED_1, Committed(1), Tick(6_000), Tick(10_999), Tick(11_000)],
    "late_report_of_an_abandoned_checkpoint": [
        *BARRIER_1, BarrierReported(0, 1), LOST, *READY, BarrierReported(1, 1), Tick(6_000),
        Tick(11_000), BarrierReported(1, 1), BarrierReported(0, 2), BarrierReported(1, 2),
        Committed(2),
    ],
    "checkpoint_that_cannot_be_written": [
        *REPORTED_1, CommitFailed(1, "no space left on device"), Tick(6_000), Tick(11_000),
        BarrierReported(0, 2), BarrierReported(1, 2), Committed(2),
    ],
    "worker_lost_at_the_very_start": [WorkerReady(0), LOST],
    "worker_lost_while_running": [*GOING, Tick(100), LOST, *READY],
    "worker_lost_while_checkpointing": [*BARRIER_1, BarrierReported(0, 1), LOST, *READY],
    "worker_lost_before_the_commit_is_known": [*REPORTED_1, LOST, Committed(1), *READY],
    "worker_lost_while_starting_again": [*GOING, LOST, WorkerReady(0), Tick(400), LOST, *READY],
    "worker_lost_while_draining_after_the_end": [
        *GOING, SplitsEnded(0), SplitsEnded(1), LOST, *READY, SplitsEnded(0), SplitsEnded(1),
        BarrierReported(0, 2), BarrierReported(1, 2), Committed(2),
    ],
    "worker_lost_while_stopping": [
        *GOING, StopRequested(), LOST, *READY, BarrierReported(0, 2), BarrierReported(1, 2),
        Committed(2),
    ],
    "worker_that_is_lost_again_and_again": [
        *GOING, LOST, *READY, Tick(1_000), LOST, *READY, Tick(3_000), LOST, *READY, Tick(5_000),
        LOST,
    ],
    "losses_far_apart_are_made_good_for_ever": [
        *GOING, LOST, *READY, Tick(70_000), LOST, *READY, Tick(140_000), LOST, *READY,
        Tick(210_000), LOST, *READY,
    ],
    "stop": [
        *GOING, StopRequested(), BarrierReported(0, 1), BarrierReported(1, 1), Committed(1),
    ],
    "stop_within_a_checkpoint": [
        *BARRIER_1, StopRequested(), BarrierReported(0, 1), BarrierReported(1, 1), Committed(1),
        BarrierReported(0, 2), BarrierReported(1, 2), Committed(2),
    ],
    "stop_before_anything_was_read": [WorkerReady(0), StopRequested()],
    "end_of_input": [
        *GOING, SplitsEnded(0), SplitsEnded(1), BarrierReported(1, 1), BarrierReported(0, 1),
        Committed(1),
    ],
    "end_of_input_within_a_checkpoint": [
        *BARRIER_1, SplitsEnded(0), SplitsEnded(1), BarrierReported(0, 1), BarrierReported(1, 1),
        Committed(1), BarrierReported(0, 2), BarrierReported(1, 2), Committed(2),
    ],
    "last_checkpoint_that_cannot_be_written": [
        *GOING, StopRequested(), BarrierReported(0, 1), BarrierReported(1, 1),
        CommitFailed(1, "no space left on device"),
    ],
    "stdout_closed_within_a_checkpoint": [*BARRIER_1, StdoutClosed()],
    "failure_within_a_checkpoint": [*BARRIER_1, RunFailed({"what": "a message"}), Committed(1)],
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES)
def test_story(story: str) -> None:
    core = CoordinatorCore(2, Durability(every_ms=5_000, restarts_max=3))
    lines = []
    for event in STORIES[story]:
        effects = core.handle(event)
        lines.append(f"{event}\n" + "".join(f"    -> {effect}\n" for effect in effects))
        lines.append(f"    {core.phase.value}, attempt {core.attempt}\n")
    golden = GOLDEN / f"{story}.txt"
    text = "".join(lines)
    if os.environ.get("ROO_GOLDEN") == "rewrite":
        golden.write_text(text)
    assert text == golden.read_text()


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(STORIES)
