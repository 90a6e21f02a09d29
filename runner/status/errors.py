"""The error a run ended with, said so that one can fix it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roo.status.color import clean, paint

_SUBJECTS = {
    "step": "step {step} failed",
    "decode": "source {source}: a message did not decode",
    "source": "source {source} failed",
    "sink": "sink {step} failed",
    "state": "state of step {step} could not be made",
    "send": "sending failed",
}


def format_error(error: Mapping[str, Any], color: bool = False) -> str:
    """Text ending in a line break: what failed, the facts, the traceback, what to do.

    error: kind ("step" | "decode" | "source" | "sink" | "state" | "send"; another is shown as it
    is), what ("ValueError: bad"), and where known step (for "sink" and "source": its name, which
    may also be named by these), function, key, message (its repr, shortened), source, split, offset
    (and offset_end, where only a range is known), traceback, hint.
    """
    first, *more = _text(error, "what").splitlines() or [""]
    lines = [f"{paint('error:', 'bold red', color)} {_subject(error)}" + (first and f": {first}")]
    lines += [f"  {extra}" for extra in more]
    facts = [(name, value) for name, value in _facts(error) if value]
    wide = max((len(name) for name, _ in facts), default=0)
    lines += [f"  {paint(f'{name:<{wide}}', 'dim', color)}  {value}" for name, value in facts]
    traceback = _text(error, "traceback").strip("\n")
    if traceback:
        lines += ["", *(f"  {frame}".rstrip() for frame in traceback.splitlines())]
    hint = _text(error, "hint").strip()
    if hint:
        lines += ["", f"{paint('what to do:', 'bold', color)} {hint}"]
    return "\n".join(lines) + "\n"


def _subject(error: Mapping[str, Any]) -> str:
    kind = str(error.get("kind") or "run")
    named = {name: _one_line(error, name) for name in ("step", "source")}
    if kind == "sink":
        named["step"] = _one_line(error, "sink") or named["step"]
    if kind == "source":  # a step is whatever part failed
        named["source"] = named["source"] or named["step"]
    pattern = _SUBJECTS.get(kind, f"{kind} failed".replace("{", "{{").replace("}", "}}"))
    return " ".join(pattern.format(**named).replace(" :", ":").split())


def _facts(error: Mapping[str, Any]) -> list[tuple[str, str]]:
    offsets = _one_line(error, "offset"), _one_line(error, "offset_end")
    where = [
        f"{title}{value}"
        for title, value in (
            ("", _one_line(error, "source")),
            ("split ", _one_line(error, "split")),
            ("offset ", " to ".join(filter(None, offsets))),
        )
        if value
    ]
    return [
        ("function", _one_line(error, "function")),
        ("key", _one_line(error, "key")),
        ("message", _one_line(error, "message")),
        ("source", ", ".join(where)),
    ]


def _one_line(error: Mapping[str, Any], name: str) -> str:
    return clean(_text(error, name))


def _text(error: Mapping[str, Any], name: str) -> str:
    """A fact as text without control characters, line breaks kept; "" where it is not known."""
    value = error.get(name)
    return "" if value is None else "\n".join(map(clean, str(value).splitlines()))
