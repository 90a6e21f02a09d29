"""The coordinator's machine: when workers go, when a barrier opens, what becomes of a death.

Every transition is in `_TRANSITIONS`: (phase, event) -> method. An event that a phase does not
list changes nothing there (a second stop while draining is the runtime's matter: it kills).

A run with checkpoints is durable: a barrier that all workers report is committed before anything
follows from it, and a lost worker means that all start again from the last commit, as attempt + 1.
That is the same way in as the start of the next run takes, so there is one recovery to get right.

Workers come and go by a barrier that carries the next placement. Joiners start first; when they are
ready, what will move is copied while everything goes on; then the barrier opens. It is a checkpoint
like any other, after which the rest moves. Before it has opened a change can be dropped. A death
before the commit goes on with the placement before, one after it with the next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from roo.core.changes import Asked, Change, Changes, Refused
from roo.core.placement import Placement
from roo.core.run_events import (
    Announce,
    BarrierReported,
    CallOff,
    ChangeAsked,
    ChangeBegun,
    ChangeOver,
    ChangeQueued,
    Commit,
    CommitFailed,
    Committed,
    Copied,
    Copy,
    CopyFailed,
    Dismiss,
    Durability,
    Effect,
    End,
    Event,
    Finish,
    Go,
    Kill,
    MovedIn,
    MovedOn,
    OpenBarrier,
    Outcome,
    Phase,
    Release,
    Restart,
    RunFailed,
    Settled,
    ShareSplits,
    SplitsEnded,
    Start,
    StdoutClosed,
    StopRequested,
    Tick,
    WorkerLost,
    WorkerReady,
)

RESTART_DELAY_MS = 100
RESTART_DELAY_MAX_MS = 5_000
"""The first restart is at once; each further one within the time waits twice as long."""

CHANGE_TIMEOUT_MS = 60_000
"""How long a joiner may take to get ready, and a move to get on."""


class CoordinatorCore:
    """One run, from start to end.

    placement: who works, and on what. durability: None where nothing is kept. barrier: the number
    of the last one there was, so that a run which goes on from a checkpoint numbers its own after
    that. next_worker: what the first to join is called, if that is free: the files of those before
    are theirs. fixed, bound: as `Changes` has them.
    """

    def __init__(
        self,
        placement: Placement,
        durability: Durability | None = None,
        barrier: int = 0,
        *,
        next_worker: int = 0,
        fixed: frozenset[int] = frozenset(),
        bound: frozenset[int] = frozenset(),
    ) -> None:
        self.placement = placement
        self.change: Change | None = None
        self._changes = Changes(max(next_worker, max(placement.workers) + 1), fixed, bound)
        self.phase = Phase.STARTING
        self.attempt = 1
        self._durability = durability
        self._ready: set[int] = set()
        self._ended: set[int] = set()
        self._reported: set[int] = set()
        self._barrier = barrier
        self._now_ms = 0
        self._due_ms: int | None = None
        self._losses_ms: list[int] = []
        # How the run is to end, once that is known: a drain waits for a checkpoint to be over.
        self._ending: Outcome | None = None

    @property
    def queued(self) -> int:
        """Changes that wait."""
        return len(self._changes.queue)

    def preview(self, asked: Asked) -> Placement:
        """What a change would come to, as things stand now. Raises Refused."""
        return self._changes.preview(asked, self.placement)[2]

    @property
    def change_workers(self) -> tuple[int, ...]:
        """The workers that there will be after the change under way, or are."""
        return self.change.after.workers if self.change is not None else self.placement.workers

    def is_joining(self, worker: int) -> bool:
        """Whether a worker is still to join: the run can do without it."""
        change = self.change
        return change is not None and not change.opened and worker in change.joins

    def handle(self, event: Event) -> list[Effect]:
        """Take one event in; the effects are to be performed in order."""
        transition = _TRANSITIONS.get((self.phase, type(event)))
        return transition(self, event) if transition else []

    def _ticked(self, event: Tick) -> list[Effect]:
        self._now_ms = event.now_ms
        return self._look_at_change()

    def _checkpoint_if_due(self, event: Tick) -> list[Effect]:
        self._now_ms = event.now_ms
        given_up = self._look_at_change()
        if given_up or self._durability is None:
            return given_up
        if self._due_ms is None:
            self._due_ms = self._now_ms + self._durability.every_ms
        if self._now_ms < self._due_ms:
            return []
        self.phase = Phase.CHECKPOINTING
        return self._open(last=False)

    def _open(self, *, last: bool) -> list[Effect]:
        self._barrier += 1
        self._reported.clear()
        return [OpenBarrier(self._barrier, last)]

    def _worker_ready(self, event: WorkerReady) -> list[Effect]:
        self._ready.add(event.worker)
        if self._ready != set(self.placement.workers):
            return []
        # A stop that came while a lost worker was being made good holds.
        return [Go(self.placement.workers), *self._go_on()]

    def _go_on(self) -> list[Effect]:
        """Nothing is under way: what is to be done next?"""
        self.phase = Phase.RUNNING
        self._due_ms = None
        if self._ending:
            return self._drain()
        if self.change is not None:
            return self._open_change()
        return self._begin_change()

    def _splits_ended(self, event: SplitsEnded) -> list[Effect]:
        change = self.change
        place = change.after if change is not None and change.opened else self.placement
        if event.version != place.version:
            return []
        self._ended.add(event.worker)
        if self._ended != set(place.workers):
            return []
        self._ending = self._ending or Outcome.FINISHED
        return self._drain() if self.phase is Phase.RUNNING else []

    def _stop(self, event: StopRequested) -> list[Effect]:
        self._ending = Outcome.STOPPED
        return self._drain() if self.phase is Phase.RUNNING else []

    def _drain(self) -> list[Effect]:
        self.phase = Phase.DRAINING
        return [*self._refuse_changes("the run is ending"), *self._open(last=True)]

    # Changes

    def _ask(self, event: ChangeAsked) -> list[Effect]:
        if self._ending:
            return [ChangeOver(event.asked.number, "the run is ending")]
        ahead = len(self._changes.queue) + (self.change is not None)
        self._changes.queue.append(event.asked)
        if ahead or self.phase is Phase.STARTING:
            return [ChangeQueued(event.asked.number, ahead)]
        return self._begin_change()

    def _refuse_ask(self, event: ChangeAsked) -> list[Effect]:
        return [ChangeOver(event.asked.number, "the run is ending")]

    def _begin_change(self) -> list[Effect]:
        """The next change that can be made, if there is one. Joiners first; then its barrier."""
        effects: list[Effect] = []
        while self._changes.queue and self.change is None:
            asked = self._changes.queue.popleft()
            try:
                change = self._changes.begin(asked, self.placement, self._now_ms)
            except Refused as error:
                effects.append(ChangeOver(asked.number, str(error)))
                continue
            if change.before.workers == change.after.workers and not asked.weights:
                effects.append(ChangeOver(asked.number, ""))
                continue
            self.change = change
            effects.append(ChangeBegun(change.number, change.before, change.after))
            if change.joins:
                effects.append(Start(change.joins, change.before, change.after))
            else:
                effects += self._copy(change)
        return effects

    def _copy(self, change: Change) -> list[Effect]:
        """All that join are there: copies first, then the barrier."""
        change.copying, change.seen_ms = True, self._now_ms
        effects: list[Effect] = [Go(change.joins)] if change.joins else []
        effects.append(Copy(change.after))
        return effects + (self._open_change() if self.phase is Phase.RUNNING else [])

    def _joiner_ready(self, event: WorkerReady) -> list[Effect]:
        if self.change is None or event.worker not in self.change.joins:
            return []
        self.change.ready.add(event.worker)
        return self._copy(self.change) if self.change.are_here else []

    def _copied(self, event: Copied) -> list[Effect]:
        change = self.change
        if change is None or event.version != change.after.version:
            return []
        change.seen_ms = self._now_ms
        change.copied.add(event.worker)
        change.few &= event.few
        return self._open_change() if self.phase is Phase.RUNNING else []

    def _copy_failed(self, event: CopyFailed) -> list[Effect]:
        """The run goes on without the change. (A worker that comes upon such a state after the
        barrier fails.)
        """
        change = self.change
        if change is None or event.version != change.after.version:
            return []
        key = f" of key {event.error['key']}" if "key" in event.error else ""
        where = f"state `{event.error['step']}`{key}"
        return self._give_up_change(f"{where}: {event.error['what']} ({event.error['hint']})")

    def _open_change(self) -> list[Effect]:
        change = self.change
        assert change is not None
        if not change.is_ready:
            return []
        self.phase = Phase.MOVING
        change.opened, change.seen_ms = True, self._now_ms
        self._ended.clear()
        self._barrier += 1
        self._reported.clear()
        return [OpenBarrier(self._barrier, False, change.after, change.few)]

    def _cut_for_change(self, event: BarrierReported) -> list[Effect]:
        change = self.change
        assert change is not None
        change.seen_ms = self._now_ms
        if event.barrier != self._barrier:
            return []
        self._reported.add(event.worker)
        if self._reported != set(change.before.workers):
            return []
        change.cut = True
        share: Effect = ShareSplits(change.after)
        if self._durability is None:
            change.over = True
            return [share, *self._settle()]
        return [share, Commit(self._barrier)]

    def _change_committed(self, event: Committed | CommitFailed) -> list[Effect]:
        """A failed checkpoint does not undo the move: a death would go back to before it."""
        assert self.change is not None
        self.change.committed = isinstance(event, Committed)
        self.change.over = True
        return [Announce(event.barrier, self.change.committed), *self._settle()]

    def _moved_on(self, event: MovedOn) -> list[Effect]:
        if self.change is not None:
            self.change.seen_ms = self._now_ms
        return []

    def _moved_in(self, event: MovedIn) -> list[Effect]:
        change = self.change
        assert change is not None
        if event.version != change.after.version:
            return []
        change.seen_ms = self._now_ms
        change.arrived.add(event.worker)
        return self._settle()

    def _settle(self) -> list[Effect]:
        """Once everything has moved: the leavers go, the next thing comes."""
        change = self.change
        assert change is not None
        if not change.is_done:
            return []
        self.placement, self.change = change.after, None
        effects: list[Effect] = [ChangeOver(change.number, "")]
        if change.leaves:
            effects.append(Dismiss(change.leaves, ""))
        if self._ended == set(self.placement.workers):
            self._ending = self._ending or Outcome.FINISHED
        return [*effects, *self._go_on()]

    def _drop_change(self, why: str) -> list[Effect]:
        """Before its barrier has opened: its joiners go, everything stays as it is."""
        change, self.change = self.change, None
        assert change is not None
        effects: list[Effect] = [CallOff()] if change.copying else []
        if change.joins:
            effects.append(Dismiss(change.joins, why))
        return [*effects, ChangeOver(change.number, why)]

    def _refuse_changes(self, why: str) -> list[Effect]:
        effects = self._drop_change(why) if self.change is not None else []
        effects += [ChangeOver(asked.number, why) for asked in self._changes.queue]
        self._changes.queue.clear()
        return effects

    def _look_at_change(self) -> list[Effect]:
        """Give up what takes too long. A move that can't be taken back is waited for."""
        change = self.change
        if change is None or self._now_ms - change.seen_ms < CHANGE_TIMEOUT_MS:
            return []
        seconds = f"{CHANGE_TIMEOUT_MS // 1000} s"
        if change.opened:
            durable = self._durability is not None
            return self._lost(f"a move that got nowhere for {seconds}", -1) if durable else []
        late = ", ".join(map(str, sorted(set(change.joins) - change.ready)))
        why = f"worker {late} was not ready" if late else "states were not copied"
        if change.is_ready:
            why = "a checkpoint was not over"
        return self._give_up_change(f"{why} after {seconds}")

    def _give_up_change(self, why: str) -> list[Effect]:
        dropped = self._drop_change(why)
        return dropped + (self._begin_change() if self.phase is Phase.RUNNING else [])

    def _stop_now(self, event: StopRequested | StdoutClosed) -> list[Effect]:
        """Nothing has been read yet, or nobody wants the rest: there is nothing to drain."""
        self.phase = Phase.ENDED
        return [*self._refuse_changes("the run is ending"), Kill(), End(Outcome.STOPPED, None)]

    def _stop_start(self, event: StopRequested) -> list[Effect]:
        return self._stop_now(event) if self.attempt == 1 else self._stop(event)

    def _barrier_reported(self, event: BarrierReported) -> list[Effect]:
        if event.barrier != self._barrier:
            return []
        self._reported.add(event.worker)
        if self._reported != set(self.placement.workers):
            return []
        if self._durability is None:
            return self._release()
        return [Commit(self._barrier)]

    def _release(self) -> list[Effect]:
        self.phase = Phase.ENDED
        assert self._ending is not None
        return [Release(), End(self._ending, None)]

    def _checkpoint_over(self, event: Committed | CommitFailed) -> list[Effect]:
        """Go on, with a failed checkpoint too: the one before it still holds."""
        return [Announce(event.barrier, kept=isinstance(event, Committed)), *self._go_on()]

    def _last_committed(self, event: Committed) -> list[Effect]:
        """Nothing is over before every sink has committed."""
        self.phase = Phase.SETTLING
        self._reported.clear()
        return [Announce(event.barrier, kept=True)]

    def _settled(self, event: Settled) -> list[Effect]:
        if event.barrier != self._barrier:
            return []
        self._reported.add(event.worker)
        if self._reported != set(self.placement.workers):
            return []
        finish: list[Effect] = [Finish()] if self._ending is Outcome.FINISHED else []
        return [*finish, *self._release()]

    def _last_commit_failed(self, event: CommitFailed) -> list[Effect]:
        return self._fail({
            "kind": "checkpoint",
            "what": f"the last checkpoint could not be written: {event.why}",
            "hint": "make room and run again: it goes on from the checkpoint before",
        })  # fmt: skip

    def _worker_lost(self, event: WorkerLost) -> list[Effect]:
        what = f"worker {event.worker} {event.why}"
        if self.is_joining(event.worker):
            dropped = self._drop_change(what)
            return [*dropped, *(self._begin_change() if self.phase is Phase.RUNNING else [])]
        return self._lost(what, event.worker)

    def _lost(self, what: str, worker: int) -> list[Effect]:
        durability = self._durability
        if durability is None or (self.phase is Phase.STARTING and self.attempt == 1):
            return self._fail({"kind": "worker", "worker": worker, "what": what})
        since_ms = self._now_ms - durability.restarts_within_ms
        self._losses_ms = [at for at in self._losses_ms if at >= since_ms]
        if len(self._losses_ms) >= durability.restarts_max:
            times = (
                f"{durability.restarts_max} restarts in {durability.restarts_within_ms / 1000:g} s"
            )
            return self._fail({
                "kind": "worker",
                "worker": worker,
                "what": f"{what}; gave up after {times}",
                "hint": "mend what ends the workers and run again: it goes on from the last "
                        "checkpoint",
            })  # fmt: skip
        before = len(self._losses_ms)
        delay_ms = min(RESTART_DELAY_MS << (before - 1), RESTART_DELAY_MAX_MS) if before else 0
        self._losses_ms.append(self._now_ms)
        self.phase = Phase.STARTING
        self.attempt += 1
        for seen in (self._ready, self._ended, self._reported):
            seen.clear()
        if self._ending is Outcome.FINISHED:  # what had been read to its end is read again
            self._ending = None
        over: list[Effect] = []
        change, self.change = self.change, None
        if change is not None and change.committed:
            self.placement = change.after
            over = [ChangeOver(change.number, "")]
        elif change is not None:
            over = [ChangeOver(change.number, what)]
        return [Kill(), *over, Restart(self.attempt, delay_ms, what)]

    def _run_failed(self, event: RunFailed) -> list[Effect]:
        return self._fail(event.error)

    def _fail(self, error: dict[str, Any]) -> list[Effect]:
        self.phase = Phase.ENDED
        refused = self._refuse_changes("the run has failed")
        return [*refused, Kill(), End(Outcome.FAILED, error)]


