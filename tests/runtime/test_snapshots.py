"""Snapshots of a state that goes on changing: each key is stored as it was at the cut."""

from __future__ import annotations

import errno
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from roo import disk
from roo.checkpoint.blocks import FileInfo
from roo.checkpoint.manifest import Chain
from roo.checkpoint.restore import restore
from roo.core.table import RING, Table
from roo.runtime import keys_in_turn, snapshots
from roo.runtime.background import Background, Job
from roo.runtime.failures import RunFailure
from roo.runtime.keyed_states import KeyedStates
from roo.runtime.keys_in_turn import (
    PAGE_KEYS,
    SMALL_BYTES,
    AllKeys,
    EveryKey,
    Litter,
    Page,
    TouchedKeys,
)
from roo.runtime.snapshots import Snapshots
from tests.checkpoint.kinds import Plain
from tests.checkpoint.test_folder import manifest


def at_once(job: Job) -> None:
    job()


def of(folder: Path, background: Background = at_once) -> tuple[KeyedStates, Snapshots]:
    keyed = KeyedStates("totals")
    return keyed, Snapshots(folder, 0, {"totals": keyed}, {}, background=background)


def run(keyed: KeyedStates, keys: list[Any]) -> None:
    """A batch: each message adds one to its key."""
    keyed.touch(keys)
    for key in keys:
        if key not in keyed.objects:
            keyed.create(key, Plain(0))
        keyed.objects[key].n += 1


def totals(keyed: KeyedStates) -> dict[Any, int]:
    return {key: state.n for key, state in keyed.objects.items()}


def finish(taken: Snapshots) -> snapshots.StatePart:
    taken.sync([])
    assert taken.synced
    part = taken.part({}, {})
    assert not part.error
    return part.states["totals"]


def checkpoint(
    taken: Snapshots, barrier: int, *, last: bool = False, kept: bool = True, moves: bool = False
) -> snapshots.StatePart:
    """One with nothing running beside it."""
    taken.begin(barrier, last=last, moves=moves)
    taken.cut("totals")
    while not taken.all_encoded:
        taken.slice()
    part = finish(taken)
    taken.settle(kept=kept)
    return part


def restored(folder: Path, part: snapshots.StatePart, chain: list[FileInfo]) -> dict[Any, int]:
    """What a run that goes on from a chain has: compared with its counts on the way."""
    whole = ((0, RING),)
    table = Table.equal(1)
    chains = (Chain("totals", 0, whole, tuple(chain), part.keys, part.keys_hash),) if chain else ()
    states = restore(folder, manifest(1, table, chains=chains), "totals", table, 0)
    return {key: state.n for key, state in states.items()}


def named(count: int) -> list[str]:
    return [f"k{key}" for key in range(count)]


def test_a_few_touched_keys_make_a_small_file(tmp_path: Path) -> None:
    keyed, taken = of(tmp_path)
    stored = []
    for barrier, keys in enumerate((1000, 10, 200, 300), start=1):
        run(keyed, named(keys))
        part = checkpoint(taken, barrier)
        assert part.file is not None
        stored.append((part.full, part.file.keys))
    assert stored == [(True, 1000), (False, 10), (False, 200), (True, 1000)]  # over a quarter: all


def test_that_all_are_touched_is_expected_until_it_is_not_so(tmp_path: Path) -> None:
    keyed, taken = of(tmp_path)
    full = []
    for barrier, keys in enumerate((1000, 1000, 100, 100, 1000, 10, *[300] * 20), start=1):
        for start in range(0, keys, 20):
            run(keyed, named(start + 20)[start:])
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
    keyed, taken = of(tmp_path)
    run(keyed, [dice.randbytes(key_bytes) for _ in range(1000)])
    some = list(keyed.objects)[:100]
    assert checkpoint(taken, 1).full
    for _ in range(rounds):
        run(keyed, some)
    assert checkpoint(taken, 2).full is full


