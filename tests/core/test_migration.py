"""The machines of a move: small worlds in every order, larger ones by Hypothesis."""

from __future__ import annotations

import copyreg
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roo.core.migration import (
    Ask,
    Donor,
    Effect,
    Give,
    MoveMismatch,
    Pacing,
    Questions,
    Receiver,
    Release,
    SayEnd,
    SayTaken,
    TakeIn,
    Walk,
)
from roo.core.placement import Placement
from roo.core.slicing import moved
from roo.core.table import Table, hash_of

STORY = Path(__file__).parent / "move.txt"
TINY = Pacing(
    chunk_keys=1, chunks_on_their_way=1, chunks_ahead=1, taken_at_once=1, ask_after_ms=0.0,
    release_every_ms=0.0, look_at_keys=1, list_parts=2,
)  # fmt: skip


@dataclass
class Node:
    """One worker: its states, its machines, the messages that came and have not run."""

    worker: int
    states: dict[str, int]
    questions: Questions
    donor: Donor | None
    receiver: Receiver | None
    inbox: deque[str] = field(default_factory=deque)
    parked: list[str] = field(default_factory=list)
    is_cut: bool = False


class World:
    """A change between workers that have nothing but numbers for states.

    Messages are keys; each adds 1 to the state of its key. `sent` says how many there were by key.
    Every message is routed once, by a worker that is cut; what its owner has not cut is held.
    """

    def __init__(
        self,
        before: Placement,
        after: Placement,
        keys: list[str],
        messages: Iterable[tuple[int | None, str]],
        pacing: Pacing = TINY,
    ) -> None:
        self.before, self.after = before, after
        self.messages = list(messages)
        self.had = set(keys)
        self.sent: dict[str, int] = dict.fromkeys(keys, 0)
        self.links: dict[tuple[int, int], deque[Any]] = {}
        self.now_ms = 0.0
        pieces = moved(before.table, after.table)
        self.nodes: dict[int, Node] = {}
        for worker in sorted({*before.workers, *after.workers}):
            states = {key: 0 for key in self.sent if before.table.owner_of(key) == worker}
            takers = {new for _, _, old, new in pieces if old == worker}
            donors = {old for _, _, old, new in pieces if new == worker}
            questions = Questions(worker, before.table.owner_of)
            donor = Donor(worker, takers, states, after.table, pacing) if takers else None
            joins = worker not in before.workers
            receiver = None
            if donors:
                receiver = Receiver(worker, donors, before.table.owner_of, states, questions,
                                    pacing, is_cut=joins)  # fmt: skip
            self.nodes[worker] = Node(worker, states, questions, donor, receiver, is_cut=joins)

    # What may happen

    def choices(self) -> list[Callable[[], None]]:
        """Everything that could happen now."""
        could: list[Callable[[], None]] = []
        for node in self.nodes.values():
            if not node.is_cut:
                could.append(partial(self.cut, node))
            elif self.messages and self.messages[0][0] in (None, node.worker):
                could.append(partial(self.route, node))
            if node.donor is not None and node.donor.has_more:
                could.append(partial(self.give, node, node.donor))
            if node.receiver is not None and node.receiver.has_more:
                could.append(partial(self.take, node, node.receiver))
            if node.receiver is not None and node.receiver.due_in_ms(self.now_ms) == 0:
                could.append(partial(self.tick, node, node.receiver))
            if node.inbox and node.is_cut:
                could.append(partial(self.run, node))
        could += [partial(self.deliver, ends) for ends, link in self.links.items() if link]
        return could

    def cut(self, node: Node) -> None:
        """All before the barrier has run."""
        node.is_cut = True
        if node.donor is not None:
            node.donor.cut(hash_of(node.states))
        if node.receiver is not None:
            self.perform(node, node.receiver.cut())

    def route(self, node: Node) -> None:
        """A message by the new table: what it needs goes before it."""
        router, key = self.messages.pop(0)
        owner = self.after.table.owner_of(key)
        self.sent[key] = self.sent.get(key, 0) + 1
        if router is None:
            self.link(node.worker, owner).append(key)
            return
        if owner != node.worker and node.donor is not None:
            self.perform(node, node.donor.routed(owner, [key]))
        if key not in node.states:
            self.perform(node, node.questions.ask(owner, [key]))
        self.link(node.worker, owner).append(key)

    def give(self, node: Node, donor: Donor) -> None:
        """A slice of time for a donor."""
        effect = donor.next()
        if effect is not None:
            self.perform(node, [effect])

    def take(self, node: Node, receiver: Receiver) -> None:
        """A slice of time for a receiver."""
        self.perform(node, receiver.next(self.now_ms))

    def tick(self, node: Node, receiver: Receiver) -> None:
        """What is due."""
        self.perform(node, receiver.tick(self.now_ms))

    def run(self, node: Node) -> None:
        """One message of those that came."""
        key = node.inbox.popleft()
        if node.receiver is not None and node.receiver.messages([key], self.now_ms):
            node.parked.append(key)
            return
        assert key in node.states or key not in self.had, "a state is made anew"
        self.had.add(key)
        node.states[key] = node.states.get(key, 0) + 1

    def deliver(self, ends: tuple[int, int]) -> None:
        """The first of what one worker has sent another."""
        node, came = self.nodes[ends[1]], self.links[ends].popleft()
        match came:
            case str():
                node.inbox.append(came)
            case Give(_, keys, absent), states:
                assert node.receiver is not None
                self.perform(node, node.receiver.came(ends[0], keys, states, absent))
            case SayEnd(_, keys, keys_hash):
                assert node.receiver is not None
                node.receiver.ended(ends[0], keys, keys_hash)
            case Ask(_, receiver, keys):
                assert node.donor is not None
                node.donor.wanted(receiver, keys)
            case SayTaken(_, chunks):
                assert node.donor is not None
                node.donor.taken(ends[0], chunks)

    def perform(self, node: Node, effects: Iterable[Effect]) -> None:
        """Each before the next one is asked for."""
        for effect in effects:
            match effect:
                case Give(receiver, keys, _):
                    states = [node.states.pop(key) for key in keys]
                    self.link(node.worker, receiver).append((effect, states))
                case SayEnd(receiver):
                    self.link(node.worker, receiver).append(effect)
                case Ask(donor) | SayTaken(donor):
                    self.link(node.worker, donor).append(effect)
                case TakeIn(_, keys, states):
                    assert node.is_cut
                    node.states.update(zip(keys, states, strict=True))
                case Release():
                    node.inbox.extendleft(reversed(node.parked))
                    node.parked.clear()

    def link(self, sender: int, receiver: int) -> deque[Any]:
        return self.links.setdefault((sender, receiver), deque())

    # The oracle

    def look(self) -> None:
        """At any time: no key is in two places, and none is nowhere."""
        there = [key for node in self.nodes.values() for key in node.states]
        for link in self.links.values():
            there += [key for came in link if type(came) is tuple for key in came[0].keys]
        for node in self.nodes.values():
            if node.receiver is not None:
                aside = [chunk for chunk, _ in node.receiver._urgent]
                there += [key for c in (*node.receiver._coming, *aside) for key in c.keys]
        assert len(there) == len(set(there)), "a key is in two places"
        assert set(there) >= self.had, "a key is nowhere"

    def judge(self) -> None:
        """At the end: everything is where it belongs, and every message has counted."""
        for node in self.nodes.values():
            assert not node.inbox
            assert not node.parked
            assert node.donor is None or node.donor.is_done
            assert node.receiver is None or node.receiver.is_done
            assert all(self.after.table.owner_of(key) == node.worker for key in node.states)
        states = {key: n for node in self.nodes.values() for key, n in node.states.items()}
        assert states == self.sent


