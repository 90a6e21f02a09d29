"""Generators for the sequence detector that do what an engine must never do to messages."""

from __future__ import annotations

from collections.abc import Iterator

from plugins.sequence_detector import numbers


def lost(keys: int, per_key: int, seed: int) -> Iterator[tuple[str, int]]:
    """Without message 5,000."""
    for i, message in enumerate(numbers(keys, per_key, seed)):
        if i != 5000:
            yield message


def doubled(keys: int, per_key: int, seed: int) -> Iterator[tuple[str, int]]:
    """With message 5,000 twice."""
    for i, message in enumerate(numbers(keys, per_key, seed)):
        yield message
        if i == 5000:
            yield message
