"""What a run looks like at one moment: plain data, made by the coordinator, drawn by the views."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class WorkerRow:
    """One worker. share: part of the ring, 0 to 1. intervals: (from, to) as parts of the ring.

    doing: what it has been busy with for longer than a second ("step count for 12 s"), or "".
    cpu: cores used, 1.0 being one whole core. in_per_s: messages read from sources and taken in by
    stateful steps; out_per_s: written by sinks.
    """

    worker: int
    pid: int
    share: float
    intervals: tuple[tuple[float, float], ...]
    keys: int
    new_keys_per_s: float
    in_per_s: float
    out_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    queue_messages: int
    memory_bytes: int
    cpu: float
    doing: str = ""


@dataclass(frozen=True)
class StepRow:
    """One step: messages in and out so far, errors so far, and in per second now."""

    name: str
    type: str
    messages_in: int
    messages_out: int
    in_per_s: float
    errors: int


@dataclass(frozen=True)
class SourceRow:
    """One source. read_bytes / size_bytes tell progress where the size is known; skipped_bytes of
    these had been read by the run that this one goes on from.
    """

    name: str
    type: str
    messages: int
    messages_per_s: float
    read_bytes: int
    size_bytes: int | None
    errors: int
    ended: bool
    skipped_bytes: int = 0


@dataclass(frozen=True)
class SinkRow:
    """One sink. where: path or address, "" where it has none."""

    name: str
    type: str
    where: str
    messages: int
    messages_per_s: float
    bytes_written: int


@dataclass(frozen=True)
class RunSnapshot:
    """The whole run. phase: starting | running | draining | finished | stopped | failed.

    progress: 0 to 1 and eta_s, both None where no source knows its size. events: (elapsed_s,
    line), oldest first. p50_ms, p99_ms: from read to sink, over the last second. hot_keys: (state,
    key, part of the state's messages), about.
    """

    pipeline: str
    phase: str
    elapsed_s: float
    workers: tuple[WorkerRow, ...] = ()
    steps: tuple[StepRow, ...] = ()
    sources: tuple[SourceRow, ...] = ()
    sinks: tuple[SinkRow, ...] = ()
    events: tuple[tuple[float, str], ...] = ()
    progress: float | None = None
    eta_s: float | None = None
    keys: int = 0
    messages_read: int = 0
    errors: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    hot_keys: tuple[tuple[str, str, float], ...] = ()


@dataclass(frozen=True)
class Summary:
    """What is said when a run has ended; `--json` prints exactly this as one object."""

    pipeline: str
    outcome: str
    seconds: float
    workers: int
    messages_read: int
    messages_per_s: float
    keys: int
    outputs: dict[str, int]
    errors: int
    dropped: int = 0
    dead_letters: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    error: dict[str, object] | None = field(default=None)
    hot_keys: tuple[tuple[str, str, float], ...] = ()


def from_facts(facts: dict[str, Any]) -> RunSnapshot:
    """A snapshot again from its `asdict`, as JSON has carried it. More than it needs is ignored."""
    rows: dict[str, Any] = {"workers": WorkerRow, "steps": StepRow, "sources": SourceRow,
                            "sinks": SinkRow}  # fmt: skip
    values = {f.name: facts[f.name] for f in fields(RunSnapshot) if f.name in facts}
    for name, kind in rows.items():
        values[name] = tuple(kind(**row) for row in values.get(name, ()))
    values["hot_keys"] = tuple(map(tuple, values.get("hot_keys", ())))
    values["events"] = tuple((at_s, line) for at_s, line in values.get("events", ()))
    return RunSnapshot(**values)
