"""ANSI colours for the few lines printed without rich, whose import costs 70 ms."""

from __future__ import annotations

import os
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "bold red": "1;31"}


def paint(text: str, style: str, on: bool) -> str:
    """The text in that style (bold, dim, red, green, yellow, bold red), or as it is when not on."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if on and text else text


def is_dumb() -> bool:
    """Whether TERM says that the terminal can neither move its cursor nor show colours."""
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def is_terminal(stream: TextIO) -> bool:
    """Whether the stream is a terminal, and not a dumb one."""
    try:
        return stream.isatty() and not is_dumb()
    except ValueError:  # the stream is closed
        return False


def wants_color(stream: TextIO) -> bool:
    """Whether to colour what is written to the stream: a capable terminal, and no NO_COLOR."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def clean(text: str) -> str:
    """One line with nothing in it that a terminal would obey: control characters become spaces."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " for char in text)
