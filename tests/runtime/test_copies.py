"""What is copied before a move: passes, what is behind, what counts; changes called off."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given as with_any
from hypothesis import strategies as st

from roo.core.batch import Kind
from roo.core.placement import Placement
from roo.runtime import copies, moving, parcels
from roo.runtime.failures import RunFailure
from tests.runtime.changing import Cluster, joined


def cluster_of(keys: int, workers: int = 1) -> Cluster:
    return Cluster(*joined(workers), {f"k{i}": i for i in range(keys)})


def moving_keys(cluster: Cluster, worker: int = 0) -> list[str]:
    owner_of = cluster.after.table.owner_of
    return [key for key in cluster.states[worker].states["s"] if owner_of(key) != worker]


def given(cluster: Cluster, kind: Kind) -> int:
    """How many keys went in frames of a kind."""
    return sum(keys for _, _, sent, keys, _ in cluster.sent if sent is kind)


def test_what_will_move_has_gone_before_the_barrier_and_nothing_else() -> None:
    cluster = cluster_of(10_000)
    keys = moving_keys(cluster)
    cluster.copy(0)
    assert given(cluster, Kind.COPIES) == cluster.copies[1].keys_here == len(keys)
    assert set(cluster.states[0].states["s"]) == cluster.own[0]  # still here, and in use
    cluster.cut(0)
    cluster.settle(Random(1))
    assert given(cluster, Kind.STATES) == given(cluster, Kind.COPIES_BEHIND) == 0
    assert cluster.states[1].states["s"] == {key: cluster.keys[key] for key in keys}


def test_only_what_ran_since_it_was_copied_goes_again() -> None:
    cluster = cluster_of(10_000)
    keys = moving_keys(cluster)
    cluster.copy(0)
    stays = next(key for key in cluster.own[0] if key not in keys)
    for key in [*keys[:20], *keys[:20], "new", "new too", stays]:
        cluster.run_where_it_is(key)
    new = [k for k in ("new", "new too") if cluster.after.table.owner_of(k) == 1]
    assert cluster.copies[0].are_few
    cluster.cut(0)
    cluster.settle(Random(1))
    assert given(cluster, Kind.COPIES_BEHIND) == given(cluster, Kind.STATES) == 20 + len(new)
    assert cluster.states[1].states["s"] == {key: cluster.keys[key] for key in [*keys, *new]}


def test_what_is_behind_is_copied_again_while_that_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(copies, "FEW_KEYS", 10)
    monkeypatch.setattr(copies, "SLICE_S", 0.0)
    cluster = cluster_of(10_000)
    keys = moving_keys(cluster)
    copied = cluster.copies[0]
    while given(cluster, Kind.COPIES) < len(keys) - 200:
        copied.step()
        while cluster.links.get((0, 1)):
            cluster.deliver((0, 1))
        cluster.moves[1].step()
        while cluster.links.get((1, 0)):
            cluster.deliver((1, 0))
    for key in keys[:100]:
        cluster.run_where_it_is(key)
    assert not copied.tells()
    cluster.copy(0)
    assert given(cluster, Kind.COPIES) == len(keys) + 100
    cluster.cut(0)
    assert given(cluster, Kind.COPIES_BEHIND) == 0
    cluster.settle(Random(1))
    assert cluster.states[1].states["s"] == {key: cluster.keys[key] for key in keys}


def test_messages_that_come_faster_than_copies_are_made_hold_no_barrier_up() -> None:
    cluster = cluster_of(10_000)
    keys, copied = moving_keys(cluster), cluster.copies[0]
    steps = 0
    while not copied.tells():
        for key in keys:
            cluster.run_where_it_is(key)
        copied.step()
        while cluster.links.get((0, 1)):
            cluster.deliver((0, 1))
        while cluster.moves[1].is_busy:
            cluster.moves[1].step()
        while cluster.links.get((1, 0)):
            cluster.deliver((1, 0))
        steps += 1
        assert steps < 1000
    assert not copied.are_few
    assert given(cluster, Kind.COPIES) >= len(keys)  # each has been copied once
    cluster.cut(0)
    cluster.settle(Random(1))
    assert cluster.states[1].states["s"] == {key: cluster.keys[key] for key in keys}


def test_no_copy_is_used_before_its_giver_has_said_that_it_counts() -> None:
    """Of two givers one is late with its cut: what it gave waits, what the other gave does not."""
    cluster = cluster_of(3_000, workers=2)
    cluster.copy(0)
    cluster.copy(1)
    from_0, from_1 = moving_keys(cluster, 0)[0], moving_keys(cluster, 1)[0]
    cluster.run_where_it_is(from_1)  # its copy is behind now
    cluster.cut(0)
    while cluster.links.get((0, 2)):
        cluster.deliver((0, 2))
    for key in (from_0, from_1):
        cluster.message(key)
    cluster.work(2)
    assert cluster.ran == [from_1, from_0]
    cluster.cut(1)
    cluster.settle(Random(1))  # checks that the state is as its old owner had it
    assert cluster.ran == [from_1, from_0, from_1]


def test_a_worker_with_states_of_its_own_takes_copies_over_as_messages_come() -> None:
    before = Placement.fresh(2, [], ())
    cluster = Cluster(before, before.changed((), [1]), {f"k{i}": i for i in range(2_000)})
    cluster.copy(1)
    keys = moving_keys(cluster, 1)
    assert cluster.copies[0].keys_here == len(keys)
    assert set(cluster.states[0].states["s"]) == cluster.own[0]  # no copy among its own
    for worker in (0, 1):
        cluster.cut(worker)
    while cluster.links.get((1, 0)):
        cluster.deliver((1, 0))
    cluster.message(keys[0])
    cluster.work(0)
    assert cluster.ran == [keys[0]]
    assert cluster.moves[0].is_awaited(("state", "s"))  # the others are still to be taken over
    assert cluster.moves[0].keys_came == len(keys)
    assert keys[0] in cluster.states[0].seen
    cluster.settle(Random(1))
    assert cluster.moves[0].keys_came == len(keys)
    assert cluster.states[0].states["s"] == cluster.keys


def test_only_so_many_copies_are_on_their_way() -> None:
    cluster = cluster_of(50_000)
    while cluster.copies[0].is_busy:
        cluster.copies[0].step()
    assert len(cluster.links[0, 1]) == parcels.SLICES_ON_THEIR_WAY


def test_a_slice_of_copies_is_bounded_in_bytes() -> None:
    large = 100_000
    cluster = Cluster(*joined(1), {f"k{i}": b"x" * large for i in range(300)})
    cluster.copy(0)
    sizes = [size for _, _, kind, _, size in cluster.sent if kind is Kind.COPIES]
    assert max(sizes) < parcels.SLICE_BYTES + large


def test_who_gives_nothing_tells_nothing() -> None:
    cluster = cluster_of(100)
    assert not cluster.copies[1].tells()
    assert not cluster.copies[1].is_busy


def test_what_is_called_off_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "LET_GO_KEYS", 100)
    before = Placement.fresh(2, [], ())
    cluster = Cluster(before, before.changed((), [1]), {f"k{i}": i for i in range(2_000)})
    cluster.copy(1)
    giver, taker = cluster.copies[1], cluster.copies[0]
    frame = next(iter(cluster.links[1, 0]), None)
    assert frame is None
    had = taker.keys_here
    for each in (giver, taker):
        each.call_off()
    assert cluster.states[1].touch is None
    assert not giver.is_busy
    assert taker.let_go()
    assert taker.keys_here == had - 100  # little by little
    while taker.let_go():
        pass
    assert taker.keys_here == 0
    assert set(cluster.states[0].states["s"]) == cluster.own[0]


def test_a_key_that_has_no_state_is_not_copied() -> None:
    """One that the state's keys refuse is touched all the same."""
    cluster = cluster_of(1_000)
    refused = next(f"r{i}" for i in range(100) if cluster.after.table.owner_of(f"r{i}") == 1)
    cluster.states[0].touch("s", [refused])
    cluster.copy(0)
    cluster.states[0].touch("s", [refused])
    cluster.cut(0)
    cluster.settle(Random(1))
    assert refused not in cluster.states[1].states["s"]


