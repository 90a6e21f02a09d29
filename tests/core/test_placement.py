"""Who reads and writes what, before and after workers come and go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from roo.core.placement import Placement


def test_fresh() -> None:
    place = Placement.fresh(3, ["out"], range(5), pinned={4: 0})
    assert place.workers == (0, 1, 2)
    assert place.homes == {"out": place.table.owner_of("out")}
    assert place.readers == {0: 0, 1: 1, 2: 2, 3: 0, 4: 0}
    assert place.splits_of(0) == (0, 3, 4)


def test_fresh_by_weight() -> None:
    place = Placement.fresh(3, [], [], weights={0: 2, 7: 5})
    assert [place.table.share(w) for w in range(3)] == [0.5, 0.25, 0.25]
    assert place.version == 1


def test_a_sink_moves_only_when_its_worker_leaves() -> None:
    place = Placement.fresh(2, ["out"], [])
    home = place.homes["out"]
    bigger = place.changed([2, 3], [])
    assert bigger.homes == {"out": home}
    assert bigger.version == 2
    smaller = bigger.changed([], [home])
    assert smaller.homes["out"] in smaller.workers
    assert home not in smaller.workers


def test_splits_move_to_whoever_has_fewest() -> None:
    place = Placement.fresh(1, [], range(4)).changed([1, 2], [])
    assert sorted(len(place.splits_of(w)) for w in place.workers) == [1, 1, 2]
    assert place.changed([], [1, 2]).readers == dict.fromkeys(range(4), 0)


def test_a_fixed_split_moves_only_when_its_reader_leaves() -> None:
    place = Placement.fresh(1, [], range(4))
    assert place.changed([1], [], fixed=range(4)).readers == dict.fromkeys(range(4), 0)
    assert set(place.changed([1], [0], fixed=range(4)).readers.values()) == {1}


def test_a_fixed_split_and_a_sink_go_to_another_machine_only_if_they_must() -> None:
    """It may listen at an address that other machines do not have."""
    place = Placement.fresh(2, ["out"], range(3))
    there = place.changed([2, 3], [0], fixed=[0], away=[2, 3])
    assert there.readers[0] == 1
    assert {there.readers[1], there.readers[2]} == {2, 3}
    assert there.homes == {"out": 1}
    alone = there.changed([], [1], fixed=[0], away=[2, 3])
    assert alone.readers[0] in (2, 3)
    assert alone.homes["out"] in (2, 3)


@given(st.data())
def test_any_history_shares_splits_out_evenly(data: st.DataObject) -> None:
    splits = range(data.draw(st.integers(0, 9)))
    place = Placement.fresh(data.draw(st.integers(1, 4)), ["a"], splits)
    for number in range(10, 14):
        joins = range(number * 10, number * 10 + data.draw(st.integers(0, 3)))
        leaves = data.draw(st.sets(st.sampled_from(place.workers)))
        if not joins and len(leaves) == len(place.workers):
            continue
        after = place.changed(joins, leaves)
        counts = [len(after.splits_of(w)) for w in after.workers]
        assert sum(counts) == len(splits)
        assert max(counts) - min(counts) <= 1
        assert set(after.workers) == (set(place.workers) - leaves) | set(joins)
        home = place.homes["a"]
        assert after.homes["a"] == home or home in leaves
        stayed = set(place.workers) - leaves
        moved = [s for s in splits if place.readers[s] != after.readers[s]]
        if not joins:  # only what the leavers read
            assert all(place.readers[s] in leaves for s in moved) or max(
                len(place.splits_of(w)) for w in stayed
            ) > max(counts)
        place = after
