"""kill -9 of any process at any moment changes nothing in the result."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from tests.run.harness import alive, children, run, start, summary, until, write

pytestmark = pytest.mark.slow

MESSAGES = 300_000
KEYS = 997
PLUGIN = f"""
import os, time
from dataclasses import dataclass

@dataclass
class Window:
    count: int = 0
    last: tuple = ()

def key(number): return str(number % {KEYS})

def detect(number, state):
    # A run waits for its test: slowly until the file is there, then as fast as it can.
    if number % 100 == 0 and not os.path.exists("go"):
        time.sleep(0.002)
    state.count += 1
    state.last = (*state.last[-3:], number)
    return f"{{number % {KEYS}}} {{state.count}} {{' '.join(map(str, state.last))}}"
"""
PIPELINE = """
sources: {numbers: {type: file, path: in.txt, splits: 2, codec: json}}
states: {windows: {factory: "plug:Window"}}
steps:
  - {name: detect, type: stateful, partition: "plug:key", state: windows, call: "plug:detect"}
sinks: {out: {type: file, path: out.txt}}
checkpoint: {every: 50ms}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in.txt").write_text("".join(f"{n}\n" for n in range(MESSAGES)))
    write(tmp_path, PIPELINE, PLUGIN)
    return tmp_path


def check(folder: Path, messages: int = MESSAGES) -> None:
    """Each key's windows follow one from the other, and end with its last number.

    A key has numbers of both splits, each in order; so within a split each is KEYS after the last.
    """
    counts: dict[str, int] = defaultdict(int)
    windows: dict[str, list[int]] = defaultdict(list)
    seen: set[int] = set()
    for line in (folder / "out.txt").read_text().splitlines():
        key, count, *ring = line.split()
        numbers = [int(n) for n in ring]
        assert int(count) == counts[key] + 1, f"key {key}: {counts[key]} and then {line}"
        assert numbers == [*windows[key][-3:], numbers[-1]], f"key {key}: {windows[key]}, {line}"
        assert numbers[-1] not in seen
        seen.add(numbers[-1])
        counts[key], windows[key] = int(count), numbers
    assert len(seen) == messages


def out_bytes(folder: Path) -> int:
    out = folder / "out.txt"
    return out.stat().st_size if out.exists() else 0


def checkpoints(folder: Path) -> int:
    """The number of the newest checkpoint."""
    found = [int(m.stem[-8:]) for m in (folder / ".roo" / "p").glob("manifest-*.json")]
    return max(found, default=0)


def go(folder: Path, workers: int, *more: str) -> subprocess.Popen[bytes]:
    return start(folder, "run", "p.yaml", "--workers", str(workers), "--status", "plain", *more)


def hurry(folder: Path) -> None:
    """From now on runs go as fast as they can."""
    (folder / "go").touch()


def finish(process: subprocess.Popen[bytes]) -> str:
    _, said = process.communicate(timeout=180)
    assert process.returncode == 0, said.decode()
    return said.decode()


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("at", ["before any checkpoint", "after one", "after three"])
def test_a_killed_worker_is_made_good(folder: Path, workers: int, at: str) -> None:
    wanted = {"before any checkpoint": 0, "after one": 1, "after three": 3}[at]
    process = go(folder, workers)
    until(lambda: out_bytes(folder) > 0 and checkpoints(folder) >= wanted, at)
    victims = children(process.pid)
    os.kill(victims[wanted % workers], signal.SIGKILL)
    hurry(folder)
    said = finish(process)
    assert "was killed by SIGKILL: all workers start again from" in said
    check(folder)
    # What was undone is not counted: the summary tells what is in the file.
    summary = re.findall(r"(?:messages read|outputs) +([\d,]+)", said)
    assert [int(number.replace(",", "")) for number in summary] == [MESSAGES, MESSAGES]


@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 2), (3, 3), (2, 3), (3, 1), (1, 2)])
def test_a_killed_coordinator_is_gone_on_from(folder: Path, before: int, after: int) -> None:
    process = go(folder, before)
    until(lambda: checkpoints(folder) >= 2, "two checkpoints")
    workers = children(process.pid)
    process.kill()
    process.communicate()
    until(lambda: not any(map(alive, workers)), "the workers to be gone")
    hurry(folder)
    assert "going on from checkpoint" in finish(go(folder, after))
    check(folder)


