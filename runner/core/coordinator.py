"""The coordinator's machine: when workers go, when a barrier opens, how a run ends.

Every transition is in `_TRANSITIONS`: (phase, event) -> method. An event that a phase does not
list changes nothing there (a second stop while draining is the runtime's matter: it kills).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple


class Phase(Enum):
    """Where a run is. Phases only ever go down this list."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    ENDED = "ended"


class Outcome(Enum):
    """How a run ended."""

    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


# Events


class WorkerReady(NamedTuple):
    """A worker has built its stages, preloaded its keys and opened its connectors."""

    worker: int


class SplitsEnded(NamedTuple):
    """A worker has read all its splits to their ends."""

    worker: int


class BarrierReported(NamedTuple):
    """Every stage of a worker is cut and its sinks are flushed."""

    worker: int
    barrier: int


class StopRequested(NamedTuple):
    """Drain and end: a first SIGINT or SIGTERM."""


class StdoutClosed(NamedTuple):
    """The reader of stdout went away, as `head` does: nobody wants the rest."""


class WorkerLost(NamedTuple):
    """A worker's process has exited, or gave no sign of life before its deadline."""

    worker: int
    why: str


class RunFailed(NamedTuple):
    """A message, a plugin or a connector has failed the run. error: for the summary."""

    error: dict[str, Any]


Event = (
    WorkerReady
    | SplitsEnded
    | BarrierReported
    | StopRequested
    | StdoutClosed
    | WorkerLost
    | RunFailed
)


# Effects


class Go(NamedTuple):
    """Tell every worker to begin."""


class OpenBarrier(NamedTuple):
    """Tell every worker to open a barrier. last: nothing is read after it."""

    barrier: int
    last: bool


class Release(NamedTuple):
    """Tell every worker to exit: its work is done."""


class Kill(NamedTuple):
    """End every worker at once."""


class End(NamedTuple):
    """The run is over."""

    outcome: Outcome
    error: dict[str, Any] | None


Effect = Go | OpenBarrier | Release | Kill | End


class CoordinatorCore:
    """One run of `workers` workers, from start to end."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.phase = Phase.STARTING
        self._ready: set[int] = set()
        self._ended: set[int] = set()
        self._reported: set[int] = set()
        self._barrier = 0
        self._outcome = Outcome.FINISHED

    def handle(self, event: Event) -> list[Effect]:
        """Take one event in; the effects are to be performed in order."""
        transition = _TRANSITIONS.get((self.phase, type(event)))
        return transition(self, event) if transition else []

    def _worker_ready(self, event: WorkerReady) -> list[Effect]:
        self._ready.add(event.worker)
        if len(self._ready) < self.workers:
            return []
        self.phase = Phase.RUNNING
        return [Go()]

    def _splits_ended(self, event: SplitsEnded) -> list[Effect]:
        self._ended.add(event.worker)
        return self._drain(Outcome.FINISHED) if len(self._ended) == self.workers else []

    def _stop(self, event: StopRequested) -> list[Effect]:
        return self._drain(Outcome.STOPPED)

    def _drain(self, outcome: Outcome) -> list[Effect]:
        self.phase = Phase.DRAINING
        self._outcome = outcome
        self._barrier += 1
        return [OpenBarrier(self._barrier, last=True)]

    def _stop_now(self, event: StopRequested | StdoutClosed) -> list[Effect]:
        """Nothing has been read yet, or nobody wants the rest: there is nothing to drain."""
        self.phase = Phase.ENDED
        return [Kill(), End(Outcome.STOPPED, None)]

    def _barrier_reported(self, event: BarrierReported) -> list[Effect]:
        if event.barrier == self._barrier:
            self._reported.add(event.worker)
        if len(self._reported) < self.workers:
            return []
        self.phase = Phase.ENDED
        return [Release(), End(self._outcome, None)]

    def _worker_lost(self, event: WorkerLost) -> list[Effect]:
        what = f"worker {event.worker} {event.why}"
        return self._fail({"kind": "worker", "worker": event.worker, "what": what})

    def _run_failed(self, event: RunFailed) -> list[Effect]:
        return self._fail(event.error)

    def _fail(self, error: dict[str, Any]) -> list[Effect]:
        self.phase = Phase.ENDED
        return [Kill(), End(Outcome.FAILED, error)]


_TRANSITIONS: dict[tuple[Phase, type], Callable[[CoordinatorCore, Any], list[Effect]]] = {
    (Phase.STARTING, WorkerReady): CoordinatorCore._worker_ready,
    (Phase.STARTING, StopRequested): CoordinatorCore._stop_now,
    (Phase.STARTING, WorkerLost): CoordinatorCore._worker_lost,
    (Phase.STARTING, RunFailed): CoordinatorCore._run_failed,
    (Phase.RUNNING, SplitsEnded): CoordinatorCore._splits_ended,
    (Phase.RUNNING, StopRequested): CoordinatorCore._stop,
    (Phase.RUNNING, StdoutClosed): CoordinatorCore._stop_now,
    (Phase.RUNNING, WorkerLost): CoordinatorCore._worker_lost,
    (Phase.RUNNING, RunFailed): CoordinatorCore._run_failed,
    (Phase.DRAINING, BarrierReported): CoordinatorCore._barrier_reported,
    (Phase.DRAINING, StdoutClosed): CoordinatorCore._stop_now,
    (Phase.DRAINING, WorkerLost): CoordinatorCore._worker_lost,
    (Phase.DRAINING, RunFailed): CoordinatorCore._run_failed,
}
