"""Runs that go on while a test does something to them."""

from __future__ import annotations

import json
import os
import subprocess
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Any

from roo.cli.visitor import NoAnswer, Visitor
from roo.runtime.registry import NoSuchRun
from tests.run.harness import children, start, until, write

DETECTOR = """
from dataclasses import dataclass

KEYS = 997

@dataclass
class Window:
    count: int = 0
    last: tuple = ()

def key(number): return str(number % KEYS)

def detect(number, state):
    state.count += 1
    state.last = (*state.last[-3:], number)
    return f"{number % KEYS} {state.count} {' '.join(map(str, state.last))}"
"""
DETECTOR_PIPELINE = """
name: NAME
sources: {numbers: {type: generate, rate: 20000}}
states: {windows: {factory: "plug:Window"}}
steps:
  - {name: detect, type: stateful, partition: "plug:key", state: windows, call: "plug:detect"}
sinks: {out: {type: file, path: out.txt}}
checkpoint: {every: 1s}
"""

WORDS = """
import random

class Total:
    n = 0

def lines():
    chance = random.Random(7)
    while True:
        yield " ".join(f"w{int(chance.paretovariate(0.7)) % 5000}" for _ in range(10))

def split(line): return line.split()
def word(message): return message
def count(message, state):
    state.n += 1
    return f"{message} {state.n}"
"""
WORDS_PIPELINE = """
name: NAME
sources: {lines: {type: generate, call: "plug:lines", rate: 2000}}
states: {totals: {factory: "plug:Total"}}
steps:
  - {name: split, type: flat_map, call: "plug:split"}
  - {name: count, type: stateful, partition: "plug:word", state: totals, call: "plug:count"}
sinks: {out: {type: file, path: out.txt}}
checkpoint: {every: 1s}
"""


