"""A move between workers that are nothing but their states: slices, questions, who waits."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import pytest

from roo.core.batch import Batch, Header, Kind, Origin
from roo.core.placement import Placement
from roo.runtime import moving
from roo.runtime.failures import RunFailure
from roo.runtime.moving import Move
from roo.runtime.payload import Keyed, unpack_items

STATE = ("state", "s")


class States:
    """What a move needs of a worker's stages. seen: keys that a snapshot was told of."""

    def __init__(self, states: dict[str, Any]) -> None:
        self.states = {"s": states}
        self.seen: list[str] = []

    def moving(self, name: str, keys: list[str]) -> None:
        assert name == "s"
        self.seen += keys


class Cluster:
    """Workers in a change, with a queue from each to each and an inbox of batches. What waits goes
    back to the front of the inbox when something comes; `ran` has what ran, in order.
    """

    def __init__(self, before: Placement, after: Placement, keys: dict[str, Any]) -> None:
        self.before, self.after = before, after
        self.links: dict[tuple[int, int], deque[tuple[Header, list[Any]]]] = {}
        self.ran: list[str] = []
        self.numbers: dict[str, list[int]] = {}  # of the messages that ran, by key
        self.keys = keys
        self.inbox: dict[int, deque[Batch]] = {}
        self.waiting: dict[int, list[Batch]] = {}
        self.sent: list[tuple[int, int, Kind, int, int]] = []
        self.states: dict[int, States] = {}
        self.own: dict[int, set[str]] = {}
        self.moves: dict[int, Move] = {}
        for worker in {*before.workers, *after.workers}:
            mine = {k: v for k, v in keys.items() if before.table.owner_of(k) == worker}
            self.states[worker] = States(mine)
            self.own[worker] = set(mine)
            self.inbox[worker] = deque()
            self.waiting[worker] = []
            stages: Any = self.states[worker]
            self.moves[worker] = Move(
                worker, stages, before, after, self._sender(worker), self._comer(worker),
                joins=worker not in before.workers,
            )  # fmt: skip

    def _sender(self, worker: int) -> moving.Send:
        def send(to: int, header: Header, frames: list[bytes]) -> None:
            self.links.setdefault((worker, to), deque()).append((header, frames))
            size = sum(map(len, frames))
            self.sent.append((worker, to, header.kind, header.messages, size))

        return send

    def _comer(self, worker: int) -> Any:
        def came(what: tuple[str, str]) -> None:
            self.inbox[worker].extendleft(reversed(self.waiting[worker]))
            self.waiting[worker].clear()

        return came

    def cut(self, worker: int) -> None:
        """All before the barrier has run: until then nothing may have come or gone."""
        assert set(self.states[worker].states["s"]) == self.own[worker]
        self.moves[worker].cut(STATE)
        for sink, home in self.before.homes.items():
            self.moves[worker].cut(("sink", sink))
            if home == worker != self.after.homes[sink]:
                self.moves[worker].hand_over_sink(sink, f"noted by {worker}")

    def message(self, key: str, number: int = 0, sender: int | None = None) -> None:
        """A message for a key comes by the new table. sender: who routes it, and knows that; None:
        one that knows nothing of the move.
        """
        header = Header(Kind.BATCH, 0, 0, 0, 2, 0, -1, 0, 1, 32, Origin(0, 0, 0, 1))
        worker = self.after.table.owner_of(key)
        if sender is not None:
            self.moves[sender].ahead("s", worker, [key])
        if sender in (None, worker):
            self.inbox[worker].append(Batch(header, Keyed([key], [number], [])))
        else:
            self.links.setdefault((sender, worker), deque()).append((header, [key, number]))

    def work(self, worker: int) -> None:
        """Run all that can run."""
        self.moves[worker].tend()
        while self.inbox[worker]:
            self.run_next(worker)
        self.moves[worker].tend()

    def run_next(self, worker: int) -> None:
        """As a worker does: what of a batch can run does."""
        move, states = self.moves[worker], self.states[worker].states["s"]
        batch = self.inbox[worker].popleft()
        payload, waits = batch.payload, None
        if move.is_awaited(STATE):
            payload, waits = move.split("s", batch)
        if waits is not None:
            self.waiting[worker].append(waits)
        self.ran += payload.keys
        for key, number in zip(payload.keys, payload.messages, strict=True):
            assert key in states or key not in self.keys, "a state was made anew"
            self.keys.setdefault(key, -1)
            states.setdefault(key, -1)
            self.numbers.setdefault(key, []).append(number)

    def deliver(self, ends: tuple[int, int]) -> None:
        header, frames = self.links[ends].popleft()
        if header.kind is Kind.BATCH:
            key, number = frames
            self.inbox[ends[1]].append(Batch(header, Keyed([key], [number], [])))
        else:
            self.moves[ends[1]].receive(header, frames)

    def go_on(self, chance: Random) -> bool:
        """One thing of all that could happen; False: nothing could."""
        could: list[Callable[[], None]] = [
            partial(self.deliver, ends) for ends, link in self.links.items() if link
        ]
        for worker, move in self.moves.items():
            if move.is_busy:
                could.append(move.step)
            if move.tend_in_ms() >= 0:
                could.append(move.tend)
            if self.inbox[worker]:
                could.append(partial(self.run_next, worker))
        if could and chance.random() < 0.9:
            chance.choice(could)()
        else:  # nothing more comes for now
            for worker in self.moves:
                self.work(worker)
        return bool(could) or any(self.links.values()) or any(self.inbox.values())

    def settle(self, chance: Random) -> None:
        steps = 0
        while self.go_on(chance):
            steps += 1
            assert steps < 500_000, "it never ends"
        for move in self.moves.values():
            move.splits_came = True
            while move.is_busy:  # it lets go of what it has noted
                steps += 1
                assert steps < 500_000, "it never ends"
                move.step()
            assert move.is_complete


