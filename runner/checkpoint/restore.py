"""The one way back: whoever owns a key now finds its newest state, whoever stored it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import compress
from pathlib import Path
from typing import Any

from roo.checkpoint.blocks import Block, read_blocks
from roo.checkpoint.encoding import decode
from roo.core.checkpoints import Chain, Manifest
from roo.core.table import Table

Decode = Callable[[bytes], list[Any]]


def restore(
    folder: Path,
    manifest: Manifest,
    state: str,
    table: Table,
    worker: int,
    decoded: Decode = decode,
) -> dict[Any, Any]:
    """The states that a worker owns under `table`: key -> state object.

    decoded: turns the bytes of a block into its states (a migration does more than `decode`).
    Raises Damaged, StateMismatch.
    """
    states: dict[Any, Any] = {}
    mine = [(start, end) for start, end, _ in table.intervals(worker)]
    for chain in manifest.chains:
        if chain.state != state or not _overlap(mine, chain.intervals):
            continue
        whole = all(any(a <= c and d <= b for a, b in mine) for c, d in chain.intervals)
        for block, newer in chain_blocks(folder, chain):
            theirs = still_theirs(manifest, chain, block)
            owned = None
            if theirs is not None:
                owned = [
                    is_theirs and table.owner_of(key) == worker
                    for is_theirs, key in zip(theirs, block.keys, strict=True)
                ]
            elif not whole:
                owned = [table.owner_of(key) == worker for key in block.keys]
            if owned is not None and not any(owned):
                continue
            keys, values = block.keys, decoded(block.states)
            if owned is not None and not all(owned):
                keys, values = list(compress(keys, owned)), list(compress(values, owned))
            if newer:
                states.update(zip(keys, values, strict=True))
            else:  # of a key that comes twice the first one counts
                deque(map(states.setdefault, keys, values), maxlen=0)
    return states


def still_theirs(manifest: Manifest, chain: Chain, block: Block) -> list[bool] | None:
    """Which keys of a block belong to the worker of its chain; None: all do, nothing ever moved.

    After a move a chain still holds keys that have gone to another worker's.
    """
    if manifest.table.version == 1:
        return None
    return [manifest.table.owner_of(key) == chain.worker for key in block.keys]


def chain_blocks(folder: Path, chain: Chain) -> Iterator[tuple[Block, bool]]:
    """The blocks of a chain, oldest first, and whether each is of a delta: that has no key twice,
    and replaces what was there. Raises Damaged.
    """
    for index, file in enumerate(chain.files):
        for block in read_blocks(folder / file.name):
            yield block, index > 0


def _overlap(mine: list[tuple[int, int]], theirs: tuple[tuple[int, int], ...]) -> bool:
    return any(a < d and c < b for a, b in mine for c, d in theirs)
