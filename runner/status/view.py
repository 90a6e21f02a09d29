"""A run's snapshot as a frame for the terminal: pure, at any width and height.

From the top: who runs and how far it is, the workers, then sources, steps and sinks in one table
in the order messages pass them, then the last events. What does not fit is left out by rank.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.text import Text

from roo.status import numbers
from roo.status.layout import (
    ASCII,
    BAR,
    UNICODE,
    Cell,
    Glyphs,
    bar,
    line,
    shorten,
    table,
)
from roo.status.snapshot import RunSnapshot, WorkerRow
from roo.status.tables import flow_columns, flow_rows, worker_columns

EVENTS_MAX = 6
BAR_CELLS_MIN, BAR_CELLS_MAX = 6, 60
NAME_CELLS_MIN = 8
_PHASES = {
    "running": "bold green",
    "finished": "bold green",
    "failed": "bold red",
    "starting": "bold yellow",
    "draining": "bold yellow",
    "stopped": "bold yellow",
}

# Who gets the rows of a low terminal: each claim is met, in this order, before the next is looked
# at, so that every section shows its beginnings before any shows all. None: as many as there are.
_CLAIMS: tuple[tuple[str, int | None], ...] = (
    ("workers", 1),
    ("flow", 1),
    ("workers", 2),
    ("events", 1),
    ("workers", 4),
    ("flow", 6),
    ("events", 3),
    ("workers", 8),
    ("flow", None),
    ("workers", 12),
    ("events", None),
    ("workers", None),
)


def render(
    snapshot: RunSnapshot, width: int, height: int | None = None, *, ascii_only: bool = False
) -> RenderableType:
    """The frame: no line wider than `width` cells, no more than `height` lines (None: all).

    ascii_only: for a terminal whose encoding has no box drawing characters.
    """
    glyphs = ASCII if ascii_only else UNICODE
    lines = _header(snapshot, width, glyphs)
    events = snapshot.events[-EVENTS_MAX:]
    wanted = {
        "workers": sum(1 + bool(worker.doing) for worker in snapshot.workers),
        "flow": len(snapshot.sources) + len(snapshot.steps) + len(snapshot.sinks),
        "events": len(events),
    }
    given = _share_out(wanted, None if height is None else height - len(lines))
    for section in (
        _workers(snapshot.workers, given["workers"], width, glyphs),
        _flow(snapshot, given["flow"], width, glyphs),
        _events(events[len(events) - given["events"] :], width, glyphs),
    ):
        if section:
            lines += [Text("", end=""), *section]
    return Group(*_ended(lines if height is None else lines[: max(1, height)]))


HOT_PART_MIN = 0.05
HOT_KEY_CELLS = 12
"""A key is worth a word when it takes so much of all messages."""


def _hottest(snapshot: RunSnapshot, glyphs: Glyphs) -> list[Cell]:
    """The hottest key, if there is one."""
    if not snapshot.hot_keys or snapshot.hot_keys[0][2] < HOT_PART_MIN:
        return []
    _, key, part = snapshot.hot_keys[0]
    return [(f"hot {shorten(key, HOT_KEY_CELLS, glyphs)} {numbers.percent(part)}", "yellow")]


def _header(snapshot: RunSnapshot, width: int, glyphs: Glyphs) -> list[Text]:
    """Two lines: pipeline, phase, elapsed and progress; then the numbers of the whole run."""
    part, eta_s = snapshot.progress, snapshot.eta_s
    facts: list[Cell] = [
        (snapshot.phase, _PHASES.get(snapshot.phase, "bold")),
        (numbers.elapsed(snapshot.elapsed_s), ""),
    ]
    if part is not None:
        facts.append((f"{numbers.percent(part):>4}", "bold"))
        if eta_s is not None:
            facts.append((f"eta {numbers.duration(eta_s, whole=True)}", ""))
    facts = _leading(facts, width - NAME_CELLS_MIN - 2)
    left = width - _cells(facts) - 2  # for the name, and the bar with two spaces before it
    has_bar = part is not None and left >= NAME_CELLS_MIN + 2 + BAR_CELLS_MIN
    name = shorten(snapshot.pipeline, left - BAR_CELLS_MIN - 2 if has_bar else left, glyphs)
    if part is not None and has_bar:
        bar_cells = min(BAR_CELLS_MAX, left - cell_len(name) - 2)
        facts.insert(2, (bar([(0.0, part)], bar_cells, glyphs), BAR))
    first: list[Cell] = [(name, "bold"), *facts]

    read_per_s = sum(source.messages_per_s for source in snapshot.sources)
    second: list[Cell] = [
        (f"{numbers.count(snapshot.messages_read)} read", "bold"),
        (f"{numbers.rate(read_per_s)}/s", ""),
        (f"{numbers.count(snapshot.keys)} keys", "bold"),
        *_hottest(snapshot, glyphs),
        (f"{numbers.count(snapshot.errors)} errors", "bold red" if snapshot.errors else "dim"),
        (f"p50 {numbers.milliseconds(snapshot.p50_ms)} ms", ""),
        (f"p99 {numbers.milliseconds(snapshot.p99_ms)} ms", ""),
    ]
    second = _leading(second, width)
    return [line(_spaced(cells), width, glyphs) for cells in (first, second)]


def _leading(parts: list[Cell], width: int) -> list[Cell]:
    """As many of the parts, from the first on, as fit with two spaces between them."""
    while len(parts) > 1 and _cells(parts) > width:
        parts = parts[:-1]
    return parts


def _spaced(parts: list[Cell]) -> list[Cell]:
    return [cell for part in parts for cell in (part, ("  ", ""))]


def _cells(parts: list[Cell]) -> int:
    return sum(cell_len(text) + 2 for text, _ in parts) - 2


def _workers(workers: Sequence[WorkerRow], rows: int, width: int, glyphs: Glyphs) -> list[Text]:
    """The workers' table in `rows` rows: all, or the busiest and how many more there are.

    Under a worker that has been busy with one thing for long, a line says with what.
    """
    if rows == 0:
        return []
    shown = sorted(_busiest(workers, rows), key=lambda worker: worker.worker)
    columns = worker_columns(wide=width >= 100, glyphs=glyphs)
    titles, *bodies = table(columns, shown, width, 2, glyphs)
    lines = [titles]
    for worker, body in zip(shown, bodies, strict=True):
        lines.append(body)
        if worker.doing:
            doing = f"{glyphs.corner} pid {worker.pid}: {worker.doing}"
            lines.append(
                line(
                    [("       ", ""), (shorten(doing, width - 7, glyphs), "bold yellow")],
                    width,
                    glyphs,
                )
            )
    rest = [worker for worker in workers if worker not in shown]
    if rest:
        keys = numbers.count(sum(worker.keys for worker in rest))
        in_per_s = numbers.rate(sum(worker.in_per_s for worker in rest))
        more = f"{glyphs.ellipsis} {len(rest)} more: {keys} keys, {in_per_s}/s in"
        lines.append(line([(more, "dim")], width, glyphs))
    return lines[: 1 + rows]


def _busiest(workers: Sequence[WorkerRow], rows: int) -> list[WorkerRow]:
    """The workers to show in `rows` rows, one of them kept for "more" where not all fit.

    First those stuck in something, as they are why one looks; then by messages in per second.
    """
    if sum(1 + bool(worker.doing) for worker in workers) <= rows:
        return list(workers)
    left = rows - 1
    shown = []
    for worker in sorted(workers, key=lambda w: (not w.doing, -w.in_per_s, w.worker)):
        left -= 1 + bool(worker.doing)
        if left < 0:
            break
        shown.append(worker)
    return shown


def _flow(snapshot: RunSnapshot, rows: int, width: int, glyphs: Glyphs) -> list[Text]:
    """Sources, steps and sinks in `rows` rows: all, or the first and how many more there are."""
    if rows == 0:
        return []
    everything = flow_rows(snapshot)
    shown = everything if len(everything) <= rows else everything[: rows - 1]
    lines = table(flow_columns(everything, glyphs), shown, width, 2, glyphs)
    if len(shown) < len(everything):
        more = f"{glyphs.ellipsis} {len(everything) - len(shown)} more"
        lines.append(line([(more, "dim")], width, glyphs))
    return lines


def _events(events: Sequence[tuple[float, str]], width: int, glyphs: Glyphs) -> list[Text]:
    """One line an event, the newest last."""
    times = [numbers.elapsed(elapsed_s) for elapsed_s, _ in events]
    column = max(map(len, times), default=0)
    return [
        line(
            [(f"{time:>{column}}  ", "dim"), (shorten(said, width - column - 2, glyphs), "")],
            width,
            glyphs,
        )
        for time, (_, said) in zip(times, events, strict=True)
    ]


def _share_out(wanted: dict[str, int], room: int | None) -> dict[str, int]:
    """How many rows each section gets of `room` lines; its title and blank line come on top."""
    if room is None:
        return wanted
    given = dict.fromkeys(wanted, 0)
    for section, most in _CLAIMS:
        above = 1 if section == "events" else 2  # events have no title
        cost = above if not given[section] else 0
        target = wanted[section] if most is None else min(most, wanted[section])
        more = min(target - given[section], room - cost)
        if more > 0:
            given[section] += more
            room -= more + cost
    return given


def _ended(lines: list[Text]) -> list[Text]:
    """Each line with its line break: parts of a Group are printed one after the other."""
    for text in lines:
        text.end = "\n"
    return lines
