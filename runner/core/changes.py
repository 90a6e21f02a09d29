"""Changes of who works: asked for, queued, one at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from roo.core.placement import Placement

WORKERS_MAX = 256


class Refused(Exception):
    """A change can't be made: why, and what to do."""


class Asked(NamedTuple):
    """A change as it was asked for. to: that many workers in all; joins: so many more (fewer where
    it is negative: the newest leave); leaves: these. weights: new ones. number: who asked. away:
    those that join run on another machine.
    """

    number: int
    to: int | None = None
    joins: int = 0
    leaves: tuple[int, ...] = ()
    weights: Mapping[int, int] = {}
    away: bool = False


class Step(Enum):
    """How far a change is. It can be dropped, at no cost to the run, before CUTTING."""

    STARTING = "its joiners start"
    WAITING = "it waits for its turn"
    NOTING = "where its joiners' outputs begin is noted"
    CUTTING = "its barrier is open"
    COMMITTING = "its checkpoint is written"
    MOVING = "states are on their way"


@dataclass
class Change:
    """A change under way."""

    number: int
    joins: tuple[int, ...]
    leaves: tuple[int, ...]
    before: Placement
    after: Placement
    seen_ms: int
    """When it last got on."""
    step: Step = Step.STARTING
    ready: set[int] = field(default_factory=set)
    """Joiners that are ready."""
    arrived: set[int] = field(default_factory=set)
    """Workers that have every state that comes to them."""
    closing: set[int] = field(default_factory=set)
    """Leavers that have not closed their sinks yet, since the checkpoint of the change is real."""

    @property
    def can_be_dropped(self) -> bool:
        """Whether no worker has heard of it yet, but those that are to join."""
        return self.step in (Step.STARTING, Step.WAITING, Step.NOTING)

    @property
    def is_done(self) -> bool:
        """Whether everything is where it belongs, and durable where anything is."""
        arrived = self.arrived == set(self.after.workers)
        return self.step is Step.MOVING and arrived and not self.closing


class Changes:
    """What is asked for and not begun yet, and the numbers that joiners get.

    A number is never given twice in a run: files of a worker that left are not written again. Nor
    is a version: what is still on its way for a change that was called off is known by it.
    fixed: splits that move only when their reader leaves. bound: splits that never do.
    """

    def __init__(
        self,
        first_free: int,
        fixed: frozenset[int] = frozenset(),
        bound: frozenset[int] = frozenset(),
    ) -> None:
        self.queue: deque[Asked] = deque()
        self._free = first_free
        self._fixed = fixed | bound
        self._bound = bound
        self._away: set[int] = set()
        self._version = 0  # the last one given

    def begin(self, asked: Asked, place: Placement, now_ms: int) -> Change:
        """What is asked for, as things stand now. Raises Refused."""
        joins, leaves, after = self.preview(asked, place)
        self._version = max(self._version, place.version) + 1
        after = after.numbered(self._version)
        self._free += len(joins)
        if asked.away:
            self._away |= set(joins)
        return Change(asked.number, joins, leaves, place, after, now_ms)

    def preview(
        self, asked: Asked, place: Placement
    ) -> tuple[tuple[int, ...], tuple[int, ...], Placement]:
        """(joiners, leavers, placement after it). Raises Refused."""
        joins, leaves = self._who(asked, place)
        if any(weight < 1 for weight in asked.weights.values()):
            raise Refused("a weight is 1 or more")
        unknown = [w for w in (*leaves, *asked.weights) if w not in (*place.workers, *joins)]
        if unknown:
            there = ", ".join(map(str, place.workers))
            raise Refused(f"there is no worker {unknown[0]}; there are {there}")
        if len(leaves) >= len(place.workers) + len(joins):
            raise Refused("the last worker can't leave; `roo stop` ends the run")
        stuck = [s for s in self._bound if place.readers.get(s) in leaves]
        if stuck:
            reader = place.readers[stuck[0]]
            raise Refused(f"worker {reader} can't leave: it reads stdin, which nobody else can")
        after = place.changed(joins, leaves, weights=asked.weights, fixed=self._fixed,
                              away=self._away.union(joins if asked.away else ()))  # fmt: skip
        return joins, leaves, after

    def _who(self, asked: Asked, place: Placement) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(joiners, leavers)."""
        joins = asked.joins if asked.to is None else asked.to - len(place.workers)
        if len(place.workers) + joins < 1:
            raise Refused("a run needs at least one worker; `roo stop` ends it")
        if len(place.workers) + joins > WORKERS_MAX:
            raise Refused(f"a run has {WORKERS_MAX} workers at most")
        newest = tuple(sorted(place.workers)[joins:]) if joins < 0 else ()
        leaves = tuple(dict.fromkeys((*asked.leaves, *newest)))
        return tuple(range(self._free, self._free + max(joins, 0))), leaves
