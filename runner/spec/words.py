"""Saying things to people: suggestions, lists, kinds of values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: the one that was meant, or all there are."""
    from difflib import get_close_matches

    names = list(known)
    close = get_close_matches(word, names, n=1, cutoff=0.6)
    if not close:
        close = [name for name in names if name.lower() == word.lower()]
    if close:
        return f"did you mean '{close[0]}'?"
    return f"there is {listed(names)}" if names else "there is none"


def listed(names: Iterable[str], last: str = "and") -> str:
    """`a, b and c`."""
    items = list(names)
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def kind_of(value: Any) -> str:
    """What a value of the file is, in words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text '{value}'" if len(value) <= 40 else "a text"
    return "a list" if isinstance(value, list) else "a mapping"


def one_line(text: str) -> str:
    """The text with line ends and other control characters written as escapes."""
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    )


def short(text: str, characters: int = 60) -> str:
    """The text, or its beginning and `…`."""
    return text if len(text) <= characters else text[: characters - 1] + "…"
