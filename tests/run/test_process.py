"""Signals, deaths, flow control: with real processes."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from subprocess import DEVNULL, PIPE
from tempfile import TemporaryDirectory
from time import monotonic

import pytest

from tests.run.harness import (
    PLUGIN,
    alive,
    children,
    rss_bytes,
    run,
    start,
    summary,
    until,
    write,
)

pytestmark = pytest.mark.slow

ENDLESS = """
sources: {numbers: {type: generate, rate: 2000}}
states: {s: {factory: "plug:Total"}}
steps: [{name: count, type: stateful, partition: "plug:mod", state: s, call: "plug:count"}]
sinks: {out: {type: file, path: out.txt}}
"""
STUCK = ENDLESS.replace("steps: [", 'steps: [{name: stuck, type: map, call: "plug:stuck"}, ')
FAST = ENDLESS.replace("rate: 2000", "count: 400000")


def written(folder: Path) -> bool:
    out = folder / "out.txt"
    return out.exists() and out.stat().st_size > 0


def check_counts(folder: Path) -> int:
    """Each key counts 1, 2, 3 … and its numbers come in order; how many lines there are."""
    last: dict[int, tuple[int, int]] = {}
    lines = (folder / "out.txt").read_text().splitlines()
    for line in lines:
        number, count = map(int, line.split())
        before, seen = last.get(number % 7, (number % 7 - 7, 0))
        assert (number, count) == (before + 7, seen + 1)
        last[number % 7] = (number, count)
    return len(lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_drains_and_exits_0(tmp_path: Path, number: int) -> None:
    write(tmp_path, ENDLESS)
    process = start(tmp_path, "run", "p.yaml", "--workers", "2")
    until(lambda: written(tmp_path), "outputs")
    os.kill(process.pid, number)
    process.communicate(timeout=180)
    assert process.returncode == 0
    assert check_counts(tmp_path) > 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_signal_ends_everything_at_once(tmp_path: Path, number: int, code: int) -> None:
    write(tmp_path, STUCK)
    process = start(tmp_path, "run", "p.yaml", "--workers", "2", "--status", "plain")
    assert process.stderr is not None
    seen = b""
    while b"step stuck (plug:stuck) for" not in seen:
        seen = process.stderr.readline()
        assert seen, "the status never told which step is stuck"
    assert b"worker " in seen
    workers = children(process.pid)
    os.kill(process.pid, number)
    while b"stopping" not in process.stderr.readline():
        pass
    os.kill(process.pid, number)
    process.communicate(timeout=180)
    assert process.returncode == code
    assert not any(map(alive, workers))


@pytest.mark.parametrize("pipeline", [ENDLESS, STUCK])
def test_workers_do_not_outlive_the_coordinator(tmp_path: Path, pipeline: str) -> None:
    write(tmp_path, pipeline)
    process = start(tmp_path, "run", "p.yaml", "--workers", "3")
    until(lambda: written(tmp_path), "outputs")
    workers = children(process.pid)
    assert len(workers) == 3
    process.kill()
    until(lambda: not any(map(alive, workers)), "the workers to exit", 5.0)
    process.communicate()


def test_workers_do_not_outlive_it_in_an_import_that_holds_the_interpreter(tmp_path: Path) -> None:
    holds = """
import ctypes, os, sys
if sys.argv[0].endswith("worker_main.py"):
    open(f"worker-{os.getpid()}", "w").close()
    ctypes.PyDLL(None).sleep(1000)
"""
    write(tmp_path, ENDLESS, holds + PLUGIN)
    process = start(tmp_path, "run", "p.yaml", "--workers", "2")
    until(lambda: len(list(tmp_path.glob("worker-*"))) == 2, "both workers to import")
    workers = children(process.pid)
    assert len(workers) == 2
    process.kill()
    until(lambda: not any(map(alive, workers)), "the workers to exit", 5.0)
    process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_before_the_run_has_begun_ends_it(tmp_path: Path, number: int, code: int) -> None:
    slow = 'import time\nopen("importing", "w").close()\ntime.sleep(1000)\n'
    write(tmp_path, ENDLESS, slow + PLUGIN)
    process = start(tmp_path, "run", "p.yaml")
    until((tmp_path / "importing").exists, "the plugin's import")
    os.kill(process.pid, number)
    assert process.communicate(timeout=180) == (None, b"")
    assert process.returncode == code


def test_without_checkpoints_a_killed_worker_ends_the_run_and_is_named(tmp_path: Path) -> None:
    write(tmp_path, ENDLESS)
    process = start(tmp_path, "run", "p.yaml", "--workers", "2", "--no-checkpoint")
    until(lambda: written(tmp_path), "outputs")
    workers = children(process.pid)
    os.kill(workers[0], signal.SIGKILL)
    _, said = process.communicate(timeout=180)
    assert process.returncode == 1
    assert b"was killed by SIGKILL" in said
    assert not any(map(alive, workers))


def test_a_worker_held_still_holds_the_others_back(tmp_path: Path) -> None:
    """No process grows while one of them stands still, and nothing is lost after."""
    write(tmp_path, FAST)
    options = ("--workers", "2", "--status", "none", "--no-checkpoint")
    process = start(tmp_path, "run", "p.yaml", *options)
    until(lambda: written(tmp_path), "outputs")
    workers = children(process.pid)
    os.kill(workers[1], signal.SIGSTOP)
    before = [rss_bytes(pid) for pid in workers]
    grown: list[int] = []
    try:
        end_s = monotonic() + 10
        until(lambda: grown.append(rss_bytes(workers[0])) or monotonic() > end_s, "ten seconds")
    finally:
        os.kill(workers[1], signal.SIGCONT)
    assert max(grown) - before[0] < 30_000_000
    process.communicate(timeout=180)
    assert process.returncode == 0
    assert check_counts(tmp_path) == 400_000


def test_a_slow_sink_slows_the_source_and_nothing_grows(tmp_path: Path) -> None:
    slow = """
