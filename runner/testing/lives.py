"""Lives of a sink: each in a process of its own that is really killed, as a worker is."""

from __future__ import annotations

import errno
import json
import os
import pickle
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

from roo import disk
from roo.api import ConnectorError, Context, Sink
from roo.testing.rules import is_pythons

Call = tuple[str, Any]
"""A method of a sink, and what it is about: ("write", 0) is the first batch; ("prepare", "a") notes
what ("commit", "a") and ("rollback", "a") are given; ("open", True) goes on from a checkpoint.

And what is done to it: ("successor", None) makes a second sink, which all later calls are of;
("open unseen", True) opens it where the first has not been seen to end; ("late", call) is a call of
the first, whatever comes of it; ("others", None) lets others do something to the output;
("refused", call) must raise ConnectorError; ("unsynced", None) is a `sync` in which the disk
refuses every fsync."""


@dataclass
class Lived:
    """What became of a life. noted: by name. lines: how many the last call ran. error: why it ended
    before its time, or "" (with the call and, where the sink raised, the traceback). accepted:
    because it did not refuse what it should have.
    """

    noted: dict[str, Any] = field(default_factory=dict)
    lines: int = 0
    error: str = ""
    call: str = ""
    accepted: bool = False


class _AcceptedError(Exception):
    """A call that was to be refused was not."""


def live(
    make: Callable[[], Sink],
    header: bytes,
    batches: Sequence[Any],
    calls: Sequence[Call],
    noted: Mapping[str, Any],
    *,
    patience_s: float,
    die_at_line: int | None = None,
    others: Callable[[], Any] = lambda: None,
) -> Lived:
    """Make a sink, do the calls, be killed. What becomes of it, from another process.

    others: what others do to its output. die_at_line: of the last call; by default it is killed
    right behind that.
    """
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read_fd)
        lived = Lived(dict(noted))
        sinks: list[Sink] = []  # kept here: collected, its files would be flushed
        try:
            _do(make, header, batches, calls, lived, sinks, write_fd, die_at_line, others)
        except _AcceptedError as error:
            lived.error, lived.accepted = str(error), True
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


SAID = {
    "successor": "a second sink takes its place",
    "late": "late, by the first one: ",
    "others": "somebody else changes the output",
    "refused": "and then: ",
    "unsynced": "sync, while no fsync succeeds",
}


def say(call: Call, noted: Mapping[str, Any]) -> str:
    """A call in words."""
    name, about = call
    if name in ("open", "open unseen"):
        unseen = ", the one before not seen to end" if name == "open unseen" else ""
        return "open" + unseen + (", going on from a checkpoint" if about else "")
    if name == "write":
        return f"write batch {about}"
    if name in SAID:
        return SAID[name] + (say(about, noted) if about else "")
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
    others: Callable[[], Any],
) -> None:
    def one(call: Call) -> None:
        name, about = call
        if name == "successor":
            new_sink()
        elif name == "late":
            with suppress(Exception):
                _one(sinks[0], batches, about, lived)
        elif name == "others":
            others()
        elif name == "refused":
            try:
                _one(sinks[-1], batches, about, lived)
            except ConnectorError:
                return
            raise _AcceptedError(f"{say(about, lived.noted)} raises no ConnectorError")
        else:
            _one(sinks[-1], batches, call, lived)

    def new_sink() -> None:
        sink = make()
        sinks.append(sink)
        if header:
            sink.header = header

    lived.call = "make"
    new_sink()
    for index, call in enumerate(calls):
        lived.call = say(call, lived.noted)
        if index < len(calls) - 1:
            one(call)
            continue
        with _lines(lived, write_fd, die_at_line):
            one(call)


def _one(sink: Sink, batches: Sequence[Any], call: Call, lived: Lived) -> None:
    name, about = call
    match name:
        case "open":
            sink.open(Context("check", "sink", 0, 1, resumes=about))
        case "open unseen":
            context = Context("check", "sink", 0, 1, resumes=about)
            sink.open(replace(context, attempt=2, predecessor_ended=False))
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
        case "unsynced":
            _unsynced(sink)
        case "commit":
            sink.commit(lived.noted[about])
        case "rollback":
            sink.rollback(None if about is None else lived.noted[about])
        case "flush":
            sink.flush()
        case "close":
            sink.close()


def _unsynced(sink: Sink) -> None:
    """Sync while the disk fails; that must be said, by one who asks the disk."""
    asked = []

    def refuse(fd: Any) -> None:
        asked.append(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with patch.multiple(os, fsync=refuse, fdatasync=refuse), patch.object(disk, "fsync", refuse):
        try:
            _aside(sink.sync)
        except (ConnectorError, OSError):
            return
    if asked:
        raise _AcceptedError("sync raises nothing when an fsync fails")


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
