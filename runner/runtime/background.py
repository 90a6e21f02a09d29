"""Work that waits for the disk, away from the thread that runs batches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

Job = Callable[[], None]
Background = Callable[[Job], None]
"""Takes a job, which must not raise, and returns at once. Jobs run one after the other."""


def one_thread(name: str) -> Background:
    """A background of one thread, which lasts as long as the process."""
    jobs: SimpleQueue[Job] = SimpleQueue()

    def run() -> None:
        while True:
            jobs.get()()

    threading.Thread(target=run, name=name, daemon=True).start()
    return jobs.put
