"""Who may write: no process of an earlier attempt, once a later one has begun.

A worker that is silent for the timeout is given up, and its keys, sinks and splits go to others.
It may only be paused, though, or on the wrong side of a broken network, and write when it wakes.
Two things keep that harmless. A worker that the coordinator has not *heard* for half of the timeout
ends itself (`Lease`). And whoever opens a sink after a process that nobody has seen to end takes
the file away from it (`Writers`, `api.Context.predecessor_ended`): the late process writes into
nothing. A lease alone would not do, since looking at it and writing are two steps.
"""

from __future__ import annotations

from collections.abc import Iterable


class Lease:
    """A worker's right to go on. All times are of the worker's own clock, in ms.

    The coordinator answers each report with the time that stood in it. So the worker knows until
    when it has been heard: a network that only loses what the worker says ends the lease too.
    """

    def __init__(self, timeout_ms: int, now_ms: int) -> None:
        self._half_ms = timeout_ms // 2
        self._heard_ms = now_ms

    def heard(self, said_ms: int) -> None:
        """The coordinator has heard what this worker said then."""
        self._heard_ms = max(self._heard_ms, said_ms)

    def is_over(self, now_ms: int) -> bool:
        """Whether the worker has to end, before the coordinator may give it up."""
        return now_ms - self._heard_ms > self._half_ms


class Writers:
    """The coordinator's knowledge of processes that may still write."""

    def __init__(self, *, all_ended: bool) -> None:
        """all_ended: whether the processes of the run before have been seen to end."""
        self.all_ended = all_ended
        self._elsewhere: set[int] = set()

    def start_elsewhere(self, workers: Iterable[int]) -> None:
        """Workers start on another machine: nobody here can see for sure that they end."""
        self._elsewhere |= set(workers)

    def left(self, worker: int) -> None:
        """A worker has handed everything over and says so itself."""
        self._elsewhere.discard(worker)

    def failed(self) -> None:
        """A sync has failed. What the next attempt reads of such a file may be in memory only, also
        what an earlier sync seemed to have stored: it is to be taken away, and so written anew.
        """
        self.all_ended = False

    def begin_attempt(self) -> None:
        """All workers start again. Those of this machine have been waited for."""
        self.all_ended = self.all_ended and not self._elsewhere
        self._elsewhere.clear()

    def committed(self) -> None:
        """A checkpoint of this attempt is real: by then each sink has been opened by it, and so
        taken away from whoever wrote it before.
        """
        self.all_ended = True
