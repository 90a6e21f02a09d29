"""The workers' numbers added up: a snapshot for the views, a summary for the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from roo.api import Split
from roo.core.placement import Placement
from roo.core.table import RING
from roo.plan.model import Plan
from roo.runtime.control import WorkerStats
from roo.runtime.latency import percentile_ms
from roo.status.snapshot import RunSnapshot, SinkRow, SourceRow, StepRow, Summary, WorkerRow

EVENTS_MAX = 50
HOT_KEYS = 5
SILENT_AFTER_S = 3.0
RATES_OVER_S = 0.1
"""Reports come every 250 ms, and one with each checkpoint: a rate between two that are closer than
this would say more of the clock than of the run."""

LOAD_MAX = 0.95
"""A worker that is busier than this can't take in more: its sources lag."""


class Tally:
    """Keeps each worker's last report for totals, and one some time before it for rates."""

    def __init__(
        self, plan: Plan, place: Placement, splits: dict[int, tuple[str, Split]], started_s: float
    ) -> None:
        self.plan = plan
        self.place = place
        self.splits = splits
        self.started_s = started_s
        self.now: dict[int, WorkerStats] = {}
        self._before: dict[int, WorkerStats] = {}
        self.events: deque[tuple[float, str]] = deque(maxlen=EVENTS_MAX)
        # What earlier attempts had counted by the last checkpoint, and by the one before it.
        self._skipped_bytes: dict[int, int] = {}
        self._done_bytes: dict[int, int] = {}
        self._at_cut: dict[int, WorkerStats] = {}
        self._kept: list[WorkerStats] = []
        self._earlier: list[WorkerStats] = []

    def keep(self) -> None:
        """A checkpoint is real: what had been counted at its cut stays counted."""
        self._kept = [*self._earlier, *(replace(s, keys=0) for s in self._at_cut.values())]
        self._at_cut.clear()

    def cut(self, stats: WorkerStats) -> None:
        """What a worker had counted at the cut of a checkpoint, which is not real yet."""
        self._at_cut[stats.worker] = stats

    def roll_back(self) -> None:
        """All workers begin again from the last checkpoint, counting from zero."""
        self._earlier = self._kept
        self.now.clear()
        self._at_cut.clear()
        self._before.clear()

    def left(self, worker: int) -> None:
        """A worker has left: what it counted stays counted."""
        stats = self.now.pop(worker, None)
        self._at_cut.pop(worker, None)
        self._before.pop(worker, None)
        if stats is not None:
            self._earlier.append(replace(stats, keys=0))

    @property
    def _all(self) -> list[WorkerStats]:
        """Reports that totals are made of."""
        return [*self._earlier, *self.now.values()]

    def report(self, stats: WorkerStats) -> None:
        """A worker's newest numbers."""
        for split, (skipped, done) in stats.done_bytes.items():
            self._skipped_bytes.setdefault(split, skipped)
            self._done_bytes[split] = done
        latest = self.now.get(stats.worker)
        if latest is not None and stats.monotonic_s - latest.monotonic_s >= RATES_OVER_S:
            self._before[stats.worker] = latest
        self.now[stats.worker] = stats

    @property
    def messages_read(self) -> int:
        """Messages read by all workers."""
        return sum(m for stats in self._all for m, _ in stats.sources.values())

    @property
    def errors(self) -> dict[str, int]:
        """Failures per part."""
        total: dict[str, int] = {}
        for stats in self._all:
            for part, count in stats.errors.items():
                total[part] = total.get(part, 0) + count
        return total

    def loads(self) -> dict[int, float]:
        """The part of its time, 0 to 1, that each worker was busy between its last two reports:
        computing, or waiting inside a plugin.
        """
        return {
            now.worker: min(1.0, max(0.0, 1 - (now.waited_s - before.waited_s) / span_s))
            for now, before in self._pairs()
            for span_s in (_span_s(now, before),)
        }

    def held_back(self) -> int:
        """How many workers can't take in more: nobody takes what they would give, or they were
        busy all the time.
        """
        loads = self.loads()
        return sum(self.now[w].held_back or load > LOAD_MAX for w, load in loads.items())

    def progress(self) -> list[Any]:
        """Changes whenever any worker gets anything done."""
        return [(s.worker, s.steps, s.sinks, s.queue_messages) for s in self.now.values()]

    def doing(self) -> str:
        """What workers have been busy with for longer than a second."""
        return ", ".join(f"worker {s.worker}: {s.doing}" for s in self.now.values() if s.doing)

    # Adding up

    def _sum(self, kind: str, name: str, index: int) -> int:
        return sum(getattr(s, kind).get(name, (0, 0))[index] for s in self._all)

    def _rate(self, kind: str, name: str) -> float:
        return sum(  # type: ignore[no-any-return]
            (getattr(now, kind)[name][0] - getattr(before, kind)[name][0]) / _span_s(now, before)
            for now, before in self._pairs()
        )

    def _pairs(self) -> list[tuple[WorkerStats, WorkerStats]]:
        return [(self.now[w], b) for w, b in self._before.items()]

    def _latency(self, *, recent: bool) -> list[int]:
        counts = [s.latency for s in self.now.values() if s.latency]
        total = [sum(column) for column in zip(*counts, strict=True)]
        if not recent:
            return total
        before = [b.latency for b in self._before.values() if b.latency]
        old = [sum(column) for column in zip(*before, strict=True)] or [0] * len(total)
        return [a - b for a, b in zip(total, old, strict=True)]

    # Showing

    def snapshot(self, phase: str, now_s: float) -> RunSnapshot:
        """How the run stands."""
        elapsed_s = now_s - self.started_s
        latency = self._latency(recent=True)
        sources = tuple(self._source(s.name, s.type) for s in self.plan.spec.sources)
        progress, eta_s = _progress(sources, elapsed_s)
        return RunSnapshot(
            pipeline=self.plan.spec.name,
            phase=phase,
            elapsed_s=elapsed_s,
            workers=tuple(self._worker(s, now_s) for _, s in sorted(self.now.items())),
            steps=self._steps(),
            sources=sources,
            sinks=tuple(self._sink(s) for s in self.plan.spec.sinks),
            events=tuple(self.events),
            progress=progress,
            eta_s=eta_s,
            keys=sum(s.keys for s in self.now.values()),
            messages_read=self.messages_read,
            errors=sum(self.errors.values()),
            p50_ms=percentile_ms(latency, 0.5),
            p99_ms=percentile_ms(latency, 0.99),
            hot_keys=self._hot_keys(),
        )

    def _hot_keys(self) -> tuple[tuple[str, str, float], ...]:
        """The most frequent keys of all workers: each key is on one of them."""
        taken = {s.worker: sum(n for n, _ in s.steps.values()) for s in self.now.values()}
        total = sum(taken.values()) or 1
        found = [
            (state, key, round(part * taken[stats.worker] / total, 4))
            for stats in self.now.values()
            for state, key, part in stats.hot_keys
        ]
        return tuple(sorted(found, key=lambda row: -row[2])[:HOT_KEYS])

    def summary(self, outcome: str, seconds: float, error: dict[str, Any] | None) -> Summary:
        """What is said at the end."""
        latency = self._latency(recent=False)
        return Summary(
            pipeline=self.plan.spec.name,
            outcome=outcome,
            seconds=round(seconds, 3),
            workers=len(self.place.workers),
            messages_read=self.messages_read,
            messages_per_s=round(self.messages_read / seconds, 1) if seconds > 0 else 0.0,
            keys=sum(s.keys for s in self.now.values()),
            outputs={s.name: self._sum("sinks", s.name, 0) for s in self.plan.spec.sinks},
            errors=sum(self.errors.values()),
            dropped=sum(s.dropped for s in self._all),
            dead_letters=sum(s.dead_letters for s in self._all),
            p50_ms=percentile_ms(latency, 0.5),
            p99_ms=percentile_ms(latency, 0.99),
            error=error,
            hot_keys=self._hot_keys(),
        )

    def _worker(self, stats: WorkerStats, now_s: float) -> WorkerRow:
        table, before = self.place.table, self._before.get(stats.worker)
        span_s = _span_s(stats, before) if before else 1.0

        def rate(after: float, earlier: float) -> float:
            return (after - earlier) / span_s if before else 0.0

        recent = [
            a - b
            for a, b in zip(stats.latency, before.latency if before else stats.latency, strict=True)
        ]
        silent_s = now_s - stats.monotonic_s
        doing = stats.doing
        if silent_s > SILENT_AFTER_S:
            doing = f"silent for {silent_s:.0f} s"
        return WorkerRow(
            worker=stats.worker,
            pid=stats.pid,
            share=table.share(stats.worker),
            intervals=tuple(
                (start / RING, end / RING) for start, end, _ in table.intervals(stats.worker)
            ),
            keys=stats.keys,
            new_keys_per_s=rate(stats.keys, before.keys if before else 0),
            in_per_s=rate(self._into(stats), self._into(before) if before else 0),
            out_per_s=rate(_first(stats.sinks), _first(before.sinks) if before else 0),
            p50_ms=percentile_ms(recent, 0.5),
            p99_ms=percentile_ms(recent, 0.99),
            queue_messages=stats.queue_messages,
            memory_bytes=stats.memory_bytes,
            cpu=rate(stats.cpu_s, before.cpu_s if before else 0),
            doing=doing,
        )

    def _into(self, stats: WorkerStats) -> int:
        """Messages that came into a worker: read by it, or sent to it for their key."""
        keyed = [step.name for step in self.plan.spec.steps if step.type == "stateful"]
        return _first(stats.sources) + sum(stats.steps.get(name, (0, 0))[0] for name in keyed)

    def _source(self, name: str, kind: str) -> SourceRow:
        splits = [
            (index, split) for index, (source, split) in self.splits.items() if source == name
        ]
        sizes = [split.size_bytes for _, split in splits]
        ended = frozenset[int]().union(*(s.ended_splits for s in self.now.values()))
        known = [size for size in sizes if size is not None]
        return SourceRow(
            name=name,
            type=kind,
            messages=self._sum("sources", name, 0),
            messages_per_s=self._rate("sources", name),
            skipped_bytes=sum(self._skipped_bytes.get(index, 0) for index, _ in splits),
            read_bytes=sum(self._done_bytes.get(index, 0) for index, _ in splits),
            size_bytes=sum(known) if known and len(known) == len(sizes) else None,
            errors=self.errors.get(name, 0),
            ended=bool(splits) and all(index in ended for index, _ in splits),
        )

    def _steps(self) -> tuple[StepRow, ...]:
        """Counts that no worker keeps follow from the neighbours': what the next part took in."""
        steps = self.plan.spec.steps
        taken = {step.name: self._taken(step.name, self._all) for step in steps}
        rates = {step.name: 0.0 for step in steps}
        for now, before in self._pairs():
            for name in rates:
                more = self._taken(name, [now]) - self._taken(name, [before])
                rates[name] += more / _span_s(now, before)
        return tuple(
            StepRow(s.name, s.type, taken[s.name], self._given(s.name, taken), rates[s.name],
                    self.errors.get(s.name, 0))
            for s in steps
        )  # fmt: skip

    def _taken(self, name: str, reports: Any) -> int:
        """Messages into a step: counted by the step, or what its only source has read."""
        step = self.plan.step(name)
        assert step is not None
        source = step.inputs[0] if len(step.inputs) == 1 else ""
        if step.type != "stateful" and any(s.name == source for s in self.plan.spec.sources):
            return sum(s.sources.get(source, (0, 0))[0] for s in reports)
        return sum(s.steps.get(name, (0, 0))[0] for s in reports)

    def _given(self, name: str, taken: dict[str, int]) -> int:
        """Messages out of a step: counted by it, or what a part that reads only it took in."""
        counted = [s.steps.get(name, (0, -1))[1] for s in self._all]
        if any(count >= 0 for count in counted):
            return sum(counted)
        for reader in self.plan.readers.get(name, ()):
            part: Any = self.plan.step(reader) or self.plan.sink(reader)
            if len(part.inputs) == 1:
                return taken[reader] if reader in taken else self._sum("sinks", reader, 0)
        return 0

    def _sink(self, spec: Any) -> SinkRow:
        return SinkRow(
            name=spec.name,
            type=spec.type,
            where=str(spec.options.get("path") or spec.options.get("address") or ""),
            messages=self._sum("sinks", spec.name, 0),
            messages_per_s=self._rate("sinks", spec.name),
            bytes_written=self._sum("sinks", spec.name, 1),
        )


def _first(totals: dict[str, tuple[int, int]]) -> int:
    return sum(messages for messages, _ in totals.values())


def _span_s(now: WorkerStats, before: WorkerStats) -> float:
    return max(now.monotonic_s - before.monotonic_s, 0.001)


def _progress(sources: Sequence[SourceRow], elapsed_s: float) -> tuple[float | None, float | None]:
    """How far the run is and how long it has to go, where every source knows its size."""
    sizes = [s.size_bytes for s in sources]
    if not sizes or any(size is None for size in sizes):
        return None, None
    size = sum(s for s in sizes if s)
    part = min(sum(s.read_bytes for s in sources) / size, 1.0) if size else 1.0
    here = part - sum(s.skipped_bytes for s in sources) / size if size else 1.0
    return part, elapsed_s * (1 - part) / here if here > 0.01 else None
