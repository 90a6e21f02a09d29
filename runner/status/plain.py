"""A run's snapshot as one line, for logs: for people, or as a JSON object."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable
from typing import Any, TextIO

from roo.status import numbers
from roo.status.color import clean
from roo.status.snapshot import RunSnapshot

INTERVAL_S = 1.0
PHASE_CHARACTERS = 13
"""As many as `checkpointing` has, the longest."""


def line(snapshot: RunSnapshot) -> str:
    """The run in one line, its parts always in the same columns, without a line break."""
    parts = [
        f"{numbers.elapsed(snapshot.elapsed_s):>7}",
        f"{snapshot.phase:<{PHASE_CHARACTERS}}",
        f"{numbers.count(snapshot.messages_read):>5} read",
        f"{numbers.rate(_read_per_s(snapshot)):>5}/s",
        f"{numbers.count(snapshot.keys):>5} keys",
        f"{numbers.count(snapshot.errors):>3} errors",
        f"p99 {numbers.milliseconds(snapshot.p99_ms):>5} ms",
    ]
    if snapshot.progress is not None:
        parts.append(f"{numbers.percent(snapshot.progress):>4}")
        if snapshot.eta_s is not None:
            parts.append(f"eta {numbers.duration(snapshot.eta_s, whole=True)}")
    parts += [f"worker {row.worker}: {row.doing}" for row in snapshot.workers if row.doing]
    return clean("  ".join(parts))


def json_line(snapshot: RunSnapshot, now_s: float) -> str:
    """The same as a JSON object in one line. now_s: Unix time, written as UTC.

    level: "error" when the run has failed, "warning" while a worker is held up, else "info".
    """
    held_up = [{"worker": row.worker, "doing": row.doing} for row in snapshot.workers if row.doing]
    level = "error" if snapshot.phase == "failed" else "warning" if held_up else "info"
    return _json(
        time=utc(now_s),
        level=level,
        phase=snapshot.phase,
        pipeline=snapshot.pipeline,
        elapsed_s=snapshot.elapsed_s,
        messages_read=snapshot.messages_read,
        messages_per_s=_read_per_s(snapshot),
        keys=snapshot.keys,
        errors=snapshot.errors,
        p50_ms=snapshot.p50_ms,
        p99_ms=snapshot.p99_ms,
        progress=snapshot.progress,
        eta_s=snapshot.eta_s,
        workers=len(snapshot.workers),
        held_up=held_up,
    )


def utc(now_s: float) -> str:
    """Unix time as 2026-01-31T12:00:00.123Z."""
    whole = math.floor(now_s)
    date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return f"{date}.{int((now_s - whole) * 1000):03}Z"


class PlainView:
    """Lines on a stream: the status at most once a second, events as they come.

    A stream that nobody reads any more is no reason to stop a run: then nothing is printed.

    clock: seconds that only grow; wall: Unix time.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        as_json: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._stream = stream
        self._json = as_json
        self._clock = clock
        self._wall = wall
        self._started_s = self._printed_s = clock()

    def start(self) -> None:
        """The run starts now: the elapsed time of events counts from here."""
        self._started_s = self._printed_s = self._clock()

    def update(self, snapshot: RunSnapshot) -> None:
        """Print the status, unless the start or the last line was less than a second ago."""
        now_s = self._clock()
        # A tenth of slack: called every 250 ms, a call at 0.999 s must not wait for the next.
        if now_s - self._printed_s < INTERVAL_S - 0.1:
            return
        self._printed_s = now_s
        self._print(json_line(snapshot, self._wall()) if self._json else line(snapshot))

    def event(self, line: str) -> None:
        """Print what happened, at once."""
        elapsed_s = self._clock() - self._started_s
        if self._json:
            when = utc(self._wall())
            self._print(_json(time=when, level="info", elapsed_s=round(elapsed_s, 3), event=line))
        else:
            self._print(f"{numbers.elapsed(elapsed_s):>7}  {clean(line)}")

    def stop(self) -> None:
        """Nothing is left to print."""

    def _print(self, text: str) -> None:
        # One write for text and line break: lines of other processes must not get in between.
        with contextlib.suppress(OSError, ValueError):  # the pipe is broken, the stream closed
            self._stream.write(text + "\n")
            self._stream.flush()


def _read_per_s(snapshot: RunSnapshot) -> float:
    return sum(source.messages_per_s for source in snapshot.sources)


def _json(**fields: Any) -> str:
    """JSON knows no NaN and no infinity: they become null."""
    return json.dumps(
        {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in fields.items()
        },
        ensure_ascii=False,
    )
