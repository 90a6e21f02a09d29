"""Workers join and leave a run that goes on: nothing is lost, doubled or reordered."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.run.harness import children, run, until
from tests.run.live import (
    DETECTOR,
    DETECTOR_PIPELINE,
    WORDS,
    WORDS_PIPELINE,
    Live,
    check_detector,
    check_words,
    read_by,
)

pytestmark = pytest.mark.slow
SIZES = (1, 4, -1, -4)
CYCLES = 3


def stopped(live: Live) -> str:
    """Let it end; what it said. Who left is gone, and no key is on two workers: in the last
    checkpoint there are as many states as keys.
    """
    workers = len(live.workers())
    until(lambda: len(children(live.process.pid)) == workers, "those that left to be gone")
    said = live.stop()
    assert "which had left" not in said  # every leaver exited with 0
    distinct = {line.split()[0] for line in (live.folder / "out.txt").read_text().splitlines()}
    manifest = json.loads(max((live.folder / ".roo").glob("*/manifest-*.json")).read_text())
    assert sum(chain["keys"] for chain in manifest["chains"]) == len(distinct)
    return said


@pytest.mark.parametrize("first", SIZES)
def test_every_pair_of_changes_under_the_detector(tmp_path: Path, first: int) -> None:
    with Live(tmp_path, DETECTOR_PIPELINE, DETECTOR) as live:
        cycle(live, first)
        said = stopped(live)
    assert check_detector(tmp_path / "out.txt") > 1000
    assert "start again" not in said


@pytest.mark.parametrize("first", SIZES)
def test_every_pair_of_changes_under_the_word_count(tmp_path: Path, first: int) -> None:
    with Live(tmp_path, WORDS_PIPELINE, WORDS) as live:
        cycle(live, first)
        said = stopped(live)
    assert check_words(tmp_path / "out.txt", read_by(tmp_path, "lines")) > 1000
    assert "start again" not in said


def cycle(live: Live, first: int) -> None:
    """Each pair that begins with `first`, so many times."""
    for second in SIZES:
        base = 1 - min(0, first, first + second)
        for _ in range(CYCLES):
            live.change(to=base)
            for joins in (first, second):
                live.change(joins=joins)
            assert len(live.workers()) == base + first + second


def test_one_to_ten_and_back_one_by_one(tmp_path: Path) -> None:
    with Live(tmp_path, DETECTOR_PIPELINE, DETECTOR, "--workers", "1") as live:
        for count in (*range(2, 11), *range(9, 0, -1)):
            answer = live.change(to=count)
            shares = [row["share"] for row in live.status()["workers"]]
            assert all(abs(share * count - 1) < 1e-9 for share in shares)
            assert answer["keys_moved"] > 0
        said = stopped(live)
    assert check_detector(tmp_path / "out.txt") > 1000
    assert "start again" not in said


def test_any_worker_may_leave_the_first_and_the_writer_included(tmp_path: Path) -> None:
    """Two splits, a single-writer sink, and their workers going one after the other."""
    with Live(tmp_path, DETECTOR_PIPELINE, DETECTOR, "--workers", "2") as live:
        for _ in range(6):
            live.change(joins=1)
            live.change(leaves=[live.workers()[0]])
        place = live.status()["placement"]
        assert place["workers"] == [6, 7]
        assert set(place["readers"].values()) | set(place["homes"].values()) <= {6, 7}
        stopped(live)
    assert check_detector(tmp_path / "out.txt") > 1000


def test_several_join_as_several_leave_in_one_move(tmp_path: Path) -> None:
    with Live(tmp_path, DETECTOR_PIPELINE, DETECTOR, "--workers", "3") as live:
        before = live.status()["placement"]["table"]["version"]
        live.change(joins=2, leaves=[0, 2])
        place = live.status()["placement"]
        assert place["table"]["version"] == before + 1
        assert place["workers"] == [1, 3, 4]
        live.stop()
    check_detector(tmp_path / "out.txt")


KEYS = 60_000
BURSTS = f"""
from dataclasses import dataclass

@dataclass
class Seen:
    count: int = 0

def keys(): return (f"k{{i}}" for i in range({KEYS}))

def key(number): return f"k{{number // 4 * 7919 % {KEYS}}}"

def work(number, state):
    state.count += 1
    return f"{{key(number)}} {{state.count}} {{number}}"