def test_a_hundred_messages_to_each_of_a_few_keys_are_noted(tmp_path: Path) -> None:
    keyed, taken = of(tmp_path)
    run(keyed, named(1000))
    assert checkpoint(taken, 1).full
    for _ in range(100):
        run(keyed, named(50))
    part = checkpoint(taken, 2)
    assert part.file is not None
    assert (part.full, part.file.keys) == (False, 50)


def test_nothing_is_noted_before_the_first_one(tmp_path: Path) -> None:
    keyed, taken = of(tmp_path)
    run(keyed, named(1000))
    run(keyed, ["k1"])
    assert taken._states["totals"].touched.keys is None
    part = checkpoint(taken, 1)
    assert part.file is not None
    assert part.file.keys == 1000


def test_deltas_are_folded_into_a_base_but_not_at_the_end(tmp_path: Path) -> None:
    keyed, taken = of(tmp_path)
    files: list[tuple[bool, int]] = []
    outgrown = False
    while not outgrown or files[-1][0]:  # until a last one would be full if it were not the last
        assert len(files) < 50
        deltas = [size for full, size in files[::-1]]
        since = [full for full, _ in files[::-1]].index(True) if files else 0
        outgrown = bool(files) and sum(deltas[:since]) > deltas[since]
        last = outgrown and sum(full for full, _ in files) == 2
        run(keyed, named((1000, 10, 200)[min(len(files), 2)]))
        part = checkpoint(taken, len(files) + 1, last=last)
        assert part.file is not None
        assert part.full == (not files or (outgrown and not last))
        files.append((part.full, part.file.size_bytes))
    assert [full for full, _ in files].count(True) == 2


def test_an_abandoned_checkpoint_is_made_up_for(tmp_path: Path) -> None:
    keyed, taken = of(tmp_path)
    chain: list[FileInfo] = []
    for barrier, kept in ((1, True), (2, False), (3, True)):
        run(keyed, named(100) if barrier == 1 else [f"k{barrier}"])
        part = checkpoint(taken, barrier, kept=kept)
        assert part.file is not None
        if kept:
            chain = [part.file] if part.full else [*chain, part.file]
    assert restored(tmp_path, part, chain) == totals(keyed)


class Book:
    """Watches states as `Snapshots` does, and keeps nothing but the book of keys."""

    def __init__(self, keyed: KeyedStates) -> None:
        self.keys = AllKeys(keyed.objects)
        keyed.watch(self)

    def touching(self, keys: list[Any]) -> None:
        self.keys.tidy()

    def taken_in(self, keys: Sequence[Any]) -> None:
        self.keys.add(keys)

    def giving_away(self, keys: Sequence[Any]) -> None:
        self.keys.remove(keys)


