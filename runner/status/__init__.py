"""What a run shows of itself: a live view, plain lines, JSON lines, the summary, errors.

`choose` picks the view. rich, whose import costs 70 ms, is imported for the live view only.
"""

from __future__ import annotations

from typing import Literal, Protocol, TextIO

from roo.status.snapshot import RunSnapshot

Mode = Literal["auto", "rich", "plain", "none"]
LogFormat = Literal["text", "json"]


class View(Protocol):
    """What the coordinator tells about the run: start, updates and events, stop."""

    def start(self) -> None:
        """Called once, before anything else."""

    def update(self, snapshot: RunSnapshot) -> None:
        """How the run stands. Called about four times a second."""

    def event(self, line: str) -> None:
        """Something happened, in one line. The same line stands in the next snapshot's events."""

    def stop(self) -> None:
        """Called at the end, also after an error; more than once does no harm."""


class Silent:
    """Shows nothing."""

    def start(self) -> None:
        """Nothing."""

    def update(self, snapshot: RunSnapshot) -> None:
        """Nothing."""

    def event(self, line: str) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


def choose(
    mode: Mode, log_format: LogFormat, stream: TextIO, *, data_on_terminal: bool = False
) -> View:
    """The view for `--status` and `--log-format`, writing to the stream (stderr).

    auto is rich on a terminal that can move its cursor, unless JSON lines are asked for or
    data_on_terminal says that a stdout sink writes to the same terminal; else plain. rich is
    plain too where TERM says that the cursor can't move.
    """
    if mode == "none":
        return Silent()
    from roo.status.color import is_dumb, is_terminal

    live = is_terminal(stream) and log_format == "text" and not data_on_terminal
    if not is_dumb() and (mode == "rich" or (mode == "auto" and live)):
        from rich.console import Console

        from roo.status.live import LiveView

        forced = True if mode == "rich" else None
        return LiveView(Console(file=stream, force_terminal=forced, force_interactive=forced))
    from roo.status.plain import PlainView

    return PlainView(stream, as_json=log_format == "json")