"""
BURSTS_PIPELINE = """
name: NAME
sources: {numbers: {type: generate, rate: 20000}}
states: {seen: {factory: "plug:Seen", keys: {call: "plug:keys"}}}
steps: [{name: work, type: stateful, partition: "plug:key", state: seen, call: "plug:work"}]
sinks: {out: {type: file, path: out.txt}}
"""


def test_messages_that_come_as_their_key_does_stay_in_order(tmp_path: Path) -> None:
    """A key's four messages come within a millisecond, while it may be on its way."""
    with Live(tmp_path, BURSTS_PIPELINE, BURSTS, "--workers", "2", "--no-checkpoint") as live:
        for _ in range(2):
            live.change(joins=1)
            live.change(joins=-1)
        live.stop()
    counts: Counter[str] = Counter()
    last: dict[str, int] = {}
    lines = [line.split() for line in (tmp_path / "out.txt").read_text().splitlines()]
    for key, count, number in lines:
        counts[key] += 1
        assert int(count) == counts[key]
        assert int(number) > last.get(key, -1), f"{key}: {last[key]} and then {number}"
        last[key] = int(number)
    assert sorted(int(number) for _, _, number in lines) == list(range(len(lines)))
    assert len(lines) > 1000


HANGS = (
    DETECTOR
    + """
import time
from roo.api import Sink

class Hangs(Sink):
    single_writer = False
    takes_bytes = False
    def open(self, context): self.worker = context.worker
    def write(self, items): pass
    def close(self):
        while self.worker == 0: time.sleep(1)
"""
)
HANGS_PIPELINE = DETECTOR_PIPELINE.replace(
    "sinks: {", 'sinks: {hangs: {type: plugin, class: "plug:Hangs", from: detect}, '
).replace("path: out.txt", "path: out.txt, from: detect")


def test_who_leaves_and_hangs_is_ended(tmp_path: Path) -> None:
    """Where nothing is kept. Else the change is over only when the sinks of leavers are closed."""
    with Live(tmp_path, HANGS_PIPELINE, HANGS, "--workers", "2", "--no-checkpoint") as live:
        live.change(leaves=[0])
        live.until_said("worker 0, which had left, was killed by SIGKILL")
        assert len(children(live.process.pid)) == 1
        assert "start again" not in live.stop()
    check_detector(tmp_path / "out.txt")


def test_without_checkpoints_workers_move_all_the_same(tmp_path: Path) -> None:
    with Live(tmp_path, DETECTOR_PIPELINE, DETECTOR, "--no-checkpoint") as live:
        for count in (3, 1, 4, 2):
            live.change(to=count)
        live.change(leaves=[live.workers()[0]])
        live.stop()
    assert check_detector(tmp_path / "out.txt") > 1000


UNMOVABLE = {
    "sent": (
        DETECTOR.replace("@dataclass\nclass Window:", "import threading\n\nclass Window:").replace(
            "    state.count += 1\n", "    state.count += 1\n    state.lock = threading.Lock()\n"
        ),
        "a state of type plug.Window can't move: cannot pickle '_thread.lock' object",
        "keep plain data in states",
    ),
    "made again": (
        DETECTOR.replace(
            "@dataclass\nclass Window:",
            "class Window:\n    def __setstate__(self, state): raise ValueError('made once')",
        ),
        "a state that moves can't be made again: ValueError: made once",
        "see its `__init__` and `__reduce__`",
    ),
}


@pytest.mark.parametrize("case", UNMOVABLE)
def test_a_state_that_can_not_move_ends_the_run_with_the_reason(tmp_path: Path, case: str) -> None:
    plugin, what, hint = UNMOVABLE[case]
    with Live(tmp_path, DETECTOR_PIPELINE, plugin, "--no-checkpoint", "--workers", "2") as live:
        done = run(tmp_path, "scale", live.name, "+1")
        assert done.returncode == 1
        assert "the run has failed" in done.stderr
        live.process.communicate(timeout=180)
        assert live.process.returncode == 1
        assert what in live.said()
        assert hint in live.said()


QUIET_PIPELINE = """
name: NAME
sources: {lines: {type: file, path: in.txt, follow: true}}
states: {totals: {factory: "plug:Total"}}
steps: [{name: count, type: stateful, partition: "plug:word", state: totals, call: "plug:count"}]
sinks: {out: {type: file, path: out.txt}}
"""


