"""What stands in the columns of the view: one table of workers, one of sources, steps and sinks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from roo.status import numbers
from roo.status.layout import BAR, Cell, Column, Glyphs, bar, shorten_path
from roo.status.snapshot import RunSnapshot, WorkerRow

NAME_CELLS = 10
"""How far the names of steps are shortened before columns are dropped."""


@dataclass(frozen=True)
class FlowRow:
    """A source, step or sink as one kind of row. Texts, "" where it has no such thing."""

    kind: str
    name: str
    type: str
    messages_in: str
    messages_out: str
    per_s: str
    errors: int | None
    size: str
    where: str


def worker_columns(*, wide: bool, glyphs: Glyphs) -> list[Column[WorkerRow]]:
    """The columns of the workers' table. wide: memory to the unit's name."""

    def ring(worker: WorkerRow, width: int) -> Cell:
        return bar(worker.intervals, width, glyphs), BAR

    def memory(worker: WorkerRow, _: int) -> Cell:
        text = numbers.size(worker.memory_bytes)
        # Beside narrow columns, 48M says what 48 MiB does.
        return text if wide else text.replace(" ", "").removesuffix("B").removesuffix("i"), ""

    return [
        Column("worker", lambda w, _: (str(w.worker), "bold"), 6, 100),
        Column("pid", lambda w, _: (str(w.pid), "dim"), 7, 20),
        Column("share", lambda w, _: (numbers.share(w.share), ""), 5, 60),
        Column("ring", ring, 8, 50, right=False, most=64),
        Column("keys", lambda w, _: _number(numbers.count(w.keys)), 5, 90),
        Column("new/s", lambda w, _: _number(numbers.rate(w.new_keys_per_s)), 5, 70),
        Column("in/s", lambda w, _: _number(numbers.rate(w.in_per_s)), 5, 95),
        Column("out/s", lambda w, _: _number(numbers.rate(w.out_per_s)), 5, 65),
        Column("p50 ms", lambda w, _: _number(numbers.milliseconds(w.p50_ms)), 6, 30),
        Column("p99 ms", lambda w, _: _number(numbers.milliseconds(w.p99_ms)), 6, 80),
        Column("queue", lambda w, _: _number(numbers.count(w.queue_messages)), 5, 75),
        Column("memory" if wide else "mem", memory, 7 if wide else 4, 85),
        Column("cpu", lambda w, _: _number(numbers.percent(w.cpu)), 4, 55),
    ]


def flow_columns(rows: Sequence[FlowRow], glyphs: Glyphs) -> list[Column[FlowRow]]:
    """The columns of the sources', steps' and sinks' table, for these rows."""

    def first_of_kind(row: FlowRow, _: int) -> Cell:
        same = [other for other in rows if other.kind == row.kind]
        return (row.kind if same[0] is row else "", "dim")

    def where(row: FlowRow, width: int) -> Cell:
        if row.kind == "source":  # of "41% of 12 MiB" at least the part, never a cut number
            return row.where if cell_len(row.where) <= width else row.where.split()[0], "dim"
        return shorten_path(row.where, width, glyphs), "dim"

    def errors(row: FlowRow, _: int) -> Cell:
        text = "" if row.errors is None else numbers.count(row.errors)
        return text, "bold red" if row.errors else "dim"

    name_most = max((cell_len(row.name) for row in rows), default=0)
    where_most = max((cell_len(row.where) for row in rows), default=0)
    return [
        Column("", first_of_kind, 6, 50, right=False),
        Column(
            "name",
            lambda row, _: (row.name, "bold"),
            min(NAME_CELLS, name_most),
            100,
            right=False,
            most=min(40, name_most),
        ),
        Column("type", lambda row, _: (row.type, ""), 8, 40, right=False),
        Column("in", lambda row, _: _number(row.messages_in), 5, 90),
        Column("out", lambda row, _: _number(row.messages_out), 5, 60),
        Column("in/s", lambda row, _: _number(row.per_s), 5, 80),
        Column("errors", errors, 6, 85),
        Column("bytes", lambda row, _: (row.size, ""), 7, 55),
        Column("", where, min(12, where_most), 30, right=False, most=where_most),
    ]


def flow_rows(snapshot: RunSnapshot) -> list[FlowRow]:
    """Sources, steps, sinks, in this order."""
    sources = [
        FlowRow(
            "source",
            source.name,
            source.type,
            numbers.count(source.messages),
            "",
            numbers.rate(source.messages_per_s),
            source.errors,
            numbers.size(source.read_bytes),
            _how_far(source.read_bytes, source.size_bytes, source.ended),
        )
        for source in snapshot.sources
    ]
    steps = [
        FlowRow(
            "step",
            step.name,
            step.type,
            numbers.count(step.messages_in),
            numbers.count(step.messages_out),
            numbers.rate(step.in_per_s),
            step.errors,
            "",
            "",
        )
        for step in snapshot.steps
    ]
    sinks = [
        FlowRow(
            "sink",
            sink.name,
            sink.type,
            numbers.count(sink.messages),
            "",
            numbers.rate(sink.messages_per_s),
            None,
            numbers.size(sink.bytes_written),
            sink.where,
        )
        for sink in snapshot.sinks
    ]
    return [*sources, *steps, *sinks]


def _how_far(read_bytes: int, size_bytes: int | None, ended: bool) -> str:
    if ended:
        return "ended"
    if not size_bytes:
        return ""
    return f"{numbers.percent(min(1.0, read_bytes / size_bytes))} of {numbers.size(size_bytes)}"


def _number(text: str) -> Cell:
    """Zeros and unknowns step back, so that the eye finds what happens."""
    return text, "dim" if text in ("0", "0%", numbers.NOTHING) else ""
