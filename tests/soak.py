"""Minutes of random kills: `python -m tests.soak [--minutes 5] [--seed 1] [--workers 3]`.

A word count over a file that grows all the time. Every 2 to 10 seconds a worker, several, the
coordinator or everything is killed with SIGKILL; a run without coordinator is started again. At the
end every word's lines must be exactly 1 to n; the disk that checkpoints take and the memory of the
workers are printed as they went. Exit 1 where the result is wrong or something did not come back.

Not a part of the tests: it takes as long as it is told to.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.run.harness import alive, children, start, until, write

WORDS_PER_S = 10_000
VOCABULARY = 50_000
FEED_EVERY_S = 0.02
SAMPLE_EVERY_S = 1.0
BACK_WITHIN_S = 60.0
PLUGIN = """
class Total:
    n = 0

def split(line): return line.split()
def word(message): return message
def count(message, state):
    state.n += 1
    return f"{message} {state.n}"
"""
PIPELINE = """
name: soak
sources: {lines: {type: file, path: in.txt, follow: true}}
states: {totals: {factory: "plug:Total"}}
steps:
  - {name: split, type: flat_map, call: "plug:split"}
  - {name: count, type: stateful, partition: "plug:word", state: totals, call: "plug:count"}
sinks: {out: {type: file, path: out.txt}}
checkpoint: {every: 500ms}
cluster: {restarts: {max: 1000, within: 60s}}
"""


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="roo-soak-") as folder:
        return soak(Path(folder), arguments.minutes * 60, arguments.seed, arguments.workers)


def soak(folder: Path, seconds: float, seed: int, workers: int) -> int:
    """One soak in a folder."""
    dice = random.Random(seed)
    write(folder, PIPELINE, PLUGIN)
    (folder / "in.txt").touch()
    killed: Counter[str] = Counter()
    run = go(folder, workers)
    with feeding(folder, dice.getrandbits(32)) as fed, sampling(folder, lambda: run.pid) as samples:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            time.sleep(dice.uniform(2, 10))  # what is tested: a kill at any moment
            whom = dice.choice(("worker", "worker", "some workers", "coordinator", "all"))
            killed[whom] += 1
            run = kill(folder, run, whom, dice, workers)
            before = size(folder / "out.txt")
            until(lambda b=before: size(folder / "out.txt") > b, f"outputs after the end of {whom}",
                  BACK_WITHIN_S)  # fmt: skip
            say(f"{end_s - time.monotonic():4.0f} s left, {sum(killed.values())} kills, "
                f"{fed():,} words, {samples[-1] if samples else ''}")  # fmt: skip
    words = fed()
    until(lambda: lines(folder / "out.txt") >= words, "the last words", BACK_WITHIN_S)
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=BACK_WITHIN_S)
    wrong = mistakes(folder)
    say(f"kills: {dict(killed)}; words: {words:,}; words that are wrong: {len(wrong)}")
    third = max(1, len(samples) // 3)
    for name, unit, pick in (("disk", "MB", 0), ("memory of all processes", "MB", 1)):
        series = [sample[pick] for sample in samples]
        first, last = statistics.median(series[third:-third]), statistics.median(series[-third:])
        say(f"{name}: most {max(series):.1f} {unit}; median of the second third {first:.1f}, "
            f"of the last {last:.1f}")  # fmt: skip
    return 1 if wrong or run.returncode else 0


def go(folder: Path, workers: int) -> subprocess.Popen[bytes]:
    """`roo run`."""
    log = (folder / "log.txt").open("ab")
    words = ["run", "p.yaml", "--workers", str(workers), "--status", "plain"]
    return start(folder, *words, stderr=log)


def kill(
    folder: Path, run: subprocess.Popen[bytes], whom: str, dice: random.Random, workers: int
) -> subprocess.Popen[bytes]:
    """Kill; the run that goes on: another one, where the coordinator was killed."""
    below = children(run.pid)
    if "worker" in whom:
        victims = [dice.choice(below)] if whom == "worker" and below else below
        for pid in victims:
            with suppress(ProcessLookupError):  # it was being replaced
                os.kill(pid, signal.SIGKILL)
        return run
    for pid in [run.pid, *(below if whom == "all" else [])]:
        os.kill(pid, signal.SIGKILL)
    run.wait()
    until(lambda: not any(map(alive, below)), "its workers to end", BACK_WITHIN_S)
    return go(folder, workers)


@contextmanager
def feeding(folder: Path, seed: int) -> Iterator[object]:
    """Lets the input grow; gives a function that says how many words there are."""
    dice, stopped, written = random.Random(seed), threading.Event(), [0]

    def feed() -> None:
        each = round(WORDS_PER_S * FEED_EVERY_S)
        with (folder / "in.txt").open("ab", buffering=0) as out:
            while not stopped.wait(FEED_EVERY_S):
                names = (f"w{int(dice.random() ** 3 * VOCABULARY)}" for _ in range(each))
                out.write((" ".join(names) + "\n").encode())
                written[0] += each

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    try:
        yield lambda: written[0]
    finally:
        stopped.set()
        thread.join()


@contextmanager
def sampling(folder: Path, pid: object) -> Iterator[list[tuple[float, float]]]:
    """(MB on disk in checkpoints, MB of memory of the run's processes), every second."""
    samples: list[tuple[float, float]] = []
    stopped = threading.Event()

    def look() -> None:
        while not stopped.wait(SAMPLE_EVERY_S):
            disk = sum(size(file) for file in (folder / ".roo").rglob("*"))
            processes = [pid(), *children(pid())]  # type: ignore[operator]
            samples.append((round(disk / 1e6, 1), round(sum(map(rss_bytes, processes)) / 1e6, 1)))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        stopped.set()
        thread.join()


def mistakes(folder: Path) -> list[str]:
    """Words whose lines are not exactly 1 to n, in order."""
    found: dict[str, list[int]] = defaultdict(list)
    with (folder / "out.txt").open() as out:
        for line in out:
            word, _, n = line.partition(" ")
            found[word].append(int(n))
    with (folder / "in.txt").open() as source:
        model = Counter(word for line in source for word in line.split())
    return [w for w in {*found, *model} if found.get(w) != list(range(1, model.get(w, 0) + 1))]


def size(path: Path) -> int:
    """Bytes of a file; 0 where there is none (any more)."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def lines(path: Path) -> int:
    """How many lines a file has."""
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def rss_bytes(pid: int) -> int:
    """What a process has in memory; 0 where there is none (any more)."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def say(line: str) -> None:
    """To stderr."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