def test_a_run_that_has_nothing_to_do_changes_its_workers(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("".join(f"k{i}\n" for i in range(100)))
    with Live(tmp_path, QUIET_PIPELINE, WORDS, "--workers", "2") as live:
        assert live.change(joins=1)["keys_moved"] > 0
        assert live.change(joins=-1)["keys_moved"] > 0
        live.stop()


SLOW = """
import time

class Total:
    n = 0

def key(message): return message

def count(message, state):
    time.sleep(0.02)
    state.n += 1
    return f"{message} {state.n}"
"""
SLOW_PIPELINE = """
name: NAME
sources: {lines: {type: file, path: in.txt}}
states: {totals: {factory: "plug:Total"}}
steps: [{name: count, type: stateful, partition: "plug:key", state: totals, call: "plug:count"}]
sinks: {out: {type: file, path: out.txt}}
"""


def test_a_slow_step_holds_up_no_change_and_no_stop(tmp_path: Path) -> None:
    """All of the file is one read for a fast step; here it would take ten minutes."""
    (tmp_path / "in.txt").write_text("".join(f"k{i}\n" for i in range(30_000)))
    with Live(tmp_path, SLOW_PIPELINE, SLOW) as live:
        live.change(joins=1)
        assert len(live.workers()) == 2
        live.stop()
    assert 0 < len((tmp_path / "out.txt").read_text().splitlines()) < 5_000


def test_a_run_goes_on_from_a_checkpoint_taken_after_moves(tmp_path: Path) -> None:
    with Live(tmp_path, DETECTOR_PIPELINE, DETECTOR) as live:
        for count in (4, 3, 1, 3):
            live.change(to=count)
        live.wait_for_output(more_than=(tmp_path / "out.txt").stat().st_size + 100_000)
        live.process.kill()
        live.process.communicate()
        size = (tmp_path / "out.txt").stat().st_size
        live.start()
        live.wait_for_output(more_than=size)
        assert "going on from checkpoint" in live.stop()
    check_detector(tmp_path / "out.txt")


def test_shares_by_weight_and_by_load(tmp_path: Path) -> None:
    with Live(tmp_path, DETECTOR_PIPELINE, DETECTOR, "--workers", "2") as live:
        live.change(weights={"0": 3})
        shares = {row["worker"]: row["share"] for row in live.status()["workers"]}
        assert shares == {0: 0.75, 1: 0.25}
        until(lambda: not live.ask("change", by_load=True)["why_not"], "a load to go by")
        live.stop()
    check_detector(tmp_path / "out.txt")


BUSY = """
import os, time

class Total:
    n = 0

def key(number): return "hot" if number % 2 else str(number % 97)

def work(number, state):
    # Busy for as long as the test wants it: with computing, or with waiting for somebody else.
    end = time.perf_counter() + 0.0025
    if os.path.exists("waits"):
        time.sleep(0.0025)
    while not os.path.exists("calm") and time.perf_counter() < end:
        pass
    state.n += 1
    return f"{state.n}"
"""
BUSY_PIPELINE = """
name: NAME
sources: {numbers: {type: generate, rate: 300}}
states: {totals: {factory: "plug:Total"}}
steps:
  - {name: work, type: stateful, partition: "plug:key", state: totals, call: "plug:work"}
sinks: {out: {type: file, path: out.txt}}
cluster:
  workers: 1
  autoscale: {min: 1, max: 2, grow_above: 0.4, shrink_below: 0.2, for: 600ms, rest: 1s}
"""


def test_a_run_grows_when_it_is_busy_and_shrinks_when_it_is_idle(tmp_path: Path) -> None:
    (tmp_path / "waits").touch()
    with Live(tmp_path, BUSY_PIPELINE, BUSY) as live:
        until(lambda: len(live.workers()) == 2, "it to grow")
        (tmp_path / "waits").unlink()
        (tmp_path / "calm").touch()
        until(lambda: len(live.workers()) == 1, "it to shrink")
        said = live.stop()
    assert re.search("autoscale to 2 workers: (workers were busy to|sources of 1 worker)", said)
    assert "autoscale to 1 workers: workers were busy to only" in said
    assert len((tmp_path / "out.txt").read_text().splitlines()) == read_by(tmp_path, "numbers")


def test_a_hot_key_is_in_the_status(tmp_path: Path) -> None:
    (tmp_path / "calm").touch()
    with Live(tmp_path, BUSY_PIPELINE.replace("  autoscale", "  # autoscale"), BUSY) as live:
        until(lambda: live.status()["hot_keys"], "enough messages")
        state, key, part = live.status()["hot_keys"][0]
        assert (state, key) == ("totals", "hot")
        assert 0.3 < part < 0.7
        live.stop()
