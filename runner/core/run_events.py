"""What the coordinator's machine hears and what it wants done."""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

from roo.core.changes import Asked
from roo.core.placement import Placement


class Phase(Enum):
    """Where a run is."""

    STARTING = "starting"
    RUNNING = "running"
    CHECKPOINTING = "checkpointing"
    MOVING = "moving"
    DRAINING = "draining"
    SETTLING = "settling"
    ENDED = "ended"


class Outcome(Enum):
    """How a run ended."""

    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


class Durability(NamedTuple):
    """What keeps a run's work safe.

    every_ms: time from the end of one checkpoint to the start of the next one. restarts_max: how
    often the run starts again from one and the same checkpoint. A new checkpoint begins the count
    anew: what limits restarts is that the run makes no progress, not how often a worker dies.
    """

    every_ms: int
    restarts_max: int = 5


# Events


class Tick(NamedTuple):
    """Time goes by. now_ms: monotonic."""

    now_ms: int


class WorkerReady(NamedTuple):
    """A worker has built its stages, restored its states and opened its connectors."""

    worker: int


class SplitsEnded(NamedTuple):
    """A worker has read all its splits to their ends, as they are shared out in a version."""

    worker: int
    version: int


class BarrierReported(NamedTuple):
    """Every stage of a worker is cut, its sinks are flushed, its snapshot is durable."""

    worker: int
    barrier: int


class Noted(NamedTuple):
    """The manifest that notes where new outputs begin is durable, or none was needed."""

    number: int


class NoteFailed(NamedTuple):
    """That manifest could not be written, and is not on the disk."""

    number: int
    why: str


class Committed(NamedTuple):
    """The checkpoint of a barrier is real: its manifest is durable."""

    barrier: int


class CommitFailed(NamedTuple):
    """The checkpoint of a barrier could not be written, and its manifest is not on the disk."""

    barrier: int
    why: str


class CommitUnknown(NamedTuple):
    """A manifest may be durable or not: only a look at the disk after this run can tell."""

    number: int
    why: str


class Settled(NamedTuple):
    """A worker's sinks have published what a checkpoint made real. After the last barrier they are
    closed as well, and what they hold is durable.
    """

    worker: int
    barrier: int


class ChangeAsked(NamedTuple):
    """Workers are to join or leave, or shares to change."""

    asked: Asked


class MovedOn(NamedTuple):
    """Some states of a move have come."""


class MovedIn(NamedTuple):
    """A worker has every state, sink and split that a change gives it."""

    worker: int
    version: int


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
    | Noted
    | NoteFailed
    | Committed
    | CommitFailed
    | CommitUnknown
    | Settled
    | ChangeAsked
    | MovedOn
    | MovedIn
    | StopRequested
    | StdoutClosed
    | WorkerLost
    | RunFailed
)


# Effects


class Note(NamedTuple):
    """Write down where the outputs begin that these workers have opened, before anything is written
    to them. Answer with Noted, NoteFailed or CommitUnknown. number: of the manifest, if one is
    needed.
    """

    workers: tuple[int, ...]
    number: int


class Go(NamedTuple):
    """Tell these workers to begin."""

    workers: tuple[int, ...]


class OpenBarrier(NamedTuple):
    """Tell every worker to open a barrier. last: nothing is read after it. after: what is placed
    where from then on; None: no change.
    """

    barrier: int
    last: bool
    after: Placement | None = None


class Start(NamedTuple):
    """Start workers that are to join, with the placement that they join."""

    workers: tuple[int, ...]
    before: Placement
    after: Placement


class ShareSplits(NamedTuple):
    """Every split is cut: tell workers which they read from now on, and from where."""

    after: Placement


class Dismiss(NamedTuple):
    """These workers are out of it. why: "" where they have handed everything over and exit by
    themselves; else they are ended.
    """

    workers: tuple[int, ...]
    why: str


class ChangeBegun(NamedTuple):
    """A change is under way."""

    number: int
    before: Placement
    after: Placement


class ChangeOver(NamedTuple):
    """A change is made; or, with a reason, it never will be."""

    number: int
    why_not: str


class ChangeQueued(NamedTuple):
    """A change waits for so many others."""

    number: int
    ahead: int


class Commit(NamedTuple):
    """Write the manifest of a barrier; answer with Committed, CommitFailed or CommitUnknown."""

    barrier: int


class Finish(NamedTuple):
    """Write a manifest that says that everything has been read and written: the next run starts
    fresh.
    """

    number: int


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


Effect = (
    Note
    | Go
    | OpenBarrier
    | Start
    | ShareSplits
    | Dismiss
    | ChangeBegun
    | ChangeOver
    | ChangeQueued
    | Commit
    | Finish
    | Announce
    | Release
    | Kill
    | Restart
    | End
)