@pytest.fixture
def asks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for keys to come unasked."""
    monkeypatch.setattr(moving, "ASK_AFTER_S", 0.0)


def joined(workers: int, joins: int = 1) -> tuple[Placement, Placement]:
    before = Placement.fresh(workers, [], ())
    return before, before.changed(range(workers, workers + joins), ())


@pytest.mark.parametrize("seed", range(150))
def test_all_states_come_where_they_belong_and_all_messages_run(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any interleaving, with messages for keys that move, that stay and that are new."""
    chance = Random(seed)
    monkeypatch.setattr(moving, "ASK_AFTER_S", chance.choice([0.0, moving.ASK_AFTER_S]))
    monkeypatch.setattr(moving, "SLICE_KEYS", chance.choice([4, moving.SLICE_KEYS]))
    before = Placement.fresh(chance.randint(1, 4), ["out"], ())
    joins = range(10, 10 + chance.randint(0, 2))
    leaves = chance.sample(before.workers, chance.randint(0, len(before.workers) - 1))
    after = before.changed(joins, leaves)
    keys = {f"k{i}": i for i in range(chance.choice([0, 30, 2000]))}
    had = set(keys)
    cluster = Cluster(before, after, keys)
    asked = [f"k{chance.randrange(chance.choice([5, 2100]))}" for _ in range(100)]
    # The messages of one key come from one worker, or by a way that nobody knows of.
    senders = {key: chance.choice([None, *after.workers]) for key in asked}
    uncut = list(before.workers)
    chance.shuffle(uncut)
    for number, key in enumerate(asked):
        while chance.random() < 0.5:
            if uncut and chance.random() < 0.2:
                cluster.cut(uncut.pop())
            cluster.go_on(chance)
        if after.table.owner_of(key) not in uncut:  # else it would be held until then
            cluster.message(key, number, senders[key])
        else:
            cluster.ran.append(key)  # where it is
    while uncut:
        cluster.cut(uncut.pop())
    cluster.settle(chance)
    assert Counter(cluster.ran) == Counter(asked)
    assert all(numbers == sorted(numbers) for numbers in cluster.numbers.values())
    held = [(w, k, v) for w, s in cluster.states.items() for k, v in s.states["s"].items()]
    assert sorted(held) == sorted((after.table.owner_of(k), k, v) for k, v in keys.items())
    for worker, states in cluster.states.items():  # a snapshot has those that went, and came
        changed = [
            k
            for k in had
            if before.table.owner_of(k) != after.table.owner_of(k)
            and worker in (before.table.owner_of(k), after.table.owner_of(k))
        ]
        assert sorted(states.seen) == sorted(changed)
    home = after.homes["out"]
    expected = {("sink", "out"): f"noted by {before.homes['out']}"}
    assert cluster.moves[home].notes == (expected if home != before.homes["out"] else {})
    moved = sum(move.keys_in for move in cluster.moves.values())
    assert moved == sum(before.table.owner_of(k) != after.table.owner_of(k) for k in had)
    assert moved == sum(move.keys_out for move in cluster.moves.values())