class Live:
    """A run in a folder: a context manager that ends it. name: what it is called."""

    def __init__(
        self,
        folder: Path,
        pipeline: str,
        plugin: str,
        *words: str,
        environ: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self._environ = environ
        # Runs are found by name, by all tests at once: each has one of its own.
        self.name = f"t{os.getpid()}-{abs(hash(folder)) % 10**8}"
        write(folder, pipeline.replace("NAME", self.name), plugin)
        self._words = words
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """`roo run`, once more."""
        words = ["run", "p.yaml", "--status", "plain", *self._words]
        self._log = (self.folder / "log.txt").open("ab")
        self.process = start(self.folder, *words, env=self._environ, stderr=self._log)
        return self.process

    def said(self) -> str:
        """Everything that it has said so far."""
        return (self.folder / "log.txt").read_text()

    def __enter__(self) -> Live:
        self.wait_for_output()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self._log.close()

    def wait_for_output(self, more_than: int = 0) -> None:
        """Until the file sink holds more than so many bytes."""
        out = self.folder / "out.txt"
        until(lambda: out.exists() and out.stat().st_size > more_than, "outputs")

    def ask(self, command: str, **facts: Any) -> dict[str, Any]:
        """The last answer to a request at the run's door."""
        with Visitor(self.name) as visitor:
            return visitor.ask_once(command, **facts)

    def change(self, **facts: Any) -> dict[str, Any]:
        """A change of workers, made."""
        answer = self.ask("change", **facts)
        if answer["why_not"] == "the run has failed":
            self.process.wait(timeout=180)
        assert not answer["why_not"], f"{answer}\n{self.said()}"
        return answer

    def status(self) -> dict[str, Any]:
        """How it stands."""
        status: dict[str, Any] = self.ask("status")["status"]
        return status

    def workers(self) -> list[int]:
        """Numbers of the workers there are."""
        return list(self.status()["placement"]["workers"])

    def pid_of(self, worker: int) -> int:
        """The process of a worker."""

        def pid() -> int:
            rows = {row["worker"]: row["pid"] for row in self.status()["workers"]}
            return int(rows.get(worker, 0))

        until(lambda: pid() in children(self.process.pid), f"worker {worker} to report")
        return pid()

    def stop(self) -> str:
        """Let it finish what it has read; what it said."""
        self.ask("stop")
        self.process.communicate(timeout=180)
        assert self.process.returncode == 0, self.said()
        return self.said()

    def begin_change(self, **facts: Any) -> None:
        """Ask for a change, and wait only until it is under way."""
        with Visitor(self.name) as visitor:
            for answer in visitor.ask("change", **facts):
                if answer.get("begun"):
                    return
                assert not answer.get("done"), answer

    def until_said(self, *lines: str) -> None:
        """Until its log holds one of these."""
        until(lambda: any(line in self.said() for line in lines), repr(lines))

    def until_going(self) -> None:
        """Until it is running, and writes."""
        until(lambda: self._phase() == "running", "it to be running")
        self.wait_for_output(more_than=(self.folder / "out.txt").stat().st_size)

    def _phase(self) -> str:
        try:
            return str(self.status()["phase"])
        except (NoSuchRun, NoAnswer):
            return "not there"


def check_detector(path: Path) -> int:
    """Every key's windows follow one from the other, and no number lacks; how many there were."""
    counts: dict[str, int] = defaultdict(int)
    windows: dict[str, list[int]] = defaultdict(list)
    seen: set[int] = set()
    for line in path.read_text().splitlines():
        key, count, *ring = line.split()
        numbers = [int(n) for n in ring]
        assert int(count) == counts[key] + 1, f"key {key}: {counts[key]} and then {line}"
        assert numbers == [*windows[key][-3:], numbers[-1]], f"key {key}: {windows[key]}, {line}"
        seen.add(numbers[-1])
        counts[key], windows[key] = int(count), numbers
    assert seen == set(range(len(seen)))
    assert sum(counts.values()) == len(seen)
    return len(seen)


def check_detector_files(folder: Path, pattern: str) -> int:
    """The same where each worker writes a file: in each a key's counts go up, and together they are
    all there, once.
    """
    rings: dict[str, dict[int, list[int]]] = defaultdict(dict)
    for path in folder.glob(pattern):
        newest: dict[str, int] = defaultdict(int)
        for line in path.read_text().splitlines():
            key, count, *ring = line.split()
            assert int(count) > newest[key], f"{path.name}, key {key}: {newest[key]}, then {line}"
            assert int(count) not in rings[key], f"twice: {line}"
            newest[key] = int(count)
            rings[key][int(count)] = [int(n) for n in ring]
    seen: set[int] = set()
    for key, by_count in rings.items():
        window: list[int] = []
        for count in range(1, len(by_count) + 1):
            number = by_count[count][-1]
            window = [*window[-3:], number]
            assert by_count[count] == window, f"key {key} at {count}: {window}, {by_count[count]}"
            seen.add(number)
    assert seen == set(range(sum(map(len, rings.values()))))
    return len(seen)


def check_words(path: Path, made: int) -> int:
    """Every word's outputs are exactly 1 to n, and n is what the generator has made of it.

    made: lines that the run has read.
    """
    names: dict[str, Any] = {}
    exec(WORDS, names)
    expected: dict[str, int] = defaultdict(int)
    lines = names["lines"]()
    for _ in range(made):
        for word in next(lines).split():
            expected[word] += 1
    counts: dict[str, int] = defaultdict(int)
    for line in path.read_text().splitlines():
        word, n = line.split()
        counts[word] += 1
        assert int(n) == counts[word], f"{word}: {counts[word] - 1} and then {n}"
    assert counts == expected
    return sum(counts.values())


def read_by(folder: Path, source: str) -> int:
    """The offset at which a generate source stood at the newest checkpoint."""
    newest = max((folder / ".roo").glob("*/manifest-*.json"))
    [split] = [s for s in json.loads(newest.read_text())["splits"] if s["source"] == source]
    return int(split["offset"])