def moving_keys(before: Placement, after: Placement, *, each: int, stay: int) -> list[str]:
    """So many keys of each way that keys go, and so many that stay where they are. Of one letter,
    so that equal ones are one object: a world is known again by its bytes.
    """
    ways: dict[tuple[int, int], list[str]] = {}
    for key in map(chr, range(33, 256)):
        way = before.table.owner_of(key), after.table.owner_of(key)
        ways.setdefault(way, []).append(key)
    going = [key for (old, new), keys in ways.items() if old != new for key in keys[:each]]
    staying = [key for (old, new), keys in ways.items() if old == new for key in keys]
    return going + staying[:stay]


CONSTANTS: list[Any] = []


def constant(thing: Any) -> tuple[Any, tuple[int]]:
    """How a thing that never changes is pickled: as its number."""
    if thing not in CONSTANTS:
        CONSTANTS.append(thing)
    return get_constant, (CONSTANTS.index(thing),)


def get_constant(number: int) -> Any:
    return CONSTANTS[number]


for kind in (Table, Placement, Pacing):
    copyreg.pickle(kind, constant)


def explore(first: World) -> int:
    """Every order of what may happen, a world that was seen before once; how many there are."""
    seen = {pickle.dumps(first)}
    todo = list(seen)
    while todo:
        world = todo.pop()
        choices = len(pickle.loads(world).choices())
        for choice in range(choices):
            next_one: World = pickle.loads(world)
            next_one.choices()[choice]()
            next_one.look()
            if not next_one.choices():
                next_one.judge()
            as_bytes = pickle.dumps(next_one)
            if as_bytes not in seen:
                seen.add(as_bytes)
                todo.append(as_bytes)
        assert len(seen) <= WORLDS_MAX, "the world is too large to see all of it"
    return len(seen)