def slices(cluster: Cluster) -> list[tuple[int, int]]:
    """(keys, bytes) of every slice sent."""
    return [(keys, size) for _, _, kind, keys, size in cluster.sent if kind is Kind.STATES]


def test_only_so_many_slices_are_on_their_way() -> None:
    cluster = Cluster(*joined(1), {f"k{i}": i for i in range(50_000)})
    cluster.cut(0)
    while cluster.moves[0].is_busy:
        cluster.moves[0].step()
    assert len(slices(cluster)) == moving.SLICES_ON_THEIR_WAY
    cluster.settle(Random(1))
    assert max(keys for keys, _ in slices(cluster)) == moving.SLICE_KEYS


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


def test_a_slice_is_bounded_in_bytes_whatever_the_size_of_a_state() -> None:
    large = 100_000
    cluster = Cluster(*joined(1), {f"k{i}": b"x" * large for i in range(300)})
    cluster.cut(0)
    cluster.settle(Random(1))
    assert max(size for _, size in slices(cluster)) < moving.SLICE_BYTES + large
    assert len(cluster.states[1].states["s"]) > 100


def test_slices_grow_again_after_large_states() -> None:
    states: dict[str, Any] = {f"k{i}": b"x" * (1_000_000 if i < 20 else 10) for i in range(20_000)}
    cluster = Cluster(*joined(1), states)
    cluster.cut(0)
    cluster.settle(Random(1))
    assert max(keys for keys, _ in slices(cluster)) == moving.SLICE_KEYS


@pytest.mark.usefixtures("asks_at_once")
def test_a_key_that_is_waited_for_comes_before_the_others() -> None:
    before, after = joined(1)
    cluster = Cluster(before, after, {f"k{i}": i for i in range(50_000)})
    mine = [key for key in cluster.states[0].states["s"] if after.table.owner_of(key) == 1]
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
    assert cluster.moves[1].longest_wait_s > 0
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
    cluster = Cluster(before, after, {f"k{i}": b"x" * moving.SLICE_BYTES for i in range(400)})
    mine = [key for key in cluster.states[0].states["s"] if after.table.owner_of(key) == 1]
    cluster.cut(0)
    for key in mine:
        cluster.message(key, sender=0)
    assert len(slices(cluster)) == moving.ASKED_ON_THEIR_WAY + moving.SLICES_ON_THEIR_WAY
    cluster.settle(Random(1))
    assert Counter(cluster.ran) == Counter(mine)


