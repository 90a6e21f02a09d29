"""A worker's side of a change of who works, from the first copy to the last state in.

`runtime/copies.py` goes before the barrier, `runtime/moving.py` comes after it; here is when one
begins and the other follows, which frames are for which, and what readers, writers and stages have
to do with it.
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
from roo.runtime.failures import RunFailure
from roo.runtime.outlets import Outlet
from roo.runtime.readers import Readers
from roo.runtime.stages import Stages
from roo.runtime.turns import Turns

if TYPE_CHECKING:
    from roo.runtime.copies import Copies
    from roo.runtime.cut import Checkpoint
    from roo.runtime.moving import Move
    from roo.runtime.parcels import Send, What


class Changing:
    """One worker's, one change at a time. copies: those of the change under way, up to its barrier;
    move: the same from there on. stages_with: ("state" or "sink", name) -> the stages that work on
    it here. send: frames to a worker; tell: a message to the coordinator.
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
        self.copies: Copies | None = None
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
        self._called_off = 0  # the version of the last change that was
        self._early: list[tuple[Header, list[bytes]]] = []
        self._turns_of_copies = Turns()
        self._uncut: dict[What, set[int]] = {}
        self._to_hand_over: list[str] = []
        self._barrier_at_s = self._cut_ms = 0.0

    @property
    def progress(self) -> tuple[int, int]:
        """(keys, bytes) that have come in the change under way."""
        copies, move = self.copies, self.move
        if move is not None:
            return move.keys_came, move.bytes_in
        return (copies.keys_here, copies.bytes_in) if copies is not None else (0, 0)

    def receive(self, header: Header, frames: list[bytes], table_version: int) -> None:
        """Of the change under way, or of one that is still to be heard of. table_version: of this
        worker as yet.
        """
        if self.move is not None:
            self.move.receive(header, frames)
        elif self.copies is not None and self.copies.concerns(header):
            self.copies.receive(header, frames)
        elif header.table_version > max(table_version, self._called_off):
            self._early.append((header, frames))

    # Copies

    def begin_copies(self, before: Placement, after: Placement, *, joins: bool) -> None:
        """What will move is copied from now on. joins: this worker begins with it."""
        from roo.runtime.copies import Copies

        def fail(error: dict[str, Any]) -> None:
            raise RunFailure(error)

        copies = Copies(self._worker, self._stages, before, after, self._send, fail, joins=joins)
        if copies.givers:
            gc.disable()  # what comes lives long: going through it in between finds nothing
        early, self._early, self.copies = self._early, [], copies
        for header, frames in early:
            if copies.concerns(header):
                copies.receive(header, frames)
            else:
                self._early.append((header, frames))

    def call_off(self) -> None:
        """The change does not come: what has been copied is let go of."""
        assert self.copies is not None
        self.copies.call_off()
        self._called_off = self.copies.version
        self._early = [early for early in self._early if early[0].table_version > self._called_off]

    def ran(self) -> None:
        """A batch has run, or a part of one."""
        if self.copies is not None:
            self._turns_of_copies.ran(keyed=True)

    def go_on_with_copies(self) -> None:
        """A slice of them, if it is time."""
        begun_s, copies = clock.monotonic_s(), self.copies
        if copies is None:
            return
        if copies.is_called_off:
            if not copies.let_go():
                self.copies = None
                tune_collector()
        elif copies.tells():
            return
        elif self._turns_of_copies.is_due(begun_s) and copies.is_busy:
            copies.step()
            self._turns_of_copies.took(begun_s, copies.share_of_batches)

    def until_copies_ms(self) -> float:
        """How long until the next slice of copies; -1 where there is none."""
        if self.copies is None or not (self.copies.is_busy or self.copies.is_called_off):
            return -1.0
        return self._turns_of_copies.in_ms() or 0.0

    # The move

    def begin_move(self, *, few: bool) -> None:
        """The barrier is there (one that joins has it from its start). few: as in `Move`."""
        from roo.runtime.moving import Move

        copies, self.copies = self.copies, None
        assert copies is not None
        homes, homes_after = copies.before.homes, copies.after.homes
        self._barrier_at_s = clock.monotonic_s()
        gc.disable()
        self._uncut = {} if copies.joins else {w: set(s) for w, s in self._stages_with.items()}
        self._to_hand_over = [
            sink for sink, home in homes.items() if home == self._worker != homes_after[sink]
        ]
        self.move = Move(self._worker, self._stages, copies, self._states_came, few=few)
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
        """A single writer that moves: what it took is durable by now, as far as anything is."""
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
            return None, move.waiting(("sink", sink), batch, batch.payload, batch.header.messages)
        assert state is not None
        if not move.is_awaited(("state", state)):
            return batch.payload, None
        payload, waiting = move.split(state, batch)
        return (payload if payload.keys else None), waiting

    def go_on_with_move(self) -> None:
        """A slice of it; at its end the coordinator is told."""
        move = self.move
        assert move is not None
        move.step()
        if move.is_complete and not self._uncut and not self._to_hand_over:
            self.move = None
            tune_collector()
            if self._worker in move.after.workers:
                self._tell(control.MovedIn(
                    move.after.version, move.keys_came, move.bytes_in, self._cut_ms,
                    move.longest_wait_s * 1000,
                ))  # fmt: skip
