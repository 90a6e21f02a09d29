"""The coordinator's machine: every way a run can go."""

from __future__ import annotations

import pytest

from roo.core.changes import Asked
from roo.core.coordinator import CoordinatorCore
from roo.core.placement import Placement
from roo.core.run_events import (
    BarrierReported,
    ChangeAsked,
    End,
    Event,
    Go,
    Kill,
    OpenBarrier,
    Outcome,
    Phase,
    Release,
    RunFailed,
    SplitsEnded,
    Start,
    StdoutClosed,
    StopRequested,
    WorkerLost,
    WorkerReady,
)


def core_in(phase: Phase) -> CoordinatorCore:
    core = CoordinatorCore(Placement.fresh(2, [], []))
    if phase is not Phase.STARTING:
        core.handle(WorkerReady(0))
        core.handle(WorkerReady(1))
    if phase in (Phase.DRAINING, Phase.ENDED):
        core.handle(StopRequested())
    if phase is Phase.ENDED:
        core.handle(BarrierReported(0, 1))
        core.handle(BarrierReported(1, 1))
    assert core.phase is phase
    return core


def test_all_are_ready_before_anyone_goes() -> None:
    core = CoordinatorCore(Placement.fresh(2, [], []))
    assert core.handle(WorkerReady(1)) == []
    assert core.handle(WorkerReady(1)) == []
    assert core.handle(WorkerReady(0)) == [Go((0, 1))]


def test_who_joins_takes_nobodys_place() -> None:
    """Worker 4 was in the run that this one goes on from, and has files of its own."""
    core = CoordinatorCore(Placement.fresh(2, [], []), next_worker=5)
    core.handle(WorkerReady(0))
    core.handle(WorkerReady(1))
    starts = [e for e in core.handle(ChangeAsked(Asked(1, joins=2))) if isinstance(e, Start)]
    assert [start.workers for start in starts] == [(5, 6)]


def test_the_end_of_all_splits_drains_and_finishes() -> None:
    core = core_in(Phase.RUNNING)
    assert core.handle(SplitsEnded(0, 1)) == []
    assert core.handle(SplitsEnded(1, 1)) == [OpenBarrier(1, last=True)]
    assert core.handle(BarrierReported(0, 1)) == []
    assert core.handle(BarrierReported(1, 1)) == [Release(), End(Outcome.FINISHED, None)]


def test_a_stop_drains_and_says_stopped() -> None:
    core = core_in(Phase.RUNNING)
    assert core.handle(StopRequested()) == [OpenBarrier(1, last=True)]
    assert core.handle(SplitsEnded(0, 1)) == []
    core.handle(BarrierReported(0, 1))
    assert core.handle(BarrierReported(1, 1)) == [Release(), End(Outcome.STOPPED, None)]


def test_a_stop_before_the_first_message_has_nothing_to_drain() -> None:
    core = core_in(Phase.STARTING)
    assert core.handle(StopRequested()) == [Kill(), End(Outcome.STOPPED, None)]


def test_the_report_of_another_barrier_counts_for_nothing() -> None:
    core = core_in(Phase.DRAINING)
    core.handle(BarrierReported(0, 7))
    assert core.handle(BarrierReported(1, 1)) == []


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.RUNNING, Phase.DRAINING])
def test_a_lost_worker_ends_the_run(phase: Phase) -> None:
    kill, end = core_in(phase).handle(WorkerLost(1, "was killed by SIGKILL"))
    assert kill == Kill()
    assert isinstance(end, End)
    assert end.outcome is Outcome.FAILED
    assert end.error is not None
    assert end.error["what"] == "worker 1 was killed by SIGKILL"


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.RUNNING, Phase.DRAINING])
def test_a_failure_ends_the_run_with_its_error(phase: Phase) -> None:
    error = {"what": "ValueError: no"}
    assert core_in(phase).handle(RunFailed(error)) == [Kill(), End(Outcome.FAILED, error)]


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.DRAINING])
def test_a_closed_stdout_ends_the_run_quietly(phase: Phase) -> None:
    assert core_in(phase).handle(StdoutClosed()) == [Kill(), End(Outcome.STOPPED, None)]


@pytest.mark.parametrize(
    "event",
    [
        WorkerReady(0),
        SplitsEnded(0, 1),
        BarrierReported(0, 1),
        StopRequested(),
        StdoutClosed(),
        WorkerLost(0, "exited with code 0"),
        RunFailed({}),
    ],
)
def test_after_the_end_nothing_happens(event: Event) -> None:
    core = core_in(Phase.ENDED)
    assert core.handle(event) == []
    assert core.phase is Phase.ENDED
