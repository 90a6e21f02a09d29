"""Plugin functions of the word count, the same for every candidate."""

from __future__ import annotations


class Total:
    """How often one word has been seen."""

    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


def split(line: str) -> list[str]:
    """The words of one line."""
    return line.split()


def word(message: str) -> str:
    """The partition function: each word is its own key."""
    return message


def count(message: str, total: Total) -> tuple[str, int]:
    """Count one more; returns the word and its running total."""
    total.n += 1
    return message, total.n


def format(message: tuple[str, int]) -> str:
    """One line of output, without its end."""
    word, n = message
    return f"{word} => {n}"