ONE, TWO = Placement.fresh(1, [], ()), Placement.fresh(2, [], ())
CHANGES = {
    "one joins two": (TWO, TWO.changed([2], ())),
    "two join one": (ONE, ONE.changed([1, 2], ())),
    "one of two leaves": (TWO, TWO.changed((), [1])),
}
CASES = [
    pytest.param("two join one", 1),
    pytest.param("one of two leaves", 1),
    pytest.param("one of two leaves", 3),
    pytest.param("one joins two", 1, marks=pytest.mark.slow),
]
WORLDS_MAX = 100_000


@pytest.mark.parametrize(("change", "count"), CASES)
@pytest.mark.parametrize("is_new", [False, True])
@pytest.mark.parametrize("routed", [False, True])
def test_every_order_of_a_small_world(change: str, count: int, is_new: bool, routed: bool) -> None:
    """Messages for a key that moves, or for a new one. routed: who sends them knows of the move."""
    before, after = CHANGES[change]
    here = moving_keys(before, after, each=1, stay=1)
    all_keys = moving_keys(before, after, each=9, stay=0)
    key = next(key for key in all_keys if (key in here) != is_new)
    # By a worker that has to ask another one, where there is such a one.
    router = max(after.workers, key=lambda w: w != before.table.owner_of(key))
    messages = [(router if routed else None, key)] * count
    assert explore(World(before, after, here, messages)) > 30


LARGER = Placement.fresh(3, [], ())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_larger_worlds_in_some_orders(data: st.DataObject) -> None:
    """Several join as others leave; keys created before the cuts and after them."""
    leaves = data.draw(st.sets(st.integers(0, 2), max_size=2))
    joins = data.draw(st.integers(0 if leaves else 1, 2))
    after = LARGER.changed(range(3, 3 + joins), leaves)
    keys = [f"k{i}" for i in range(data.draw(st.integers(0, 40)))]
    some = st.tuples(st.sampled_from([None, *after.workers]), st.integers(0, 45))
    messages = [(by, f"k{i}") for by, i in data.draw(st.lists(some, max_size=30))]
    pacing = replace(
        TINY,
        chunk_keys=data.draw(st.sampled_from([1, 3, 128])),
        chunks_on_their_way=data.draw(st.sampled_from([1, 8])),
        chunks_ahead=data.draw(st.sampled_from([1, 64])),
        look_at_keys=data.draw(st.sampled_from([1, 5, 256])),
    )
    world = World(LARGER, after, keys, messages, pacing)
    chance = data.draw(st.randoms(use_true_random=False))
    while could := world.choices():
        chance.choice(could)()
        world.look()
    world.judge()


