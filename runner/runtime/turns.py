"""When slices of checkpoints and moves have their turn between batches.

While batches come, the next slice is put off for so many times as long as the last one took: also a
worker that could do it at once would take the processor from those that the messages come from and
go to. Nor does one slice follow another because nothing has run in between: messages would find all
cores taken. It is not put off where nothing flows.
"""

from __future__ import annotations

from roo import clock

LATE = 4
"""How many times as long as a slice the next one is put off where only sources and sinks ran."""

SHARE_WITHIN = 0.3
"""The same within a batch, for a snapshot. A worker that is given batches of several parts has a
queue before it: its messages wait longer in that than for a slice, and what a batch comes upon
before its turn is dear.
"""

FLOWS_S = 0.005
"""How long after a batch another one is to be expected."""


class Turns:
    """A worker's. Times are of `time.monotonic`."""

    def __init__(self) -> None:
        self._within_s = self._after_s = self._late_s = self._ended_s = self._flows_until_s = 0.0
        self._has_run = self._has_run_keys = self._is_put_off = False

    def ran(self, *, keyed: bool) -> None:
        """A batch has run, or a part of one."""
        self._has_run = True
        self._has_run_keys |= keyed

    def away_s(self, now_s: float) -> float:
        """How long batches have had."""
        return now_s - self._ended_s

    @property
    def _due_s(self) -> float:
        """Not twice without keyed messages in between, which would wait as long as for both."""
        if self._has_run:
            return self._after_s if self._has_run_keys else self._late_s
        return min(self._after_s, self._flows_until_s)

    def is_due(self, now_s: float) -> bool:
        """Whether it is time for a slice; one that is not made is still to come."""
        self._is_put_off = now_s < self._due_s
        return not self._is_put_off

    def is_due_within(self, now_s: float) -> bool:
        """The same between two parts of a batch."""
        return now_s >= self._within_s

    def in_ms(self) -> float | None:
        """How long until the slice that has been put off, 0.0 where that is due by now; None: none
        has been, the last one was made a moment ago.
        """
        left_ms = (self._due_s - clock.monotonic_s()) * 1000
        is_to_come = self._has_run or self._is_put_off or left_ms > 0
        return max(0.0, left_ms) if is_to_come else None

    def took(self, begun_s: float, share: float) -> None:
        """A slice is over. share: how many times as long is for batches now."""
        self._ended_s = now_s = clock.monotonic_s()
        self._within_s = now_s + SHARE_WITHIN * (now_s - begun_s)
        self._after_s = now_s + share * (now_s - begun_s)
        self._late_s = self._after_s + LATE * (now_s - begun_s)
        if self._has_run:
            self._flows_until_s = now_s + FLOWS_S
        self._has_run = self._has_run_keys = False
