"""Random lives of a state on one worker: what a chain restores is what the state was at the cut."""

from __future__ import annotations

import errno
import random
from pathlib import Path
from typing import Any

import pytest

from roo import disk
from roo.checkpoint.export import stored_states
from roo.checkpoint.manifest import Chain, Manifest
from roo.checkpoint.restore import restore, verify_states
from roo.core.table import RING, Table
from roo.runtime import keys_in_turn, snapshots
from roo.runtime.background import Job
from roo.runtime.keyed_states import KeyedStates
from roo.runtime.snapshots import Part, Snapshots
from tests.checkpoint.kinds import Plain
from tests.checkpoint.test_folder import manifest

SEEDS = 300


class World:
    """Batches, moves in and out, and checkpoints, some of which fail; jobs of the background run
    when the dice say so. The manifest is what a coordinator would make of the parts.
    """

    def __init__(self, folder: Path, dice: random.Random) -> None:
        self.folder = folder
        self.dice = dice
        self.named = [f"k{n}" for n in range(dice.choice((3, 12, 60)))]
        self.named += [b"b", "\ud800", "a\0b"]  # type: ignore[list-item]
        self.jobs: list[Job] = []
        self.away: dict[Any, Plain] = {}
        self.latest: Chain | None = None
        self.attempt = 0
        self.begin()

    def begin(self) -> None:
        """A new attempt: from the newest checkpoint, with a key more where it is preloaded."""
        self.attempt += 1
        self.jobs.clear()
        self.keyed = KeyedStates("s")
        if self.latest is not None:
            states = self.restored(Table.equal(1), 0)
            self.keyed.take_in(list(states), states.values())
        preloaded = self.dice.choice(self.named)
        if self.dice.random() < 0.3 and preloaded not in self.keyed.objects:
            self.keyed.create(preloaded, Plain(0))
        self.taken = Snapshots(
            self.folder, 0, {"s": self.keyed}, {"s": self.latest} if self.latest else {},
            background=self.jobs.append, prefix=f"r{self.attempt}",
        )  # fmt: skip

    def restored(self, table: Table, worker: int) -> dict[Any, Any]:
        return restore(self.folder, self.manifest(), "s", table, worker)

    @property
    def totals(self) -> dict[Any, int]:
        return {key: state.n for key, state in self.keyed.objects.items()}

    def some(self, keys: list[Any]) -> list[Any]:
        return self.dice.sample(keys, self.dice.randint(0, min(len(keys), 8)))

    def live(self, *, moves: bool) -> None:
        act = self.dice.choice(("batch", "batch", "give", "take", "job"))
        if act == "batch":
            free = [key for key in self.named if key not in self.away]
            keys = self.some(free) * self.dice.choice((1, 2))
            self.keyed.touch(keys)
            for key in keys:
                if key not in self.keyed.objects:
                    if self.dice.random() < 0.1:
                        continue  # refused
                    self.keyed.create(key, Plain(0))
                self.keyed.objects[key].n += 1
        elif act == "give" and moves:
            keys = self.some(list(self.keyed.objects))
            for key, state in zip(keys, self.keyed.give_away(keys), strict=True):
                self.away[key] = Plain(state.n)
        elif act == "take" and moves:
            keys = self.some(list(self.away))
            self.keyed.take_in(keys, [Plain(self.away.pop(key).n + 100) for key in keys])
            new = self.some([k for k in self.named if k not in {*self.keyed.objects, *self.away}])
            self.keyed.take_in(new, [Plain(200) for _ in new])
        elif self.jobs:
            self.jobs.pop(0)()

    def checkpoint(self, barrier: int) -> None:
        moves = self.dice.random() < 0.4
        self.taken.begin(barrier, last=self.dice.random() < 0.1, moves=moves)
        self.taken.cut("s")
        at_cut = self.totals
        while not self.taken.all_encoded:
            if self.dice.random() < 0.6:
                self.live(moves=moves)
            else:
                self.taken.slice()
        self.taken.sync([])
        while not self.taken.synced:
            self.jobs.pop(0)()
        part = self.taken.part({}, {})
        kept = not part.error and self.dice.random() < 0.8
        if kept:
            self.keep(part, at_cut)
        self.taken.settle(kept=kept)
        for _ in range(self.dice.randint(0, 5) if moves else 0):
            self.live(moves=True)
        if moves:  # it ends before the next barrier: what left has gone for good, or comes back
            back = list(self.away)
            self.keyed.take_in(back, [self.away.pop(key) for key in back])

    def keep(self, part: Part, at_cut: dict[Any, int]) -> None:
        state = part.states["s"]
        files = (state.file,) if state.file else ()
        if not state.full and self.latest is not None:
            files = (*self.latest.files, *files)
        chain = Chain("s", 0, ((0, RING),), files, state.keys, state.keys_hash)
        self.latest = chain if files else None
        assert (state.keys, bool(files)) == (len(at_cut), bool(at_cut))
        states = self.restored(Table.equal(1), 0)
        assert {key: state.n for key, state in states.items()} == at_cut
        two = [self.restored(Table.equal(2), worker) for worker in (0, 1)]
        assert sum(map(len, two)) == len(at_cut)
        assert {key: state.n for states in two for key, state in states.items()} == at_cut
        verify_states(self.folder, self.manifest())
        shown = list(stored_states(self.folder, self.manifest(), "s"))
        assert len(shown) == len(at_cut)
        assert {key: state["n"] for key, state in shown} == at_cut

    def manifest(self) -> Manifest:
        return manifest(1, Table.equal(1), chains=(self.latest,) if self.latest else ())


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_chain_restores_what_the_states_were_at_the_cut(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(seed)
    monkeypatch.setattr(snapshots, "GROUP_KEYS_FIRST", dice.choice((1, 3, 64)))
    monkeypatch.setattr(snapshots, "GROUP_KEYS_MAX", dice.choice((1, 3, 2048)))
    monkeypatch.setattr(snapshots, "BLOCK_BYTES", dice.choice((1, 300, 1 << 20)))
    monkeypatch.setattr(snapshots, "QUEUE_BLOCKS_MAX", 10_000)
    monkeypatch.setattr(keys_in_turn, "PAGE_KEYS", dice.choice((1, 4, 1024)))
    monkeypatch.setattr(keys_in_turn, "AHEAD_KEYS", dice.choice((2, 1024)))
    monkeypatch.setattr(keys_in_turn, "TIDY_KEYS", dice.choice((1, 4096)))
    monkeypatch.setattr(keys_in_turn, "TIDY_BATCHES", dice.choice((1, 64)))
    monkeypatch.setattr(keys_in_turn, "ALL_FROM", dice.choice((0.25, 2.0)))
    monkeypatch.setattr(snapshots, "SLICE_S", 0.0)  # one group at a time
    fails = dice.choice((0.0, 0.02))
    for call in ("open", "write", "fsync"):
        real = getattr(disk, call)

        def sometimes(*arguments: Any, real: Any = real) -> Any:
            if dice.random() < fails and not is_reading[0]:
                raise OSError(errno.EIO, "it failed")
            return real(*arguments)

        monkeypatch.setattr(disk, call, sometimes)
    is_reading = [False]
    world = World(tmp_path, dice)
    keep = world.keep

    def read(part: Part, at_cut: dict[Any, int]) -> None:
        is_reading[0] = True
        keep(part, at_cut)
        is_reading[0] = False

    monkeypatch.setattr(world, "keep", read)
    for barrier in range(1, 8):
        for _ in range(dice.randint(0, 8)):
            world.live(moves=False)
        world.checkpoint(barrier)
        if dice.random() < 0.2:
            is_reading[0] = True
            world.begin()
            is_reading[0] = False