def test_a_stop_keeps_everything_and_the_next_run_goes_on(folder: Path) -> None:
    process = go(folder, 2)
    until(lambda: checkpoints(folder) >= 1, "a checkpoint")
    process.send_signal(signal.SIGINT)
    finish(process)
    first = out_bytes(folder)
    hurry(folder)
    assert "going on from checkpoint" in finish(go(folder, 2))
    assert out_bytes(folder) > first
    check(folder)


def test_a_finished_run_starts_fresh(folder: Path) -> None:
    hurry(folder)
    finish(go(folder, 2))
    assert "going on" not in finish(go(folder, 2))
    check(folder)


def test_fresh_starts_over(folder: Path) -> None:
    process = go(folder, 2)
    until(lambda: checkpoints(folder) >= 1, "a checkpoint")
    process.send_signal(signal.SIGINT)
    finish(process)
    hurry(folder)
    assert "going on" not in finish(go(folder, 2, "--fresh"))
    check(folder)


def test_what_was_in_a_file_before_the_run_stays(folder: Path) -> None:
    """Also when a worker dies before the first checkpoint."""
    (folder / "out.txt").write_text("before\n")
    size = out_bytes(folder)
    process = go(folder, 2, "--set", "sinks.out.mode=append", "--set", "checkpoint.every=1h")
    until(lambda: out_bytes(folder) > size, "outputs")
    os.kill(children(process.pid)[0], signal.SIGKILL)
    hurry(folder)
    finish(process)
    text = (folder / "out.txt").read_text()
    assert text.startswith("before\n")
    (folder / "out.txt").write_text(text.removeprefix("before\n"))
    check(folder)


def test_a_file_for_each_worker_is_cut_back_too(folder: Path) -> None:
    """Also those of workers that the next run has no more."""
    path = "sinks.out.path=out-{worker}.txt"
    process = go(folder, 3, "--set", path)
    until(lambda: checkpoints(folder) >= 2, "two checkpoints")
    process.kill()
    process.communicate()
    hurry(folder)
    finish(go(folder, 2, "--set", path))
    parts = [(folder / f"out-{w}.txt").read_text() for w in range(3)]
    numbers = [line.split()[-1] for part in parts for line in part.splitlines()]
    assert len(numbers) == len(set(numbers)) == MESSAGES


def test_a_second_run_on_the_same_checkpoints_is_refused(folder: Path) -> None:
    process = go(folder, 1, "--set", "sources.numbers.follow=true", "--set",
                 "sources.numbers.splits=1")  # fmt: skip
    until(lambda: out_bytes(folder) > 0, "outputs")
    done = run(folder, "run", "p.yaml")
    assert done.returncode == 3
    assert f"process {process.pid} runs on the checkpoints in .roo/p" in done.stderr
    process.kill()
    process.communicate()


def test_a_worker_that_always_dies_ends_the_run(folder: Path) -> None:
    (folder / "plug.py").write_text(PLUGIN + "\nimport os\ndef die(n): os._exit(7)\n")
    done = run(folder, "run", "p.yaml", "--set", 'steps.detect.call=plug:detect', "--set",
               "steps.detect.partition=plug:die", "--set", "cluster.restarts.max=2")  # fmt: skip
    assert done.returncode == 1
    assert "exited with code 7; gave up after 2 restarts without a new checkpoint" in done.stderr


def test_another_pipeline_does_not_go_on_from_it(folder: Path) -> None:
    process = go(folder, 2)
    until(lambda: checkpoints(folder) >= 1, "a checkpoint")
    process.send_signal(signal.SIGINT)
    finish(process)
    done = run(folder, "run", "p.yaml", "--set", "sinks.out.path=other.txt")
    assert done.returncode == 2
    assert "sinks.out.path was 'out.txt' and is 'other.txt'" in done.stderr
    assert "--fresh" in done.stderr
    done = run(folder, "run", "p.yaml", "--set", "sinks.out.codec=json")
    assert done.returncode == 2
    assert "sinks.out.codec was 'lines' and is 'json'" in done.stderr
    (folder / "in.txt").write_text("1\n")
    done = run(folder, "run", "p.yaml")
    assert done.returncode == 1
    assert "in.txt has 2 bytes, and had been read up to byte" in done.stderr


