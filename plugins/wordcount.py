"""Word count with dynamic keys: every word is a key, born when it is first seen."""

from __future__ import annotations

import re
from dataclasses import dataclass

WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
"""Letters and digits, with apostrophes inside: `don't` is one word, `re-examined` is two."""


@dataclass(slots=True)
class WordTotal:
    """The state of one word. total: how often it has been seen."""

    total: int = 0


def split(line: str) -> list[str]:
    """A line of text in, its words out: lower case, without punctuation, in order."""
    return WORD.findall(line.lower())


def word(message: str) -> str:
    """The partition function: a word is its own key."""
    return message


def count(message: str, state: WordTotal) -> tuple[str, int]:
    """Count one more of this word. Returns the word and its running total."""
    state.total += 1
    return message, state.total


def format(message: tuple[str, int]) -> str:
    """One line of output: `liberty => 1`."""
    return f"{message[0]} => {message[1]}"
