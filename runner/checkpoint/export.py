"""Reading stored states without running anything, nor importing anybody's code."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from operator import and_
from pathlib import Path
from typing import Any

from roo.checkpoint.blocks import read_blocks
from roo.checkpoint.encoding import decode_plain
from roo.checkpoint.restore import still_theirs
from roo.core.checkpoints import Manifest
from roo.core.table import hash64


def stored_states(folder: Path, manifest: Manifest, state: str) -> Iterator[tuple[Any, Any]]:
    """(key, state as built-in types) of every key, in no order. Raises Damaged.

    One block is in memory at a time, and the hashes of the keys of one chain.
    """
    for chain in manifest.chains:
        if chain.state != state:
            continue
        seen: set[int] = set()
        for file in reversed(chain.files):  # the newest first: it has the last word on a key
            for block in read_blocks(folder / file.name):
                places = list(map(hash64, block.keys))
                fresh = [place not in seen for place in places]
                theirs = still_theirs(manifest, chain, block)
                if theirs is not None:
                    fresh = list(map(and_, fresh, theirs))
                if any(fresh):
                    for key, value, wanted in zip(
                        block.keys, decode_plain(block.states), fresh, strict=True
                    ):
                        if wanted:
                            yield key, value
                seen.update(places)


def stored_state(folder: Path, manifest: Manifest, state: str, key: str | bytes) -> Any:
    """One key's state. Raises KeyError, Damaged."""
    place = hash64(key)
    for chain in manifest.chains:
        owned = any(start <= place < end for start, end in chain.intervals)
        if chain.state != state or not owned:
            continue
        for file in reversed(chain.files):
            for block in read_blocks(folder / file.name):
                if key in block.keys:
                    return decode_plain(block.states)[block.keys.index(key)]
    raise KeyError(key)


def as_json(value: Any) -> Any:
    """A value as JSON has it: tuples and sets as lists, bytes in base64, all else as text."""
    if isinstance(value, dict):
        return {k if isinstance(k, str) else str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((as_json(item) for item in value), key=repr)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)
