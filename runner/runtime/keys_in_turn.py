"""Which keys of a state are still to be encoded for a checkpoint: those in turn, and those ahead.

Between two batches some keys have their turn; a batch that is about to run over keys asks for those
of them that wait, to have them encoded ahead of their turn. Nothing here walks over all keys at
once, and no set is so large that its growing or going holds a batch up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

BUCKETS = 61  # a prime, so that numbers that are multiples of something spread too
TIDY_KEYS = 4096
"""How many keys of a set that is done with are let go of before a batch."""


class AllKeys:
    """The keys of one state, in buckets by their hash."""

    def __init__(self, states: Mapping[Any, Any]) -> None:
        self._states = states
        self.buckets: list[list[Any]] = [[] for _ in range(BUCKETS)]
        self._count = 0
        self._some_gone = False

    def note_new(self) -> None:
        """Look for keys that were created: a dict has the last ones at its end."""
        new = len(self._states) - self._count
        if new > 0:
            buckets = self.buckets
            for key in islice(reversed(self._states), new):
                buckets[hash(key) % BUCKETS].append(key)
            self._count += new

    def going(self, keys: Iterable[Any]) -> None:
        """Keys will no longer be there, if they are now."""
        self.note_new()
        gone = sum(map(self._states.__contains__, keys))
        self._count -= gone
        self._some_gone = self._some_gone or gone > 0

    def tidy(self, at: int) -> None:
        """Forget the keys of a bucket that are gone. (One that went and came is there twice.)"""
        if self._some_gone:
            self.buckets[at] = [k for k in dict.fromkeys(self.buckets[at]) if k in self._states]
            self._some_gone = at < BUCKETS - 1


class EveryKey:
    """All keys wait, a bucket after the other."""

    full = True

    def __init__(self, keys: AllKeys) -> None:
        keys.note_new()
        self._keys = keys
        self._at = self._next = 0
        self._done: list[set[Any]] = [set() for _ in range(BUCKETS)]

    @property
    def left(self) -> bool:
        """Whether any key may wait."""
        return self._at < BUCKETS

    def ahead(self, keys: Iterable[Any]) -> list[Any]:
        """Those of a batch that wait, and those that are new. They no longer wait."""
        at, done = self._at, self._done
        first: list[Any] = []
        for key in keys:
            bucket = hash(key) % BUCKETS
            if bucket >= at and key not in done[bucket]:
                done[bucket].add(key)
                first.append(key)
        return first

    def some(self, count: int) -> list[Any]:
        """So many that have their turn, or all that are left."""
        keys: list[Any] = []
        while len(keys) < count and self._at < BUCKETS:
            bucket, done = self._keys.buckets[self._at], self._done[self._at]
            chunk = bucket[self._next : self._next + count - len(keys)]
            fresh = [key for key in chunk if key not in done]
            done.update(fresh)
            keys += fresh
            self._next += len(chunk)
            if self._next == len(bucket):
                self._keys.tidy(self._at)
                self._done[self._at] = set()
                self._at, self._next = self._at + 1, 0
        return keys


class TouchedKeys:
    """Only these wait."""

    full = False

    def __init__(self, keys: set[Any]) -> None:
        self._waiting = keys

    @property
    def left(self) -> bool:
        """As in `EveryKey`."""
        return bool(self._waiting)

    def ahead(self, keys: Iterable[Any]) -> list[Any]:
        """Those of a batch that wait. They no longer do."""
        first = self._waiting.intersection(keys)
        self._waiting -= first
        return list(first)

    def some(self, count: int) -> list[Any]:
        """As in `EveryKey`."""
        return [self._waiting.pop() for _ in range(min(count, len(self._waiting)))]


class Litter:
    """Large sets that are done with, let go of little by little."""

    def __init__(self) -> None:
        self._sets: list[set[Any]] = []

    def add(self, keys: set[Any]) -> None:
        """Nobody else may use it."""
        self._sets.append(keys)

    def tidy(self) -> None:
        """Before a batch."""
        if self._sets:
            keys = self._sets[-1]
            for _ in range(min(TIDY_KEYS, len(keys))):
                keys.pop()
            if not keys:
                self._sets.pop()
