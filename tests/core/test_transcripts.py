"""The stories of a durable run, event by event, as the coordinator's machine answers them.

`ROO_GOLDEN=rewrite pytest tests/core` writes the golden files anew: look at the difference.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from roo.core.changes import Asked
from roo.core.coordinator import CoordinatorCore
from roo.core.placement import Placement
from roo.core.run_events import (
    BarrierReported,
    ChangeAsked,
    CommitFailed,
    Committed,
    CommitUnknown,
    Durability,
    Event,
    MovedIn,
    MovedOn,
    Note,
    Noted,
    NoteFailed,
    RunFailed,
    Settled,
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


def reported(barrier: int, *workers: int) -> list[Event]:
    return [BarrierReported(worker, barrier) for worker in workers or (0, 1)]


def settled(barrier: int) -> list[Event]:
    return [Settled(worker, barrier) for worker in (0, 1)]


NO_SPACE = "no space left on device"
BARRIER_1 = [*GOING, Tick(5_000)]
REPORTED_1 = [*BARRIER_1, *reported(1)]
READ_OUT = [SplitsEnded(0, 1), SplitsEnded(1, 1)]
ASKED = ChangeAsked(Asked(1, joins=1))
JOINING = [*GOING, ASKED, WorkerReady(2)]
CUT = [*JOINING, *reported(2)]
HERE = [MovedIn(0, 2), MovedIn(1, 2), MovedIn(2, 2)]
LOST = WorkerLost(1, "was killed by SIGKILL")

STORIES: dict[str, list[Event]] = {
    "checkpoint": [*REPORTED_1, Committed(1), Tick(6_000), Tick(10_999), Tick(11_000)],
    "late_report_of_an_abandoned_checkpoint": [
        *BARRIER_1, BarrierReported(0, 1), LOST, *READY, BarrierReported(1, 1), Tick(6_000),
        Tick(11_000), BarrierReported(1, 1), *reported(3), Committed(3),
    ],
    "checkpoint_that_cannot_be_written": [
        *REPORTED_1, CommitFailed(1, NO_SPACE), Tick(6_000), ASKED, Tick(11_000), *reported(2),
        Committed(2), ChangeAsked(Asked(2, joins=1)),
    ],
    "checkpoint_of_which_nobody_knows": [*REPORTED_1, CommitUnknown(1, "input/output error")],
    "outputs_whose_beginning_can_not_be_noted": [*READY, NoteFailed(0, NO_SPACE)],
    "worker_lost_at_the_very_start": [WorkerReady(0), LOST],
    "worker_lost_while_running": [*GOING, Tick(100), LOST, *READY],
    "worker_lost_while_checkpointing": [*BARRIER_1, BarrierReported(0, 1), LOST, *READY],
    "worker_lost_before_the_commit_is_known": [*REPORTED_1, LOST, Committed(1), *READY],
    "worker_lost_while_starting_again": [*GOING, LOST, WorkerReady(0), Tick(400), LOST, *READY],
    "worker_lost_while_draining_after_the_end": [
        *GOING, *READ_OUT, LOST, *READY, *READ_OUT, *reported(3), Committed(3),
    ],
    "worker_lost_while_stopping": [
        *GOING, StopRequested(), LOST, *READY, *reported(3), Committed(3),
    ],
    "worker_that_is_lost_again_and_again": [
        *GOING, LOST, *READY, Tick(1_000), LOST, *READY, Tick(200_000), LOST, *READY,
        Tick(200_100), LOST,
    ],
    "losses_with_checkpoints_between_are_made_good_for_ever": [
        *GOING, LOST, *READY, LOST, *READY, LOST, *READY, Tick(1_000), Tick(6_000), *reported(4),
        Committed(4), LOST, *READY,
    ],
    "stop": [*GOING, StopRequested(), *reported(1), Committed(1), *settled(1)],
    "stop_within_a_checkpoint": [
        *BARRIER_1, StopRequested(), *reported(1), Committed(1), *reported(2), Committed(2),
    ],
    "stop_before_anything_was_read": [WorkerReady(0), StopRequested()],
    "end_of_input": [*GOING, *READ_OUT, *reported(1, 1, 0), Committed(1), *settled(1)],
    "worker_lost_in_the_last_commit": [
        *GOING, *READ_OUT, *reported(1), Committed(1), Settled(0, 1), LOST, *READY, *READ_OUT,
        *reported(3), Committed(3), Settled(0, 1), *settled(3),
    ],
    "end_of_input_within_a_checkpoint": [
        *BARRIER_1, *READ_OUT, *reported(1), Committed(1), *reported(2), Committed(2),
    ],
    "last_checkpoint_that_cannot_be_written": [
        *GOING, StopRequested(), *reported(1), CommitFailed(1, NO_SPACE),
    ],
    "stdout_closed_within_a_checkpoint": [*BARRIER_1, StdoutClosed()],
    "join": [*CUT, MovedIn(0, 2), MovedOn(), MovedIn(2, 2), Committed(2), MovedIn(1, 2),
             SplitsEnded(0, 1), *(SplitsEnded(w, 2) for w in range(3))],
    "leave": [
        *GOING, ChangeAsked(Asked(1, leaves=(0,))), *reported(1), Committed(1), *settled(1),
        MovedIn(1, 2),
    ],
    "leaver_that_is_slow_to_close_its_sinks": [
        *GOING, ChangeAsked(Asked(1, leaves=(0,))), *reported(1), MovedIn(1, 2), Committed(1),
        Settled(1, 1), Tick(30_000), Settled(0, 0), Settled(0, 1),
    ],
    "leaver_dies_before_its_sinks_are_closed": [
        *GOING, ChangeAsked(Asked(1, leaves=(1,))), *reported(1), MovedIn(0, 2), Committed(1),
        LOST, WorkerReady(0),
    ],
    "swap_one_joins_as_one_leaves": [
        *GOING, ChangeAsked(Asked(1, joins=1, leaves=(0,))), WorkerReady(2), *reported(2),
        MovedIn(2, 2), MovedIn(1, 2), Committed(2), *settled(2),
    ],
    "join_during_a_checkpoint": [
        *BARRIER_1, ASKED, WorkerReady(2), *BARRIER_1[-1:], *reported(1), Committed(1),
        *reported(3), Committed(3), *HERE,
    ],
    "change_after_one_that_was_called_off": [
        *GOING, ASKED, WorkerLost(2, "exited with code 1"), ChangeAsked(Asked(2, joins=1)),
        WorkerReady(3), *reported(2), Committed(2), MovedIn(0, 3), MovedIn(1, 3), MovedIn(3, 3),
    ],
    "joiner_dies_before_the_move": [*GOING, ASKED, WorkerLost(2, "exited with code 1")],
    "joiner_dies_while_a_checkpoint_holds_it_up": [
        *BARRIER_1, ASKED, WorkerReady(2), WorkerLost(2, "exited with code 1"), *reported(1),
        Committed(1),
    ],
    "joiner_that_never_gets_ready": [*GOING, ASKED, Tick(4_000), Tick(60_000)],
    "joiner_whose_outputs_can_not_be_noted": [
        *JOINING, NoteFailed(1, NO_SPACE), ChangeAsked(Asked(2, joins=1)),
    ],
    "checkpoint_that_holds_a_change_up": [
        *BARRIER_1, ASKED, ChangeAsked(Asked(2, joins=1)), WorkerReady(2), Tick(60_000),
        Tick(65_000), *reported(1), Committed(1),
    ],
    "new_owner_dies_before_the_commit": [*CUT, WorkerLost(2, "was killed by SIGKILL"), *READY],
    "new_owner_dies_after_the_commit": [
        *CUT, Committed(2), WorkerLost(2, "was killed by SIGKILL"), *READY, WorkerReady(2),
    ],
    "old_owner_dies_before_the_commit": [*CUT, LOST, *READY],
    "old_owner_dies_after_the_commit": [*CUT, Committed(2), LOST, *READY, WorkerReady(2)],
    "move_that_gets_nowhere": [*CUT, Committed(2), Tick(30_000), MovedOn(), Tick(89_000),
                               Tick(90_001)],
    "two_changes_queued": [
        *GOING, ASKED, ChangeAsked(Asked(2, to=1)), WorkerReady(2), *reported(2), Committed(2),
        *HERE, *reported(3, 0, 1, 2), Committed(3), Settled(1, 3), Settled(2, 3), MovedIn(0, 3),
    ],
    "changes_that_are_refused": [
        *GOING, ChangeAsked(Asked(1, leaves=(7,))), ChangeAsked(Asked(2, leaves=(0, 1))),
        ChangeAsked(Asked(3, to=0)), ChangeAsked(Asked(4, to=2)), StopRequested(),
        ChangeAsked(Asked(5, joins=1)),
    ],
    "stop_within_a_move": [
        *CUT, ChangeAsked(Asked(2, joins=1)), StopRequested(), Committed(2), *HERE,
        *reported(3, 0, 1, 2), Committed(3),
    ],
    "move_whose_checkpoint_can_not_be_written": [*CUT, CommitFailed(2, NO_SPACE), *HERE, *READY],
    "failure_within_a_checkpoint": [*BARRIER_1, RunFailed({"what": "a message"}), Committed(1)],
}  # fmt: skip


def show(effect: Any) -> str:
    """An effect, with placements in short."""

    def value(field: Any) -> str:
        if not isinstance(field, Placement):
            return repr(field)
        shares = " ".join(f"{w}:{field.table.share(w):.3f}" for w in field.workers)
        places = f"sink {field.homes['out']}, splits {dict(sorted(field.readers.items()))}"
        return f"<v{field.version} {shares}, {places}>"

    fields = ", ".join(f"{name}={value(getattr(effect, name))}" for name in effect._fields)
    return f"{type(effect).__name__}({fields})"


@pytest.mark.parametrize("story", STORIES)
def test_story(story: str) -> None:
    core = CoordinatorCore(
        Placement.fresh(2, ["out"], [0, 1, 2]), Durability(every_ms=5_000, restarts_max=3)
    )
    lines = []
    events = STORIES[story].copy()
    while events:
        event = events.pop(0)
        effects = core.handle(event)
        lines.append(f"{event}\n" + "".join(f"    -> {show(effect)}\n" for effect in effects))
        lines.append(f"    {core.phase.value}, attempt {core.attempt}\n")
        note = next((effect for effect in effects if isinstance(effect, Note)), None)
        if note is not None and not (events and isinstance(events[0], NoteFailed)):
            events.insert(0, Noted(note.number))  # it is performed at once, and most often works
    golden = GOLDEN / f"{story}.txt"
    text = "".join(lines)
    if os.environ.get("ROO_GOLDEN") == "rewrite":
        golden.write_text(text)
    assert text == golden.read_text()


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(STORIES)
