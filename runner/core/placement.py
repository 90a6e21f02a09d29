"""Who has what: the table, the writers of single sinks, the readers of splits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from roo.core.slicing import reslice
from roo.core.table import Table, hash64


@dataclass(frozen=True)
class Placement:
    """One version of everything that is placed. Its version is that of its table.

    workers: all of them, those that own nothing too. homes: the worker that writes a sink with a
    single writer. readers: the worker that reads a split. weights: where they are not 1.
    """

    table: Table
    workers: tuple[int, ...]
    homes: Mapping[str, int] = field(default_factory=dict)
    readers: Mapping[int, int] = field(default_factory=dict)
    weights: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def fresh(
        cls,
        workers: int,
        sinks: Iterable[str],
        splits: Iterable[int],
        *,
        pinned: Mapping[int, int] | None = None,
        weights: Mapping[int, int] | None = None,
    ) -> Placement:
        """Workers 0 to n-1 with equal shares (or by weight) and splits in turn.

        pinned: splits that only one worker can read.
        """
        table = Table.equal(workers)
        weights = {w: n for w, n in (weights or {}).items() if w < workers}
        if len({weights.get(w, 1) for w in range(workers)}) > 1:
            shares = {w: weights.get(w, 1) for w in range(workers)}
            table = Table((0,), (0,), version=0)
            table = reslice(table, shares)
        homes = {sink: table.owner_of(sink) for sink in sinks}
        readers = {split: (pinned or {}).get(split, split % workers) for split in splits}
        return cls(table, tuple(range(workers)), homes, readers, weights)

    @property
    def version(self) -> int:
        """Grows with every change."""
        return self.table.version

    def numbered(self, version: int) -> Placement:
        """The same as another version."""
        return replace(self, table=replace(self.table, version=version))

    def splits_of(self, worker: int) -> tuple[int, ...]:
        """The splits that a worker reads."""
        return tuple(split for split, reader in self.readers.items() if reader == worker)

    def changed(
        self,
        joins: Iterable[int],
        leaves: Iterable[int],
        *,
        weights: Mapping[int, int] | None = None,
        fixed: Iterable[int] = (),
        away: Iterable[int] = (),
    ) -> Placement:
        """After some workers have joined and others left, all at once.

        Keys move only to those that join and from those that leave (unless weights change), sinks
        only from those that leave; splits are shared out evenly, except those in `fixed`, which
        move only when their reader leaves. weights: new ones. away: workers on other machines:
        sinks and fixed splits move there only when there is nobody else.
        """
        gone = set(leaves)
        workers = (*(w for w in self.workers if w not in gone), *sorted(joins))
        merged = {**self.weights, **(weights or {})}
        merged = {w: n for w, n in merged.items() if w in workers}
        table = reslice(self.table, {w: merged.get(w, 1) for w in workers})
        near = [w for w in workers if w not in set(away)] or list(workers)

        def home_of(sink: str) -> int:
            owner = table.owner_of(sink)
            return owner if owner in near else near[hash64(sink) % len(near)]

        homes = {sink: home_of(sink) if home in gone else home for sink, home in self.homes.items()}
        readers = _shared_out(self.readers, workers, frozenset(fixed), near)
        return Placement(table, workers, homes, readers, merged)


def _shared_out(
    readers: Mapping[int, int],
    workers: tuple[int, ...],
    fixed: frozenset[int],
    near: Sequence[int],
) -> dict[int, int]:
    """Every split with a reader, evenly, moving as few as can be; fixed ones go to those near."""
    has: dict[int, list[int]] = {worker: [] for worker in workers}
    orphans = []
    for split, reader in sorted(readers.items()):
        has[reader].append(split) if reader in has else orphans.append(split)

    def least(among: Sequence[int]) -> int:
        return min(among, key=lambda w: (len(has[w]), w))

    for split in orphans:
        has[least(near if split in fixed else workers)].append(split)
    while True:
        few = least(workers)
        movable = {w: [s for s in has[w] if s not in fixed] for w in workers}
        most = max((w for w in workers if movable[w]), key=lambda w: (len(has[w]), -w),
                   default=few)  # fmt: skip
        if len(has[most]) - len(has[few]) < 2:
            return {split: worker for worker, splits in has.items() for split in splits}
        split = movable[most][-1]
        has[most].remove(split)
        has[few].append(split)