def test_what_has_its_turn_comes_a_page_at_a_time_at_most() -> None:
    keyed = KeyedStates("s")
    book = Book(keyed)
    keyed.take_in(named(10_000), [f"state of {key}" for key in named(10_000)])
    waiting = EveryKey(keyed, book.keys, Litter())
    keys, states = [], []
    while waiting.left:
        page = waiting.some(3 * PAGE_KEYS // 4)
        assert len(page.keys) <= PAGE_KEYS
        keys += page.keys
        states += page.states
    assert keys == named(10_000)
    assert states == [f"state of {key}" for key in keys]


def test_keys_that_come_after_the_cut_have_no_turn_and_those_that_go_have() -> None:
    keyed = KeyedStates("s")
    book = Book(keyed)
    keyed.take_in(named(5000), map(str, range(5000)))
    keyed.give_away(named(4000)[100:])
    waiting = EveryKey(keyed, book.keys, Litter())
    waiting.giving_away(["k7"])
    keyed.give_away(["k7"])
    late = named(9000)[7000:]
    waiting.taken_in(late)
    keyed.take_in(late, late)
    found = []
    while waiting.left:
        found += waiting.some(PAGE_KEYS).keys
        keyed.touch([])
    assert found == named(100) + named(5000)[4000:]
    for _ in range(20):
        keyed.touch([])
    pages, may_be_gone = book.keys.at_cut()
    assert not may_be_gone
    assert {
        key: state for page in pages for key, state in zip(page.keys, page.states, strict=True)
    } == keyed.objects


def test_a_key_that_came_again_is_stored_as_it_came(tmp_path: Path) -> None:
    """Its old state still stands where it first came, and is not to be taken for the new one."""
    keyed, taken = of(tmp_path)
    run(keyed, ["here", "away"])
    keyed.give_away(["away"])
    keyed.take_in(["away"], [Plain(7)])
    part = checkpoint(taken, 1)
    assert part.file is not None
    assert restored(tmp_path, part, [part.file]) == {"here": 1, "away": 7}


def test_a_chain_does_not_go_on_over_a_move(tmp_path: Path) -> None:
    """Not even on a worker that gives nothing and gets nothing."""
    keyed, taken = of(tmp_path)
    run(keyed, named(1000))
    full = [checkpoint(taken, 1).full]
    run(keyed, named(3))
    full.append(checkpoint(taken, 2, moves=True).full)
    run(keyed, named(3))
    full.append(checkpoint(taken, 3, kept=False).full)
    full.append(checkpoint(taken, 4).full)
    run(keyed, named(3))
    full.append(checkpoint(taken, 5).full)
    keyed.give_away(["k1"])
    full.append(checkpoint(taken, 6).full)
    assert full == [True, False, True, True, False, True]


def test_when_all_keys_are_gone_a_chain_begins_anew(tmp_path: Path) -> None:
    keyed, taken = of(tmp_path)
    run(keyed, named(10))
    checkpoint(taken, 1)
    keyed.give_away(named(10))
    part = checkpoint(taken, 2)
    assert part == (None, True, 0, 0)
    keyed.take_in(["k1"], [Plain(1)])
    part = checkpoint(taken, 3)
    assert part.file is not None
    assert (part.full, part.file.keys) == (True, 1)


def wrong(taken: Snapshots, barrier: int) -> str:
    with pytest.raises(RunFailure) as failure:
        checkpoint(taken, barrier)
    assert "report" in failure.value.error["hint"]
    return str(failure.value.error["what"])


def test_states_that_come_or_go_by_another_door_are_found_out(tmp_path: Path) -> None:
    for number, harm in enumerate((
        lambda keyed: keyed.objects.pop("k3"),
        lambda keyed: keyed.objects.update(more=Plain(1)),
        lambda keyed: keyed.take_in(["k3"], [Plain(1)]),
    )):  # fmt: skip
        folder = tmp_path / str(number)
        folder.mkdir()
        keyed, taken = of(folder)
        run(keyed, named(10))
        checkpoint(taken, 1)
        with pytest.raises(RunFailure, match="internal error: state totals of worker 0: "):
            harm(keyed)
            checkpoint(taken, 2)


def test_a_full_file_that_lacks_a_key_or_has_another_is_found_out(tmp_path: Path) -> None:
    for number, page in enumerate((
        Page(named(9), [Plain(1)] * 9),
        Page([*named(9), "other"], [Plain(1)] * 10),
        Page([*named(10), "k3"], [Plain(1)] * 11),
    )):  # fmt: skip
        folder = tmp_path / str(number)
        folder.mkdir()
        keyed, taken = of(folder)
        run(keyed, named(10))
        keyed.note_created()
        taken._states["totals"].keys._pages = [page]
        assert "were stored, and there were 10" in wrong(taken, 1)


def test_a_delta_that_lacks_a_key_is_found_out(tmp_path: Path) -> None:
    keyed, taken = of(tmp_path)
    run(keyed, named(1000))
    checkpoint(taken, 1)
    run(keyed, named(10))
    taken.begin(2)
    taken.cut("totals")
    cut = taken._states["totals"].cut
    assert cut is not None
    assert isinstance(cut.waiting, TouchedKeys)
    cut.waiting._waiting.discard("k3")
    while not taken.all_encoded:
        taken.slice()
    taken.sync([])
    with pytest.raises(RunFailure, match="9 keys were stored, and 10 were to be"):
        taken.part({}, {})


def test_a_new_key_that_would_not_be_stored_is_found_out(tmp_path: Path) -> None:
    keyed, taken = of(tmp_path)
    run(keyed, named(1000))
    checkpoint(taken, 1)
    keyed.create("never touched", Plain(1))
    with pytest.raises(RunFailure, match="a new key was not among those to be stored"):
        keyed.touch([])


def test_a_touched_key_without_a_state_is_not_missed(tmp_path: Path) -> None:
    """It was refused, before the cut or after it."""
    keyed, taken = of(tmp_path)
    run(keyed, named(1000))
    checkpoint(taken, 1)
    keyed.touch(["refused", "refused twice", "k1"])
    taken.begin(2, moves=True)
    taken.cut("totals")
    keyed.touch(["refused twice"])
    keyed.take_in(["refused"], [Plain(1)])
    while not taken.all_encoded:
        taken.slice()
    part = finish(taken)
    assert part.file is not None
    assert (part.full, part.file.keys) == (False, 1)


class Failing:
    """A disk on which one call fails, once."""

    def __init__(self, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
        real = getattr(disk, call)
        self.failed = 0

        def fails(*arguments: Any) -> Any:
            if not self.failed:
                self.failed += 1
                raise OSError(errno.EIO, "it failed")
            return real(*arguments)

        monkeypatch.setattr(disk, call, fails)


@pytest.mark.parametrize("call", ["open", "write", "fsync"])
def test_a_file_that_could_not_be_written_is_made_up_for(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyed, taken = of(tmp_path)
    run(keyed, named(1000))
    base = checkpoint(taken, 1).file
    run(keyed, named(3))
    failing = Failing(call, monkeypatch)
    taken.begin(2)
    taken.cut("totals")
    while not taken.all_encoded:
        taken.slice()
    taken.sync([])
    part = taken.part({}, {})
    assert failing.failed == 1
    assert "input/output error" in part.error
    assert part.sink_error == ""
    assert [path.name for path in tmp_path.iterdir()] == [base and base.name]
    taken.settle(kept=False)
    made_up_for = checkpoint(taken, 3)
    assert made_up_for.full
    assert made_up_for.file is not None
    assert restored(tmp_path, made_up_for, [made_up_for.file]) == totals(keyed)


def test_a_sink_that_could_not_be_synced_is_told_apart(tmp_path: Path) -> None:
    class Sink:
        def sync(self) -> None:
            raise OSError(errno.ENOSPC, "no room")

    keyed, taken = of(tmp_path)
    run(keyed, named(3))
    taken.begin(1)
    taken.cut("totals")
    while not taken.all_encoded:
        taken.slice()
    taken.sync([Sink()])
    part = taken.part({}, {})
    assert part.error == ""
    assert "no space left on device" in part.sink_error


def test_slices_pause_where_the_disk_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []
    monkeypatch.setattr(snapshots, "BLOCK_BYTES", 1)
    monkeypatch.setattr(snapshots, "GROUP_KEYS_FIRST", 1)
    monkeypatch.setattr(snapshots, "GROUP_KEYS_MAX", 1)
    monkeypatch.setattr(snapshots, "QUEUE_BLOCKS_MAX", 3)
    keyed, taken = of(tmp_path, jobs.append)
    run(keyed, named(20))
    taken.begin(1)
    taken.cut("totals")
    for _ in range(100):
        taken.slice()
    assert not taken.all_encoded
    while not taken.all_encoded:
        jobs.pop(0)()
        taken.slice()
    taken.sync([])
    assert not taken.synced
    for job in jobs:
        job()
    assert taken.synced


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
