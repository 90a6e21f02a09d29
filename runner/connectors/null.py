"""`type: null`: takes messages and drops them, each worker its own."""

from __future__ import annotations

from typing import Any

from roo.api import Sink


class NullSink(Sink):
    """No options."""

    takes_bytes = False
    single_writer = False

    def write(self, data: Any) -> None:
        """Nothing is kept."""
