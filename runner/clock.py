"""The clock that a run goes by. The simulation puts its own in place of these functions.

Callers name the module (`clock.monotonic_s()`), never the function: so all see what is put there.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

monotonic_s = time.monotonic
"""Seconds since some moment, never going back."""

monotonic_ns = time.monotonic_ns
"""The same in nanoseconds."""


def utc_now() -> str:
    """The date and time of day, for people, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
