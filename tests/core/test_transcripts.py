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
    Copied,
    CopyFailed,
    Durability,
    Event,
    MovedIn,
    MovedOn,
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
BARRIER_1 = [*GOING, Tick(5_000)]
REPORTED_1 = [*BARRIER_1, BarrierReported(0, 1), BarrierReported(1, 1)]
READ_OUT = [SplitsEnded(0, 1), SplitsEnded(1, 1)]
ASKED = ChangeAsked(Asked(1, joins=1))
COPYING = [*GOING, ASKED, WorkerReady(2)]
COPIED = [Copied(0, 2, few=True), Copied(1, 2, few=True)]
JOINING = [*COPYING, *COPIED]
CUT = [*JOINING, BarrierReported(0, 1), BarrierReported(1, 1)]
HERE = [MovedIn(0, 2), MovedIn(1, 2), MovedIn(2, 2)]
UNSENDABLE = {
    "kind": "state",
    "step": "s",
    "key": "'k'",
    "what": "it holds a lock",
    "hint": "don't",
}
UNMADE = {"kind": "state", "step": "s", "what": "it can't be made again", "hint": "see its class"}
LOST = WorkerLost(1, "was killed by SIGKILL")

SETTLED_1 = [Settled(0, 1), Settled(1, 1)]
SETTLED_2 = [Settled(0, 2), Settled(1, 2)]

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
        *GOING, *READ_OUT, LOST, *READY, *READ_OUT,
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
        *SETTLED_1,
    ],
    "stop_within_a_checkpoint": [
        *BARRIER_1, StopRequested(), BarrierReported(0, 1), BarrierReported(1, 1), Committed(1),
        BarrierReported(0, 2), BarrierReported(1, 2), Committed(2),
    ],
    "stop_before_anything_was_read": [WorkerReady(0), StopRequested()],
    "end_of_input": [
        *GOING, SplitsEnded(0, 1), SplitsEnded(1, 1), BarrierReported(1, 1), BarrierReported(0, 1),
        Committed(1), *SETTLED_1,
    ],
    "worker_lost_in_the_last_commit": [
        *GOING, *READ_OUT, BarrierReported(0, 1), BarrierReported(1, 1), Committed(1),
        Settled(0, 1), LOST, *READY, *READ_OUT, BarrierReported(0, 2), BarrierReported(1, 2),
        Committed(2), Settled(0, 1), *SETTLED_2,
    ],
    "end_of_input_within_a_checkpoint": [
        *BARRIER_1, *READ_OUT, BarrierReported(0, 1), BarrierReported(1, 1),
        Committed(1), BarrierReported(0, 2), BarrierReported(1, 2), Committed(2),
    ],
    "last_checkpoint_that_cannot_be_written": [
        *GOING, StopRequested(), BarrierReported(0, 1), BarrierReported(1, 1),
        CommitFailed(1, "no space left on device"),
    ],
    "stdout_closed_within_a_checkpoint": [*BARRIER_1, StdoutClosed()],
    "join": [*CUT, MovedIn(0, 2), MovedOn(), MovedIn(2, 2), Committed(1), MovedIn(1, 2),
             SplitsEnded(0, 1), *(SplitsEnded(w, 2) for w in range(3))],
    "leave": [
        *GOING, ChangeAsked(Asked(1, leaves=(0,))), COPIED[0], BarrierReported(0, 1),
        BarrierReported(1, 1), Committed(1), MovedIn(1, 2),
    ],
    "swap_one_joins_as_one_leaves": [
        *GOING, ChangeAsked(Asked(1, joins=1, leaves=(0,))), WorkerReady(2), COPIED[0],
        BarrierReported(0, 1), BarrierReported(1, 1), MovedIn(2, 2), MovedIn(1, 2), Committed(1),
    ],
    "join_during_a_checkpoint": [
        *BARRIER_1, ASKED, WorkerReady(2), *COPIED, *BARRIER_1[-1:], BarrierReported(0, 1),
        BarrierReported(1, 1), Committed(1), BarrierReported(0, 2), BarrierReported(1, 2),
        Committed(2), *HERE,
    ],
    "few_copies_are_as_their_states_are": [
        *COPYING, Copied(0, 2, few=True), Copied(1, 2, few=False),
    ],
    "copies_while_a_checkpoint_comes": [
        *COPYING, COPIED[0], Tick(6_000), COPIED[1], BarrierReported(0, 1), BarrierReported(1, 1),
        Committed(1),
    ],
    "giver_dies_while_it_copies": [*COPYING, COPIED[0], LOST, *READY],
    "joiner_dies_while_copies_are_made": [
        *COPYING, COPIED[0], WorkerLost(2, "exited with code 1"), COPIED[1], Tick(100),
    ],
    "change_after_one_that_was_called_off": [
        *COPYING, WorkerLost(2, "exited with code 1"), ChangeAsked(Asked(2, joins=1)),
        WorkerReady(3), *COPIED, Copied(0, 3, few=True), Copied(1, 3, few=True),
        BarrierReported(0, 1), BarrierReported(1, 1), Committed(1), MovedIn(0, 3), MovedIn(1, 3),
        MovedIn(3, 3),
    ],
    "state_that_can_not_be_copied": [
        *COPYING, COPIED[0], CopyFailed(1, 9, UNSENDABLE), CopyFailed(1, 2, UNSENDABLE),
        CopyFailed(0, 2, UNSENDABLE), ChangeAsked(Asked(2, joins=1)), WorkerReady(3),
        CopyFailed(3, 3, UNMADE),
    ],
    "copies_that_get_nowhere": [*COPYING, COPIED[0], Tick(4_000), Tick(60_000), Tick(70_000)],
    "copies_that_take_their_time": [
        *COPYING, *(event for at_ms in range(1_000, 200_001, 49_750)
                    for event in (Tick(at_ms), MovedOn())), *COPIED,
        BarrierReported(0, 1), BarrierReported(1, 1), Committed(1),
    ],
    "stop_while_copies_are_made": [
        *COPYING, COPIED[0], StopRequested(), COPIED[1], BarrierReported(0, 1),
        BarrierReported(1, 1), Committed(1), *SETTLED_1,
    ],
    "end_of_input_while_copies_are_made": [
        *COPYING, COPIED[0], *READ_OUT, COPIED[1], BarrierReported(0, 1), BarrierReported(1, 1),
        Committed(1), *SETTLED_1,
    ],
    "joiner_dies_before_the_move": [*GOING, ASKED, WorkerLost(2, "exited with code 1")],
    "joiner_that_never_gets_ready": [*GOING, ASKED, Tick(4_000), Tick(60_000)],
    "checkpoint_that_holds_a_change_up": [
        *BARRIER_1, ASKED, ChangeAsked(Asked(2, joins=1)), WorkerReady(2), *COPIED, Tick(60_000),
        Tick(65_000), BarrierReported(0, 1), BarrierReported(1, 1), Committed(1),
    ],
    "new_owner_dies_before_the_commit": [*CUT, WorkerLost(2, "was killed by SIGKILL"), *READY],
    "new_owner_dies_after_the_commit": [
        *CUT, Committed(1), WorkerLost(2, "was killed by SIGKILL"), *READY, WorkerReady(2),
    ],
    "old_owner_dies_before_the_commit": [*CUT, LOST, *READY],
    "old_owner_dies_after_the_commit": [*CUT, Committed(1), LOST, *READY, WorkerReady(2)],
    "move_that_gets_nowhere": [*CUT, Committed(1), Tick(30_000), MovedOn(), Tick(89_000),
                               Tick(90_001)],
    "two_changes_queued": [
        *GOING, ASKED, ChangeAsked(Asked(2, to=1)), WorkerReady(2), *COPIED, BarrierReported(0, 1),
        BarrierReported(1, 1), Committed(1), *HERE, Copied(1, 3, few=True),
        Copied(2, 3, few=True), BarrierReported(0, 2), BarrierReported(1, 2),
        BarrierReported(2, 2), Committed(2), MovedIn(0, 3),
    ],
    "changes_that_are_refused": [
        *GOING, ChangeAsked(Asked(1, leaves=(7,))), ChangeAsked(Asked(2, leaves=(0, 1))),
        ChangeAsked(Asked(3, to=0)), ChangeAsked(Asked(4, to=2)), StopRequested(),
        ChangeAsked(Asked(5, joins=1)),
    ],
    "stop_within_a_move": [
        *CUT, ChangeAsked(Asked(2, joins=1)), StopRequested(), Committed(1), *HERE,
        *(BarrierReported(w, 2) for w in range(3)), Committed(2),
    ],
    "move_whose_checkpoint_can_not_be_written": [
        *CUT, CommitFailed(1, "no space left on device"), *HERE,
    ],
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
    for event in STORIES[story]:
        effects = core.handle(event)
        lines.append(f"{event}\n" + "".join(f"    -> {show(effect)}\n" for effect in effects))
        lines.append(f"    {core.phase.value}, attempt {core.attempt}\n")
    golden = GOLDEN / f"{story}.txt"
    text = "".join(lines)
    if os.environ.get("ROO_GOLDEN") == "rewrite":
        golden.write_text(text)
    assert text == golden.read_text()


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(STORIES)
