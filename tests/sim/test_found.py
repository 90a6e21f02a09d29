"""Clusters that went wrong once, made as short as they can be."""

from __future__ import annotations

import pytest

from tests.sim.calls import Fault
from tests.sim.test_sim import play
from tests.sim.world import Event, Shape

FOUND = {
    "a run that is stopped before it reads": Shape(555, lines=10, events=(Event(0, "stop"),)),
    "a joiner whose change failed wrote a file": Shape(
        59, keys=5, lines=20, each=True, two=True, every_ms=5, message_ms=1.0, delay_ms=0.5,
        lag_ms=20.0, is_linux=False, away=2, events=(
            Event(16, "join", 0.56), Event(31, "stop"), Event(57, "full", 0.29, 79),
        ),
    ),
    "a file whose size can not be had as it is cut into ranges": Shape(
        7404090, workers=1, source="ranges", splits=3, keys=1, lines=2, every_ms=5, keep=1,
        message_ms=0.3, delay_ms=0.1, lag_ms=0.1, preempts=0.0,
        faults=(Fault(process="run1", call=2, kind="refuse", ms=1),),
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", FOUND.values(), ids=FOUND)
def test_what_went_wrong_goes_right(shape: Shape) -> None:
    """In a process of its own, as what stands in for the system is there for good."""
    done = play(repr(shape))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("right\n")
