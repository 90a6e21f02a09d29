"""One worker's side of a checkpoint: which state and sink is cut when, and when all is durable.

A state is cut when the last stage that works on it is aligned, a sink when the last stage that
writes to it is; core holds the others back until then. The part is reported when no key waits and
the thread of `snapshots` has synced everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from roo.checkpoint.encoding import StateEncoder
from roo.core.checkpoints import Manifest, Part
from roo.core.position import Position
from roo.runtime.background import Background
from roo.runtime.control import WorkerStats
from roo.runtime.outlets import Outlet
from roo.runtime.readers import Readers
from roo.runtime.resume import allowed_classes, own_chains
from roo.runtime.snapshots import Snapshots
from roo.runtime.stages import NO_LIMIT, Stages

THREAD_LOOK_MS = 2.0

KEYS_AT_ONCE = 1024
"""While a checkpoint is taken, a batch waits for so many of its keys to be stored, and runs over
those before it waits again.
"""


class Checkpoint:
    """The checkpoints of one worker, one after the other.

    stages_of: ("state" or "sink", name) -> the stages that work on it here. resume: the checkpoint
    that the states came from. stats: what this worker has counted by now. prefix, background: as
    in `Snapshots`. counted: the stats at the last cut.
    """

    def __init__(
        self,
        folder: Path,
        worker: int,
        stages: Stages,
        outlets: Mapping[str, Outlet],
        readers: Readers,
        stages_of: Mapping[tuple[str, str], frozenset[int]],
        resume: Manifest | None,
        stats: Callable[[], WorkerStats],
        *,
        prefix: str,
        background: Background,
    ) -> None:
        chains = own_chains(resume, stages.plan, stages.place[0].table, worker)
        self._snapshots = Snapshots(
            folder, worker, stages.keyed, chains,
            background=background, prefix=prefix,
            encoder=StateEncoder(allowed_classes(stages.plan)),
        )  # fmt: skip
        self._stages = stages
        self._all_outlets = outlets
        self._outlets: dict[str, Outlet] = {}
        self._readers = readers
        self._stages_of = stages_of
        self._uncut: dict[tuple[str, str], set[int]] = {}
        self._splits: dict[int, Position] = {}
        self._noted: dict[str, Any] = {}
        self._passed = self._syncing = False
        self._stats = stats
        self.counted = stats()

    @property
    def active(self) -> bool:
        """Whether a checkpoint is being taken."""
        return self._snapshots.active

    def begin(self, barrier: int, *, last: bool, moves: bool) -> None:
        """A barrier opens. last: nothing is read after it. moves: it carries a change of owners."""
        self._snapshots.begin(barrier, last=last, moves=moves)
        self._stages.keys_at_once = KEYS_AT_ONCE
        self._outlets = {
            name: outlet for name, outlet in self._all_outlets.items() if outlet.is_open
        }
        self._uncut = {
            what: set(stages)
            for what, stages in self._stages_of.items()
            if what[0] == "state" or what[1] in self._outlets
        }
        # A sink that nothing here leads to has nothing to wait for.
        self._noted = {
            name: outlet.prepare()
            for name, outlet in self._outlets.items()
            if ("sink", name) not in self._uncut
        }
        self._passed = self._syncing = False

    def aligned(self, stage: int) -> None:
        """Everything before the barrier has run in a stage, nothing after it has."""
        if stage == 0:
            self._splits = self._readers.positions()
        self._count(stage)
        for what, waiting in list(self._uncut.items()):
            waiting.discard(stage)
            if waiting:
                continue
            del self._uncut[what]
            kind, name = what
            if kind == "state":
                self._snapshots.cut(name)
            else:
                self._noted[name] = self._outlets[name].prepare()

    def _count(self, stage: int) -> None:
        """Keep what the parts of a stage have counted up to its cut."""
        now, before, parts = self._stats(), self.counted, self._stages.plan.parts(stage)
        self.counted = replace(
            now,
            sources=now.sources if stage == 0 else before.sources,
            steps={**before.steps, **{n: c for n, c in now.steps.items() if n in parts}},
            sinks={**before.sinks, **{n: c for n, c in now.sinks.items() if n in parts}},
        )

    def passed(self) -> None:
        """All stages are aligned."""
        self._passed = True

    def slice(self, away_s: float) -> None:
        """A slice of what is to be encoded. away_s: how long batches have had."""
        self._snapshots.slice(away_s)

    def step(self, away_s: float) -> Part | None:
        """The same; and the part, once it is durable."""
        snapshots = self._snapshots
        self.slice(away_s)
        if not self._passed or not snapshots.all_encoded:
            return None
        if not self._syncing:
            self._syncing = True
            self._stages.keys_at_once = NO_LIMIT
            snapshots.sync(self._outlets.values())
        return snapshots.part(self._splits, self._noted) if snapshots.synced else None

    def wait_ms(self) -> float:
        """How long until `step` has something to do, as far as that can be known; -1: it can't."""
        if not self._snapshots.all_encoded:
            return 0.0
        if not self._syncing:
            return -1.0  # until barriers come, which do as messages do
        return THREAD_LOOK_MS

    def settle(self, *, kept: bool) -> None:
        """The checkpoint is real, or never will be."""
        self._snapshots.settle(kept=kept)
        if kept:
            for name, noted in self._noted.items():
                self._outlets[name].commit(noted)

    def noted(self, sink: str) -> Any:
        """What a sink has noted at the last cut."""
        return self._noted[sink]
