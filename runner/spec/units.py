"""Durations and sizes, as the file writes them."""

from __future__ import annotations

import re

DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ms|s|m|h)")
SIZE = re.compile(r"([1-9][0-9]{0,11})(B|KB|MB|GB|KiB|MiB|GiB)")

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
}  # fmt: skip


def duration_s(text: str) -> float:
    """`500ms`, `10s`, `1.5m`, `2h` in seconds. Raises ValueError for anything else."""
    match = DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is not a duration")
    return float(match[1]) * _SECONDS[match[2]]


def size_bytes(text: str) -> int:
    """`64KiB`, `1MB`, `100B` in bytes. Raises ValueError for anything else."""
    match = SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is not a size")
    return int(match[1]) * _BYTES[match[2]]
