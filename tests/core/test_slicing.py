"""Random Slicing against a dumb reference, over every short history, and golden numbers."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_hexdigest

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
    "v4: 0 0000000000000000, 3 4000000000000000, 2 5555555555555556, 3 6aaaaaaaaaaaaaab, "
    "2 9555555555555555, 0 aaaaaaaaaaaaaaaa, 3 c000000000000000, 2 d555555555555555",
    "v5: 2 0000000000000000, 4 0000000000000001, 3 4000000000000000, 2 5555555555555556, "
    "3 6aaaaaaaaaaaaaab, 2 9555555555555555, 4 aaaaaaaaaaaaaaaa, 3 c000000000000000, "
    "2 d555555555555555",
    "v6: 3 0000000000000000",
]


def test_a_worked_example_with_golden_numbers() -> None:
    """Two workers, a third, a fourth; one leaves, one comes for another, and one stays alone: no
    release may place keys otherwise.
    """
    table, lines = Table.equal(2), []
    for workers in ((0, 1), (0, 1, 2), (0, 1, 2, 3), (0, 2, 3), (2, 3, 4), (3,)):
        if len(lines):
            table = reslice(table, dict.fromkeys(workers, 1))
        rows = ", ".join(f"{owner} {start:016x}" for start, _, owner in table.intervals())
        lines.append(f"v{table.version}: {rows}")
    assert lines == GOLDEN


def test_a_long_history_is_laid_the_same_for_ever_in_few_intervals() -> None:
    """Twelve workers that come and go at random, by a generator that no release changes."""
    table, number, most = Table.equal(3), 1, 0
    for _ in range(2_000):
        number = (number * 6364136223846793005 + 1442695040888963407) % RING
        weights = {w: 1 for w in range(12) if number >> (52 + w) & 1} or {0: 1}
        before, table = table, reslice(table, weights)
        check(before, table, weights)
        most = max(most, len(table.bounds))
    assert most == 23
    assert xxh3_64_hexdigest(repr(table).encode()) == "0157c3ebe6fcce9b"


def test_a_small_ring_place_by_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring of 60 places against lists that say for each place whose it is."""
    for module in ("roo.core.table", "roo.core.slicing"):
        monkeypatch.setattr(f"{module}.RING", 60)
    for before, after in product(product((0, 1), repeat=5), repeat=2):
        first = {w: 1 for w in range(5) if before[w]}
        second = {w: 1 for w in range(5) if after[w]}
        if not first or not second:
            continue
        old = reslice(Table((0,), (0,)), first)
        new = reslice(old, second)
        was = [old.owner(place) for place in range(60)]
        now = [new.owner(place) for place in range(60)]
        size = 60 // len(second)
        assert all(now.count(w) in (size, size + 1) for w in second)
        moves = [(a, b) for a, b in zip(was, now, strict=True) if a != b]
        too_much = sum(max(0, was.count(w) - now.count(w)) for w in first)
        assert len(moves) == too_much
        pieces = [(place, old, new) for start, end, old, new in moved(old, new)
                  for place in range(start, end)]  # fmt: skip
        assert pieces == [
            (p, a, b) for p, (a, b) in enumerate(zip(was, now, strict=True)) if a != b
        ]


def test_no_workers_is_an_error() -> None:
    for weights in ({}, {0: 0}):
        with pytest.raises(ValueError, match="at least"):
            reslice(Table.equal(2), weights)
