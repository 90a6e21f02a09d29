"""Snapshots of a state that goes on changing: each key is stored as it was at the cut."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from roo.checkpoint.blocks import FileInfo, read_blocks
from roo.checkpoint.encoding import decode
from roo.runtime import keys_in_turn, snapshots
from roo.runtime.keys_in_turn import PAGE_KEYS, SMALL_BYTES, AllKeys, EveryKey, Litter
from roo.runtime.snapshots import Snapshots
from tests.checkpoint.kinds import Plain

DEADLINE_S = 20


def run(states: dict[Any, Plain], taken: Snapshots, keys: list[Any]) -> None:
    """A batch: each message adds one to its key."""
    taken.touch("totals", keys)
    for key in keys:
        if key not in states:
            states[key] = Plain(0)
        states[key].n += 1


def finish(taken: Snapshots) -> snapshots.StatePart:
    taken.sync([])
    end_s = time.monotonic() + DEADLINE_S
    while not taken.synced:
        assert time.monotonic() < end_s
        time.sleep(0.0005)
    return taken.part({}, {}).states["totals"]


def checkpoint(
    taken: Snapshots, barrier: int, *, last: bool = False, kept: bool = True
) -> snapshots.StatePart:
    """One with nothing running beside it."""
    taken.begin(barrier, last=last)
    taken.cut("totals")
    while not taken.all_encoded:
        taken.slice()
    part = finish(taken)
    taken.settle(kept=kept)
    return part


def restored(folder: Path, chain: list[FileInfo]) -> dict[Any, int]:
    totals: dict[Any, int] = {}
    for file in chain:
        of_file: dict[Any, int] = {}
        for block in read_blocks(folder / file.name):
            for key, state in zip(block.keys, decode(block.states), strict=True):
                of_file.setdefault(key, state.n)
        totals |= of_file
    return totals


@pytest.mark.parametrize("seed", range(100))
def test_each_key_is_stored_as_it_was_at_the_cut(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches, new keys, and keys that go and come again, before, within and after checkpoints."""
    dice = random.Random(seed)
    monkeypatch.setattr(snapshots, "GROUP_KEYS_FIRST", dice.choice((3, 64)))
    monkeypatch.setattr(snapshots, "GROUP_KEYS_MAX", dice.choice((3, 50, 1024)))
    monkeypatch.setattr(snapshots, "BLOCK_BYTES", dice.choice((300, 1 << 20)))
    monkeypatch.setattr(keys_in_turn, "PAGE_KEYS", dice.choice((5, 50, 1024)))
    monkeypatch.setattr(keys_in_turn, "AHEAD_KEYS", dice.choice((2, 1024)))
    monkeypatch.setattr(keys_in_turn, "TIDY_KEYS", dice.choice((1, 4096)))
    monkeypatch.setattr(snapshots, "SLICE_S", 0.0)  # one block at a time
    named = [f"k{index}" for index in range(dice.choice((3, 60, 400)))]
    states: dict[Any, Plain] = {}
    away: dict[Any, Plain] = {}
    taken = Snapshots(tmp_path, 0, {"totals": states}, {})
    chain: list[FileInfo] = []

    def live() -> None:
        some = dice.choice((1, 5, len(named)))
        free = [key for key in dice.choices(named, k=some) if key not in away]
        run(states, taken, free)
        if dice.random() < 0.2 and states:  # some are given to another worker
            going = dice.sample(list(states), dice.randint(1, len(states)))
            taken.moving("totals", going)
            away.update((key, Plain(states.pop(key).n)) for key in going)
        elif dice.random() < 0.5 and away:  # and come back
            taken.moving("totals", list(away))
            states.update(away)
            away.clear()

    for barrier in range(1, 7):
        for _ in range(dice.randint(0, 6)):
            live()
        if away:  # between moves everything is somewhere: here
            taken.moving("totals", list(away))
            states.update(away)
            away.clear()
        taken.begin(barrier)
        taken.cut("totals")
        expected = {key: state.n for key, state in states.items()}
        while not taken.all_encoded:
            taken.slice()
            live()
        part = finish(taken)
        assert part.keys == len(expected)
        kept = dice.random() < 0.8
        taken.settle(kept=kept)
        files = [part.file] if part.file else []
        if kept:
            chain = files if part.full else chain + files
            assert restored(tmp_path, chain) == expected
        else:
            before = [] if part.full else chain
            assert restored(tmp_path, before + files) == expected


def test_a_few_touched_keys_make_a_small_file(tmp_path: Path) -> None:
    states: dict[Any, Plain] = {}
    taken = Snapshots(tmp_path, 0, {"totals": states}, {})
    stored = []
    for barrier, keys in enumerate((range(1000), range(10), range(200), range(300)), start=1):
        run(states, taken, list(keys))
        part = checkpoint(taken, barrier)
        assert part.file is not None
        stored.append((part.full, part.file.keys))
    assert stored == [(True, 1000), (False, 10), (False, 200), (True, 1000)]  # over a quarter: all


def test_that_all_are_touched_is_expected_until_it_is_not_so(tmp_path: Path) -> None:
    states: dict[Any, Plain] = {}
    taken = Snapshots(tmp_path, 0, {"totals": states}, {})
    full = []
    for barrier, keys in enumerate((1000, 1000, 100, 100, 1000, 10, *[300] * 20), start=1):
        for start in range(0, keys, 20):
            run(states, taken, list(range(start, start + 20)))
        full.append(checkpoint(taken, barrier).full)
    # The first hundred are taken for the beginning of a thousand; ten are too few for that.
    assert full == [True, True, True, False, True, False, *[True] * 20]


