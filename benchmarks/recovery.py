"""How long a run is away after `kill -9`, of one worker and of everything, at 1 M keys."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from benchmarks import peers, stored, words
from benchmarks.measure import Candidate, Figure, Reach, Sample, interleave
from benchmarks.processes import Keep, children, finish, is_alive, running, wait_until
from benchmarks.settings import CACHE, KEYS_MAX, Settings
from benchmarks.verify import check_counts_apart
from benchmarks.wordcount import BYTEWAX_2, ROO_2, Job, by_bytewax, by_roo
from benchmarks.words import WORDS_A_LINE

METRIC = "seconds"
WORKER, WHOLE, PEER = f"{ROO_2}, one killed", f"{ROO_2}, all killed", f"{BYTEWAX_2}, all killed"
WORDS_PER_S = 20_000
FEED_EVERY_S = 0.01
LOOK_EVERY_S = 0.001
BACK_DEADLINE_S = 300.0
NOTE = (
    "Seconds to the first new output: from the kill of a worker, or from the spawn of a run that "
    "goes on after everything was killed. A file is followed that has had every key once and then "
    f"gets {WORDS_PER_S:,} words a second; the kill comes when all keys are stored. The output "
    "file is looked at every millisecond: it is cut back to the checkpoint, and then grows."
)

Process = subprocess.Popen[str]


def recovery(settings: Settings) -> Figure:
    """Roo, one worker killed and all killed; with peers Bytewax, all killed."""
    keys = min(KEYS_MAX, settings.words)
    candidates = [
        Candidate(WORKER, lambda: _one_killed(settings, keys)),
        Candidate(WHOLE, lambda: _all_killed(Roo(settings), settings, keys)),
    ]
    if settings.peers:
        candidates.append(Candidate(PEER, lambda: _all_killed(Bytewax(settings), settings, keys)))
    samples = interleave("recovery", candidates, settings.runs)
    reaches = {WORKER: Reach(2.0, at_least=False), WHOLE: Reach(3.0, at_least=False)}
    title = f"Away after kill -9 at {keys:,} keys"
    return Figure("recovery", title, NOTE, samples.all(METRIC, reaches))


class System(Protocol):
    """A word count over a followed file that survives a kill. look_every_s: at what it stored."""

    job: Job
    look_every_s: float

    def stored_keys(self) -> int:
        """How many keys it has safe."""

    def has_news(self) -> bool:
        """Whether there is output that a run which goes on would cut off."""

    def stop(self, processes: Sequence[Process]) -> None:
        """Let it finish the file, which does not grow any more. Raises CommandFailed."""

    def clear(self) -> None:
        """Remove what it stored."""


class Roo:
    """Two workers, with the status that `roo run` shows where there is no terminal."""

    look_every_s = 0.02

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.scratch / "recovery"
        source, counts = settings.scratch / "followed.txt", settings.scratch / "counts.txt"
        keep = Keep(self._folder, settings.checkpoint_every_ms)
        self.job = by_roo(source, counts, 2, follow=True, keep=keep, status="plain")

    def stored_keys(self) -> int:
        return stored.keys(self._folder)

    def has_news(self) -> bool:
        kept_bytes = stored.output_bytes(self._folder, "counts")
        return self.job.counts[0].stat().st_size > kept_bytes

    def stop(self, processes: Sequence[Process]) -> None:
        all_bytes = self.job.words.stat().st_size
        wait_until(lambda: stored.read_bytes(self._folder) == all_bytes, processes[0])
        processes[0].send_signal(signal.SIGTERM)
        finish(processes[0])

    def clear(self) -> None:
        shutil.rmtree(self._folder)


class Bytewax:
    """Two processes, with a snapshot every second. A look at these reads the whole database."""

    look_every_s = 2.0

    def __init__(self, settings: Settings, *, parts: int = 2) -> None:
        self._folder = settings.scratch / "recovery"
        self._source, self._counts = (settings.scratch / n for n in ("followed.txt", "counts.txt"))
        self._end = self._source.with_name(f"{self._source.name}.end")
        self._parts = parts
        peers.new_recovery(self._folder, parts)
        self.job = self.job_of(2)

    def job_of(self, processes: int) -> Job:
        """The same on so many processes."""
        files = {"recovery": self._folder, "parts": self._parts}
        return by_bytewax(self._source, self._counts, processes, follow=True, **files)

    def stored_keys(self) -> int:
        return peers.stored_keys(self._folder)

    def has_news(self) -> bool:
        return True  # the last whole epoch ended a good while ago

    def stop(self, processes: Sequence[Process]) -> None:
        self._end.touch()
        for process in processes:
            finish(process)

    def clear(self) -> None:
        self._end.unlink()
        shutil.rmtree(self._folder)


class Regrown:
    """Looks for the first output of a run that goes on: after a file was cut back, it grows.

    after_end: all writers are gone and may have left nothing to cut: growing is enough.
    """

    def __init__(self, paths: Sequence[Path], *, after_end: bool = False) -> None:
        self._sizes = {path: path.stat().st_size for path in paths}
        self._cut: set[Path] = set(paths) if after_end else set()

    def look(self) -> bool:
        """Whether one has grown again."""
        for path, before in self._sizes.items():
            self._sizes[path] = size = path.stat().st_size
            if size < before:
                self._cut.add(path)
            elif size > before and path in self._cut:
                return True
        return False

    def wait_s(self, process: Process) -> float:
        """Wait for it; the monotonic time at which it was seen. Raises CommandFailed."""
        wait_until(self.look, process, look_every_s=LOOK_EVERY_S, within_s=BACK_DEADLINE_S)
        return time.monotonic()


class Feed:
    """Lets a file grow: a line of ten words drawn evenly, as often as it takes."""

    def __init__(self, source: Path, keys: int) -> None:
        self._source = source
        self._keys = keys
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """The file is complete when this returns."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        dice, each = random.Random(words.SEED), round(WORDS_PER_S * FEED_EVERY_S)
        with self._source.open("ab", buffering=0) as out:
            while not self._stopped.wait(FEED_EVERY_S):
                drawn = [f"w{dice.randrange(self._keys)}" for _ in range(each)]
                lines = (drawn[i : i + WORDS_A_LINE] for i in range(0, each, WORDS_A_LINE))
                out.write("".join(" ".join(line) + "\n" for line in lines).encode())


