"""Random Slicing: a new table that moves as little as can be.

After Miranda, Effert, Kang, Miller, Popovici, Brinkmann, Cortes, "Random Slicing: Efficient and
Scalable Data Placement for Large-Scale Storage Systems" (ACM Transactions on Storage, 2014), in
integers: workers above their new share give intervals up, those below it take them, everything else
stays where it is. Equal re-splitting in order would move half of all keys at every step.
"""

from __future__ import annotations

from collections.abc import Mapping

from roo.core.table import RING, Table


def reslice(table: Table, weights: Mapping[int, int]) -> Table:
    """The table of the workers in `weights`, version + 1: each owns its part of the ring (±1).

    Keys move only from workers above their new share (those that leave have none) to workers
    below it. weights: worker -> positive integer; equal ones give equal shares. Raises ValueError
    where there is none, or one that is not positive.
    """
    if not weights or min(weights.values()) < 1:
        raise ValueError("a table needs at least one worker, and weights of at least 1")
    owned = dict.fromkeys(table.owners, 0)
    for start, end, owner in table.intervals():
        owned[owner] += end - start
    shares = _shares(weights, owned)
    surplus = {w: owned[w] - shares.get(w, 0) for w in owned if owned[w] > shares.get(w, 0)}
    need = {w: share - owned.get(w, 0) for w, share in shares.items() if share > owned.get(w, 0)}
    return _joined(_given(_cut(table, surplus), need), table.version + 1)


def moved(before: Table, after: Table) -> list[tuple[int, int, int, int]]:
    """(from, to, old owner, new owner) of every piece that changes its owner, in ring order."""
    bounds = sorted({*before.bounds, *after.bounds})
    pieces = zip(bounds, [*bounds[1:], RING], strict=True)
    rows = [(start, end, before.owner(start), after.owner(start)) for start, end in pieces]
    return [row for row in rows if row[2] != row[3]]


def _shares(weights: Mapping[int, int], owned: Mapping[int, int]) -> dict[int, int]:
    """Who is to own how much. What division leaves over goes first to those who have it already."""
    total = sum(weights.values())
    shares = {worker: RING * weight // total for worker, weight in weights.items()}
    rest = RING - sum(shares.values())
    first = sorted(shares, key=lambda w: (owned.get(w, 0) <= shares[w], w))
    for worker in first[:rest]:
        shares[worker] += 1
    return shares


def _cut(table: Table, surplus: dict[int, int]) -> list[tuple[int, int, int | None]]:
    """The ring with everything that is given up free (None): small intervals whole, then the tail
    of the next one, so that what is left lies in few pieces.
    """
    given: dict[int, int] = {}
    for start, end, owner in sorted(table.intervals(), key=lambda row: (row[1] - row[0], row[0])):
        take = min(end - start, surplus.get(owner, 0))
        if take:
            surplus[owner] -= take
            given[start] = take
    cut: list[tuple[int, int, int | None]] = []
    for start, end, owner in table.intervals():
        middle = end - given.get(start, 0)
        if start < middle:
            cut.append((start, middle, owner))
        if middle < end:
            cut.append((middle, end, None))
    return cut


def _given(
    cut: list[tuple[int, int, int | None]], need: dict[int, int]
) -> list[tuple[int, int, int]]:
    """The ring with every free piece given to whoever needs it: the left neighbour, the right one,
    or the smallest need that is left.
    """
    rows: list[tuple[int, int, int]] = []
    for index, (start, end, owner) in enumerate(cut):
        if owner is not None:
            rows.append((start, end, owner))
            continue
        left = rows[-1][2] if rows else None
        right = cut[index + 1][2] if index + 1 < len(cut) else None
        tail: list[tuple[int, int, int]] = []
        while start < end:
            if left is not None and need.get(left):
                taker = left
            elif right is not None and need.get(right):
                # At the right end of the piece, where it joins its neighbour.
                size = min(end - start, need[right])
                need[right] -= size
                tail.append((end - size, end, right))
                end -= size
                continue
            else:
                taker = min((w for w in need if need[w]), key=lambda w: (need[w], w))
            size = min(end - start, need[taker])
            need[taker] -= size
            rows.append((start, start + size, taker))
            start += size
        rows += tail
    return rows


def _joined(rows: list[tuple[int, int, int]], version: int) -> Table:
    """A table in which neighbours with one owner are one interval."""
    starts = [row for i, row in enumerate(rows) if i == 0 or rows[i - 1][2] != row[2]]
    return Table(tuple(r[0] for r in starts), tuple(r[2] for r in starts), version)
