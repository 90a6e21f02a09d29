"""The one way back: whoever owns a key now finds its newest state, whoever stored it.

Whoever reads a chain counts all of its keys, also those that it does not keep, and compares them
with what the manifest says: a checkpoint that lacks a key is not gone on from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import compress
from pathlib import Path
from typing import Any

from roo.checkpoint.blocks import Block, Damaged, read_blocks
from roo.checkpoint.encoding import decode
from roo.core.checkpoints import Chain, Manifest, keys_differ
from roo.core.table import Table, hash_of

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

    decoded: turns the bytes of a block into its states. Raises Damaged, OSError, StateMismatch.
    """
    states: dict[Any, Any] = {}
    mine = [(start, end) for start, end, _ in table.intervals(worker)]
    for chain in manifest.chains:
        if chain.state != state or not _overlap(mine, chain.intervals):
            continue
        whole = all(any(a <= c and d <= b for a, b in mine) for c, d in chain.intervals)
        owns = None if whole else table.quick_owner_of()
        of_chain, others = _read(folder, chain, decoded, owns, worker)
        compare(folder, chain, len(of_chain) + len(others), hash_of(of_chain) + hash_of(others))
        before = len(states)
        states.update(of_chain)
        if len(states) != before + len(of_chain):
            raise Damaged(_last(folder, chain), f"it has keys of state {state} that others have")
    return states


def verify_states(folder: Path, manifest: Manifest) -> None:
    """Read every chain of a checkpoint as `restore` does, but make no states.

    Raises Damaged where a chain does not have the keys that the manifest says, OSError.
    """
    for chain in manifest.chains:
        keys: set[Any] = set()
        for block, _ in chain_blocks(folder, chain):
            keys.update(block.keys)
        compare(folder, chain, len(keys), hash_of(keys))


def chain_blocks(folder: Path, chain: Chain) -> Iterator[tuple[Block, bool]]:
    """The blocks of a chain, oldest first, and whether each replaces what was there: what was
    stored ahead of its turn does, and a delta. Raises Damaged, OSError.
    """
    for index, file in enumerate(chain.files):
        for block in read_blocks(folder / file.name):
            yield block, block.ahead or index > 0


def _read(
    folder: Path,
    chain: Chain,
    decoded: Decode,
    owner_of: Callable[[str | bytes], int] | None,
    worker: int,
) -> tuple[dict[Any, Any], set[Any]]:
    """(the states of a chain that a worker owns, the keys of the others). owner_of: None where it
    owns all.
    """
    states: dict[Any, Any] = {}
    others: set[Any] = set()
    for block, replaces in chain_blocks(folder, chain):
        keys = block.keys
        owned = None if owner_of is None else [owner_of(key) == worker for key in keys]
        if owned is not None:
            others.update(key for key, is_owned in zip(keys, owned, strict=True) if not is_owned)
            if not any(owned):
                continue
        values = decoded(block.states)
        if len(values) != len(keys):
            what = f"a block of state {chain.state} has {len(keys)} keys and {len(values)} states"
            raise Damaged(_last(folder, chain), what)
        if owned is not None and not all(owned):
            keys, values = list(compress(keys, owned)), list(compress(values, owned))
        if replaces:
            states.update(zip(keys, values, strict=True))
        else:
            deque(map(states.setdefault, keys, values), maxlen=0)
    return states, others


def compare(folder: Path, chain: Chain, keys: int, keys_hash: int) -> None:
    """Raises Damaged unless these are the keys of a chain."""
    what = keys_differ(chain.state, chain.worker, (chain.keys, chain.keys_hash), (keys, keys_hash))
    if what:
        raise Damaged(_last(folder, chain), f"with the files before it, {what}")


def _last(folder: Path, chain: Chain) -> Path:
    return folder / chain.files[-1].name


def _overlap(mine: list[tuple[int, int]], theirs: tuple[tuple[int, int], ...]) -> bool:
    return any(a < d and c < b for a, b in mine for c, d in theirs)