@given(
    st.integers(0, 60),
    st.lists(st.tuples(st.sampled_from(["walk", "give", "new"]), st.integers(0, 99)), max_size=80),
)
def test_a_walk_comes_upon_every_key_once_though_keys_come_and_go(
    count: int, story: list[tuple[str, int]]
) -> None:
    """give: one that was come upon goes, or one that was not."""
    here = {f"k{i}": None for i in range(count)}
    walk, seen, gone, new = Walk(here, parts=4, part_least=1), list[str](), set[str](), 0
    for what, number in [*story, *[("walk", 3)] * 120]:
        if what == "walk":
            place = sum(key in here for key in seen)
            seen += [key for key in walk.some(number % 7 + 1, place) if key in here]
        elif what == "give" and here:
            key = list(here)[number % len(here)]
            gone.add(key)
            del here[key]
        elif what == "new":
            new += 1
            here[f"n{new}"] = None
    assert len(seen) == len(set(seen))
    assert set(seen) >= set(here)
    assert {f"k{i}" for i in range(count)} <= set(seen) | gone


# In words


class Told(World):
    """One that notes what happens and what follows from it."""

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **options)
        self.lines: list[str] = []

    def perform(self, node: Node, effects: Iterable[Effect]) -> None:
        def told() -> Iterator[Effect]:
            for effect in effects:
                self.lines.append(f"    -> {effect}")
                yield effect

        super().perform(node, told())

    def tell(self, event: Callable[[], None]) -> None:
        """Let one thing happen."""
        assert isinstance(event, partial)
        name, [what, *_] = event.func.__name__, event.args
        if isinstance(what, Node):
            self.lines.append(f"worker {what.worker}: {name}")
        else:
            came = self.links[what][0]
            came = came[0] if type(came) is tuple else came
            self.lines.append(f"worker {what[0]} to worker {what[1]}: {came}")
        event()


def test_the_story_of_a_move() -> None:
    """A third worker joins two; messages come for a key that moves and for a new one. Golden: with
    ROO_GOLDEN=rewrite it is written anew.
    """
    before, after = CHANGES["one joins two"]
    keys = moving_keys(before, after, each=3, stay=1)
    new = moving_keys(before, after, each=4, stay=0)[-1]
    world = Told(before, after, keys, [(0, keys[4]), (0, new)], replace(TINY, chunk_keys=2))
    while could := world.choices():
        world.tell(could[0])
    world.judge()
    text = "\n".join(world.lines) + "\n"
    if os.environ.get("ROO_GOLDEN") == "rewrite":
        STORY.write_text(text)
    assert text == STORY.read_text()


# What does not add up


def machines(keys: dict[str, int]) -> tuple[Donor, Receiver]:
    """Worker 0 gives to worker 1, which joins."""
    before, after = ONE, ONE.changed([1], ())
    donor = Donor(0, {1}, keys, after.table, Pacing(look_at_keys=4, chunks_on_their_way=99))
    owner_of = before.table.owner_of
    questions = Questions(1, owner_of)
    return donor, Receiver(1, {0}, owner_of, {}, questions, Pacing(), is_cut=True)


def given_by(donor: Donor, keys: dict[str, int]) -> list[Give | SayEnd]:
    """All that it does."""
    effects = []
    while (effect := donor.next()) is not None:
        effects.append(effect)
        if isinstance(effect, Give):
            for key in effect.keys:
                del keys[key]
    return effects


