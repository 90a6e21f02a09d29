"""The live view on a terminal: a frame redrawn in place, gone when the run ends.

The summary takes the frame's place; the events stay above it. Nothing here runs by itself: the
coordinator calls `update` about four times a second.
"""

from __future__ import annotations

import sys

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from roo.status import numbers
from roo.status.snapshot import RunSnapshot
from roo.status.view import render

EVENTS_KEPT = 20
"""How many events stay on the terminal after the frame is gone."""


class LiveView:
    """Draws snapshots on a console until stopped. Between start and stop the cursor is hidden."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._last: RunSnapshot | None = None
        self._size = console.size

    def start(self) -> None:
        """Take over the lower end of the terminal. Draws nothing before the first update."""
        self._size = self._console.size
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,  # stdout is for data, never for us
            redirect_stderr=self._console.file is sys.stderr,
        )
        self._live.start()

    def update(self, snapshot: RunSnapshot) -> None:
        """Replace the frame. Follows the terminal's size. Does nothing when not started."""
        if self._live is None:
            return
        self._last = snapshot
        if self._console.size != self._size:
            self._start_over()
        width, height = self._console.size
        ascii_only = self._console.options.ascii_only
        frame = render(snapshot, width, max(1, height - 1), ascii_only=ascii_only)
        # The cursor waits in a line of its own: there the terminal's "^C" can't wrap a line, and a
        # full screen does not scroll.
        self._live.update(Group(frame, Text("")), refresh=True)

    def log(self, line: str) -> None:
        """Print a line above the frame, to stay."""
        self._console.print(Text(line), soft_wrap=True, highlight=False)

    def event(self, line: str) -> None:
        """Nothing to do: events come with each snapshot, and stay when the view stops."""

    def stop(self) -> None:
        """Erase the frame, leave the last events, show the cursor. May be called again."""
        if self._live is None:
            return
        live, self._live = self._live, None
        live.stop()
        for elapsed_s, line in self._last.events[-EVENTS_KEPT:] if self._last else ():
            self.log(f"{numbers.elapsed(elapsed_s):>7}  {line}")

    def _start_over(self) -> None:
        """After a change of size the terminal has wrapped the old frame: nobody knows where."""
        assert self._live is not None
        self._live.stop()
        self._console.clear()
        self.start()
