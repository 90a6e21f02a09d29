"""Runs in which somebody dies at a named point (`kill_points/sitecustomize.py`)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from tests.run.harness import alive, children, start, until, write

HERE = Path(__file__).parent
WORDS = 300_000
FLAG = "died"

PACE = """
import builtins, os, time
here = getattr(builtins, "kill_point", lambda point: None)
calls = 0

def pace():
    # Slow enough for a few checkpoints, until somebody has died; then as fast as it can.
    global calls
    calls += 1
    if calls % 250 == 0 and not os.path.exists("died"):
        time.sleep(0.0005)
    here("mid-batch")
"""
COUNT = (
    PACE
    + """
class Total:
    n = 0

def split(line): return line.split()
def word(message): return message
def count(message, state):
    pace()
    state.n += 1
    return f"{message} {state.n}"
"""
)
COUNT_PIPELINE = """
sources: {lines: {type: file, path: in.txt, splits: 3}}
states: {totals: {factory: "plug:Total"}}
steps:
  - {name: split, type: flat_map, call: "plug:split"}
  - {name: count, type: stateful, partition: "plug:word", state: totals, call: "plug:count"}
sinks: {out: {type: file, path: out.txt}}
checkpoint: {every: 50ms}
"""
DETECT = (
    PACE
    + """
class Window:
    def __init__(self):
        self.last = ()

def key(number): return number.partition(".")[0]
def detect(number, state):
    pace()
    state.last = (*state.last[-3:], number.partition(".")[2])
    return f"{key(number)} {','.join(state.last)}"
"""
)
DETECT_PIPELINE = """
sources: {numbers: {type: file, path: "in-*.txt"}}
states: {windows: {factory: "plug:Window"}}
steps:
  - {name: detect, type: stateful, partition: "plug:key", state: windows, call: "plug:detect"}
sinks: {out: {type: file, path: out.txt}}
checkpoint: {every: 50ms}
"""
DETECT_KEYS = 500
DETECT_EACH = 200


def prepare(folder: Path, job: str) -> dict[str, list[str]]:
    """The files of a job; for each key its lines as they have to be in the end."""
    expected: dict[str, list[str]] = defaultdict(list)
    if job == "word count":
        chance = Random(3)
        words = [f"w{int(chance.paretovariate(0.6)) % 8000}" for _ in range(WORDS)]
        lines = [" ".join(words[i : i + 10]) for i in range(0, WORDS, 10)]
        for word in words:
            expected[word].append(f"{word} {len(expected[word]) + 1}")
        write(folder, COUNT_PIPELINE, COUNT)
    else:
        # A key's numbers lie in one file: its order is that of its split.
        for part in "abc":
            lines = [
                f"{part}k{key}.{number}"
                for number in range(DETECT_EACH)
                for key in range(DETECT_KEYS)
            ]
            for line in lines:
                key, _, number = line.partition(".")
                ring = range(max(0, int(number) - 3), int(number) + 1)
                expected[key].append(f"{key} {','.join(map(str, ring))}")
            (folder / f"in-{part}.txt").write_text("".join(f"{line}\n" for line in lines))
        write(folder, DETECT_PIPELINE, DETECT)
        return expected
    (folder / "in.txt").write_text("".join(f"{line}\n" for line in lines))
    return expected


def check(folder: Path, expected: dict[str, list[str]]) -> None:
    """The file holds, for every key, exactly its lines, in order."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in (folder / "out.txt").read_text().splitlines():
        found[line.partition(" ")[0]].append(line)
    wrong = [key for key in {*found, *expected} if found[key] != expected.get(key)]
    assert not wrong, f"{len(wrong)} keys differ, {wrong[0]}: {found[wrong[0]][-3:]}"


def trapped(point: str, host: object, victim: object, nth: int = 1) -> dict[str, str]:
    """The environment in which a run dies at a point."""
    facts = {"point": point, "host": host, "victim": victim, "nth": nth, "flag": FLAG}
    path = os.pathsep.join([str(HERE / "kill_points"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "ROO_KILL": json.dumps(facts)}


def faulty(*faults: dict[str, Any], environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment in which calls of some processes go wrong: see `kill_points`."""
    path = os.pathsep.join([str(HERE / "kill_points"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, **(environ or {}), "ROO_FAULTS": json.dumps(faults)}


def go(folder: Path, workers: int, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    """`roo run`, with traps."""
    words = ["run", "p.yaml", "--workers", str(workers), "--status", "plain"]
    return start(folder, *words, env=environ)


def manifests(folder: Path) -> int:
    """How many checkpoints there are, beside the one before the first message."""
    there = (folder / ".roo" / "p").glob("manifest-*.json")
    return sum(path.stem != "manifest-00000000" for path in there)


def kill_a_worker(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Once there is a checkpoint to restore."""
    until(lambda: manifests(folder) > 0, "a checkpoint")
    os.kill(children(process.pid)[0], signal.SIGKILL)


def until_dead(process: subprocess.Popen[bytes]) -> None:
    """The coordinator has been killed, and its workers have gone with it."""
    workers = children(process.pid)
    process.communicate(timeout=180)
    assert process.returncode == -signal.SIGKILL
    until(lambda: not any(map(alive, workers)), "the workers to be gone")