import time
from roo.api import Sink
class Slow(Sink):
    takes_bytes = False
    def write(self, data):
        for message in data:
            time.sleep(0.001)
"""
    (tmp_path / "slow.py").write_text(slow)
    write(tmp_path, FAST.replace("type: file, path: out.txt", 'type: plugin, class: "slow:Slow"'))
    process = start(tmp_path, "run", "p.yaml", "--workers", "2", "--status", "none")
    workers = until(lambda: len(c := children(process.pid)) == 2 and c, "the workers")
    sizes: list[int] = []
    until(lambda: sizes.append(sum(map(rss_bytes, workers))) or len(sizes) > 250, "5 s")
    assert max(sizes) - sizes[100] < 30_000_000
    process.kill()
    process.communicate()


def test_a_key_is_born_once_however_many_workers_see_it(tmp_path: Path) -> None:
    words = [f"w{i}" for i in range(50)]
    for part in range(6):
        (tmp_path / f"in{part}.txt").write_text("\n".join(words * 40) + "\n")
    write(tmp_path, """
sources: {lines: {type: file, path: "in*.txt"}}
states: {s: {factory: "plug:Born"}}
steps: [{name: count, type: stateful, partition: "plug:itself", state: s, call: "plug:count"}]
sinks: {out: {type: "null"}}
""")  # fmt: skip
    done = run(tmp_path, "run", "p.yaml", "--workers", "3", "--json", "--status", "none")
    assert summary(done)["keys"] == 50
    born = (tmp_path / "born.txt").read_text().split()
    assert Counter(born) == Counter(words)


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_descriptor_is_an_empty_one(tmp_path: Path, closed: int) -> None:
    write(tmp_path, "sources: {in: {type: stdin}}\nsinks: {out: {type: stdout}}\n")
    process = start(
        tmp_path, "run", "p.yaml", preexec_fn=lambda: os.close(closed),
        stdin=DEVNULL, stdout=PIPE,
    )  # fmt: skip
    out, said = process.communicate(timeout=180)
    assert process.returncode == 0, said
    assert out == b""
    assert (b"p finished" in said) == (closed != 2)


def test_a_closed_stdout_ends_the_run_quietly(tmp_path: Path) -> None:
    write(tmp_path, FAST.replace("type: file, path: out.txt", "type: stdout"))
    read, wrote = os.pipe()
    process = start(tmp_path, "run", "p.yaml", "--status", "none", stdout=wrote)
    os.close(wrote)
    assert os.read(read, 10)
    os.close(read)
    _, said = process.communicate(timeout=180)
    assert (process.returncode, said) == (0, b"")


def test_a_closed_stdout_ends_the_run_quietly_also_if_its_worker_is_gone_first(
    tmp_path: Path,
) -> None:
    write(tmp_path, FAST.replace("type: file, path: out.txt", "type: stdout"))
    read, wrote = os.pipe()
    process = start(tmp_path, "run", "p.yaml", "--status", "none", stdout=wrote)
    os.close(wrote)
    assert os.read(read, 10)
    writer = children(process.pid)[0]
    os.kill(process.pid, signal.SIGSTOP)
    os.close(read)
    until(lambda: not alive(writer), "the end of the worker that writes")
    os.kill(process.pid, signal.SIGCONT)
    _, said = process.communicate(timeout=180)
    assert (process.returncode, said) == (0, b"")


def test_no_run_folder_is_left_and_those_of_dead_runs_are_swept(tmp_path: Path) -> None:
    with TemporaryDirectory(dir="/tmp") as short:  # the path of a socket must be
        left = Path(short) / "roo-999999-0"
        left.mkdir()
        (left / "control").touch()
        write(tmp_path, FAST.replace("400000", "10"))
        done = run(tmp_path, "run", "p.yaml", TMPDIR=short, XDG_RUNTIME_DIR="")
        assert done.returncode == 0
        assert not list(Path(short).iterdir())