@pytest.mark.parametrize("how", ["cut short", "changed", "gone"])
def test_the_last_intact_checkpoint_is_used_and_the_damage_named(folder: Path, how: str) -> None:
    process = go(folder, 2)
    until(lambda: checkpoints(folder) >= 3, "checkpoints")
    process.kill()
    process.communicate()
    newest = folder / ".roo" / "p" / f"manifest-{checkpoints(folder):08}.json"
    names = [f["name"] for c in json.loads(newest.read_text())["chains"] for f in c["files"]]
    victim = newest if how == "changed" else newest.parent / names[-1]
    if how == "gone":
        victim.unlink()
    else:
        data = victim.read_bytes()
        victim.write_bytes(data[:-9] if how == "cut short" else data.replace(b"1", b"2"))
    hurry(folder)
    # What it keeps takes the place of what was damaged; and one that is damaged is none to keep.
    said = finish(go(folder, 2, "--set", "checkpoint.every=1h", "--set", "checkpoint.keep=1"))
    assert f"damaged: {Path('.roo/p') / victim.name}" in said
    assert "going on from checkpoint" in said
    check(folder)


def test_with_no_intact_checkpoint_the_run_is_refused(folder: Path) -> None:
    process = go(folder, 2)
    until(lambda: checkpoints(folder) >= 1, "a checkpoint")
    process.kill()
    process.communicate()
    for manifest in (folder / ".roo" / "p").glob("manifest-*"):
        manifest.write_text("{")
    done = run(folder, "run", "p.yaml")
    assert done.returncode == 3
    assert "no checkpoint in .roo/p is whole" in done.stderr
    assert "--fresh" in done.stderr


def test_states_without_a_manifest_are_no_start_from_nothing(folder: Path) -> None:
    process = go(folder, 2)
    until(lambda: checkpoints(folder) >= 1, "a checkpoint")
    process.kill()
    process.communicate()
    for manifest in (folder / ".roo" / "p").glob("manifest-*"):
        manifest.unlink()
    done = run(folder, "run", "p.yaml")
    assert done.returncode == 3
    assert ".roo/p has states and no manifest" in done.stderr
    hurry(folder)
    finish(go(folder, 2, "--fresh"))
    check(folder)


def test_a_run_that_failed_at_once_may_be_mended(folder: Path) -> None:
    """Nothing has been kept yet, so nothing depends on the shape of the pipeline."""
    (folder / "plug.py").write_text(PLUGIN + "\ndef bad(number): raise ValueError\n")
    wrong = PIPELINE.replace("steps:", 'steps:\n  - {name: bad, type: map, call: "plug:bad"}')
    wrong = wrong.replace("out.txt", "wrong.txt")
    write(folder, wrong, (folder / "plug.py").read_text())
    done = run(folder, "run", "p.yaml", "--set", "checkpoint.every=1h")
    assert done.returncode == 1
    write(folder, PIPELINE, PLUGIN)
    hurry(folder)
    assert "starting anew: the run before kept nothing in .roo/p" in finish(go(folder, 2))
    check(folder)


@pytest.mark.parametrize("who", ["worker", "all"])
def test_appended_to_and_killed_before_any_checkpoint(folder: Path, who: str) -> None:
    sets = ("--set", "sinks.out.mode=append", "--set", "checkpoint.every=1h")
    process = go(folder, 2, *sets)
    until(lambda: out_bytes(folder) > 0, "output")
    workers = children(process.pid)
    os.kill(workers[1] if who == "worker" else process.pid, signal.SIGKILL)
    hurry(folder)
    if who == "all":
        process.communicate()
        until(lambda: not any(map(alive, workers)), "the workers to be gone")
        process = go(folder, 2, *sets)
    finish(process)
    check(folder)


