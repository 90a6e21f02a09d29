"""Which machine this is: so that a position in a file says whose disk it is on."""

from __future__ import annotations

import contextlib
import socket
from functools import cache
from pathlib import Path


@cache
def machine() -> str:
    """An id of this machine: its name, and what its system was given when it was set up.

    The name alone may be one of many ("localhost"), and machines that were copied have one id.
    """
    name = socket.gethostname()
    with contextlib.suppress(OSError):
        name += f" {Path('/etc/machine-id').read_text().strip()[:12]}"
    return name
