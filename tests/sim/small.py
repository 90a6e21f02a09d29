"""Small clusters, exhaustively: a fault of every kind at every call, one after the other.

Two workers and a joiner, four keys, a few checkpoints, one change of workers. A fault that is not
there yet is put at each call that is made without it. Where a machine has joined, at each call of
what runs there: it is suspended for a little longer than it is waited for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.sim.calls import WRITING, Fault
from tests.sim.shorten import verdict
from tests.sim.world import HOME, Event, Shape

PAUSE_MS, SUSPENDED_MS = 30, 1_030
JOIN = Event(5, "scale", 0.0)
LEAVE = Event(5, "scale", 0.7)

BASE = Shape(0, workers=2, splits=2, keys=2, lines=20, every_ms=8, message_ms=0.5, delay_ms=1.0,
             lag_ms=0.5, events=(JOIN,))  # fmt: skip
AWAY = replace(BASE, workers=1, away=1, lines=30, every_ms=10, message_ms=1.0,
               events=(Event(2, "join"),))  # fmt: skip
SHAPES = {
    "single": BASE,
    "committed": replace(BASE, committed=True),
    "each": replace(BASE, each=True, append=True),
    "each committed": replace(BASE, each=True, committed=True, events=(LEAVE,)),
    "away": AWAY,
    "away each": replace(AWAY, each=True),
    "away committed": replace(AWAY, each=True, committed=True),
    "keys at rest": replace(BASE, keys=10, lines=50, every_ms=3, keep=1, delay_ms=0.2, events=()),
    "two states": replace(BASE, two=True, keep=1, events=(LEAVE,)),
}

OF_WRITES = ("refuse", "after", "kill before", "kill after", "pause before", "pause after",
             "power before", "power after")  # fmt: skip
OF_WRITES_ELSEWHERE = ("kill before", "suspend before", "suspend after")
OF_OTHERS = ("refuse", "kill before")


def with_every_fault(shape: Shape) -> Iterator[Shape]:
    """A cluster with one more fault, at each call and of each kind."""
    what, world = verdict(replace(shape, faults=shape.faults or ()))
    if what:
        yield shape
        return
    there = {(fault.process, fault.call) for fault in shape.faults or ()}
    elsewhere = {p.name for p in world.scheduler.processes if p.machine != HOME}
    for process, call, name in world.faults.made:
        if (process, call) in there:
            continue
        kinds = OF_OTHERS
        if name in WRITING or name == "fsync":
            kinds = OF_WRITES_ELSEWHERE if process in elsewhere else OF_WRITES
        if name in ("write", "pwrite"):
            kinds = (*kinds, "short")
        for kind in kinds if process in elsewhere or not shape.away else ():
            ms = SUSPENDED_MS if kind.startswith("suspend") else PAUSE_MS
            yield replace(shape, faults=(*(shape.faults or ()), Fault(process, call, kind, ms)))
