"""What a join and a leave cost while messages keep coming: pauses, latency, keys moved."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

from benchmarks.measure import Candidate, Figure, Reach, Sample, interleave
from benchmarks.processes import (
    ROO,
    CommandFailed,
    finish,
    free_port,
    next_line,
    python,
    roo,
    running,
    wait_until,
)
from benchmarks.recovery import (
    LOOK_EVERY_S,
    Bytewax,
    Regrown,
    Roo,
    end,
    fed,
    started,
    until_stored,
)
from benchmarks.settings import KEYS_MAX, ROOT, Settings
from benchmarks.wordcount import BYTEWAX_2, ROO_2
from roo.core.slicing import reslice
from roo.core.table import Table

GROW, SHRINK = "+1", "-1"
SILENT = "silent_s"
RATE_PER_S = 50_000
READY_DEADLINE_S = 120.0
BEFORE_S, AFTER_S = 4.0, 4.0
"""How long is looked at before a move, and after it."""
STOP_DEADLINE_S = 60.0
SLOT_S = 0.1
FULL_RATE = 0.95

REACHES = {
    "pause_unmoved_ms": Reach(50.0, at_least=False),
    "pause_moved_ms": Reach(500.0, at_least=False),
    "p99_over_before": Reach(3.0, at_least=False),
    "moved_over_minimum": Reach(1.01, at_least=False),
    "back_s": Reach(1.0, at_least=False),
}
NOTE = (
    f"{RATE_PER_S:,} messages a second by TCP, all keys in turn, 100 bytes of state each; `roo "
    "scale` adds a worker and takes it away. Latency counts from when a message was due to when "
    "the collector had it. pause: the longest of a message that was due during the move, by "
    "whether its key moved; max_before_ms: the same before the move. p99: of all messages due "
    "during the move, over those before it. back_s: from the end of the move until all that was "
    "held up has come and the rate is the old one. A minimum move is the third of all keys that "
    "a third worker must own."
)
SILENCE_NOTE = (
    "Seconds without output while a third worker is added to two: the longest time in which no "
    "output file grew. A file is followed that has had every key once and gets more words all the "
    "time. Roo moves live (`roo scale NAME +1`); Bytewax is stopped and started again with three "
    "processes on its recovery files."
)


class Message(NamedTuple):
    """One message that came out. Times on the monotonic clock."""

    key: str
    due_s: float
    at_s: float

    @property
    def latency_ms(self) -> float:
        return (self.at_s - self.due_s) * 1000


class Span(NamedTuple):
    """From the start of `roo scale` to its end, on the monotonic clock, and what it printed."""

    start_s: float
    end_s: float
    answer: dict[str, float]


def scaling(settings: Settings) -> Iterator[Figure]:
    """Roo under load; with peers, both with a third worker added."""
    keys = min(KEYS_MAX, settings.words)
    samples = interleave(
        "scaling", [Candidate(ROO_2, lambda: _under_load(settings, keys))], settings.runs
    )
    metrics = [f"{change} {metric}" for change in (GROW, SHRINK) for metric in METRICS]
    series = [
        samples.series(ROO_2, metric, REACHES.get(metric.partition(" ")[2])) for metric in metrics
    ]
    title = f"One worker more and one less at {keys:,} keys"
    yield Figure("scaling", title, NOTE, tuple(series))
    if settings.peers:
        candidates = [
            Candidate(f"{ROO_2} to 3", lambda: _roo_silence(settings, keys)),
            Candidate(f"{BYTEWAX_2} to 3", lambda: _bytewax_silence(settings, keys)),
        ]
        silences = interleave("scaling-silence", candidates, settings.runs)
        title = f"Without output while a worker is added at {keys:,} keys"
        yield Figure("scaling-silence", title, SILENCE_NOTE, silences.all(SILENT))


# Under load


METRICS = (
    "pause_unmoved_ms",
    "pause_moved_ms",
    "max_before_ms",
    "p99_before_ms",
    "p99_during_ms",
    "p99_over_before",
    "back_s",
    "moved_over_minimum",
    "move_s",
    "keys_per_s",
)


def _under_load(settings: Settings, keys: int) -> Sample:
    """One run: fed, grown, fed on, shrunk, fed on. Raises CommandFailed, also for wrong output."""
    seconds = settings.warm_up_s + settings.latency_s * 2
    port, arrived = free_port(), settings.scratch / "arrived.txt"
    messages = RATE_PER_S * seconds
    spans: list[Span] = []
    with running(python("benchmarks.jobs.collector", messages, 0, arrived)) as collector:
        command = roo(
            "grown",
            2,
            sources__feed__address=f"127.0.0.1:{port}",
            sinks__collector__address=f"127.0.0.1:{next_line(collector)}",
        )
        with running(["env", f"BENCHMARK_KEYS={keys}", *command]) as pipeline:
            wait_until(_runs, pipeline, within_s=READY_DEADLINE_S)
            with running(
                python("benchmarks.jobs.feeder", port, RATE_PER_S, seconds, keys)
            ) as feeder:
                begun_s = time.monotonic()
                for index, change in enumerate((GROW, SHRINK)):
                    due_s = begun_s + settings.warm_up_s + index * settings.latency_s + BEFORE_S
                    time.sleep(max(0.0, due_s - time.monotonic()))
                    spans.append(_scale("benchmark-grown", change))
                finish(feeder)
                if time.monotonic() < spans[-1].end_s + AFTER_S:
                    raise CommandFailed("moves took too long for --latency-s: nothing came after")
            next_line(collector)
            pipeline.send_signal(signal.SIGTERM)
            finish(pipeline)
        finish(collector)
    came = [_message(line) for line in arrived.read_text().splitlines()]
    arrived.unlink()
    tables = [Table.equal(2)]
    for workers in ((0, 1, 2), (0, 1)):
        tables.append(reslice(tables[-1], dict.fromkeys(workers, 1)))
    sample: dict[str, float] = {}
    for change, span, before, after in zip((GROW, SHRINK), spans, tables, tables[1:], strict=False):
        found = _looked_at(span, came, _moves(before, after), keys)
        sample |= {f"{change} {metric}": found[metric] for metric in METRICS}
    return sample


def _runs() -> bool:
    """Whether the run takes messages already."""
    asked = subprocess.run([ROO, "status", "benchmark-grown", "--json"], cwd=ROOT,
                           capture_output=True, text=True, timeout=30, check=False)  # fmt: skip
    return asked.returncode == 0 and json.loads(asked.stdout).get("phase") == "running"


def _scale(name: str, change: str) -> Span:
    """Raises CommandFailed."""
    start_s = time.monotonic()
    with running([ROO, "scale", name, change, "--json"]) as scale:
        answer = json.loads(finish(scale))
    return Span(start_s, time.monotonic(), answer)


def _message(line: str) -> Message:
    key, due_ns, at_ns = line.split(" ")
    return Message(key, int(due_ns) / 1e9, int(at_ns) / 1e9)


def _moves(before: Table, after: Table) -> Callable[[str], bool]:
    """Whether a key changes its owner."""
    owner, owner_then = before.owner_of, after.owner_of
    return lambda key: owner(key) != owner_then(key)


def _looked_at(
    span: Span, came: Sequence[Message], moves: Callable[[str], bool], keys: int
) -> dict[str, float]:
    earlier = [m for m in came if span.start_s - BEFORE_S <= m.due_s < span.start_s]
    during = [m for m in came if span.start_s <= m.due_s <= span.end_s]
    moved = [m.latency_ms for m in during if moves(m.key)]
    others = [m.latency_ms for m in during if not moves(m.key)]
    p99_before, p99_during = _p99(earlier), _p99(during)
    return {
        "pause_unmoved_ms": max(others),
        "pause_moved_ms": max(moved),
        "max_before_ms": max(m.latency_ms for m in earlier),
        "p99_before_ms": p99_before,
        "p99_during_ms": p99_during,
        "p99_over_before": p99_during / p99_before,
        "back_s": _back_s(span, came),
        "moved_over_minimum": span.answer["keys_moved"] / (keys / 3),
        "move_s": span.answer["seconds"],
        "keys_per_s": span.answer["keys_moved"] / span.answer["seconds"],
    }


def _p99(messages: Sequence[Message]) -> float:
    return quantiles((m.latency_ms for m in messages), n=100)[98]


def _back_s(span: Span, came: Sequence[Message]) -> float:
    """From the end of a move until everything due by then has come, at the full rate from then on
    for a slot.
    """
    slots = [0] * round(AFTER_S / SLOT_S)
    last_s = span.end_s
    for message in came:
        if message.due_s <= span.end_s:
            last_s = max(last_s, message.at_s)
        slot = int((message.at_s - span.end_s) / SLOT_S)
        if message.at_s >= span.end_s and slot < len(slots):
            slots[slot] += 1
    full = next(i for i, n in enumerate(slots) if n >= FULL_RATE * RATE_PER_S * SLOT_S)
    return max(last_s - span.end_s, full * SLOT_S)


# Side by side


class Grown:
    """Notes the longest time in which none of the files grew."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._bytes, self._since_s = self._size_bytes(), time.monotonic()
        self.silent_s = 0.0

    def look(self) -> None:
        """Every millisecond or so."""
        now_s, size_bytes = time.monotonic(), self._size_bytes()
        if size_bytes != self._bytes:
            self.silent_s = max(self.silent_s, now_s - self._since_s)
            self._bytes, self._since_s = size_bytes, now_s

    def _size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._paths if path.exists())


def _roo_silence(settings: Settings, keys: int) -> Sample:
    system = Roo(settings)
    with fed(system.job, keys) as feed, started(system.job) as processes:
        until_stored(system, keys, feed, processes, settings)
        watch = Grown(system.job.counts)
        with running([ROO, "scale", "benchmark-wordcount", GROW, "--json"]) as scale:
            while scale.poll() is None:
                watch.look()
                time.sleep(LOOK_EVERY_S)
            finish(scale)
        end(system, feed, processes)
    return {SILENT: watch.silent_s}


def _bytewax_silence(settings: Settings, keys: int) -> Sample:
    """From the order to stop to the first output of those that go on."""
    system = Bytewax(settings, parts=3)
    with fed(system.job, keys) as feed:
        with started(system.job) as processes:
            until_stored(system, keys, feed, processes, settings)
            stopped_s = time.monotonic()
            for process in processes:
                process.send_signal(signal.SIGINT)
            for process in processes:
                process.communicate(timeout=STOP_DEADLINE_S)
        outputs = Regrown(system.job.counts, after_end=True)
        with started(system.job_of(3)) as processes:
            back_s = outputs.wait_s(processes[0])
            end(system, feed, processes)
    return {SILENT: back_s - stopped_s}
