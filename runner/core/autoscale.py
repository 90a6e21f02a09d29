"""When a run should have more workers, or fewer. Decides by what it is told; asks nothing itself.

Hysteresis: a reason has to hold for `for_ms` before anything happens, a change is followed by
`rest_ms` without another, and a run shrinks only if what is left would not grow again at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Rules(NamedTuple):
    """smallest, largest: numbers of workers. grow_above, shrink_below: the part of their time that
    workers are busy, in the mean. for_ms: how long a reason has to hold. rest_ms: how long to wait
    after a change.
    """

    smallest: int
    largest: int
    grow_above: float = 0.8
    shrink_below: float = 0.3
    for_ms: int = 10_000
    rest_ms: int = 30_000


class Decision(NamedTuple):
    """So many workers, and why."""

    workers: int
    why: str


class Autoscale:
    """Looked at now and then; a decision is given once."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._reason = ""
        self._since_ms = 0
        self._rest_until_ms = 0

    def look(
        self, now_ms: int, loads: Mapping[int, float], held_back: int, workers: int
    ) -> Decision | None:
        """What to do now, if anything.

        loads: part of its time that it is busy, by worker. held_back: how many workers can't take
        more in: their sources lag. workers: how many there are.
        """
        rules = self._rules
        if len(loads) != workers:  # somebody has not reported yet: nothing to go by
            self._reason = ""
            return None
        mean = sum(loads.values()) / workers
        kind, target, why = self._wish(mean, held_back, workers)
        if not kind or kind != self._reason:
            self._reason, self._since_ms = kind, now_ms
        held_ms = now_ms - self._since_ms
        if not kind or held_ms < rules.for_ms or now_ms < self._rest_until_ms:
            return None
        self._reason = ""
        self._rest_until_ms = now_ms + rules.rest_ms
        return Decision(target, f"{why} for {held_ms / 1000:.0f} s")

    def _wish(self, mean: float, held_back: int, workers: int) -> tuple[str, int, str]:
        """(kind of reason, number of workers, why); no kind: all is well."""
        rules = self._rules
        if workers < rules.smallest:
            return "few", rules.smallest, f"fewer than {rules.smallest} workers"
        if workers > rules.largest:
            return "many", rules.largest, f"more than {rules.largest} workers"
        if workers < rules.largest:
            if mean > rules.grow_above:
                return "grow", workers + 1, f"workers were busy to {mean:.0%}"
            if held_back:
                return "grow", workers + 1, f"sources of {held_back} worker(s) lagged"
        if workers > rules.smallest and not held_back and mean < rules.shrink_below:
            left = mean * workers / (workers - 1)
            if left < rules.grow_above:
                return "idle", workers - 1, f"workers were busy to only {mean:.0%}"
        return "", workers, ""
