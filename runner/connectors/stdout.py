"""`type: stdout`: one worker writes for all."""

from __future__ import annotations

import errno
import os
from typing import Any

from roo.api import ConnectorError, Context, Sink
from roo.connectors.writing import write_all


class StdoutSink(Sink):
    """Options: fd, the descriptor to write to (1). A closed pipe raises BrokenPipeError."""

    def open(self, context: Context) -> None:
        self._fd = int(self.options.get("fd", 1))
        if self.header:
            self.write(self.header)

    def write(self, data: Any) -> None:
        try:
            write_all(self._fd, data)
        except BrokenPipeError:
            raise
        except OSError as error:
            said = os.strerror(error.errno or errno.EIO)
            hint = "see where the output of this command goes"
            raise ConnectorError(f"can't write to stdout: {said}", hint) from error