@pytest.mark.usefixtures("asks_at_once")
def test_what_is_asked_for_is_bounded_too() -> None:
    """A thousand large states that messages wait for are not packed all at once."""
    before, after = joined(1)
    cluster = Cluster(before, after, {f"k{i}": b"x" * moving.SLICE_BYTES for i in range(400)})
    mine = [key for key in cluster.states[0].states["s"] if after.table.owner_of(key) == 1]
    assert len(mine) > moving.ASKED_ON_THEIR_WAY + moving.SLICES_ON_THEIR_WAY
    cluster.cut(0)
    for key in mine:
        cluster.message(key)
        cluster.work(1)
    while cluster.links.get((1, 0)):
        cluster.deliver((1, 0))
    while cluster.moves[0].is_busy:
        cluster.moves[0].step()
    most = moving.ASKED_ON_THEIR_WAY + moving.SLICES_ON_THEIR_WAY
    assert len(slices(cluster)) == most
    cluster.settle(Random(1))
    assert Counter(cluster.ran) == Counter(mine)


def test_a_move_is_complete_when_all_has_gone_and_come_and_the_splits_are_there() -> None:
    cluster = Cluster(*joined(1), {f"k{i}": i for i in range(1000)})
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


def test_what_was_noted_is_let_go_of_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(*joined(2), {f"k{i}": i for i in range(1000)})
    moves = cluster.moves
    for worker in (0, 1, 2):
        cluster.cut(worker)
        moves[worker].splits_came = True
    # Worker 0 routes: what worker 1 has of these it is asked for.
    theirs = [key for key in cluster.keys if key not in cluster.states[0].states["s"]]
    moves[0].ahead("s", 2, [key for key in theirs if key not in cluster.states[2].states["s"]])
    asked = moves[0]._asked["s"]
    assert len(asked) > 100
    while any(cluster.links.values()) or any(m._going or m._coming for m in moves.values()):
        for ends in [ends for ends, link in cluster.links.items() if link]:
            cluster.deliver(ends)
        for move in moves.values():
            if move._going or move._coming:
                move.step()
    monkeypatch.setattr(moving, "SLICE_S", 0.0)
    left = len(asked)
    assert not moves[0].is_complete
    assert moves[0].is_busy
    moves[0].step()
    assert len(asked) >= left - 1  # not all at once
    monkeypatch.setattr(moving, "SLICE_S", 1.0)
    moves[0].step()
    assert moves[0].is_complete
    assert not moves[0].is_busy


def test_who_leaves_waits_for_no_splits() -> None:
    before = Placement.fresh(2, [], ())
    cluster = Cluster(before, before.changed((), [0]), {f"k{i}": i for i in range(100)})
    for worker in (0, 1):
        cluster.cut(worker)
    while cluster.go_on(Random(1)):
        pass
    assert cluster.moves[0].is_complete
    assert not cluster.moves[1].is_complete


@pytest.mark.usefixtures("asks_at_once")
def test_a_new_key_waits_only_until_its_old_owner_has_been_asked() -> None:
    before, after = joined(1)
    cluster = Cluster(before, after, {f"k{i}": i for i in range(50_000)})
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
    cluster.cut(0)
    with pytest.raises(RunFailure) as failed:
        cluster.moves[0].step()
    error = failed.value.error
    assert error["step"] == "s"
    assert error["key"].startswith("'k")
    assert "builtins.function can't move" in error["what"]


@pytest.mark.usefixtures("asks_at_once")
def test_wanted_frames_hold_keys_once() -> None:
    """Messages that wait for one key ask for it once."""
    before, after = joined(1)
    cluster = Cluster(before, after, {f"k{i}": i for i in range(1000)})
    [key, *_] = (k for k in cluster.states[0].states["s"] if after.table.owner_of(k) == 1)
    for _ in range(5):
        cluster.message(key)
        cluster.work(1)
    questions = [f for h, f in cluster.links[1, 0] if h.kind is Kind.STATES_WANTED]
    assert [unpack_items(frames[0]) for frames in questions] == [[key]]
