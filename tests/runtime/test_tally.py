"""Rates come from reports that lie far enough apart."""

from __future__ import annotations

from typing import Any

from roo.core.placement import Placement
from roo.runtime.control import WorkerStats
from roo.runtime.tally import Tally


def test_a_report_close_behind_another_makes_no_rate_of_its_own() -> None:
    no_plan: Any = None
    tally = Tally(no_plan, Placement.fresh(1, [], []), {}, 0.0)
    loads = []
    # Every 250 ms half a core for a while; a checkpoint's report comes 2 ms before one of them.
    for at_s in (0.0, 0.25, 0.498, 0.5, 0.75, 1.0, 1.001):
        tally.report(WorkerStats(0, 1, at_s, cpu_s=at_s / 2 + 0.004 * (at_s == 0.5)))
        loads.append(tally.loads().get(0))
    assert loads[0] is None
    assert all(0.45 < load < 0.55 for load in loads[1:] if load is not None)
    assert None not in loads[1:]
