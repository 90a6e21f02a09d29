"""The live view on a terminal that is a string, and which view is chosen."""

from __future__ import annotations

import io
import os
import pty
from collections.abc import Iterator
from dataclasses import replace
from typing import TextIO

import pytest
import status_samples as samples
from rich.console import Console

from roo.status import LogFormat, Mode, Silent, choose
from roo.status.live import LiveView
from roo.status.plain import PlainView

HIDE_CURSOR, SHOW_CURSOR, CLEAR = "\x1b[?25l", "\x1b[?25h", "\x1b[2J"


@pytest.fixture
def console() -> Console:
    """A terminal of 80 by 24 whose output is kept in `console.file`."""
    return Console(
        file=io.StringIO(), width=80, height=24, force_terminal=True, _environ={"TERM": "xterm"}
    )


def written(console: Console) -> str:
    """What the terminal was sent since the last call."""
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    console.file.seek(0)
    console.file.truncate()
    return text


def test_the_frame_is_redrawn_in_place_and_goes(console: Console) -> None:
    view = LiveView(console)
    view.start()
    assert written(console) == HIDE_CURSOR
    view.update(samples.running())
    first = written(console)
    assert "wordcount" in first
    view.update(replace(samples.running(), phase="draining"))
    second = written(console)
    assert "draining" in second
    assert second.count("\x1b[1A") == first.count("\n"), "goes up as many lines as were drawn"
    view.stop()
    assert SHOW_CURSOR in written(console)


def test_events_stay_when_the_frame_goes(console: Console) -> None:
    view = LiveView(console)
    view.start()
    view.update(samples.running())
    written(console)
    view.stop()
    last = written(console)
    assert last.endswith(
        "  0.3 s  2 workers are ready\n"
        "  4.2 s  step count: 12 messages went to dead\n"
        " 11.9 s  source lines: /data/words-2024-01-01.txt has ended, 3 files to go\n"
    )
    view.stop()
    assert written(console) == "", "stopping twice does no harm"


def test_a_frame_always_leaves_room_on_the_terminal(console: Console) -> None:
    view = LiveView(console)
    view.start()
    view.update(samples.many())
    lines = written(console).split("\n")
    assert len(lines) == 24
    assert lines[-1] == "", "the terminal's ^C lands in an empty line"
    assert "".join(lines[-2:]) != ""
    view.stop()


def test_a_new_size_starts_over(console: Console) -> None:
    view = LiveView(console)
    view.start()
    view.update(samples.running())
    assert CLEAR not in written(console)
    console.size = (120, 30)
    view.update(samples.running())
    resized = written(console)
    assert CLEAR in resized
    assert "p50 ms" in resized, "there is room for it at 120 columns"
    view.stop()


def test_nothing_is_drawn_before_start_and_after_stop(console: Console) -> None:
    view = LiveView(console)
    view.update(samples.running())
    view.stop()
    assert written(console) == ""


@pytest.fixture
def terminal() -> Iterator[TextIO]:
    """A stream that is a TTY."""
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream:
        yield stream
    os.close(master)


@pytest.mark.parametrize(
    ("mode", "log_format", "term", "expected"),
    [
        ("auto", "text", "xterm", LiveView),
        ("auto", "text", "dumb", PlainView),
        ("auto", "json", "xterm", PlainView),
        ("rich", "text", "xterm", LiveView),
        ("rich", "text", "dumb", PlainView),
        ("plain", "text", "xterm", PlainView),
        ("none", "text", "xterm", Silent),
    ],
)
def test_choose_on_a_terminal(
    terminal: TextIO,
    monkeypatch: pytest.MonkeyPatch,
    mode: Mode,
    log_format: LogFormat,
    term: str,
    expected: type,
) -> None:
    monkeypatch.setenv("TERM", term)
    assert type(choose(mode, log_format, terminal)) is expected


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("auto", PlainView), ("rich", LiveView), ("plain", PlainView), ("none", Silent)],
)
def test_choose_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, mode: Mode, expected: type
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert type(choose(mode, "text", io.StringIO())) is expected


def test_data_on_the_same_terminal_is_not_drawn_over(
    terminal: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert type(choose("auto", "text", terminal, data_on_terminal=True)) is PlainView


def test_silent_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    view = choose("none", "json", io.StringIO())
    view.start()
    view.update(samples.running())
    view.event("ready")
    view.stop()
    assert capsys.readouterr() == ("", "")
