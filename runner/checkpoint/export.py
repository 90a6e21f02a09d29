"""Reading stored states without running anything, nor importing anybody's code."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterator
from itertools import compress
from pathlib import Path
from typing import Any

from roo.checkpoint.blocks import Damaged, read_blocks
from roo.checkpoint.inert import NotStates, plain_states
from roo.checkpoint.restore import compare
from roo.core.checkpoints import Manifest
from roo.core.table import hash64

PARTS_MAX, DEPTH_MAX = 10_000_000, 100
INT_BITS_MAX = 10_000
"""Larger numbers are shown in hexadecimal: Python refuses to write them in decimal."""


def stored_states(folder: Path, manifest: Manifest, state: str) -> Iterator[tuple[Any, Any]]:
    """(key, state as built-in types) of every key, in no order. Raises Damaged, OSError.

    One block is in memory at a time, and the hashes of the keys of one chain.
    """
    for chain in manifest.chains:
        if chain.state != state:
            continue
        seen: set[int] = set()
        for file in reversed(chain.files):  # the newest first: it has the last word on a key
            path = folder / file.name
            for block in read_blocks(path):
                places = list(map(hash64, block.keys))
                fresh = [place not in seen for place in places]
                if any(fresh):
                    values = shown_states(path, block.states, len(places))
                    yield from compress(zip(block.keys, values, strict=True), fresh)
                seen.update(places)
        compare(folder, chain, len(seen), sum(seen))


def stored_state(folder: Path, manifest: Manifest, state: str, key: str | bytes) -> Any:
    """One key's state. Raises KeyError, Damaged, OSError."""
    place = hash64(key)
    for chain in manifest.chains:
        owned = any(start <= place < end for start, end in chain.intervals)
        if chain.state != state or not owned:
            continue
        for file in reversed(chain.files):
            path = folder / file.name
            for block in read_blocks(path):
                if key in block.keys:
                    values = shown_states(path, block.states, len(block.keys))
                    return values[block.keys.index(key)]
    raise KeyError(key)


def shown_states(path: Path, data: bytes, number: int) -> list[Any]:
    """The encoded states of a block, so many. Raises Damaged."""
    try:
        states = plain_states(data)
    except NotStates as error:
        raise Damaged(path, str(error)) from error
    if len(states) != number:
        raise Damaged(path, f"a block has {number} keys and {len(states)} states")
    return states


class TooLarge(Exception):
    """A state has more parts than can be shown: a part that is shared is written out each time."""

    def __init__(self) -> None:
        super().__init__(f"the state has more than {PARTS_MAX:,} parts")


def as_json(value: Any) -> Any:
    """A value as JSON has it: tuples and sets as lists, bytes in base64, all else as text.

    What leads back to itself, or is nested deeper than DEPTH_MAX, is cut there and says so ("…").
    Raises TooLarge.
    """
    return _AsJson().of(value)


class _AsJson:
    def __init__(self) -> None:
        self._around: list[int] = []
        self._parts = 0

    def of(self, value: Any) -> Any:
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise TooLarge
        if isinstance(value, (dict, list, tuple, set, frozenset, deque)):
            if id(value) in self._around or len(self._around) >= DEPTH_MAX:
                return "…"
            self._around.append(id(value))
            made = self._collection(value)
            self._around.pop()
            return made
        if isinstance(value, (bytes, bytearray)):
            return base64.b64encode(value).decode()
        if isinstance(value, int) and value.bit_length() > INT_BITS_MAX:
            return hex(value)
        if value is None or isinstance(value, (str, int, float, bool)):
            return value
        return str(value)

    def _collection(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {k if isinstance(k, str) else _text(k): self.of(v) for k, v in value.items()}
        if isinstance(value, (set, frozenset)):
            return sorted(map(self.of, value), key=repr)
        return list(map(self.of, value))


def _text(key: Any) -> str:
    """A key of a dict."""
    if isinstance(key, int) and key.bit_length() > INT_BITS_MAX:
        return hex(key)
    return str(key)
