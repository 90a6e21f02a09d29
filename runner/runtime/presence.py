"""Whether the workers of a run before are still there, whatever became of its coordinator.

Each worker holds a shared lock on a file of the checkpoint folder until its process is gone: the
kernel lets go of it, after the last write. So who gets the file alone knows that all have ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from roo import clock, disk

NAME = "workers"
WITHIN_S = 5.0
LOOK_EVERY_S = 0.05


def hold(folder: Path) -> None:
    """Be there until this process ends. Raises OSError."""
    descriptor = disk.open(
        folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666
    )
    fcntl.flock(descriptor, fcntl.LOCK_SH)


def all_workers_ended(folder: Path) -> bool:
    """Whether every worker that has worked on a checkpoint folder is gone; those that are about to
    end are waited for. The lock of the folder keeps new ones out meanwhile.
    """
    try:
        descriptor = disk.open(folder / NAME, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    deadline_s = clock.monotonic_s() + WITHIN_S
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except OSError:
                if clock.monotonic_s() > deadline_s:
                    return False
            time.sleep(LOOK_EVERY_S)
    finally:
        with contextlib.suppress(OSError):  # nothing was written
            disk.close(descriptor)