def test_a_receiver_that_lacks_keys_says_so() -> None:
    keys = {f"k{i}": i for i in range(9)}
    donor, receiver = machines(keys)
    donor.cut(None)
    *chunks, end = given_by(donor, keys)
    assert isinstance(end, SayEnd)
    assert len(chunks) > 1
    for chunk in chunks[1:]:
        assert isinstance(chunk, Give)
        took = [*receiver.came(0, chunk.keys, None, None), *receiver.next(0.0)]
        assert isinstance(took[0], TakeIn)
    receiver.ended(0, end.keys, end.keys_hash)
    with pytest.raises(MoveMismatch, match=f"worker 0 gave worker 1 {end.keys} keys, and"):
        list(receiver.next(0.0))


def test_a_receiver_that_took_others_says_so() -> None:
    _, receiver = machines({})
    list(receiver.came(0, ["a"], None, []))
    receiver.ended(0, 1, hash_of(["b"]))
    with pytest.raises(MoveMismatch, match="1 keys, and 1 came, not the same ones"):
        list(receiver.next(0.0))


def test_a_key_that_is_there_is_not_taken_in_again() -> None:
    here = {"a": 1}
    receiver = Receiver(1, {0}, lambda key: 0, here, Questions(1, lambda key: 0), Pacing(),
                        is_cut=True)  # fmt: skip
    with pytest.raises(MoveMismatch, match="worker 0 gave worker 1 key 'a', which was there"):
        list(receiver.came(0, ["a"], None, []))


def test_keys_after_the_end_are_not_taken_in() -> None:
    _, receiver = machines({})
    receiver.ended(0, 0, 0)
    list(receiver.next(0.0))
    assert receiver.is_done
    with pytest.raises(MoveMismatch, match="after its end"):
        list(receiver.came(0, ["a"], None, []))


@pytest.mark.parametrize("hashed", [False, True])
def test_a_donor_that_finds_other_keys_than_it_had_says_so(hashed: bool) -> None:
    keys = {f"k{i}": i for i in range(50)}
    donor, _ = machines(keys)
    donor.cut(hash_of(keys) if hashed else None)
    after = ONE.changed([1], ())
    lost = next(key for key in reversed(keys) if after.table.owner_of(key) == 0)
    del keys[lost]
    if hashed:  # one that came since stands in its place
        keys[next(f"n{i}" for i in range(99) if after.table.owner_of(f"n{i}") == 0)] = 0
    with pytest.raises(MoveMismatch, match="worker 0"):
        given_by(donor, keys)


# Pacing


def test_the_share_of_batches_gets_smaller_as_a_move_lasts() -> None:
    pacing = Pacing(share_first=12.0, share_least=2.0, share_halved_every_ms=1_000.0)
    shares = [pacing.share_after(ms) for ms in (0.0, 999.0, 1_000.0, 2_000.0, 3_000.0, 1e9)]
    assert shares == [12.0, 12.0, 6.0, 3.0, 2.0, 2.0]


def test_the_first_one_to_wait_is_asked_for_once_and_after_a_while() -> None:
    _, receiver = machines({})
    assert receiver.messages(["a", "b", "a"], 10.0) == [0, 1, 2]
    assert receiver.due_in_ms(10.0) == Pacing().ask_after_ms
    assert list(receiver.tick(10.0)) == []
    [ask] = receiver.tick(10.0 + Pacing().ask_after_ms)
    assert isinstance(ask, Ask)
    assert (ask.donor, ask.receiver, sorted(ask.keys)) == (0, 1, ["a", "b"])
    assert receiver.messages(["a"], 20.0) == [0]
    assert receiver.due_in_ms(20.0) == -1.0
    effects = list(receiver.came(0, ["a"], "chunk", ["b"]))
    assert effects == [TakeIn(0, ["a"], "chunk")]
    assert receiver.messages(["a"], 21.0) == [0]  # behind those that wait
    assert list(receiver.tick(21.0)) == [Release()]
    assert receiver.messages(["b"], 22.0) == []  # a new key: its donor does not have it
    assert receiver.longest_wait_ms == 11.0
