"""A move between workers that are nothing but their states: chunks, questions, who waits."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from roo.core.batch import Header, Kind, Origin
from roo.core.placement import Placement
from roo.runtime.failures import RunFailure
from roo.runtime.moving import PACING
from roo.runtime.payload import unpack_items
from tests.runtime.changing import STATE, Cluster, joined

ASKS_AT_ONCE = replace(PACING, ask_after_ms=0.0)
"""Nobody waits for keys to come unasked."""


@pytest.mark.parametrize("seed", range(150))
def test_all_states_come_where_they_belong_and_all_messages_run(seed: int) -> None:
    """Any interleaving, with messages for keys that move, that stay and that are new."""
    chance = Random(seed)
    pacing = replace(
        PACING,
        ask_after_ms=chance.choice([0.0, PACING.ask_after_ms]),
        chunk_keys=chance.choice([4, PACING.chunk_keys]),
        chunks_on_their_way=chance.choice([1, PACING.chunks_on_their_way]),
        taken_at_once=1,
        look_at_keys=chance.choice([3, PACING.look_at_keys]),
        slice_ms=chance.choice([0.0, PACING.slice_ms]),
    )
    before = Placement.fresh(chance.randint(1, 4), ["out"], ())
    joins = range(10, 10 + chance.randint(0, 2))
    leaves = chance.sample(before.workers, chance.randint(0, len(before.workers) - 1))
    after = before.changed(joins, leaves)
    keys = {f"k{i}": i for i in range(chance.choice([0, 30, 2000]))}
    had = set(keys)
    cluster = Cluster(before, after, keys, pacing, watched=chance.random() < 0.5)
    asked = [f"k{chance.randrange(chance.choice([5, 2100]))}" for _ in range(100)]
    # The messages of one key come from one worker, or by a way that nobody knows of.
    senders = {key: chance.choice([None, *after.workers]) for key in asked}
    uncut = list(before.workers)
    chance.shuffle(uncut)
    for number, key in enumerate(asked):
        while chance.random() < 0.5:
            if uncut and chance.random() < 0.2:
                cluster.begin(chance.choice(uncut))
                cluster.cut(uncut.pop())
            cluster.go_on(chance)
        if after.table.owner_of(key) not in uncut:  # else it would be held until then
            if senders[key] not in uncut:
                cluster.message(key, number, senders[key])
            else:
                cluster.ran.append(key)
        elif before.table.owner_of(key) in uncut:
            cluster.run_where_it_is(key)
        else:
            cluster.ran.append(key)
    while uncut:
        cluster.cut(uncut.pop())
    cluster.settle(chance)
    assert Counter(cluster.ran) == Counter(asked)
    assert all(numbers == sorted(numbers) for numbers in cluster.numbers.values())
    held = [(w, k, v) for w, s in cluster.states.items() for k, v in s.states.items()]
    assert sorted(held) == sorted((after.table.owner_of(k), k, v) for k, v in keys.items())
    for worker, states in cluster.states.items():  # a snapshot has those that went, and came
        changed = [
            k
            for k in had
            if before.table.owner_of(k) != after.table.owner_of(k)
            and worker in (before.table.owner_of(k), after.table.owner_of(k))
        ]
        assert set(states.seen) >= set(changed if cluster.watched else ())
    home = after.homes["out"]
    expected = {("sink", "out"): f"noted by {before.homes['out']}"}
    assert cluster.moves[home].notes == (expected if home != before.homes["out"] else {})
    came = sum(move.keys_in for move in cluster.moves.values())
    assert came == sum(move.keys_out for move in cluster.moves.values())


def chunks(cluster: Cluster) -> list[tuple[int, int]]:
    """(keys, bytes) of every chunk sent."""
    return [(keys, size) for _, _, kind, keys, size in cluster.sent if kind is Kind.STATES]


def test_only_so_many_chunks_are_on_their_way() -> None:
    cluster = Cluster(*joined(1), {f"k{i}": i for i in range(50_000)})
    cluster.cut(0)
    while cluster.moves[0].is_busy:
        cluster.moves[0].step()
    assert len(chunks(cluster)) == PACING.chunks_on_their_way
    cluster.settle(Random(1))
    assert max(keys for keys, _ in chunks(cluster)) == PACING.chunk_keys


def test_a_giver_sleeps_while_one_of_its_receivers_takes_nothing_in() -> None:
    before = Placement.fresh(3, [], ())
    cluster = Cluster(before, before.changed((), [2]), {f"k{i}": i for i in range(60_000)})
    for worker in (0, 1, 2):
        cluster.cut(worker)
    steps = 0
    while cluster.moves[2].is_busy:
        cluster.moves[2].step()
        while cluster.links.get((2, 0)):
            cluster.deliver((2, 0))
        while cluster.moves[0].is_busy:
            cluster.moves[0].step()
        while cluster.links.get((0, 2)):
            cluster.deliver((0, 2))
        steps += 1
        assert steps < 1000, "it runs for nothing"
    assert not cluster.moves[2].is_complete


def test_a_chunk_is_bounded_in_bytes_whatever_the_size_of_a_state() -> None:
    large = 100_000
    cluster = Cluster(*joined(1), {f"k{i}": b"x" * large for i in range(300)})
    cluster.cut(0)
    cluster.settle(Random(1))
    assert max(size for _, size in chunks(cluster)) < PACING.chunk_bytes + large
    assert len(cluster.states[1].states) > 100


def test_chunks_grow_again_after_large_states() -> None:
    states: dict[str, Any] = {f"k{i}": b"x" * (1_000_000 if i < 20 else 10) for i in range(20_000)}
    cluster = Cluster(*joined(1), states)
    cluster.cut(0)
    cluster.settle(Random(1))
    assert max(keys for keys, _ in chunks(cluster)) == PACING.chunk_keys


def test_a_key_that_is_waited_for_comes_before_the_others() -> None:
    before, after = joined(1)
    cluster = Cluster(before, after, {f"k{i}": i for i in range(50_000)}, ASKS_AT_ONCE)
    mine = [key for key in cluster.states[0].states if after.table.owner_of(key) == 1]
    cluster.cut(0)
    cluster.moves[0].step()
    cluster.message(mine[-1])
    cluster.work(1)
    assert cluster.ran == []
    for ends in ((1, 0), (0, 1)):  # the question, and everything up to its answer
        while cluster.links.get(ends):
            cluster.deliver(ends)
    cluster.work(1)
    assert cluster.ran == [mine[-1]]
    assert cluster.moves[1].keys_in < 10
    assert cluster.moves[1].longest_wait_ms > 0
    cluster.settle(Random(1))
    assert cluster.moves[1].keys_in == len(mine)
    sizes = [size for _, to, kind, _, size in cluster.sent if (to, kind) == (1, Kind.STATES)]
    assert cluster.moves[1].bytes_in == sum(sizes)


def questions(cluster: Cluster) -> list[tuple[int, int]]:
    """(from, to) of every question."""
    return [(by, to) for by, to, kind, _, _ in cluster.sent if kind is Kind.STATES_WANTED]


def joined_by_a_third(owner: int) -> tuple[Cluster, list[str]]:
    """Workers 0 and 1 are cut, and 2 joins them; some keys that it gets from an owner."""
    before, after = joined(2)
    cluster = Cluster(before, after, {f"k{i}": i for i in range(10_000)})
    for worker in (0, 1):
        cluster.cut(worker)
    moves = [key for key in cluster.keys if after.table.owner_of(key) == 2]
    return cluster, [key for key in moves if before.table.owner_of(key) == owner][-20:]


def test_the_old_owner_of_a_key_sends_it_ahead_of_what_it_routes() -> None:
    cluster, mine = joined_by_a_third(0)
    for key in mine:
        cluster.message(key, sender=0)
    while cluster.links[0, 2]:
        cluster.deliver((0, 2))
    cluster.work(2)
    assert cluster.ran == mine
    assert questions(cluster) == []


def test_who_routes_for_a_key_asks_its_old_owner_to_send_it() -> None:
    cluster, others = joined_by_a_third(1)
    for key in others * 2:
        cluster.message(key, sender=0)
    assert questions(cluster) == [(0, 1)] * 20  # once each
    for ends in ((0, 2), (0, 1), (1, 2)):
        while cluster.links[ends]:
            cluster.deliver(ends)
    cluster.work(2)
    assert cluster.ran == others * 2
    assert questions(cluster) == [(0, 1)] * 20


def test_what_goes_ahead_is_bounded_too() -> None:
    before, after = joined(1)
    cluster = Cluster(before, after, {f"k{i}": b"x" * PACING.chunk_bytes for i in range(400)})
    mine = [key for key in cluster.states[0].states if after.table.owner_of(key) == 1]
    cluster.cut(0)
    for key in mine:
        cluster.message(key, sender=0)
    assert len(chunks(cluster)) == PACING.chunks_ahead + PACING.chunks_on_their_way
    cluster.settle(Random(1))
    assert Counter(cluster.ran) == Counter(mine)


def test_what_is_asked_for_is_bounded_too() -> None:
    """A thousand large states that messages wait for are not packed all at once."""
    before, after = joined(1)
    cluster = Cluster(
        before, after, {f"k{i}": b"x" * PACING.chunk_bytes for i in range(400)}, ASKS_AT_ONCE
    )
    mine = [key for key in cluster.states[0].states if after.table.owner_of(key) == 1]
    assert len(mine) > PACING.chunks_ahead + PACING.chunks_on_their_way
    cluster.cut(0)
    for key in mine:
        cluster.message(key)
        cluster.work(1)
    while cluster.links.get((1, 0)):
        cluster.deliver((1, 0))
    while cluster.moves[0].is_busy:
        cluster.moves[0].step()
    most = PACING.chunks_ahead + PACING.chunks_on_their_way
    assert len(chunks(cluster)) == most
    cluster.settle(Random(1))
    assert Counter(cluster.ran) == Counter(mine)


def test_a_move_is_complete_when_all_has_gone_and_come_and_the_splits_are_there() -> None:
    cluster = Cluster(*joined(1), {f"k{i}": i for i in range(1000)})
    cluster.begin(0)
    giver, taker = cluster.moves[0], cluster.moves[1]
    giver.splits_came = taker.splits_came = True
    cluster.cut(0)
    assert not giver.is_complete  # it has to give
    while giver.is_busy:
        giver.step()
    assert not taker.is_complete  # it has to take in
    while cluster.go_on(Random(1)):
        pass
    assert giver.is_complete
    assert taker.is_complete
    taker.splits_came = False
    assert not taker.is_complete


def test_who_leaves_waits_for_no_splits() -> None:
    before = Placement.fresh(2, [], ())
    cluster = Cluster(before, before.changed((), [0]), {f"k{i}": i for i in range(100)})
    for worker in (0, 1):
        cluster.cut(worker)
    while cluster.go_on(Random(1)):
        pass
    assert cluster.moves[0].is_complete
    assert not cluster.moves[1].is_complete


def test_a_new_key_waits_only_until_its_old_owner_has_been_asked() -> None:
    before, after = joined(1)
    cluster = Cluster(before, after, {f"k{i}": i for i in range(50_000)}, ASKS_AT_ONCE)
    new = next(f"n{i}" for i in range(100) if after.table.owner_of(f"n{i}") == 1)
    cluster.cut(0)
    cluster.message(new)
    cluster.work(1)
    assert cluster.ran == []
    for ends in ((1, 0), (0, 1)):
        while cluster.links.get(ends):
            cluster.deliver(ends)
    cluster.work(1)
    assert cluster.moves[1].is_awaited(STATE)
    assert cluster.ran == [new]


def test_keys_that_do_not_move_run_at_once() -> None:
    before, after = joined(2)
    cluster = Cluster(before, after, {f"k{i}": i for i in range(1000)})
    for worker in (0, 1):
        cluster.cut(worker)
    stay = [f"k{i}" for i in range(1000) if after.table.owner_of(f"k{i}") != 2]
    for key in stay:
        cluster.message(key)
    for worker in (0, 1):
        cluster.work(worker)
    assert sorted(cluster.ran) == sorted(stay)
    cluster.settle(Random(1))


def test_a_frame_of_the_move_before_counts_for_nothing() -> None:
    cluster = Cluster(*joined(1), {f"k{i}": i for i in range(50_000)})
    cluster.cut(0)
    while cluster.moves[0].is_busy:
        cluster.moves[0].step()
    taken = Header(Kind.STATES_TAKEN, 1, 0, 0, 1, 0, -1, 0, 1, 0, Origin(-1, -1, 0, 0))
    cluster.moves[0].receive(taken, [])
    assert not cluster.moves[0].is_busy
    cluster.moves[0].receive(taken._replace(table_version=2), [])
    assert cluster.moves[0].is_busy


def test_a_state_that_can_not_travel_is_named() -> None:
    states: dict[str, Any] = {f"k{i}": lambda: None for i in range(100)}
    cluster = Cluster(*joined(1), states)
    with pytest.raises(RunFailure) as failed:
        cluster.cut(0)  # before it says that its barrier has passed
    error = failed.value.error
    assert error["step"] == "s"
    assert error["key"].startswith("'k")
    assert "builtins.function can't move" in error["what"]


def test_wanted_frames_hold_keys_once() -> None:
    """Messages that wait for one key ask for it once."""
    before, after = joined(1)
    cluster = Cluster(before, after, {f"k{i}": i for i in range(1000)}, ASKS_AT_ONCE)
    [key, *_] = (k for k in cluster.states[0].states if after.table.owner_of(k) == 1)
    for _ in range(5):
        cluster.message(key)
        cluster.work(1)
    questions = [f for h, f in cluster.links[1, 0] if h.kind is Kind.STATES_WANTED]
    assert [unpack_items(frames[0]) for frames in questions] == [[key]]


def lost(cluster: Cluster, ends: tuple[int, int]) -> None:
    """A chunk that somebody sent never comes."""
    link = cluster.links[ends]
    chunk = next(frame for frame in link if frame[0].kind is Kind.STATES)
    link.remove(chunk)


def test_a_chunk_that_is_lost_ends_the_run_and_names_state_and_workers() -> None:
    cluster = Cluster(*joined(1), {f"k{i}": i for i in range(300)})
    cluster.cut(0)
    while cluster.moves[0].is_busy:
        cluster.moves[0].step()
    lost(cluster, (0, 1))
    with pytest.raises(RunFailure) as failed:
        cluster.settle(Random(1))
    what = failed.value.error["what"]
    assert what.startswith("the move of state s does not add up: worker 0 gave worker 1")


def test_a_chunk_that_comes_twice_ends_the_run() -> None:
    cluster = Cluster(*joined(1), {f"k{i}": i for i in range(300)})
    cluster.cut(0)
    cluster.moves[0].step()
    link = cluster.links[0, 1]
    link.append(link[0])
    with pytest.raises(RunFailure) as failed:
        cluster.settle(Random(1))
    assert "which was there" in failed.value.error["what"]


@pytest.mark.parametrize("watched", [False, True])
def test_a_key_that_vanishes_from_its_owner_after_the_cut_ends_the_run(watched: bool) -> None:
    before, after = joined(1)
    cluster = Cluster(before, after, {f"k{i}": i for i in range(3000)}, watched=watched)
    cluster.cut(0)
    stays = [key for key in cluster.keys if after.table.owner_of(key) == 0]
    cluster.states[0].states.pop(stays[-1])
    if watched:  # another one in its place: the number is the same
        new = next(f"n{i}" for i in range(99) if after.table.owner_of(f"n{i}") == 0)
        cluster.states[0].run(new)
    with pytest.raises(RunFailure) as failed:
        cluster.settle(Random(1))
    assert "worker 0" in failed.value.error["what"]
