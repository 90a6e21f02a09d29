"""`type: stdout`: one worker writes for all."""

from __future__ import annotations

from typing import Any

from roo.api import Context, Sink
from roo.connectors.writing import write_all


class StdoutSink(Sink):
    """Options: fd, the descriptor to write to (1). A closed pipe raises BrokenPipeError."""

    def open(self, context: Context) -> None:
        self._fd = int(self.options.get("fd", 1))
        if self.header:
            write_all(self._fd, self.header)

    def write(self, data: Any) -> None:
        write_all(self._fd, data)
