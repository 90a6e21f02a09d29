"""A worker's side of a change of who works: from its barrier to the last state in.

`runtime/moving.py` moves the states; here is which frames are for which change, and what readers,
writers and stages have to do with it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from roo import api, clock
from roo.core.batch import Batch, Header
from roo.core.placement import Placement
from roo.core.worker import Event, StatesCame
from roo.runtime import control
from roo.runtime.collector import tune_collector
from roo.runtime.outlets import Outlet
from roo.runtime.readers import Readers
from roo.runtime.stages import Stages

if TYPE_CHECKING:
    from roo.runtime.cut import Checkpoint
    from roo.runtime.moving import Move
    from roo.runtime.parcels import Send, What


class Changing:
    """One worker's, one change at a time. move: the change under way. stages_with: ("state" or
    "sink", name) -> the stages that work on it here. send: frames to a worker; tell: a message to
    the coordinator.
    """

    def __init__(
        self,
        worker: int,
        stages: Stages,
        stages_with: Mapping[What, frozenset[int]],
        outlets: Mapping[str, Outlet],
        readers: Readers,
        context: api.Context,
        send: Send,
        tell: Callable[[Any], None],
        perform: Callable[[Event], None],
    ) -> None:
        self.move: Move | None = None
        self._worker = worker
        self._stages = stages
        self._stages_with = stages_with
        self._outlets = outlets
        self._readers = readers
        self._context = context
        self._send = send
        self._tell = tell
        self._perform = perform
        self._early: list[tuple[Header, list[bytes]]] = []
        self._uncut: dict[What, set[int]] = {}
        self._to_hand_over: list[str] = []
        self._barrier_at_s = self._cut_ms = 0.0

    @property
    def progress(self) -> tuple[int, int]:
        """(keys, bytes) that have come in the change under way."""
        move = self.move
        return (move.keys_in, move.bytes_in) if move is not None else (0, 0)

    @property
    def is_over(self) -> bool:
        """Whether everything has come and gone, and `tend` is to tell of it."""
        move = self.move
        over = not self._uncut and not self._to_hand_over
        return move is not None and over and move.is_complete

    def receive(self, header: Header, frames: list[bytes], table_version: int) -> None:
        """Of the change under way, or of one that is still to be heard of. table_version: of this
        worker as yet.
        """
        if self.move is not None:
            self.move.receive(header, frames)
        elif header.table_version > table_version:
            self._early.append((header, frames))

    def begin_move(self, before: Placement, after: Placement, *, joins: bool) -> None:
        """The barrier is there. joins: this worker begins with the change."""
        from roo.runtime.moving import Move

        self._barrier_at_s = clock.monotonic_s()
        gc.disable()  # what comes lives long: going through it in between finds nothing
        self._uncut = {} if joins else {w: set(s) for w, s in self._stages_with.items()}
        self._to_hand_over = [
            sink for sink, home in before.homes.items() if home == self._worker != after.homes[sink]
        ]
        self.move = Move(
            self._worker, self._stages, before, after, self._send, self._states_came, joins=joins
        )
        early, self._early = self._early, []
        for header, frames in early:
            self.move.receive(header, frames)

    def _states_came(self, what: What) -> None:
        """Of a state, or a sink's writer: what waited for them may run."""
        if self.move is not None and what in self.move.notes:
            outlet = self._outlets[what[1]]
            # Whoever wrote it before has closed it, and told so.
            context = replace(self._context, name=what[1], resumes=True, predecessor_ended=True)
            outlet.open(context)
            outlet.rollback(self.move.notes.pop(what))
        self._perform(StatesCame(tuple(self._stages_with.get(what, ()))))

    def turn_over(self, stage: int) -> None:
        """A stage is aligned: by the new placement from here on."""
        move = self.move
        if move is None:
            return
        self._stages.place[stage] = move.after
        if stage == 0:
            mine = move.after.splits_of(self._worker)
            self._readers.give([s for s in move.before.splits_of(self._worker) if s not in mine])
        for what, waiting in list(self._uncut.items()):
            waiting.discard(stage)
            if not waiting:
                del self._uncut[what]
                move.cut(what)

    def barrier_passed(self) -> None:
        """All stages are aligned."""
        self._cut_ms = (clock.monotonic_s() - self._barrier_at_s) * 1000

    def hand_over_sinks(self, checkpoint: Checkpoint | None) -> None:
        """A single writer moves: what it took is in a manifest by now, where any are written."""
        if self.move is None:
            return
        for sink in self._to_hand_over:
            outlet = self._outlets[sink]
            noted = outlet.prepare() if checkpoint is None else checkpoint.noted(sink)
            outlet.close()
            self.move.hand_over_sink(sink, noted)
        self._to_hand_over = []

    def split(self, batch: Batch, sink: str | None, state: str | None) -> tuple[Any, Batch | None]:
        """(what of a batch can run, what has to wait), by the sink or the state that it is for;
        None: nothing of it can run yet.
        """
        move = self.move
        assert move is not None
        if sink is not None:
            if not move.is_awaited(("sink", sink)):
                return batch.payload, None
            return None, move.wait_for_sink(sink, batch)
        assert state is not None
        if not move.is_awaited(("state", state)):
            return batch.payload, None
        payload, waiting = move.split(state, batch)
        return (payload if payload.keys else None), waiting

    def tend(self) -> None:
        """Before every batch: what can't be put off; at the end of the move, tell of it."""
        move = self.move
        assert move is not None
        move.tend()
        if self.is_over:
            self.move = None
            tune_collector()
            if self._worker in move.after.workers:
                self._tell(control.MovedIn(
                    move.after.version, move.keys_in, move.bytes_in, self._cut_ms,
                    move.longest_wait_ms,
                ))  # fmt: skip
