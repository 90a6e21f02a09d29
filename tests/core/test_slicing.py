"""Random Slicing against a dumb reference, over every short history, and golden numbers."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roo.core.slicing import moved, reslice
from roo.core.table import RING, Table


def owned(table: Table) -> dict[int, int]:
    sizes: dict[int, int] = {}
    for start, end, owner in table.intervals():
        assert start < end
        sizes[owner] = sizes.get(owner, 0) + end - start
    assert sum(sizes.values()) == RING
    return sizes


def check(before: Table, after: Table, weights: dict[int, int]) -> None:
    """Complete, in its shares, coalesced; and nothing moved that had not to."""
    had, has = owned(before), owned(after)
    total = sum(weights.values())
    assert set(has) == set(weights)
    for worker, weight in weights.items():
        assert abs(has[worker] * total - RING * weight) <= total  # one place
    assert after.bounds[0] == 0
    assert list(after.bounds) == sorted(set(after.bounds))
    assert all(a != b for a, b in zip(after.owners, after.owners[1:], strict=False))
    assert after.version == before.version + 1
    # The least that has to move is what those above their share have too much.
    size = sum(end - start for start, end, _, _ in moved(before, after))
    assert size == sum(max(had[w] - has.get(w, 0), 0) for w in had)
    for _, _, giver, taker in moved(before, after):
        assert has.get(giver, 0) < had[giver]
        assert has[taker] > had.get(taker, 0)


@pytest.mark.parametrize("first", [1, 2, 3])
def test_every_history_of_up_to_five_joins_and_leaves(first: int) -> None:
    """Each step joins one, or one of those that are there leaves: all of them in turn."""

    def go(table: Table, workers: tuple[int, ...], number: int, depth: int) -> int:
        if depth == 0:
            return 1
        steps = [((*workers, number), number + 1)]
        if len(workers) > 1:
            steps += [(tuple(w for w in workers if w != gone), number) for gone in workers]
        count = 0
        for after, next_number in steps:
            weights = dict.fromkeys(after, 1)
            new = reslice(table, weights)
            check(table, new, weights)
            stayed, came = set(workers) & set(after), set(after) - set(workers)
            for _, _, giver, taker in moved(table, new):
                assert taker in (came or stayed)
                assert giver in (set(workers) - set(after) or stayed)
            count += go(new, after, next_number, depth - 1)
        return count

    assert go(Table.equal(first), tuple(range(first)), first, 5) > 30


@given(
    st.lists(
        st.dictionaries(st.integers(0, 9), st.integers(1, 9), min_size=1, max_size=8),
        min_size=1,
        max_size=6,
    )
)
def test_any_history_of_weights(history: list[dict[int, int]]) -> None:
    table = Table.equal(1)
    for weights in history:
        new = reslice(table, weights)
        check(table, new, weights)
        table = new


@given(st.integers(1, 9), st.data())
def test_against_a_ring_so_small_that_every_place_can_be_looked_at(
    count: int, data: st.DataObject
) -> None:
    """`moved` against asking both tables about every bound and its neighbours."""
    before = Table.equal(count)
    after = reslice(before, dict.fromkeys(data.draw(st.sets(st.integers(0, 9), min_size=1)), 1))
    pieces = moved(before, after)
    for bound in {*before.bounds, *after.bounds}:
        for place in {max(bound - 1, 0), bound, min(bound + 1, RING - 1)}:
            inside = [(old, new) for start, end, old, new in pieces if start <= place < end]
            expected = (before.owner(place), after.owner(place))
            assert inside == ([expected] if expected[0] != expected[1] else [])


def test_swap_moves_only_what_the_leaver_had() -> None:
    before = Table.equal(3)
    after = reslice(before, {0: 1, 2: 1, 3: 1})
    assert {(old, new) for _, _, old, new in moved(before, after)} == {(1, 3)}


def test_the_number_of_intervals_stays_bounded() -> None:
    """Up to ten workers and down again, twenty times, and every ordered pair of four sizes."""
    table, most = Table.equal(1), 0
    for _ in range(20):
        for count in (*range(2, 11), *range(9, 0, -1)):
            table = reslice(table, dict.fromkeys(range(count), 1))
            most = max(most, len(table.bounds))
    assert len(table.bounds) == 1
    assert most <= 60
    for a, b in product((1, 5, 2, 9), repeat=2):
        for _ in range(20):
            table = reslice(reslice(table, dict.fromkeys(range(a), 1)), dict.fromkeys(range(b), 1))
            assert len(table.bounds) <= 60


GOLDEN = [
    "v1: 0 0000000000000000, 1 8000000000000000",
    "v2: 0 0000000000000000, 2 5555555555555556, 1 8000000000000000, 2 d555555555555555",
    "v3: 0 0000000000000000, 3 4000000000000000, 2 5555555555555556, 3 6aaaaaaaaaaaaaab, "
    "1 8000000000000000, 3 c000000000000000, 2 d555555555555555",
]


def test_a_worked_example_with_golden_numbers() -> None:
    """Two workers, then a third, then a fourth: no release may place keys otherwise."""
    table, lines = Table.equal(2), []
    for count in (2, 3, 4):
        if count > 2:
            table = reslice(table, dict.fromkeys(range(count), 1))
        rows = ", ".join(f"{owner} {start:016x}" for start, _, owner in table.intervals())
        lines.append(f"v{table.version}: {rows}")
    assert lines == GOLDEN


def test_no_workers_is_an_error() -> None:
    for weights in ({}, {0: 0}):
        with pytest.raises(ValueError, match="at least"):
            reslice(Table.equal(2), weights)
