"""Writing whole batches to a descriptor, shared by the sinks."""

from __future__ import annotations

import os
import select

POLL_MS = 1_000


def write_all(fd: int, data: bytes) -> None:
    """Write everything, however little the descriptor takes at a time. Raises OSError."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:  # a pipe that somebody has set non-blocking
            wait_writable(fd)


def wait_writable(fd: int) -> None:
    """Wait until the descriptor takes something, or for a second: then try again all the same."""
    poll = select.poll()  # not select(): that fails for descriptors above 1023
    poll.register(fd, select.POLLOUT)
    poll.poll(POLL_MS)
