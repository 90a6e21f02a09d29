"""Writing whole batches to a descriptor, shared by the file and stdout sinks."""

from __future__ import annotations

import os
import select

POLL_S = 1.0


def write_all(fd: int, data: bytes) -> None:
    """Write everything, however little the descriptor takes at a time. Raises OSError."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:  # a pipe that somebody has set non-blocking
            select.select([], [fd], [], POLL_S)
