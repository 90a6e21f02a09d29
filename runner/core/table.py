"""Ownership: the ring of 64-bit hashes, cut into intervals that workers own."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection
from dataclasses import dataclass

from xxhash import xxh3_64_digest, xxh3_64_intdigest

RING = 1 << 64
"""The ring is [0, RING). Integers only: a float share would place a key differently some day."""


def hash64(key: str | bytes) -> int:
    """The place of a key on the ring: xxh3_64 of its bytes (UTF-8 for str), in [0, RING).

    Lone surrogates, which a str may hold and UTF-8 may not, hash as their three bytes.
    """
    return xxh3_64_intdigest(
        key if isinstance(key, bytes) else key.encode("utf-8", "surrogatepass")
    )


def hash_of(keys: Collection[str | bytes]) -> int:
    """The sum of the hashes of some keys, modulo 2^64: the same in any order."""
    try:
        return sum(map(xxh3_64_intdigest, map(str.encode, keys))) % RING  # type: ignore[arg-type]
    except (TypeError, UnicodeEncodeError):  # bytes, or lone surrogates
        return sum(map(hash64, keys)) % RING


@dataclass(frozen=True)
class Table:
    """Who owns which interval. bounds: sorted lower bounds, the first 0; owners: one for each.

    The interval i is [bounds[i], bounds[i + 1]), the last one ends at RING. version grows with
    every change, and every batch carries it.
    """

    bounds: tuple[int, ...]
    owners: tuple[int, ...]
    version: int = 1

    @classmethod
    def equal(cls, workers: int, version: int = 1) -> Table:
        """A fresh table: as many equal sub-intervals (±1) as workers, in worker order.

        Raises ValueError for fewer than one worker.
        """
        if workers < 1:
            raise ValueError("a table needs at least one worker")
        return cls(
            tuple(RING * worker // workers for worker in range(workers)),
            tuple(range(workers)),
            version,
        )

    def owner(self, place: int) -> int:
        """The worker that owns a place on the ring."""
        return self.owners[bisect_right(self.bounds, place) - 1]

    def owner_of(self, key: str | bytes) -> int:
        """The worker that owns a key."""
        return self.owner(hash64(key))

    def intervals(self, worker: int | None = None) -> list[tuple[int, int, int]]:
        """(from, to, owner), `to` exclusive, in ring order; of one worker, or of all (None)."""
        ends = (*self.bounds[1:], RING)
        rows = zip(self.bounds, ends, self.owners, strict=True)
        return [row for row in rows if worker is None or row[2] == worker]

    def share(self, worker: int) -> float:
        """The part of the ring that a worker owns, 0 to 1. For showing, never for deciding."""
        return sum(to - start for start, to, _ in self.intervals(worker)) / RING

    def directory(self) -> list[int | None]:
        """The owner for each value of a hash's top byte; None where an interval ends inside it.

        One list index in place of a bisection: with few workers, nearly every key is settled by
        the first byte of its digest. The exact `owner` decides the rest.
        """
        step = RING >> 8
        return [
            first if first == self.owner(byte * step + step - 1) and not self._cut(byte) else None
            for byte in range(256)
            for first in (self.owner(byte * step),)
        ]

    def quick_owner_of(self) -> Callable[[str | bytes], int]:
        """`owner_of` for very many keys: mostly by the directory."""
        directory = self.directory()

        def owner_of(key: str | bytes) -> int:
            data = key if isinstance(key, bytes) else key.encode("utf-8", "surrogatepass")
            owner = directory[xxh3_64_digest(data)[0]]
            return self.owner_of(key) if owner is None else owner

        return owner_of

    def _cut(self, byte: int) -> bool:
        """Whether an interval starts strictly inside the places that share this top byte."""
        step = RING >> 8
        inside = bisect_right(self.bounds, byte * step)
        return inside < len(self.bounds) and self.bounds[inside] < (byte + 1) * step