def test_a_state_that_can_not_be_copied_is_named() -> None:
    states: dict[str, Any] = {f"k{i}": lambda: None for i in range(100)}
    cluster = Cluster(*joined(1), states)
    while cluster.copies[0].is_busy:
        cluster.copies[0].step()
    assert "builtins.function can't move" in cluster.failures[0]["what"]
    assert len(cluster.failures) == 1
    assert not cluster.copies[0].tells()


def test_a_state_that_can_not_be_copied_fails_a_barrier_that_is_on_its_way() -> None:
    """Its owner had said that all is copied, and then such states came up."""
    cluster = cluster_of(5_000)
    cluster.copy(0)
    keys = moving_keys(cluster)
    for key in keys:
        cluster.states[0].touch("s", [key])
        cluster.states[0].states["s"][key] = lambda: None
    while cluster.copies[0].is_busy:
        cluster.copies[0].step()
    assert len(cluster.failures) == 1
    with pytest.raises(RunFailure) as failed:
        cluster.cut(0)
        cluster.settle(Random(1))
    assert failed.value.error["key"] in map(repr, keys)


class Unmade:
    """Pickle can take it apart."""

    def __init__(self) -> None:
        self.n = 1

    def __setstate__(self, state: Any) -> None:
        raise TypeError("no two of these")