def _one_killed(settings: Settings, keys: int) -> Sample:
    """From the kill of Roo's second worker to the first output of those that replace both."""
    roo = Roo(settings)
    with fed(roo.job, keys) as feed, started(roo.job) as processes:
        until_stored(roo, keys, feed, processes, settings)
        outputs = Regrown(roo.job.counts)
        killed_s = time.monotonic()
        os.kill(children(processes[0].pid)[-1], signal.SIGKILL)
        back_s = outputs.wait_s(processes[0])
        end(roo, feed, processes)
    return {METRIC: back_s - killed_s}


def _all_killed(system: System, settings: Settings, keys: int) -> Sample:
    """From the spawn of a run that goes on where another was killed to its first output."""
    with fed(system.job, keys) as feed:
        with started(system.job) as processes:
            until_stored(system, keys, feed, processes, settings)
            below = [pid for process in processes for pid in children(process.pid)]
        while any(map(is_alive, below)):
            time.sleep(LOOK_EVERY_S)
        outputs = Regrown(system.job.counts)
        spawned_s = time.monotonic()
        with started(system.job) as processes:
            back_s = outputs.wait_s(processes[0])
            end(system, feed, processes)
    return {METRIC: back_s - spawned_s}


@contextmanager
def fed(job: Job, keys: int) -> Iterator[Feed]:
    """The followed file with every key once in it, and what makes it grow; gone afterwards."""
    shutil.copyfile(words.every_key(CACHE, keys, keys), job.words)
    feed = Feed(job.words, keys)
    try:
        yield feed
    finally:
        feed.stop()
        for path in (job.words, *job.counts):
            path.unlink(missing_ok=True)


@contextmanager
def started(job: Job) -> Iterator[list[Process]]:
    """Its processes, one after the other; all are killed if the block leaves them alive."""
    with ExitStack() as stack:
        processes = [stack.enter_context(running(job.commands[0]))]
        for command in job.commands[1:]:
            time.sleep(job.apart_s)
            processes.append(stack.enter_context(running(command)))
        yield processes


def until_stored(
    system: System, keys: int, feed: Feed, processes: Sequence[Process], settings: Settings
) -> None:
    """Until all keys are safe; then the file grows for one and a half times as long as between two
    checkpoints, so that there are changes on top.
    """
    wait_until(lambda: system.stored_keys() >= keys, processes[0], look_every_s=system.look_every_s)
    feed.start()
    time.sleep(1.5 * settings.checkpoint_every_ms / 1000)
    wait_until(system.has_news, processes[0], look_every_s=LOOK_EVERY_S)


def end(system: System, feed: Feed, processes: Sequence[Process]) -> None:
    """Let a run that has come back finish. Raises WrongOutput, CommandFailed."""
    feed.stop()
    system.stop(processes)
    check_counts_apart(system.job.words, system.job.counts)
    system.clear()
