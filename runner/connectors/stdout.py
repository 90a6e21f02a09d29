"""`type: stdout`: one worker writes for all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from roo import disk
from roo.api import ConnectorError, Context, Sink
from roo.connectors.writing import write_all


class StdoutSink(Sink):
    """Options: fd, the descriptor to write to (1). A closed pipe raises BrokenPipeError.

    At least once: what a crash takes back is written again; a pipe outlives the worker, a file is
    synced. A reader that goes away before it has read everything has ended the run.
    """

    def open(self, context: Context) -> None:
        self._fd = int(self.options.get("fd", 1))
        if self.header:
            self.write(self.header)

    def write(self, data: Any) -> None:
        with self._errors():
            write_all(self._fd, data)

    def sync(self) -> None:
        with self._errors():
            if stat.S_ISREG(disk.fstat(self._fd).st_mode):
                disk.fsync(self._fd)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            said = os.strerror(error.errno or errno.EIO)
            hint = "see where the output of this command goes"
            raise ConnectorError(f"can't write to stdout: {said}", hint) from error
