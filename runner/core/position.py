"""Where the reading of a split stands."""

from __future__ import annotations

from typing import Any, NamedTuple


class Position(NamedTuple):
    """All that is needed to go on with a split, taken at one moment.

    offset: after the last message given out; None: before the first read. ended: nothing will ever
    follow. memory: what its reader needs besides (`api.Reader.memory`), plain data.
    """

    offset: int | None = None
    ended: bool = False
    memory: Any = None


START = Position()
"""Of a split that nobody has read yet."""