def test_a_state_that_can_not_be_made_again_from_its_copy_is_named() -> None:
    cluster = Cluster(*joined(1), {f"k{i}": Unmade() for i in range(100)})
    cluster.copy(0)
    assert len(cluster.failures) == 1
    assert cluster.failures[0]["step"] == "s"
    assert "TypeError: no two of these" in cluster.failures[0]["what"]
    # Where it is too late to call the change off, no key is taken for a new one.
    with pytest.raises(RunFailure) as failed:
        cluster.cut(0)
        cluster.settle(Random(1))
    assert failed.value.error == cluster.failures[0]


def test_nothing_is_asked_for_where_few_copies_are_behind() -> None:
    cluster = cluster_of(3_000, workers=2)
    cluster.copy(0)
    cluster.copy(1)
    for worker in (0, 1):
        cluster.begin(worker, few=True)
        cluster.cut(worker)
    for key in [*moving_keys(cluster, 0)[:50], *moving_keys(cluster, 1)[:50]]:
        cluster.message(key, sender=0)
    cluster.settle(Random(1))
    assert given(cluster, Kind.STATES_WANTED) == 0
    assert len(cluster.ran) == 100


def test_a_long_list_of_what_is_behind_goes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "BEHIND_KEYS", 10)
    cluster = cluster_of(3_000)
    cluster.copy(0)
    keys = moving_keys(cluster)
    for key in keys[:35]:
        cluster.run_where_it_is(key)
    cluster.cut(0)
    cluster.message(keys[0])
    cluster.message(keys[-1])
    cluster.deliver((0, 1))
    cluster.work(1)
    assert cluster.ran == keys[:35]  # it is not known yet which copies count
    assert cluster.moves[0].tend_in_ms() == 0
    cluster.settle(Random(1))
    assert given(cluster, Kind.COPIES_BEHIND) == 35
    assert sorted(cluster.ran[35:]) == sorted([keys[0], keys[-1]])


@with_any(st.integers(0, 300), st.integers(1, 40), st.lists(st.integers(0, 3), max_size=60))
def test_all_keys_of_the_beginning_come_once_in_parts_while_others_are_created(
    keys: int, at_once: int, created: list[int]
) -> None:
    states = {f"k{i}": i for i in range(keys)}
    at_first, came = list(states), list[str]()
    new = iter(created)
    for part in copies.keys_in_parts(states, at_once):
        assert 0 < len(part) <= at_once
        came += part
        for _ in range(next(new, 0)):
            states[f"new {len(states)}"] = 0
    assert came[: len(at_first)] == at_first
    assert len(came) == len(set(came)) < len(at_first) + at_once + 1


class Listed(dict[str, int]):
    """Counts how many keys are gone through."""

    keys_listed = 0

    def __iter__(self) -> Iterator[str]:
        for key in super().__iter__():
            self.keys_listed += 1
            yield key


def test_keys_are_not_all_listed_at_once() -> None:
    states = Listed({f"k{i}": i for i in range(10_000)})
    parts = copies.keys_in_parts(states, 256)
    next(parts)
    assert states.keys_listed == 256
    states["new"] = 0
    next(parts)
    assert states.keys_listed <= 256 + 256 + 10_000 // copies.LIST_PARTS + 2
