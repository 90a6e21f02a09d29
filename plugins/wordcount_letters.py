"""Word count the old way: the 26 keys are fixed, so many words share one state.

Splitting and formatting are those of `plugins.wordcount`; only the key is coarser.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class LetterTotal:
    """The state of one letter. total: how many words have begun with it."""

    total: int = 0


def letter(word: str) -> str:
    """The partition function: the first letter, so `aardvark` and `apple` meet in one state."""
    return word[0]


def count(word: str, state: LetterTotal, key: str) -> tuple[str, int]:
    """Count one more word of this letter. Returns the letter and its running total."""
    state.total += 1
    return key, state.total