_C = CoordinatorCore
_LIVE = tuple(phase for phase in Phase if phase is not Phase.ENDED)
_TRANSITIONS: dict[tuple[Phase, type], Callable[[CoordinatorCore, Any], list[Effect]]] = {
    **{(phase, Tick): _C._ticked for phase in _LIVE},
    **{(phase, WorkerLost): _C._worker_lost for phase in _LIVE},
    **{(phase, RunFailed): _C._run_failed for phase in _LIVE},
    **{(phase, StdoutClosed): _C._stop_now for phase in _LIVE[1:]},
    **{(phase, ChangeAsked): _C._ask for phase in _LIVE},
    (Phase.DRAINING, ChangeAsked): _C._refuse_ask,
    (Phase.SETTLING, ChangeAsked): _C._refuse_ask,
    (Phase.ENDED, ChangeAsked): _C._refuse_ask,
    (Phase.STARTING, WorkerReady): _C._worker_ready,
    (Phase.STARTING, StopRequested): _C._stop_start,
    (Phase.RUNNING, Tick): _C._checkpoint_if_due,
    (Phase.RUNNING, WorkerReady): _C._joiner_ready,
    (Phase.RUNNING, Copied): _C._copied,
    (Phase.RUNNING, CopyFailed): _C._copy_failed,
    (Phase.RUNNING, MovedOn): _C._moved_on,
    (Phase.RUNNING, SplitsEnded): _C._splits_ended,
    (Phase.RUNNING, StopRequested): _C._stop,
    (Phase.CHECKPOINTING, WorkerReady): _C._joiner_ready,
    (Phase.CHECKPOINTING, Copied): _C._copied,
    (Phase.CHECKPOINTING, CopyFailed): _C._copy_failed,
    (Phase.CHECKPOINTING, MovedOn): _C._moved_on,
    (Phase.CHECKPOINTING, BarrierReported): _C._barrier_reported,
    (Phase.CHECKPOINTING, SplitsEnded): _C._splits_ended,
    (Phase.CHECKPOINTING, StopRequested): _C._stop,
    (Phase.CHECKPOINTING, Committed): _C._checkpoint_over,
    (Phase.CHECKPOINTING, CommitFailed): _C._checkpoint_over,
    (Phase.MOVING, BarrierReported): _C._cut_for_change,
    (Phase.MOVING, SplitsEnded): _C._splits_ended,
    (Phase.MOVING, StopRequested): _C._stop,
    (Phase.MOVING, Committed): _C._change_committed,
    (Phase.MOVING, CommitFailed): _C._change_committed,
    (Phase.MOVING, MovedOn): _C._moved_on,
    (Phase.MOVING, MovedIn): _C._moved_in,
    (Phase.DRAINING, BarrierReported): _C._barrier_reported,
    (Phase.DRAINING, Committed): _C._last_committed,
    (Phase.DRAINING, CommitFailed): _C._last_commit_failed,
    (Phase.SETTLING, Settled): _C._settled,
}
