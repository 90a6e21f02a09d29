"""The coordinator's machine: every way a run can go."""

from __future__ import annotations

import pytest

from roo.core.changes import Asked
from roo.core.coordinator import CoordinatorCore
from roo.core.placement import Placement
from roo.core.run_events import (
    Announce,
    BarrierReported,
    ChangeAsked,
    ChangeOver,
    Committed,
    Durability,
    End,
    Event,
    Go,
    Kill,
    MovedIn,
    Note,
    Noted,
    OpenBarrier,
    Outcome,
    Phase,
    Release,
    RunFailed,
    Settled,
    SplitsEnded,
    Start,
    StdoutClosed,
    StopRequested,
    Tick,
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
        core.handle(Settled(0, 1))
        core.handle(Settled(1, 1))
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
    assert core.handle(BarrierReported(1, 1)) == [Announce(1, kept=True)]
    assert core.handle(Settled(0, 1)) == []
    assert core.handle(Settled(1, 1)) == [Release(), End(Outcome.FINISHED, None)]


def test_a_stop_drains_and_says_stopped() -> None:
    core = core_in(Phase.RUNNING)
    assert core.handle(StopRequested()) == [OpenBarrier(1, last=True)]
    assert core.handle(SplitsEnded(0, 1)) == []
    core.handle(BarrierReported(0, 1))
    core.handle(BarrierReported(1, 1))
    core.handle(Settled(0, 1))
    assert core.handle(Settled(1, 1)) == [Release(), End(Outcome.STOPPED, None)]


def test_a_stop_before_the_first_message_has_nothing_to_drain() -> None:
    core = core_in(Phase.STARTING)
    assert core.handle(StopRequested()) == [Kill(), End(Outcome.STOPPED, None)]


def test_the_report_of_another_barrier_counts_for_nothing() -> None:
    core = core_in(Phase.DRAINING)
    core.handle(BarrierReported(0, 7))
    assert core.handle(BarrierReported(1, 1)) == []


def test_a_move_is_waited_for_where_nothing_is_kept() -> None:
    """There is no way back, and whatever holds it up may yet come to an end."""
    core = core_in(Phase.RUNNING)
    core.handle(ChangeAsked(Asked(1, leaves=(0,))))
    core.handle(BarrierReported(0, 1))
    assert core.handle(Tick(10**9)) == []
    core.handle(BarrierReported(1, 1))
    assert ChangeOver(1, "") in core.handle(MovedIn(1, 2))
    assert core.placement.workers == (1,)


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


def moving() -> CoordinatorCore:
    """A run whose third worker joins: the barrier is open, nobody has reported."""
    core = CoordinatorCore(Placement.fresh(2, [], [0, 1, 2]))
    core.handle(WorkerReady(0))
    core.handle(WorkerReady(1))
    core.handle(ChangeAsked(Asked(1, joins=1)))
    core.handle(WorkerReady(2))
    assert core.phase is Phase.MOVING
    return core


def moved(core: CoordinatorCore) -> CoordinatorCore:
    core.handle(BarrierReported(0, 1))
    core.handle(BarrierReported(1, 1))
    for worker in range(3):
        core.handle(MovedIn(worker, 2))
    assert core.phase is Phase.RUNNING
    return core


def test_an_end_of_what_has_been_shared_out_anew_counts_for_nothing() -> None:
    core = moving()
    for worker in range(2):
        assert core.handle(SplitsEnded(worker, 1)) == []
    moved(core)
    for worker in (2, 0):
        assert core.handle(SplitsEnded(worker, 2)) == []
    assert core.handle(SplitsEnded(1, 2)) == [OpenBarrier(2, last=True)]


def test_a_report_of_another_barrier_cuts_no_move() -> None:
    core = moving()
    for worker in range(2):
        assert core.handle(BarrierReported(worker, 0)) == []
    moved(core)


def test_an_arrival_of_an_earlier_move_ends_no_other() -> None:
    core = moving()
    core.handle(BarrierReported(0, 1))
    core.handle(BarrierReported(1, 1))
    for worker in range(3):
        assert core.handle(MovedIn(worker, 1)) == []
    assert core.phase is Phase.MOVING


def durable() -> CoordinatorCore:
    """A run with checkpoints that has just begun."""
    core = CoordinatorCore(Placement.fresh(2, [], []), Durability(every_ms=1_000))
    core.handle(WorkerReady(0))
    assert core.handle(WorkerReady(1)) == [Note((0, 1), 0)]
    assert core.handle(Noted(0)) == [Go((0, 1))]
    return core


def test_a_run_is_over_when_its_last_checkpoint_is_settled_and_not_before() -> None:
    core = durable()
    core.handle(StopRequested())
    core.handle(BarrierReported(0, 1))
    core.handle(BarrierReported(1, 1))
    core.handle(Committed(1))
    for worker in range(2):
        assert core.handle(Settled(worker, 0)) == []
    assert core.handle(Settled(0, 1)) == []
    assert core.handle(Settled(1, 1)) == [Release(), End(Outcome.STOPPED, None)]


def test_an_end_before_a_move_has_to_be_told_again_after_it() -> None:
    core = CoordinatorCore(Placement.fresh(2, [], [0, 1, 2]))
    core.handle(WorkerReady(0))
    core.handle(WorkerReady(1))
    core.handle(SplitsEnded(0, 1))
    core.handle(ChangeAsked(Asked(1, joins=1)))
    core.handle(WorkerReady(2))
    moved(core)
    for worker in (1, 2):
        assert core.handle(SplitsEnded(worker, 2)) == []
    assert core.handle(SplitsEnded(0, 2)) == [OpenBarrier(2, last=True)]


def test_a_stop_while_a_lost_worker_is_made_good_drains_afterwards() -> None:
    core = durable()
    core.handle(WorkerLost(1, "was killed by SIGKILL"))
    assert core.handle(StopRequested()) == []
    core.handle(WorkerReady(0))
    assert core.handle(WorkerReady(1)) == [Note((0, 1), 1)]
    assert core.handle(Noted(1)) == [Go((0, 1)), OpenBarrier(2, last=True)]