def test_a_file_for_each_worker_is_cut_back_before_any_checkpoint(folder: Path) -> None:
    sets = ("--set", "sinks.out.path=out-{worker}.txt", "--set", "checkpoint.every=1h")
    process = go(folder, 3, *sets)
    third = folder / "out-2.txt"
    until(lambda: third.exists() and third.stat().st_size, "output of the third worker")
    workers = children(process.pid)
    process.kill()
    process.communicate()
    until(lambda: not any(map(alive, workers)), "the workers to be gone")
    hurry(folder)
    finish(go(folder, 1, *sets))
    assert third.stat().st_size == 0
    assert (folder / "out-0.txt").read_text().count("\n") == MESSAGES


def test_what_another_run_appended_stays_as_workers_become_more(folder: Path) -> None:
    """Also in the file of a worker that this run has not had before."""
    sets = ("--set", "sinks.out.path=out-{worker}.txt", "--set", "sinks.out.mode=append")
    (folder / "out-1.txt").write_text("of old\n")
    process = go(folder, 1, *sets)
    until(lambda: checkpoints(folder) >= 1, "a checkpoint")
    process.kill()
    process.communicate()
    process = go(folder, 2, *sets, "--set", "checkpoint.every=1h")
    until(lambda: (folder / "out-1.txt").stat().st_size > 7, "output of the second worker")
    process.kill()
    process.communicate()
    hurry(folder)
    finish(go(folder, 2, *sets))
    texts = [(folder / name).read_text() for name in ("out-0.txt", "out-1.txt")]
    assert texts[1].startswith("of old\n")
    assert sum(text.count("\n") for text in texts) == MESSAGES + 1


def test_no_checkpoint_keeps_nothing(folder: Path) -> None:
    hurry(folder)
    done = run(folder, "run", "p.yaml", "--no-checkpoint", "--json")
    assert summary(done)["messages_read"] == MESSAGES
    assert not (folder / ".roo").exists()


def test_a_state_that_cannot_be_stored_is_named(folder: Path) -> None:
    locked = """
class Locked(Window):
    def __init__(self):
        super().__init__()
        self.lock = lambda: 1
"""
    (folder / "plug.py").write_text(PLUGIN + locked)
    done = run(folder, "run", "p.yaml", "--set", "states.windows.factory=plug:Locked")
    assert done.returncode == 1
    assert "windows" in done.stderr
    assert "a state of type plug.Locked can't be stored" in done.stderr
    assert "Traceback" not in done.stderr


POISON = """
import os, signal
def tell(number):
    if number == 1234: os.kill(os.getpid(), signal.SIGKILL)
    return number
"""


@pytest.mark.parametrize(
    ("where", "policy"),
    [
        ("a map step", "skip"),
        ("the partition function", "skip"),
        ("a stateful step", "fail"),
        ("a stateful step", "skip"),
        ("a stateful step", "dead_letter"),
    ],
)
def test_a_message_that_ends_its_worker_again_and_again(
    folder: Path, where: str, policy: str
) -> None:
    """It is found, named and given to the error policy; its neighbours lose nothing."""
    plugin, pipeline = PLUGIN + POISON, PIPELINE
    if where == "a map step":
        pipeline = pipeline.replace(
            "steps:", 'steps:\n  - {name: tell, type: map, call: "plug:tell"}'
        )
    elif where == "the partition function":
        plugin = plugin.replace(
            "def key(number): return str(number", "def key(number): return str(tell(number)"
        )
    else:
        plugin = plugin.replace("    state.count += 1", "    tell(number); state.count += 1")
    if policy == "dead_letter":
        pipeline = pipeline.replace(
            "path: out.txt}", "path: out.txt}, bad: {type: file, path: bad.txt}"
        )
        pipeline += "errors: {policy: dead_letter, sink: bad}\n"
    else:
        pipeline += f"errors: {{policy: {policy}}}\n"
    write(folder, pipeline, plugin)
    hurry(folder)
    done = run(folder, "run", "p.yaml", "--status", "plain")
    assert "message 1234 has ended its worker twice in a row" in done.stderr
    if policy == "fail":
        assert done.returncode == 1
        assert "this message ended its worker twice in a row" in done.stderr
        return
    assert done.returncode == 0
    numbers = {int(line.split()[-1]) for line in (folder / "out.txt").read_text().splitlines()}
    assert numbers == set(range(MESSAGES)) - {1234}
    if policy == "dead_letter":
        assert json.loads((folder / "bad.txt").read_text())["message"] == "1234"
