"""What the coordinator and its workers tell each other, besides batches. Pickled on the wire."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from roo.api import Split
from roo.core.placement import Placement
from roo.core.position import Position
from roo.plan.model import Plan
from roo.runtime.suspects import Suspicion
from roo.runtime.transport import Address

if TYPE_CHECKING:  # most of a checkpoint's code is not needed to start
    from roo.core.checkpoints import Manifest, Opened, Part

# From a worker


class Hello(NamedTuple):
    """A worker's process is up and wants its assignment."""

    pid: int


class Ready(NamedTuple):
    """Everything is built, restored, opened and preloaded. port: where data comes in from other
    machines, 0 where it does not.
    """

    opened: Opened
    port: int


class Ended(NamedTuple):
    """All splits of this worker have ended, as they are shared out in a version."""

    version: int


class Passed(NamedTuple):
    """A barrier has passed every stage and the sinks are flushed. part: what is durable of a
    checkpoint; None where none is kept. splits: their offsets at the cut. counted: what had been
    counted there, of each stage as it was cut.
    """

    barrier: int
    stats: WorkerStats
    part: Part | None
    splits: dict[int, Position]
    counted: WorkerStats | None = None


class MovedIn(NamedTuple):
    """Everything that a change gives this worker is here. cut_ms: from the barrier's opening to
    its last stage; wait_ms: the longest that a message waited for a state.
    """

    version: int
    keys: int
    size_bytes: int
    cut_ms: float
    wait_ms: float


class Settled(NamedTuple):
    """The sinks have published what a checkpoint made real; after the last barrier they are closed,
    and what they hold is durable.
    """

    barrier: int


class Failed(NamedTuple):
    """The run must stop."""

    error: dict[str, Any]


class Quit(NamedTuple):
    """The reader of stdout has gone: end the run quietly."""


class Said(NamedTuple):
    """A line for the run's events."""

    line: str


@dataclass
class WorkerStats:
    """Everything counted so far on one worker. Totals, never rates.

    sources: name -> (messages, bytes). steps: name -> (in, out); out is -1 where the coordinator
    takes it from what the next part counted. sinks: name -> (messages, bytes). latency: counts of
    `roo.runtime.latency`. doing: what it has been at for longer than a second, and for how long.
    moved_keys, moved_bytes: that have come in the move under way. held_back: it could read more,
    and nobody takes it. waited_s: how long it has had nothing to do. hot_keys: (state, key, part of
    this worker's keyed messages).
    """

    worker: int
    pid: int
    monotonic_s: float = 0.0
    keys: int = 0
    queue_messages: int = 0
    memory_bytes: int = 0
    cpu_s: float = 0.0
    skipped: int = 0
    dropped: int = 0
    dead_letters: int = 0
    sources: dict[str, tuple[int, int]] = field(default_factory=dict)
    steps: dict[str, tuple[int, int]] = field(default_factory=dict)
    sinks: dict[str, tuple[int, int]] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    ended_splits: frozenset[int] = frozenset()
    done_bytes: dict[int, tuple[int, int]] = field(default_factory=dict)
    latency: list[int] = field(default_factory=list)
    doing: str = ""
    moved_keys: int = 0
    moved_bytes: int = 0
    held_back: bool = False
    waited_s: float = 0.0
    hot_keys: list[tuple[str, str, float]] = field(default_factory=list)


class Assignment(NamedTuple):
    """What a worker is to be. splits: index -> (source name, split), of all workers' splits.

    place: who has what, this worker included. before: for one that joins, who had it before; None:
    it is there from the start. gone: workers that the run has had and has no more, whose sinks this
    one rolls back. checkpoints: where snapshots go; None: no checkpoints. resume: the checkpoint to
    go on from. suspicion: what may end the worker. run: tells the snapshot files of this run from
    those of any other. predecessor_ended: whether all who wrote the sinks before have been seen to
    end.
    """

    plan: Plan
    worker: int
    place: Placement
    before: Placement | None
    splits: dict[int, tuple[str, Split]]
    gone: tuple[int, ...]
    checkpoints: Path | None
    resume: Manifest | None
    suspicion: Suspicion
    attempt: int = 1
    run: str = ""
    predecessor_ended: bool = True


# To a worker


class Go(NamedTuple):
    """Everyone is ready: connect to each other, by these addresses, and begin."""

    data: dict[int, Address]


class Barrier(NamedTuple):
    """Open a barrier. last: nothing is read after it. after: who has what from then on; None: no
    change. data: the addresses of workers that join.
    """

    barrier: int
    last: bool
    after: Placement | None
    data: dict[int, Address]


class Splits(NamedTuple):
    """After a change: the splits that come to this worker, and where they stand."""

    positions: dict[int, Position]


class Left(NamedTuple):
    """These workers have left."""

    workers: tuple[int, ...]


class Announce(NamedTuple):
    """The checkpoint of a barrier is real; or, not kept, it never will be."""

    barrier: int
    kept: bool


class Exit(NamedTuple):
    """All is done: close and exit."""


class Heard(NamedTuple):
    """The coordinator has heard a report. monotonic_s: the time that stood in it, by the clock of
    the worker.
    """

    monotonic_s: float


class NotWanted(NamedTuple):
    """The worker has been given up: it has to end at once, and write nothing more."""
