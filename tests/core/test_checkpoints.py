"""A checkpoint is made once, of the one before it and the parts of its barrier, or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roo.core.checkpoints import (
    START,
    FileInfo,
    Manifest,
    NotWhole,
    Opened,
    Part,
    Pipeline,
    StatePart,
    finished,
    first_manifest,
    garbage,
    keys_differ,
    next_manifest,
    own_chain,
    to_keep,
    with_ends,
)
from roo.core.placement import Placement
from roo.core.position import Position

SPLITS = {0: ("lines", "a.txt", {"path": "a.txt"}, 10), 1: ("lines", "b.txt", {}, None)}
PIPELINE = Pipeline("p", "f" * 32, {"a": "b"}, {"s": 1}, SPLITS, frozenset({"single"}))
PLACE = Placement.fresh(2, ["single"], [0, 1])
NOW = "2026-11-27T10:00:00+00:00"


NEW = Position(None, False, "new file")


def file(name: str, keys: int = 1) -> FileInfo:
    return FileInfo(name, 10, "0" * 16, keys)


def part(worker: int, barrier: int, *, full: bool = True, name: str = "", **more: Any) -> Part:
    facts: dict[str, Any] = {
        "splits": {worker: Position(barrier * 100 + worker, False)},
        "sinks": {"each": barrier * 10 + worker, **({"single": barrier} if worker == 0 else {})},
        "states": {"s": StatePart(file(name or f"c{barrier}-w{worker}"), full, barrier, worker)},
    }
    return Part(barrier, **(facts | more))


def opened(*workers: int) -> dict[int, Opened]:
    sinks = {w: {"each": 0, **({"single": 0} if w == 0 else {})} for w in workers}
    return {w: Opened({w: Position(None, False, f"file {w}")}, sinks[w]) for w in workers}


def first() -> Manifest:
    return first_manifest(PIPELINE, PLACE, 0, opened(0, 1), NOW)


def following(before: Manifest, barrier: int, *, full: bool = True, **more: Any) -> Manifest:
    parts = {w: part(w, barrier, full=full) for w in (0, 1)}
    return next_manifest(PIPELINE, before, parts | more.get("parts", {}), PLACE,
                         more.get("after", PLACE), NOW)  # fmt: skip


def test_the_first_one_knows_where_outputs_begin_and_nothing_else() -> None:
    manifest = first()
    assert manifest.is_at_start
    assert manifest.sinks == {"each": {"0": 0, "1": 0}, "single": {"single": 0}}
    assert [split.offset for split in manifest.splits] == [None, None]


def test_all_of_a_checkpoint_is_of_one_cut() -> None:
    one = following(first(), 1)
    assert one.sinks == {"each": {"0": 10, "1": 11}, "single": {"single": 1}}
    assert [split.offset for split in one.splits] == [100, 101]
    assert [chain.files for chain in one.chains] == [(file("c1-w0"),), (file("c1-w1"),)]
    assert one.keys == {"s": 2}
    assert not one.is_at_start


def test_deltas_follow_on_the_chain_of_the_checkpoint_before() -> None:
    two = following(following(first(), 1), 2, full=False)
    assert [chain.files for chain in two.chains] == [
        (file("c1-w0"), file("c2-w0")),
        (file("c1-w1"), file("c2-w1")),
    ]
    three = following(two, 3)
    assert [len(chain.files) for chain in three.chains] == [1, 1]


def test_a_delta_of_other_intervals_follows_on_nothing() -> None:
    """A chain never spans a change of workers."""
    one = following(first(), 1)
    after = PLACE.changed([2], [])
    parts = {w: part(w, 2, full=False) for w in (0, 1, 2)}
    parts[2] = part(2, 2, full=True, splits={})
    with pytest.raises(NotWhole, match="a delta of state s of worker 0, no chain"):
        next_manifest(PIPELINE, one, parts, after, after, NOW)


def test_a_change_is_kept_with_the_states_of_the_old_owners_and_the_new_table() -> None:
    after = PLACE.changed([2], [0])
    changed = following(following(first(), 1), 2, after=after)
    assert changed.table == after.table
    assert changed.workers == 2
    assert {chain.worker for chain in changed.chains} == {0, 1}
    assert [chain.intervals for chain in changed.chains] == [
        tuple((a, b) for a, b, _ in PLACE.table.intervals(worker)) for worker in (0, 1)
    ]


def test_what_a_writer_that_has_left_noted_stays() -> None:
    gone = following(following(first(), 1), 2, after=PLACE.changed([], [1]))
    place = PLACE.changed([], [1])
    alone = part(0, 3, splits={0: Position(1, False), 1: Position(2, True)})
    later = next_manifest(PIPELINE, gone, {0: alone}, place, place, NOW)
    assert later.sinks["each"] == {"0": 30, "1": 21}
    assert gone.left == later.left == (1,)
    assert [split.ended for split in later.splits] == [False, True]


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({0: part(0, 1)}, "parts of"),
        ({0: part(0, 1), 1: part(1, 2)}, "several barriers"),
        ({0: part(0, 0), 1: part(1, 0)}, "barrier 0 after checkpoint 0"),
        ({0: part(0, 1), 1: part(1, 1, splits={})}, r"nobody says where splits \[1\] stand"),
        ({0: part(0, 1), 1: part(1, 1, splits={0: Position(1, False)})}, "split 0 is read by"),
        ({0: part(0, 1), 1: part(1, 1, sinks={"single": 3})}, "single has a second writer"),
        ({0: part(0, 1), 1: part(1, 1, states={})}, "worker 1 reports the states"),
        ({0: part(0, 1), 1: part(1, 1, states={"s": StatePart(None, True, 4, 0)})},
         "has 4 keys and no file"),
    ],
)  # fmt: skip
def test_parts_that_make_no_checkpoint(parts: dict[int, Part], why: str) -> None:
    with pytest.raises(NotWhole, match=why):
        next_manifest(PIPELINE, first(), parts, PLACE, PLACE, NOW)


def test_outputs_that_a_checkpoint_does_not_know_are_a_manifest_of_their_own() -> None:
    one = following(first(), 1)
    assert with_ends(PIPELINE, one, 2, opened(0, 1), NOW) is None
    more = with_ends(
        PIPELINE, one, 2, {2: Opened({}, {"each": 7}), 0: Opened({}, {"each": 5, "single": 5})}, NOW
    )
    assert more is not None
    assert more.checkpoint == 2
    assert more.sinks == {"each": {"0": 10, "1": 11, "2": 7}, "single": {"single": 1}}
    assert (more.chains, more.splits) == (one.chains, one.splits)


def test_a_worker_with_the_number_of_one_that_had_left_has_not_left() -> None:
    """What it writes before its first checkpoint has to be taken back when it is killed."""
    parts = {worker: part(worker, 1) for worker in (0, 1)}
    left = next_manifest(
        PIPELINE, first(), parts, PLACE, Placement.fresh(1, ["single"], [0, 1]), NOW
    )
    assert left.left == (1,)
    again = with_ends(PIPELINE, left, 2, opened(0, 1), NOW)
    assert again is not None
    assert again.left == ()
    assert (again.chains, again.splits, again.sinks) == (left.chains, left.splits, left.sinks)
    assert with_ends(PIPELINE, left, 2, opened(0), NOW) is None


def test_where_splits_begin_is_known_before_the_first_message() -> None:
    assert [split.memory for split in first().splits] == ["file 0", "file 1"]
    assert first().is_at_start


def test_splits_that_have_come_since_are_noted_and_others_stay_where_they_stood() -> None:
    one = following(first(), 1)
    new = replace(PIPELINE, splits={**PIPELINE.splits, 2: ("a", "new.txt", {}, None)})
    more = with_ends(new, one, 2, {**opened(0, 1, 2), 2: Opened({2: NEW}, {})}, NOW)
    assert more is not None
    assert more.splits[:2] == one.splits
    assert more.splits[2].position == NEW
    assert with_ends(new, more, 3, {2: Opened({2: START}, {})}, NOW) is None


def test_the_end_is_a_manifest_of_its_own() -> None:
    one = following(first(), 1)
    end = finished(one, 2, NOW)
    assert (end.checkpoint, end.finished) == (2, True)
    assert (end.chains, end.splits, end.sinks) == (one.chains, one.splits, one.sinks)


def test_a_chain_is_found_by_its_very_intervals() -> None:
    one = following(first(), 1)
    mine = [(a, b) for a, b, _ in PLACE.table.intervals(0)]
    assert own_chain(one, "s", 0, mine) == one.chains[0]
    assert own_chain(one, "s", 1, mine) is None
    assert own_chain(one, "s", 0, [(0, 5)]) is None
    assert own_chain(one, "t", 0, mine) is None


@given(st.sets(st.integers(0, 50)), st.integers(-1, 9))
def test_the_newest_stay_and_one_at_least(numbers: set[int], keep: int) -> None:
    kept = to_keep(numbers, keep)
    assert kept <= numbers
    assert len(kept) == min(len(numbers), max(keep, 1))
    assert all(k > n for k in kept for n in numbers - kept)


def test_a_file_is_garbage_when_no_manifest_names_it_and_its_barrier_is_over() -> None:
    names = {"c1-w0": 1, "c1-w1": 1, "c1-lost": 1, "c5-w0": 5, "c6-w0": 6}
    manifests = [following(first(), 1)]
    assert garbage(names, manifests, open_barrier=5) == ["c1-lost"]
    assert garbage(names, manifests, open_barrier=None) == ["c1-lost", "c5-w0", "c6-w0"]


def test_keys_are_compared_by_number_and_hash() -> None:
    assert keys_differ("s", 1, (3, 7), (3, 7 + (1 << 64))) == ""
    assert "has 2 keys, and should have 3" in keys_differ("s", 1, (3, 7), (2, 7))
    assert "not the same ones" in keys_differ("s", 1, (3, 7), (3, 8))
