"""The last words of a run: for people, and as one JSON object."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from roo.status import numbers
from roo.status.color import clean, paint
from roo.status.plain import utc
from roo.status.snapshot import Summary

_STYLES = {"finished": "green", "failed": "bold red"}


def text(summary: Summary, color: bool = False) -> str:
    """The final block, ending in a line break. What went wrong is said by `errors.format_error`."""
    workers = f"{summary.workers} worker" + ("" if summary.workers == 1 else "s")
    outcome = paint(summary.outcome, _STYLES.get(summary.outcome, "yellow"), color)
    took = numbers.duration(summary.seconds)
    lines = [f"{paint(clean(summary.pipeline), 'bold', color)} {outcome} in {took} on {workers}"]

    rows = [
        ("messages read", numbers.exact(summary.messages_read), _per_s(summary.messages_per_s)),
        ("keys", numbers.exact(summary.keys), ""),
    ]
    for index, (sink, messages) in enumerate(summary.outputs.items()):
        rows.append(("" if index else "outputs", numbers.exact(messages), clean(sink)))
    rows.append(("errors", numbers.exact(summary.errors), ""))
    for name, messages in (("dropped", summary.dropped), ("dead letters", summary.dead_letters)):
        if messages:
            rows.append((name, numbers.exact(messages), ""))

    wide = max(len(value) for _, value, _ in rows)
    for name, value, note in rows:
        bad = name == "errors" and summary.errors > 0
        shown = paint(f"{value:>{wide}}", "bold red" if bad else "bold", color)
        lines.append(f"  {paint(f'{name:<13}', 'dim', color)}  {shown}  {note}".rstrip())
    if summary.p50_ms is not None or summary.p99_ms is not None:
        p50, p99 = (numbers.milliseconds(value) for value in (summary.p50_ms, summary.p99_ms))
        lines.append(f"  {paint('latency', 'dim', color)}        p50 {p50} ms  p99 {p99} ms")
    return "\n".join(lines) + "\n"


def as_json_line(summary: Summary, now_s: float) -> str:
    """The summary as the last of a run's JSON lines. now_s: Unix time, written as UTC."""
    level = "error" if summary.outcome == "failed" else "info"
    facts = {"time": utc(now_s), "level": level, **asdict(summary)}
    return json.dumps(_plain(facts), ensure_ascii=False)


def as_json(summary: Summary) -> str:
    """The summary's fields as one JSON object in one line, without a line break."""
    return json.dumps(_plain(asdict(summary)), ensure_ascii=False)


def _per_s(value: float) -> str:
    return f"{numbers.rate(value)}/s"


def _plain(value: Any) -> Any:
    """What JSON knows: no NaN, no infinity; what has no JSON form is written as its repr."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if value - value == 0 else None
    return value if value is None or isinstance(value, str | int) else repr(value)
