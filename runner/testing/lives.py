"""Lives of a sink: each in a process of its own that is really killed, as a worker is."""

from __future__ import annotations

import json
import os
import pickle
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from roo.api import Context, Sink
from roo.testing.rules import is_pythons

Call = tuple[str, Any]
"""A method of a sink, and what it is about: ("write", 0) is the first batch; ("prepare", "a") notes
what ("commit", "a") and ("rollback", "a") are given; ("open", True) goes on from a checkpoint."""


@dataclass
class Lived:
    """What became of a life. noted: by name. lines: how many the last call ran. error: why it ended
    before its time, or "" (with the call and, where the sink raised, the traceback).
    """

    noted: dict[str, Any] = field(default_factory=dict)
    lines: int = 0
    error: str = ""
    call: str = ""


def live(
    make: Callable[[], Sink],
    header: bytes,
    batches: Sequence[Any],
    calls: Sequence[Call],
    noted: Mapping[str, Any],
    *,
    patience_s: float,
    die_at_line: int | None = None,
) -> Lived:
    """Make a sink, do the calls, be killed. What becomes of it, from another process.

    die_at_line: of the last call; by default it is killed right behind that.
    """
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read_fd)
        lived = Lived(dict(noted))
        sinks: list[Sink] = []  # kept here: collected, its files would be flushed
        try:
            _do(make, header, batches, calls, lived, sinks, write_fd, die_at_line)
        except BaseException:
            lived.error = traceback.format_exc(limit=-3).rstrip()
        _tell(write_fd, lived)
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(write_fd)
    try:
        told = _hear(read_fd, patience_s)
    finally:
        os.close(read_fd)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if told is None:
        return Lived(dict(noted), error=f"it has not come back after {patience_s:g} s")
    return told


def say(call: Call, noted: Mapping[str, Any]) -> str:
    """A call in words."""
    name, about = call
    if name == "open":
        return "open, going on from a checkpoint" if about else "open"
    if name == "write":
        return f"write batch {about}"
    if name in ("commit", "rollback"):
        return f"{name}({noted.get(about)!r})"
    return name


def _do(
    make: Callable[[], Sink],
    header: bytes,
    batches: Sequence[Any],
    calls: Sequence[Call],
    lived: Lived,
    sinks: list[Sink],
    write_fd: int,
    die_at_line: int | None,
) -> None:
    lived.call = "make"
    sink = make()
    sinks.append(sink)
    if header:
        sink.header = header
    for index, call in enumerate(calls):
        lived.call = say(call, lived.noted)
        if index < len(calls) - 1:
            _one(sink, batches, call, lived)
            continue
        with _lines(lived, write_fd, die_at_line):
            _one(sink, batches, call, lived)


def _one(sink: Sink, batches: Sequence[Any], call: Call, lived: Lived) -> None:
    name, about = call
    match name:
        case "open":
            sink.open(Context("check", "sink", 0, 1, resumes=about))
        case "write":
            sink.write(batches[about])
        case "prepare":
            noted = sink.prepare()
            try:
                plain = json.loads(json.dumps(noted))
            except (TypeError, ValueError):
                plain = ...
            if plain != noted:
                raise TypeError(f"prepare() gives {noted!r}, which JSON does not keep as it is")
            lived.noted[about] = noted
        case "sync":
            _aside(sink.sync)
        case "commit":
            sink.commit(lived.noted[about])
        case "rollback":
            sink.rollback(None if about is None else lived.noted[about])
        case "flush":
            sink.flush()
        case "close":
            sink.close()


def _aside(function: Callable[[], Any]) -> None:
    """On another thread, as Roo does."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


@contextmanager
def _lines(lived: Lived, write_fd: int, die_at_line: int | None) -> Iterator[None]:
    """Count the lines that run in here, and die at one of them. Python's own do not count."""

    def trace(frame: Any, event: str, argument: Any) -> Any:
        file = frame.f_code.co_filename
        if event == "line" and file != __file__ and not is_pythons(file):
            lived.lines += 1
            if lived.lines == die_at_line:
                sys.settrace(None)
                _tell(write_fd, lived)
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)


def _tell(write_fd: int, lived: Lived) -> None:
    data = pickle.dumps(lived)
    while data:
        data = data[os.write(write_fd, data) :]
    os.close(write_fd)


def _hear(read_fd: int, patience_s: float) -> Lived | None:
    data = b""
    while select.select([read_fd], [], [], patience_s)[0]:
        more = os.read(read_fd, 1 << 16)
        if not more:
            lived: Lived | None = pickle.loads(data) if data else None
            return lived
        data += more
    return None
