"""Small clusters, exhaustively: a fault of every kind at every call, one after the other.

Two workers and a joiner, four keys, a few checkpoints, one change of workers. A fault that is not
there yet is put at each call that is made without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.sim.calls import WRITING, Fault
from tests.sim.shorten import verdict
from tests.sim.world import Event, Shape

PAUSE_MS = 30
JOIN = Event(12, "scale", 0.0)
LEAVE = Event(12, "scale", 0.7)

BASE = Shape(0, workers=2, splits=2, keys=2, lines=8, every_ms=6, message_ms=0.5, delay_ms=1.0,
             lag_ms=0.5, events=(JOIN,))  # fmt: skip
SHAPES = {
    "single": BASE,
    "committed": replace(BASE, committed=True),
    "each": replace(BASE, each=True, append=True),
    "each committed": replace(BASE, each=True, committed=True, events=(LEAVE,)),
    "two states": replace(BASE, two=True, keep=1, events=(LEAVE,)),
}

OF_WRITES = ("refuse", "after", "kill before", "kill after", "pause before", "pause after",
             "power before", "power after")  # fmt: skip
OF_OTHERS = ("refuse", "kill before")


def with_every_fault(shape: Shape) -> Iterator[Shape]:
    """A cluster with one more fault, at each call and of each kind."""
    what, world = verdict(replace(shape, faults=shape.faults or ()))
    if what:
        yield shape
        return
    there = {(fault.process, fault.call) for fault in shape.faults or ()}
    for process, call, name in world.faults.made:
        if (process, call) in there:
            continue
        writes = name in WRITING or name == "fsync"
        for kind in OF_WRITES if writes else OF_OTHERS:
            fault = Fault(process, call, kind, PAUSE_MS)
            yield replace(shape, faults=(*(shape.faults or ()), fault))
        if name in ("write", "pwrite"):
            yield replace(shape, faults=(*(shape.faults or ()), Fault(process, call, "short")))