@pytest.mark.parametrize(
    ("key_bytes", "rounds", "full"),
    [
        (5, 3, False),  # 300 messages to 1000 keys
        (5, 6, True),  # more than one to every other key, and a tenth of the keys
        (3 * SMALL_BYTES, 6, False),  # they would be written nine times for nothing
    ],
)
def test_noting_gives_up_where_storing_all_is_less_work(
    tmp_path: Path, key_bytes: int, rounds: int, full: bool
) -> None:
    dice = random.Random(1)
    states: dict[Any, Plain] = {dice.randbytes(key_bytes): Plain(0) for _ in range(1000)}
    taken = Snapshots(tmp_path, 0, {"totals": states}, {})
    some = list(states)[:100]
    assert checkpoint(taken, 1).full
    for _ in range(rounds):
        run(states, taken, some)
    assert checkpoint(taken, 2).full is full


def test_a_hundred_messages_to_each_of_a_few_keys_are_noted(tmp_path: Path) -> None:
    states: dict[Any, Plain] = {f"k{key}": Plain(0) for key in range(1000)}
    taken = Snapshots(tmp_path, 0, {"totals": states}, {})
    assert checkpoint(taken, 1).full
    for _ in range(100):
        run(states, taken, list(states)[:50])
    part = checkpoint(taken, 2)
    assert part.file is not None
    assert (part.full, part.file.keys) == (False, 50)


def test_nothing_is_noted_before_the_first_one(tmp_path: Path) -> None:
    states: dict[Any, Plain] = {f"k{key}": Plain(0) for key in range(1000)}
    taken = Snapshots(tmp_path, 0, {"totals": states}, {})
    run(states, taken, ["k1"])
    assert taken._touched["totals"].keys is None
    part = checkpoint(taken, 1)
    assert part.file is not None
    assert part.file.keys == 1000


def test_deltas_are_folded_into_a_base_but_not_at_the_end(tmp_path: Path) -> None:
    states: dict[Any, Plain] = {}
    taken = Snapshots(tmp_path, 0, {"totals": states}, {})
    files: list[tuple[bool, int]] = []
    outgrown = False
    while not outgrown or files[-1][0]:  # until a last one would be full if it were not the last
        assert len(files) < 50
        deltas = [size for full, size in files[::-1]]
        since = [full for full, _ in files[::-1]].index(True) if files else 0
        outgrown = bool(files) and sum(deltas[:since]) > deltas[since]
        last = outgrown and sum(full for full, _ in files) == 2
        run(states, taken, list(range((1000, 10, 200)[min(len(files), 2)])))
        part = checkpoint(taken, len(files) + 1, last=last)
        assert part.file is not None
        assert part.full == (not files or (outgrown and not last))
        files.append((part.full, part.file.size_bytes))
    assert [full for full, _ in files].count(True) == 2


def test_an_abandoned_checkpoint_is_made_up_for(tmp_path: Path) -> None:
    states: dict[Any, Plain] = {}
    taken = Snapshots(tmp_path, 0, {"totals": states}, {})
    chain: list[FileInfo] = []
    for barrier, kept in ((1, True), (2, False), (3, True)):
        run(states, taken, list(range(100)) if barrier == 1 else [barrier])
        part = checkpoint(taken, barrier, kept=kept)
        assert part.file is not None
        if kept:
            chain = [part.file] if part.full else [*chain, part.file]
    assert restored(tmp_path, chain) == {key: state.n for key, state in states.items()}


def test_what_has_its_turn_comes_a_page_at_a_time_at_most() -> None:
    waiting = EveryKey(AllKeys({number: str(number) for number in range(10_000)}), Litter())
    keys, states = [], []
    while waiting.left:
        page = waiting.some(3 * PAGE_KEYS // 4)
        assert len(page.keys) <= PAGE_KEYS
        keys += page.keys
        states += page.states
    assert keys == list(range(10_000))
    assert states == list(map(str, keys))


def test_keys_that_come_later_or_are_gone_have_no_turn() -> None:
    states = {number: str(number) for number in range(5000)}
    keys = AllKeys(states)
    keys.going(range(100, 4000))
    for number in range(100, 4000):
        del states[number]
    waiting = EveryKey(keys, Litter())
    states.update((number, "late") for number in range(7000, 9000))
    keys.note_new()
    found = []
    while waiting.left:
        found += waiting.some(PAGE_KEYS).keys
        keys.tidy()
    assert found == [*range(100), *range(4000, 5000)]
    for _ in range(20):
        keys.tidy()
    pages, may_be_gone = keys.as_they_are()
    assert not may_be_gone
    assert {
        key: state for page in pages for key, state in zip(page.keys, page.states, strict=True)
    } == states


def test_a_key_that_came_again_is_stored_as_it_came(tmp_path: Path) -> None:
    """Its old state still stands where it first came, and is not to be taken for the new one."""
    states: dict[Any, Plain] = {}
    taken = Snapshots(tmp_path, 0, {"totals": states}, {})
    run(states, taken, ["here", "away"])
    taken.moving("totals", ["away"])
    states.pop("away")
    taken.moving("totals", ["away"])
    states["away"] = Plain(7)
    part = checkpoint(taken, 1)
    assert part.file is not None
    assert restored(tmp_path, [part.file]) == {"here": 1, "away": 7}


def test_sets_that_are_done_with_are_let_go_of_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_in_turn, "TIDY_KEYS", 10)
    litter, keys = Litter(), set(range(25))
    litter.add(keys)
    left = []
    for _ in range(4):
        litter.tidy()
        left.append(len(keys))
    assert left == [15, 5, 5, 5]  # the last few go with their set, which only this test has now
    assert sys.getrefcount(keys) == 2
