"""The coordinator's machine: when workers go, when a barrier opens, what becomes of a death.

Every transition is in `TRANSITIONS`: (phase, event) -> what is done and which phases may follow.
An event that a phase does not list changes nothing there (a second stop while draining is the
runtime's matter: it kills). `diagram()` draws the table; docs/developers/coordinator.md shows it.

A run with checkpoints is durable: a barrier that all workers report is committed before anything
follows from it, and a lost worker means that all start again from the last commit, as attempt + 1.
That is the same way in as the start of the next run takes, so there is one recovery to get right.
A commit has three outcomes. Where it is not known whether the manifest is durable, the run ends:
the next start reads the disk.

Workers come and go by a barrier that carries the next placement. Joiners start first. Where their
outputs begin is noted in a manifest of its own, before they write anything. Then the barrier opens.
Its checkpoint *is* the change: if it can't be written, the change did not happen, and all workers
start again from the checkpoint before, with the placement before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from roo.core.changes import Asked, Change, Changes, Refused, Step
from roo.core.placement import Placement
from roo.core.run_events import (
    Announce,
    BarrierReported,
    ChangeAsked,
    ChangeBegun,
    ChangeOver,
    ChangeQueued,
    Commit,
    CommitFailed,
    Committed,
    CommitUnknown,
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
    Note,
    Noted,
    NoteFailed,
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
"""The first restart from a checkpoint is at once; each further one waits twice as long."""

CHANGE_TIMEOUT_MS = 60_000
"""How long a joiner may take to get ready, and a move to get on."""

BEFORE_ANY = -1
"""The number of the last manifest, where there is none."""


class CoordinatorCore:
    """One run, from start to end.

    placement: who works, and on what. durability: None where nothing is kept. checkpoint: the
    number of the newest manifest there has been, so that this run numbers its own after that;
    BEFORE_ANY: there is none. next_worker: what the first to join is called, if that is free: the
    files of earlier workers are theirs. fixed, bound: as `Changes` has them.
    """

    def __init__(
        self,
        placement: Placement,
        durability: Durability | None = None,
        checkpoint: int = BEFORE_ANY,
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
        # The last number given to a barrier or to a manifest of its own.
        self._number = checkpoint if durability is not None else 0
        self._now_ms = 0
        self._due_ms: int | None = None
        # Restarts since the last checkpoint, and why the next one could not be written.
        self._restarts = 0
        self._not_written = ""
        # How the run is to end, once that is known: a drain waits for a checkpoint to be over.
        self._ending: Outcome | None = None

    @property
    def queued(self) -> int:
        """Changes that wait."""
        return len(self._changes.queue)

    @property
    def is_ending(self) -> bool:
        """Whether the run is to end as soon as what is under way is over."""
        return self._ending is not None

    def preview(self, asked: Asked) -> Placement:
        """What a change would come to, as things stand now. Raises Refused."""
        return self._changes.preview(asked, self.placement)[2]

    def is_joining(self, worker: int) -> bool:
        """Whether a worker is still to join: the run can do without it."""
        change = self.change
        return change is not None and change.can_be_dropped and worker in change.joins

    def handle(self, event: Event) -> list[Effect]:
        """Take one event in; the effects are to be performed in order."""
        transition = TRANSITIONS.get((self.phase, type(event)))
        if transition is None:
            return []
        before = self.phase
        effects = transition.does(self, event)
        if self.phase is not before and self.phase not in transition.to:
            raise AssertionError(f"{event} led from {before} to {self.phase}")
        return effects

    def _next_number(self) -> int:
        self._number += 1
        return self._number

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
        self._reported.clear()
        return [OpenBarrier(self._next_number(), last)]

    def _worker_ready(self, event: WorkerReady) -> list[Effect]:
        self._ready.add(event.worker)
        if self._ready != set(self.placement.workers):
            return []
        if self._durability is None:
            return self._begin()
        return [Note(self.placement.workers, self._next_number())]

    def _noted_at_start(self, event: Noted) -> list[Effect]:
        return self._begin() if event.number == self._number else []

    def _note_failed_at_start(self, event: NoteFailed) -> list[Effect]:
        return self._fail({
            "kind": "checkpoint",
            "what": f"no checkpoint can be written: {event.why}",
            "hint": "make room, set `checkpoint.dir`, or run with --no-checkpoint",
            "environment": True,
        })  # fmt: skip

    def _begin(self) -> list[Effect]:
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
        turned = change is not None and not change.can_be_dropped
        place = change.after if change is not None and turned else self.placement
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
                if self._not_written:
                    raise Refused(f"the last checkpoint could not be written ({self._not_written}),"
                                  " and a change of workers is one")  # fmt: skip
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
                effects += self._ready_to_change(change)
        return effects

    def _joiner_ready(self, event: WorkerReady) -> list[Effect]:
        change = self.change
        if change is None or event.worker not in change.joins:
            return []
        change.ready.add(event.worker)
        return self._ready_to_change(change) if change.ready == set(change.joins) else []

    def _ready_to_change(self, change: Change) -> list[Effect]:
        change.step, change.seen_ms = Step.WAITING, self._now_ms
        return self._open_change() if self.phase is Phase.RUNNING else []

    def _open_change(self) -> list[Effect]:
        change = self.change
        assert change is not None
        if change.step is not Step.WAITING:
            return []
        self.phase = Phase.MOVING
        if self._durability is None or not change.joins:
            return self._cut_change(change)
        change.step = Step.NOTING
        return [Note(change.joins, self._next_number())]

    def _noted_for_change(self, event: Noted) -> list[Effect]:
        change = self.change
        if change is None or change.step is not Step.NOTING or event.number != self._number:
            return []
        return self._cut_change(change)

    def _note_failed_for_change(self, event: NoteFailed) -> list[Effect]:
        change = self.change
        if change is None or change.step is not Step.NOTING or event.number != self._number:
            return []
        return self._give_up_change(f"where new outputs begin could not be noted: {event.why}")

    def _cut_change(self, change: Change) -> list[Effect]:
        change.step, change.seen_ms = Step.CUTTING, self._now_ms
        self._ended.clear()
        self._reported.clear()
        go: list[Effect] = [Go(change.joins)] if change.joins else []
        return [*go, OpenBarrier(self._next_number(), False, change.after)]

    def _cut_for_change(self, event: BarrierReported) -> list[Effect]:
        change = self.change
        assert change is not None
        if event.barrier != self._number or change.step is not Step.CUTTING:
            return []
        change.seen_ms = self._now_ms
        self._reported.add(event.worker)
        if self._reported != set(change.before.workers):
            return []
        share: Effect = ShareSplits(change.after)
        if self._durability is None:
            change.step = Step.MOVING
            return [share, *self._settle()]
        change.step = Step.COMMITTING
        return [Commit(self._number)]

    def _change_committed(self, event: Committed) -> list[Effect]:
        change = self.change
        assert change is not None
        if change.step is not Step.COMMITTING:
            return []
        self._made_progress()
        change.step = Step.MOVING
        # What the checkpoint has of a leaver's output may still have to be published, by itself.
        change.closing = set(change.leaves)
        return [Announce(event.barrier, kept=True), ShareSplits(change.after), *self._settle()]

    def _change_not_committed(self, event: CommitFailed) -> list[Effect]:
        """The change is its checkpoint: it did not happen. Workers have turned over, so all start
        again.
        """
        self._not_written = event.why
        return self._lost(f"the checkpoint of a change could not be written: {event.why}", -1)

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

    def _leaver_settled(self, event: Settled) -> list[Effect]:
        change = self.change
        assert change is not None
        if event.barrier != self._number or event.worker not in change.closing:
            return []
        change.seen_ms = self._now_ms
        change.closing.remove(event.worker)
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
        dismiss: list[Effect] = [Dismiss(change.joins, why)] if change.joins else []
        return [*dismiss, ChangeOver(change.number, why)]

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
        if not change.can_be_dropped:
            durable = self._durability is not None
            return self._lost(f"a move that got nowhere for {seconds}", -1) if durable else []
        late = ", ".join(map(str, sorted(set(change.joins) - change.ready)))
        why = f"worker {late} was not ready" if late else "a checkpoint was not over"
        return self._give_up_change(f"{why} after {seconds}")

    def _give_up_change(self, why: str) -> list[Effect]:
        dropped = self._drop_change(why)
        if self.phase is Phase.MOVING:
            return [*dropped, *self._go_on()]
        return dropped + (self._begin_change() if self.phase is Phase.RUNNING else [])

    # Ends

    def _stop_now(self, event: StopRequested | StdoutClosed) -> list[Effect]:
        """Nothing has been read yet, or nobody wants the rest: there is nothing to drain."""
        self.phase = Phase.ENDED
        return [*self._refuse_changes("the run is ending"), Kill(), End(Outcome.STOPPED, None)]

    def _stop_start(self, event: StopRequested) -> list[Effect]:
        return self._stop_now(event) if self.attempt == 1 else self._stop(event)

    def _barrier_reported(self, event: BarrierReported) -> list[Effect]:
        if event.barrier != self._number:
            return []
        self._reported.add(event.worker)
        if self._reported != set(self.placement.workers):
            return []
        return [Commit(self._number)] if self._durability is not None else self._close(self._number)

    def _checkpoint_committed(self, event: Committed) -> list[Effect]:
        if event.barrier != self._number:
            return []
        self._made_progress()
        return [Announce(event.barrier, kept=True), *self._go_on()]

    def _checkpoint_failed(self, event: CommitFailed) -> list[Effect]:
        """Go on: the checkpoint before still holds."""
        if event.barrier != self._number:
            return []
        self._not_written = event.why
        return [Announce(event.barrier, kept=False), *self._go_on()]

    def _made_progress(self) -> None:
        self._restarts = 0
        self._not_written = ""

    def _last_committed(self, event: Committed) -> list[Effect]:
        self._made_progress()
        return self._close(event.barrier)

    def _close(self, barrier: int) -> list[Effect]:
        """Nothing is over before every sink is closed, and what it holds durable."""
        self.phase = Phase.SETTLING
        self._reported.clear()
        return [Announce(barrier, kept=True)]

    def _settled(self, event: Settled) -> list[Effect]:
        if event.barrier != self._number:
            return []
        self._reported.add(event.worker)
        if self._reported != set(self.placement.workers):
            return []
        self.phase = Phase.ENDED
        assert self._ending is not None
        finish: list[Effect] = []
        if self._ending is Outcome.FINISHED and self._durability is not None:
            finish.append(Finish(self._next_number()))
        return [*finish, Release(), End(self._ending, None)]

    def _last_commit_failed(self, event: CommitFailed) -> list[Effect]:
        return self._fail({
            "kind": "checkpoint",
            "what": f"the last checkpoint could not be written: {event.why}",
            "hint": "make room and run again: it goes on from the checkpoint before",
        })  # fmt: skip

    def _commit_unknown(self, event: CommitUnknown) -> list[Effect]:
        return self._fail({
            "kind": "checkpoint",
            "what": f"nobody can tell whether checkpoint {event.number} is durable: {event.why}",
            "hint": "see to the disk and run again: the run goes on from what is on the disk",
            "environment": True,
        })  # fmt: skip

    # Losses

    def _worker_lost(self, event: WorkerLost) -> list[Effect]:
        what = f"worker {event.worker} {event.why}"
        if self.is_joining(event.worker):
            return self._give_up_change(what)
        return self._lost(what, event.worker)

    def _lost(self, what: str, worker: int) -> list[Effect]:
        durability = self._durability
        if durability is None:
            return self._fail({"kind": "worker", "worker": worker, "what": what})
        if self._restarts >= durability.restarts_max:
            return self._fail({
                "kind": "worker",
                "worker": worker,
                "what": f"{what}; gave up after {durability.restarts_max} restarts without a new "
                        "checkpoint",
                "hint": "mend what ends the workers and run again: it goes on from the last "
                        "checkpoint",
            })  # fmt: skip
        before = self._restarts
        delay_ms = min(RESTART_DELAY_MS << (before - 1), RESTART_DELAY_MAX_MS) if before else 0
        self._restarts += 1
        self.phase = Phase.STARTING
        self.attempt += 1
        for seen in (self._ready, self._ended, self._reported):
            seen.clear()
        if self._ending is Outcome.FINISHED:  # what had been read to its end is read again
            self._ending = None
        over: list[Effect] = []
        change, self.change = self.change, None
        if change is not None and change.step is Step.MOVING:  # its checkpoint is real
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


class Transition(NamedTuple):
    """does: the method that handles the event. to: the phases that may follow, beside the same."""

    does: Callable[[CoordinatorCore, Any], list[Effect]]
    to: tuple[Phase, ...] = ()


_C = CoordinatorCore
_STARTING, _RUNNING, _CHECKPOINTING = Phase.STARTING, Phase.RUNNING, Phase.CHECKPOINTING
_MOVING, _DRAINING, _SETTLING, _ENDED = Phase.MOVING, Phase.DRAINING, Phase.SETTLING, Phase.ENDED
_LIVE = tuple(phase for phase in Phase if phase is not Phase.ENDED)
_NEXT = (_RUNNING, _MOVING, _DRAINING)
"""What may come once nothing is under way any more."""

TRANSITIONS: dict[tuple[Phase, type], Transition] = {
    **{(phase, Tick): Transition(_C._ticked, (_STARTING, _ENDED)) for phase in _LIVE},
    **{(phase, WorkerLost): Transition(_C._worker_lost, (_STARTING, _ENDED)) for phase in _LIVE},
    **{(phase, RunFailed): Transition(_C._run_failed, (_ENDED,)) for phase in _LIVE},
    **{(phase, CommitUnknown): Transition(_C._commit_unknown, (_ENDED,)) for phase in _LIVE},
    **{(phase, StdoutClosed): Transition(_C._stop_now, (_ENDED,)) for phase in _LIVE[1:]},
    (_STARTING, WorkerReady): Transition(_C._worker_ready, _NEXT),
    (_STARTING, Noted): Transition(_C._noted_at_start, _NEXT),
    (_STARTING, NoteFailed): Transition(_C._note_failed_at_start, (_ENDED,)),
    (_STARTING, StopRequested): Transition(_C._stop_start, (_ENDED,)),
    (_STARTING, ChangeAsked): Transition(_C._ask),
    (_RUNNING, Tick): Transition(_C._checkpoint_if_due, (_CHECKPOINTING, _MOVING)),
    (_RUNNING, WorkerLost): Transition(_C._worker_lost, (_STARTING, _MOVING, _ENDED)),
    (_RUNNING, WorkerReady): Transition(_C._joiner_ready, (_MOVING,)),
    (_RUNNING, ChangeAsked): Transition(_C._ask, (_MOVING,)),
    (_RUNNING, SplitsEnded): Transition(_C._splits_ended, (_DRAINING,)),
    (_RUNNING, StopRequested): Transition(_C._stop, (_DRAINING,)),
    (_CHECKPOINTING, WorkerReady): Transition(_C._joiner_ready),
    (_CHECKPOINTING, ChangeAsked): Transition(_C._ask),
    (_CHECKPOINTING, BarrierReported): Transition(_C._barrier_reported),
    (_CHECKPOINTING, SplitsEnded): Transition(_C._splits_ended),
    (_CHECKPOINTING, StopRequested): Transition(_C._stop),
    (_CHECKPOINTING, Committed): Transition(_C._checkpoint_committed, _NEXT),
    (_CHECKPOINTING, CommitFailed): Transition(_C._checkpoint_failed, _NEXT),
    (_MOVING, WorkerLost): Transition(_C._worker_lost, (_STARTING, *_NEXT, _ENDED)),
    (_MOVING, Noted): Transition(_C._noted_for_change),
    (_MOVING, NoteFailed): Transition(_C._note_failed_for_change, _NEXT),
    (_MOVING, ChangeAsked): Transition(_C._ask),
    (_MOVING, BarrierReported): Transition(_C._cut_for_change, _NEXT),
    (_MOVING, SplitsEnded): Transition(_C._splits_ended),
    (_MOVING, StopRequested): Transition(_C._stop),
    (_MOVING, Committed): Transition(_C._change_committed, _NEXT),
    (_MOVING, CommitFailed): Transition(_C._change_not_committed, (_STARTING, _ENDED)),
    (_MOVING, MovedOn): Transition(_C._moved_on),
    (_MOVING, MovedIn): Transition(_C._moved_in, _NEXT),
    (_MOVING, Settled): Transition(_C._leaver_settled, _NEXT),
    (_DRAINING, ChangeAsked): Transition(_C._refuse_ask),
    (_DRAINING, BarrierReported): Transition(_C._barrier_reported, (_SETTLING,)),
    (_DRAINING, Committed): Transition(_C._last_committed, (_SETTLING,)),
    (_DRAINING, CommitFailed): Transition(_C._last_commit_failed, (_ENDED,)),
    (_SETTLING, ChangeAsked): Transition(_C._refuse_ask),
    (_SETTLING, Settled): Transition(_C._settled, (_ENDED,)),
    (_ENDED, ChangeAsked): Transition(_C._refuse_ask),
}


def diagram() -> str:
    """The table as a Mermaid state diagram: an arrow for each pair of phases, with its events."""
    arrows: dict[tuple[Phase, Phase], list[str]] = {}
    for (phase, event), transition in TRANSITIONS.items():
        for to in transition.to:
            if to is not phase:
                arrows.setdefault((phase, to), []).append(event.__name__)
    lines = [
        f"    {a.value} --> {b.value}: {', '.join(sorted(events))}"
        for (a, b), events in sorted(arrows.items(), key=lambda item: _in_order(item[0]))
    ]
    first, last = next(iter(Phase)).value, Phase.ENDED.value
    return "\n".join(["stateDiagram-v2", f"    [*] --> {first}", *lines, f"    {last} --> [*]", ""])


def _in_order(phases: tuple[Phase, Phase]) -> list[int]:
    order = list(Phase)
    return [order.index(phase) for phase in phases]
