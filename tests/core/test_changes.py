"""What may be asked for, who it makes join and leave, and what is refused."""

from __future__ import annotations

import pytest

from roo.core.changes import WORKERS_MAX, Asked, Changes, Refused
from roo.core.placement import Placement

PLACE = Placement.fresh(3, ["out"], range(3))


@pytest.mark.parametrize(
    ("asked", "joins", "leaves"),
    [
        (Asked(1, to=5), (3, 4), ()),
        (Asked(1, to=3), (), ()),
        (Asked(1, to=1), (), (1, 2)),
        (Asked(1, joins=2), (3, 4), ()),
        (Asked(1, joins=-2), (), (1, 2)),
        (Asked(1, leaves=(0, 0)), (), (0,)),
        (Asked(1, joins=1, leaves=(0, 1, 2)), (3,), (0, 1, 2)),
        (Asked(1, joins=-1, leaves=(2,)), (), (2,)),
        (Asked(1, to=WORKERS_MAX), tuple(range(3, WORKERS_MAX)), ()),
    ],
)
def test_who_joins_and_who_leaves(
    asked: Asked, joins: tuple[int, ...], leaves: tuple[int, ...]
) -> None:
    change = Changes(3).begin(asked, PLACE, 7)
    assert (change.joins, change.leaves, change.seen_ms) == (joins, leaves, 7)
    assert set(change.after.workers) == ({0, 1, 2} | set(joins)) - set(leaves)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (Asked(1, to=0), "at least one worker"),
        (Asked(1, joins=-3), "at least one worker"),
        (Asked(1, to=WORKERS_MAX + 1), f"{WORKERS_MAX} workers at most"),
        (Asked(1, joins=10**12), f"{WORKERS_MAX} workers at most"),
        (Asked(1, leaves=(0, 1, 2)), "the last worker can't leave"),
        (Asked(1, leaves=(1, 9)), "there is no worker 9; there are 0, 1, 2"),
        (Asked(1, weights={7: 2}), "there is no worker 7"),
        (Asked(1, weights={0: 0}), "a weight is 1 or more"),
    ],
)
def test_what_is_refused(asked: Asked, why: str) -> None:
    with pytest.raises(Refused, match=why):
        Changes(3).begin(asked, PLACE, 0)


def test_a_number_is_never_given_twice() -> None:
    changes = Changes(3)
    first = changes.begin(Asked(1, joins=2), PLACE, 0)
    assert first.joins == (3, 4)
    assert changes.preview(Asked(2, joins=1), PLACE)[0] == (5,)  # which takes no number
    assert changes.begin(Asked(2, joins=1), PLACE, 0).joins == (5,)


def test_a_reader_of_stdin_stays() -> None:
    changes = Changes(3, bound=frozenset({1}))
    with pytest.raises(Refused, match="worker 1 can't leave: it reads stdin"):
        changes.begin(Asked(1, leaves=(1,)), PLACE, 0)
    assert changes.begin(Asked(1, joins=3), PLACE, 0).after.readers[1] == 1


def test_what_is_fixed_stays_near() -> None:
    """Who has joined from another machine is remembered."""
    changes = Changes(3, fixed=frozenset({0, 1, 2}))
    first = changes.begin(Asked(1, joins=3, away=True), PLACE, 0)
    assert first.after.readers == PLACE.readers
    second = changes.begin(Asked(2, leaves=(0, 1)), first.after, 0)
    assert set(second.after.readers.values()) == {2}
    assert second.after.homes == {"out": 2}


def test_weights_are_kept_for_those_that_stay() -> None:
    changes = Changes(3)
    first = changes.begin(Asked(1, weights={0: 2}), PLACE, 0)
    assert first.after.table.share(0) == 0.5
    second = changes.begin(Asked(2, joins=1), first.after, 0)
    assert second.after.table.share(0) == 0.4
    third = changes.begin(Asked(3, leaves=(0,)), second.after, 0)
    assert third.after.weights == {}


def test_a_version_is_never_given_twice() -> None:
    """Frames of a change that was called off are known by it."""
    changes, place = Changes(2), Placement.fresh(2, ["out"], [0, 1])
    versions = [changes.begin(Asked(n, joins=1), place, 0).after.version for n in range(3)]
    assert versions == [2, 3, 4]
    assert changes.preview(Asked(9, joins=1), place)[2].version == 2  # which gives none away
    later = place.numbered(7)
    assert (later.table.bounds, later.homes) == (place.table.bounds, place.homes)
    assert changes.begin(Asked(4, joins=1), later, 0).after.version == 8
