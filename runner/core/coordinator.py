"""The coordinator's machine: when workers go, when a barrier opens, what becomes of a death.

Every transition is in `_TRANSITIONS`: (phase, event) -> method. An event that a phase does not
list changes nothing there (a second stop while draining is the runtime's matter: it kills).

A run with checkpoints is durable: a barrier that all workers report is committed before anything
follows from it, and a lost worker means that all start again from the last commit, as attempt + 1.
That is the same way in as the start of the next run takes, so there is one recovery to get right.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple


class Phase(Enum):
    """Where a run is."""

    STARTING = "starting"
    RUNNING = "running"
    CHECKPOINTING = "checkpointing"
    DRAINING = "draining"
    ENDED = "ended"


class Outcome(Enum):
    """How a run ended."""

    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


class Durability(NamedTuple):
    """What keeps a run's work safe.

    every_ms: time from one checkpoint's end to the next one's start. restarts_max within
    restarts_within_ms: how many losses of workers are made good before the run gives up.
    """

    every_ms: int
    restarts_max: int = 5
    restarts_within_ms: int = 60_000


RESTART_DELAY_MS = 100
RESTART_DELAY_MAX_MS = 5_000
"""The first restart is at once; each further one within the time waits twice as long."""


# Events


class Tick(NamedTuple):
    """Time goes by. now_ms: monotonic."""

    now_ms: int


class WorkerReady(NamedTuple):
    """A worker has built its stages, restored its states and opened its connectors."""

    worker: int


class SplitsEnded(NamedTuple):
    """A worker has read all its splits to their ends."""

    worker: int


class BarrierReported(NamedTuple):
    """Every stage of a worker is cut, its sinks are flushed, its snapshot is durable."""

    worker: int
    barrier: int


class Committed(NamedTuple):
    """The checkpoint of a barrier is real."""

    barrier: int


class CommitFailed(NamedTuple):
    """The checkpoint of a barrier could not be written."""

    barrier: int
    why: str


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
    Tick
    | WorkerReady
    | SplitsEnded
    | BarrierReported
    | Committed
    | CommitFailed
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


class Commit(NamedTuple):
    """Write the manifest of a barrier; answer with Committed or CommitFailed.

    finished: everything has been read, so the next run starts fresh.
    """

    barrier: int
    finished: bool


class Announce(NamedTuple):
    """Tell every worker that a checkpoint is real (or, not kept, that it will never be)."""

    barrier: int
    kept: bool


class Release(NamedTuple):
    """Tell every worker to exit: its work is done."""


class Kill(NamedTuple):
    """End every worker at once."""


class Restart(NamedTuple):
    """Start all workers again after a while, from the last commit. why: what was lost."""

    attempt: int
    delay_ms: int
    why: str


class End(NamedTuple):
    """The run is over."""

    outcome: Outcome
    error: dict[str, Any] | None


Effect = Go | OpenBarrier | Commit | Announce | Release | Kill | Restart | End


class CoordinatorCore:
    """One run of `workers` workers, from start to end.

    durability: None where nothing is kept. barrier: the number of the last one there was, so that
    a run which goes on from a checkpoint numbers its own after that.
    """

    def __init__(
        self, workers: int, durability: Durability | None = None, barrier: int = 0
    ) -> None:
        self.workers = workers
        self.phase = Phase.STARTING
        self.attempt = 1
        self._durability = durability
        self._ready: set[int] = set()
        self._ended: set[int] = set()
        self._reported: set[int] = set()
        self._barrier = barrier
        self._now_ms = 0
        self._due_ms: int | None = None
        self._losses_ms: list[int] = []
        # How the run is to end, once that is known: a drain waits for a checkpoint to be over.
        self._ending: Outcome | None = None

    def handle(self, event: Event) -> list[Effect]:
        """Take one event in; the effects are to be performed in order."""
        transition = _TRANSITIONS.get((self.phase, type(event)))
        return transition(self, event) if transition else []

    def _ticked(self, event: Tick) -> list[Effect]:
        self._now_ms = event.now_ms
        return []

    def _checkpoint_if_due(self, event: Tick) -> list[Effect]:
        self._now_ms = event.now_ms
        if self._durability is None:
            return []
        if self._due_ms is None:
            self._due_ms = self._now_ms + self._durability.every_ms
        if self._now_ms < self._due_ms:
            return []
        self.phase = Phase.CHECKPOINTING
        return self._open(last=False)

    def _open(self, *, last: bool) -> list[Effect]:
        self._barrier += 1
        self._reported.clear()
        return [OpenBarrier(self._barrier, last)]

    def _worker_ready(self, event: WorkerReady) -> list[Effect]:
        self._ready.add(event.worker)
        if len(self._ready) < self.workers:
            return []
        self.phase = Phase.RUNNING
        self._due_ms = None
        # A stop that came while a lost worker was being made good holds.
        return [Go(), *(self._drain() if self._ending else [])]

    def _splits_ended(self, event: SplitsEnded) -> list[Effect]:
        self._ended.add(event.worker)
        if len(self._ended) < self.workers:
            return []
        self._ending = self._ending or Outcome.FINISHED
        return self._drain() if self.phase is Phase.RUNNING else []

    def _stop(self, event: StopRequested) -> list[Effect]:
        self._ending = Outcome.STOPPED
        return self._drain() if self.phase is Phase.RUNNING else []

    def _drain(self) -> list[Effect]:
        self.phase = Phase.DRAINING
        return self._open(last=True)

    def _stop_now(self, event: StopRequested | StdoutClosed) -> list[Effect]:
        """Nothing has been read yet, or nobody wants the rest: there is nothing to drain."""
        self.phase = Phase.ENDED
        return [Kill(), End(Outcome.STOPPED, None)]

    def _stop_start(self, event: StopRequested) -> list[Effect]:
        return self._stop_now(event) if self.attempt == 1 else self._stop(event)

    def _barrier_reported(self, event: BarrierReported) -> list[Effect]:
        if event.barrier != self._barrier:
            return []
        self._reported.add(event.worker)
        if len(self._reported) < self.workers:
            return []
        if self._durability is None:
            return self._release()
        last = self.phase is Phase.DRAINING
        return [Commit(self._barrier, finished=last and self._ending is Outcome.FINISHED)]

    def _release(self) -> list[Effect]:
        self.phase = Phase.ENDED
        assert self._ending is not None
        return [Release(), End(self._ending, None)]

    def _checkpoint_over(self, event: Committed | CommitFailed) -> list[Effect]:
        """Go on, with a failed checkpoint too: the one before it still holds."""
        self.phase = Phase.RUNNING
        self._due_ms = None
        announce = Announce(event.barrier, kept=isinstance(event, Committed))
        return [announce, *(self._drain() if self._ending else [])]

    def _last_committed(self, event: Committed) -> list[Effect]:
        return [Announce(event.barrier, kept=True), *self._release()]

    def _last_commit_failed(self, event: CommitFailed) -> list[Effect]:
        return self._fail({
            "kind": "checkpoint",
            "what": f"the last checkpoint could not be written: {event.why}",
            "hint": "make room and run again: it goes on from the checkpoint before",
        })  # fmt: skip

    def _worker_lost(self, event: WorkerLost) -> list[Effect]:
        what = f"worker {event.worker} {event.why}"
        durability = self._durability
        if durability is None or (self.phase is Phase.STARTING and self.attempt == 1):
            return self._fail({"kind": "worker", "worker": event.worker, "what": what})
        since_ms = self._now_ms - durability.restarts_within_ms
        self._losses_ms = [at for at in self._losses_ms if at >= since_ms]
        if len(self._losses_ms) >= durability.restarts_max:
            times = (
                f"{durability.restarts_max} restarts in {durability.restarts_within_ms / 1000:g} s"
            )
            return self._fail({
                "kind": "worker",
                "worker": event.worker,
                "what": f"{what}; gave up after {times}",
                "hint": "mend what ends the workers and run again: it goes on from the last "
                        "checkpoint",
            })  # fmt: skip
        before = len(self._losses_ms)
        delay_ms = min(RESTART_DELAY_MS << (before - 1), RESTART_DELAY_MAX_MS) if before else 0
        self._losses_ms.append(self._now_ms)
        self.phase = Phase.STARTING
        self.attempt += 1
        for seen in (self._ready, self._ended, self._reported):
            seen.clear()
        if self._ending is Outcome.FINISHED:  # what had been read to its end is read again
            self._ending = None
        return [Kill(), Restart(self.attempt, delay_ms, what)]

    def _run_failed(self, event: RunFailed) -> list[Effect]:
        return self._fail(event.error)

    def _fail(self, error: dict[str, Any]) -> list[Effect]:
        self.phase = Phase.ENDED
        return [Kill(), End(Outcome.FAILED, error)]


_C = CoordinatorCore
_LIVE = (Phase.STARTING, Phase.RUNNING, Phase.CHECKPOINTING, Phase.DRAINING)
_TRANSITIONS: dict[tuple[Phase, type], Callable[[CoordinatorCore, Any], list[Effect]]] = {
    **{(phase, Tick): _C._ticked for phase in _LIVE},
    **{(phase, WorkerLost): _C._worker_lost for phase in _LIVE},
    **{(phase, RunFailed): _C._run_failed for phase in _LIVE},
    **{(phase, StdoutClosed): _C._stop_now for phase in _LIVE[1:]},
    (Phase.STARTING, WorkerReady): _C._worker_ready,
    (Phase.STARTING, StopRequested): _C._stop_start,
    (Phase.RUNNING, Tick): _C._checkpoint_if_due,
    (Phase.RUNNING, SplitsEnded): _C._splits_ended,
    (Phase.RUNNING, StopRequested): _C._stop,
    (Phase.CHECKPOINTING, BarrierReported): _C._barrier_reported,
    (Phase.CHECKPOINTING, SplitsEnded): _C._splits_ended,
    (Phase.CHECKPOINTING, StopRequested): _C._stop,
    (Phase.CHECKPOINTING, Committed): _C._checkpoint_over,
    (Phase.CHECKPOINTING, CommitFailed): _C._checkpoint_over,
    (Phase.DRAINING, BarrierReported): _C._barrier_reported,
    (Phase.DRAINING, Committed): _C._last_committed,
    (Phase.DRAINING, CommitFailed): _C._last_commit_failed,
}
