"""The coordinator: hears the workers, decides by its core, and does what that wants done.

It knows lines, processes and the folder of checkpoints as objects that it is given, so the
simulation runs it as it ships. `runtime/coordinator_main.py` puts sockets and signals around it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from math import inf
from signal import SIGTERM
from typing import TYPE_CHECKING, Any, Protocol

from roo import clock
from roo.api import Split
from roo.core import run_events as core
from roo.core.autoscale import Autoscale, Rules
from roo.core.changes import Asked
from roo.core.coordinator import BEFORE_ANY, CoordinatorCore
from roo.core.fencing import Writers
from roo.core.placement import Placement
from roo.core.run_events import Phase
from roo.plan.model import Plan
from roo.runtime import control
from roo.runtime.door import placed
from roo.runtime.hosts import Host, Hosts
from roo.runtime.limits import exceeded
from roo.runtime.lines import Peer
from roo.runtime.members import Members
from roo.runtime.moved import say_change, say_moved, weights_by_load
from roo.runtime.outlets import make_source
from roo.runtime.process import say_exit
from roo.runtime.suspects import Suspects, path_of, read_note
from roo.runtime.tally import Tally
from roo.runtime.transport import Address
from roo.status import View
from roo.status.snapshot import Summary

if TYPE_CHECKING:
    from roo.core.checkpoints import Opened
    from roo.core.position import Position
    from roo.runtime.commits import Commits

LOOK_EVERY_MS = 250
SIGN_OF_LIFE_S = 60.0
"""How long a worker may take to start, or to say its last word, before it counts as lost."""

STUCK_AFTER_S = 60.0
"""How long a run that is to end may go without any progress: then what holds it up is stuck."""


def _autoscale(plan: Plan) -> Autoscale | None:
    spec = plan.spec.cluster.autoscale
    if spec is None:
        return None
    return Autoscale(Rules(spec.min, spec.max, spec.grow_above, spec.shrink_below,
                           int(spec.for_s * 1000), int(spec.rest_s * 1000)))  # fmt: skip


class ForcedExit(BaseException):
    """A second signal: everything ends at once. code: 130 or 143."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


class Lines(Protocol):
    """The lines to workers, to other machines and to other terminals."""

    def receive(self) -> Iterator[tuple[Peer, bytes]]:
        """What has come in by now."""

    def send(self, peer: Peer, packed: bytes) -> None:
        """Never blocks; to one that is gone it goes nowhere."""

    def refused(self) -> int:
        """How many connections were refused for want of the key since this was last asked."""


class Processes(Protocol):
    """The worker processes of this machine: see `runtime.process.Workers`."""

    count: int
    folder: str
    stdin_worker: int | None

    def spawn(self, workers: Sequence[int], attempt: int) -> None: ...
    def respawn(self, workers: Sequence[int], attempt: int) -> None: ...
    def dismiss(self, worker: int, *, kill: bool) -> None: ...
    def kill(self) -> None: ...
    def kill_one(self, worker: int) -> None: ...
    def exited(self) -> list[tuple[int, int]]: ...
    def left(self) -> list[tuple[int, int]]: ...


class Listener(Protocol):
    """Whoever has asked for changes, and hears what becomes of them: see `runtime.door.Door`."""

    def take(self, say: Callable[[bytes], None], packed: bytes) -> None: ...
    def follow(self, number: int, say: Callable[[bytes], None]) -> None: ...
    def tell(
        self,
        effect: core.ChangeBegun | core.ChangeQueued | core.ChangeOver,
        moves: Sequence[control.MovedIn],
    ) -> None: ...
    def tell_progress(self) -> None: ...


class Reach(Protocol):
    """Finds out whether a worker on another machine can be reached: see `runtime.reach.Reach`."""

    def ask(self, worker: int, attempt: int, host: str, port: int) -> None: ...
    def answers(self) -> list[tuple[int, int, str]]: ...


class Coordinator:
    """One run. `summary` is there once it has ended; the outcome is in it. has_killed: whether the
    run has ended its workers itself, so that nobody is to wonder how they ended.

    commits: where checkpoints are kept; None: none are. newest: the highest number of a checkpoint
    that the folder has ever had. run: tells the files of this run from those of any other.
    all_ended: whether the processes of the run before have been seen to end. opening: what is said
    first. spawned: called after processes have been started.
    """

    def __init__(
        self,
        plan: Plan,
        splits: dict[int, tuple[str, Split]],
        processes: Processes,
        lines: Lines,
        reach: Reach,
        view: View,
        *,
        commits: Commits | None = None,
        newest: int = BEFORE_ANY,
        run: str = "",
        all_ended: bool = True,
        opening: Sequence[str] = (),
        spawned: Callable[[], None] = lambda: None,
    ) -> None:
        self.summary: Summary | None = None
        self.has_killed = False
        self._plan = plan
        self._splits = splits
        self._processes = processes
        self._lines = lines
        self._reach = reach
        self._view = view
        self._commits = commits
        self._run = run
        self._opening = opening
        self._spawned = spawned
        place = self._first_placement()
        durability = None
        if commits is not None:
            spec = plan.spec.checkpoint
            assert spec is not None
            durability = core.Durability(int(spec.every_s * 1000), plan.spec.cluster.restarts_max)
        # A checkpoint opens at a tick: often enough for its period, never a busy loop.
        every_ms = durability.every_ms if durability else LOOK_EVERY_MS
        self.tick_ms = max(1, min(LOOK_EVERY_MS, every_ms // 4))
        # Every worker there has been: their own sinks may have to be rolled back.
        self._ever = set(place.workers)
        latest = commits.latest if commits is not None else None
        if latest is not None:
            by = (b for noted in latest.sinks.values() for b in noted if b.isdigit())
            self._ever |= set(map(int, by))
        self._core = CoordinatorCore(
            place,
            durability,
            newest,
            next_worker=max(self._ever) + 1,
            fixed=frozenset(i for i, (name, _) in splits.items() if not self._rewinds(name)),
            bound=frozenset(i for i, (name, _) in splits.items() if self._kind(name) == "stdin"),
        )
        self._started_s = clock.monotonic_s()
        self._looked_s = self._started_s
        self._tally = Tally(plan, place, splits, self._started_s)
        self._members = Members()
        self._members.start(place.workers, self._started_s)
        self._writers = Writers(all_ended=all_ended)
        self._hosts = Hosts(
            plan,
            commits.folder.path if commits is not None else None,
            lines.send,
            self._host_joins,
            self._host_leaves,
            self._host_exited,
        )
        self._joining: core.Start | None = None
        self._positions: dict[int, Position] = {}
        self._moves: list[control.MovedIn] = []
        self._change_began_s = 0.0
        self._restart_at_s: float | None = None
        self._suspects = Suspects()
        # Who asked for a change to join from another machine; how its workers get to run there.
        self._asking: dict[int, Host] = {}
        self._next_number = 0
        self._refused = 0
        self._autoscale = _autoscale(plan)
        # Those whose change was called off; a number is never given twice.
        self._sent_away: set[int] = set()
        self._progress: tuple[Any, float] = (None, self._started_s)

    def _first_placement(self) -> Placement:
        stdin = self._processes.stdin_worker
        pinned = {
            i: stdin
            for i, (name, _) in self._splits.items()
            if stdin is not None and self._kind(name) == "stdin"
        }
        return Placement.fresh(
            self._processes.count, self._plan.single_writers, self._splits, pinned=pinned,
            weights=dict(enumerate(self._plan.spec.cluster.weights)),
        )  # fmt: skip

    def _kind(self, source: str) -> str:
        return self._plan.source(source).type

    def _rewinds(self, source: str) -> bool:
        spec = self._plan.source(source)
        return make_source(spec).rewindable

    def attend(self, listener: Listener) -> None:
        """Who hears what becomes of changes. Called once, before `begin`."""
        self._door = listener

    def begin(self) -> None:
        """Say what a run says first."""
        for line in self._opening:
            self.event(line)

    def turn(self) -> None:
        """Time goes by: call it at least every `tick_ms`."""
        now_s = clock.monotonic_s()
        if self._restart_at_s is None:
            self._handle(core.Tick(int(now_s * 1000)))
        if (now_s - self._looked_s) * 1000 >= LOOK_EVERY_MS:
            self._looked_s = now_s
            self._look(now_s)

    def look_soon(self) -> None:
        """Something has happened to a process, most likely."""
        self._looked_s = -inf

    def close(self) -> None:
        """The run is over: let other machines go."""
        self._hosts.end_all("")

    def event(self, line: str) -> None:
        """Say a line to the user."""
        self._tally.events.append((clock.monotonic_s() - self._started_s, line))
        self._view.event(line)

    # What is asked from outside

    def request_stop(self) -> None:
        """A first signal: finish what has been read, and end."""
        self._handle(core.StopRequested())

    def _host_joins(self, host: Host) -> None:
        """Another machine offers workers: they join as any others do."""
        asked = Asked(self._number_of(host), joins=host.wants, away=True)
        self._asking[asked.number] = host
        self.change(asked)

    def _host_leaves(self, host: Host) -> None:
        if host.workers:
            self.change(Asked(self._number_of(host), leaves=tuple(host.workers)))
        else:  # they have not been started yet, and never will be
            self._hosts.end(host, "")

    def _number_of(self, host: Host) -> int:
        """A number for a change that a machine asks for; it hears what becomes of it."""
        self._next_number -= 1  # the door's numbers go up
        self._door.follow(self._next_number, partial(self._hosts.answer, host))
        return self._next_number

    def _host_exited(self, worker: int, attempt: int, code: int) -> None:
        """Its last words may still be on the way: it is lost at the next look but one."""
        member = self._members.get(worker)
        if attempt == self._core.attempt and member is not None:
            member.exit_code = code

    def change(self, asked: Asked) -> None:
        """Workers are to come or go."""
        self._handle(core.ChangeAsked(asked))

    def preview(self, asked: Asked) -> tuple[Placement, Placement]:
        """(now, after a change). Raises Refused."""
        return self._core.placement, self._core.preview(asked)

    def stop(self, *, now: bool) -> None:
        """As a first Ctrl-C; now: as a second one. Raises ForcedExit."""
        if now:
            raise ForcedExit(SIGTERM)
        self.event("stopping: finishing what has been read (asked for by `roo stop`)")
        self._handle(core.StopRequested())

    def status(self) -> dict[str, Any]:
        """How the run stands."""
        snapshot = self._tally.snapshot(self._core.phase.value, clock.monotonic_s())
        return {
            **asdict(snapshot),
            "placement": placed(self._core.placement),
            "changes_queued": self._core.queued,
            "attempt": self._core.attempt,
        }

    def keys_by_worker(self) -> dict[int, int]:
        """How many keys each worker owns."""
        return {worker: stats.keys for worker, stats in self._tally.now.items()}

    def state_bytes_per_key(self) -> float | None:
        """From the newest checkpoint; None: there is none yet."""
        latest = self._commits.latest if self._commits is not None else None
        keys = sum(latest.keys.values()) if latest is not None else 0
        return latest.size_bytes / keys if latest is not None and keys else None

    def doing(self) -> str:
        """What workers have been busy with for longer than a second: a change waits for them."""
        return self._tally.doing()

    @property
    def moved_so_far(self) -> tuple[int, int]:
        """(keys, bytes) that have come in the move under way."""
        moves, under_way = self._moves, self._tally.now.values()
        keys = sum(move.keys for move in moves) + sum(stats.moved_keys for stats in under_way)
        size = sum(move.size_bytes for move in moves) + sum(s.moved_bytes for s in under_way)
        return keys, size

    def weights_of_file(self) -> dict[int, int]:
        """What the pipeline file says, for all workers there are."""
        given = dict(enumerate(self._plan.spec.cluster.weights))
        return {worker: given.get(worker, 1) for worker in self._core.placement.workers}

    def weights_by_load(self) -> dict[int, int]:
        """Weights that would even out the time that workers are busy. Raises Refused."""
        return weights_by_load(self._tally.loads(), self._core.placement)

    # Hearing

    def hear(self) -> None:
        """Take in what has come over the lines."""
        for peer, packed in self._lines.receive():
            if peer.identity.startswith(b"visitor-"):
                self._door.take(partial(self._lines.send, peer), packed)
                continue
            if peer.identity.startswith(b"host-"):
                self._hosts.hear(peer, pickle.loads(packed))
                continue
            kind, attempt, worker = peer.identity.split(b"-")
            member = self._members.get(int(worker))
            if int(attempt) != self._core.attempt:
                # It has been replaced. If it was paused meanwhile, it does not know.
                if kind == b"watchdog":
                    self._lines.send(peer, pickle.dumps(control.NotWanted(), 5))
                continue
            if member is None:
                continue  # it has left
            member.heard_s = clock.monotonic_s()
            self._take(int(worker), peer, pickle.loads(packed))
        refused = self._lines.refused()
        if refused and not self._refused:
            self.event("a connection without the cluster key was refused (said once)")
        self._refused += refused

    def _take(self, worker: int, peer: Peer, message: Any) -> None:
        match message:
            case control.Hello():
                self._members[worker].peer = peer
                self._send(worker, self._assignment(worker))
            case control.Ready(opened, port):
                self._is_ready(worker, opened, port)
            case control.Ended(version):
                self._handle(core.SplitsEnded(worker, version))
            case control.MovedIn(version):
                self._moves.append(message)
                self._handle(core.MovedIn(worker, version))
            case control.Passed(barrier, stats, part, splits, counted):
                stats.monotonic_s = clock.monotonic_s()
                self._tally.report(stats)
                if counted is not None:
                    self._tally.cut(counted)
                self._positions |= splits
                if self._commits is not None and part is not None:
                    self._commits.take(self._core.attempt, worker, part)
                self._handle(core.BarrierReported(worker, barrier))
            case control.Settled(barrier):
                self._handle(core.Settled(worker, barrier))
            case control.Failed(error) if self._core.is_joining(worker):
                self._handle(core.WorkerLost(worker, f"could not start: {error['what']}"))
            case control.Failed(error):
                self._handle(core.RunFailed({"worker": worker, **error}))
            case control.Quit():
                self._handle(core.StdoutClosed())
            case control.Said(line):
                self.event(line)
            case control.WorkerStats():
                self._report(worker, peer, message)

    def _is_ready(self, worker: int, opened: Opened, port: int) -> None:
        member, host = self._members[worker], self._hosts.host_of(worker)
        where = (host.peer.identity.decode(), host.address) if host else ("", "")
        member.address = Address(*where, port)
        member.opened = opened
        if host is None:
            self._handle(core.WorkerReady(worker))
        else:
            self._reach.ask(worker, self._core.attempt, host.address, port)

    def _report(self, worker: int, peer: Peer, stats: control.WorkerStats) -> None:
        if peer.identity.startswith(b"watchdog-"):
            self._lines.send(peer, pickle.dumps(control.Heard(stats.monotonic_s), 5))
        stats.monotonic_s = clock.monotonic_s()  # another machine has another clock
        before = self._tally.now.get(worker)
        self._tally.report(stats)
        if before is not None and stats.moved_keys != before.moved_keys:
            self._handle(core.MovedOn())

    def _assignment(self, worker: int) -> control.Assignment:
        commits, joining = self._commits, self._joining
        joins = joining is not None and worker in joining.workers
        place = joining.after if joining is not None and joins else self._core.placement
        there = min(place.workers) == worker and not joins
        return control.Assignment(
            self._plan, worker, place, joining.before if joining is not None and joins else None,
            self._splits, tuple(sorted(self._ever - set(place.workers))) if there else (),
            commits.folder.path if commits else None,
            commits.latest if commits and not joins else None, self._suspects.suspicion,
            self._core.attempt, self._run, joins or self._writers.all_ended,
        )  # fmt: skip

    # Doing

    def _handle(self, event: core.Event) -> None:
        for effect in self._core.handle(event):
            match effect:
                case core.Note(workers, number):
                    self._note(workers, number)
                case core.Go(workers):
                    self._go(workers)
                case core.OpenBarrier():
                    self._open_barrier(effect)
                case core.Start():
                    self._start(effect)
                case core.ShareSplits(after):
                    self._share_splits(after)
                case core.Dismiss(workers, why):
                    self._dismiss(workers, why)
                case core.ChangeBegun() | core.ChangeQueued() | core.ChangeOver():
                    self._tell_of_change(effect)
                case core.Commit(barrier):
                    self._commit(barrier)
                case core.Finish(number):
                    self._finish(number)
                case core.Announce(barrier, kept):
                    self._broadcast(control.Announce(barrier, kept))
                case core.Restart(_, delay_ms, why):
                    self._restart(delay_ms, why)
                case core.Release():
                    self._broadcast(control.Exit())
                case core.Kill():
                    self.has_killed = True
                    self._processes.kill()
                    self._hosts.kill()
                case core.End(outcome, error):
                    self._end(outcome.value, error)

    def _go(self, workers: tuple[int, ...]) -> None:
        first = workers == self._core.placement.workers
        self._joining = None if first else self._joining
        # Joiners answer to leavers too, while states come.
        there = {*self._core.placement.workers, *(() if first else workers)}
        for worker in workers:
            self._send(worker, control.Go(self._members.addresses(there)))

    def _broadcast(self, message: Any) -> None:
        """To all that work: one that is to join hears nothing before its Go."""
        for worker in self._core.placement.workers:
            member = self._members.get(worker)
            if member is not None and member.peer is not None:
                self._send(worker, message)

    def _send(self, worker: int, message: Any) -> None:
        peer = self._members[worker].peer
        assert peer is not None
        self._lines.send(peer, pickle.dumps(message, 5))

    # Checkpoints

    def _note(self, workers: tuple[int, ...], number: int) -> None:
        from roo.checkpoint.folder import CommitUnknown, NotCommitted

        assert self._commits is not None
        opened = self._members.opened(workers)
        try:
            self._commits.note(number, opened, self._core.placement)
        except NotCommitted as error:
            self._handle(core.NoteFailed(number, str(error)))
        except CommitUnknown as error:
            self._handle(core.CommitUnknown(number, str(error)))
        else:
            self._handle(core.Noted(number))

    def _open_barrier(self, effect: core.OpenBarrier) -> None:
        before, after = self._core.placement, effect.after
        if self._commits is not None:
            self._commits.open(self._core.attempt, effect.barrier, before, after or before)
        self._positions.clear()
        self._moves.clear()
        joins = set(after.workers).difference(before.workers) if after is not None else set()
        addresses = self._members.addresses(sorted(joins))
        for worker in before.workers:
            self._send(worker, control.Barrier(*effect, addresses))

    def _commit(self, barrier: int) -> None:
        from roo.checkpoint.folder import CommitUnknown, NotCommitted
        from roo.core.checkpoints import NotWhole
        from roo.runtime.commits import WriterFailed

        assert self._commits is not None
        try:
            manifest = self._commits.commit()
        except NotCommitted as error:
            self.event(f"checkpoint {barrier} could not be written: {error}")
            self._handle(core.CommitFailed(barrier, str(error)))
        except CommitUnknown as error:
            self._handle(core.CommitUnknown(barrier, str(error)))
        except WriterFailed as error:
            self._writers.failed()
            self._handle(core.WorkerLost(error.worker, f"could not make what it wrote durable: "
                                                       f"{error.why}"))  # fmt: skip
        except NotWhole as error:
            self._handle(core.RunFailed({
                "kind": "checkpoint",
                "what": f"internal error: checkpoint {barrier} is not whole: {error}",
                "hint": "report this; run again to go on from the checkpoint before",
            }))  # fmt: skip
        else:
            self._tally.keep()
            self._suspects.committed({i: s.offset for i, s in enumerate(manifest.splits)})
            self._writers.committed()
            failed = self._commits.prune()
            if failed:
                self.event(f"old checkpoints could not be removed: {failed}")
            self._handle(core.Committed(barrier))

    def _finish(self, number: int) -> None:
        from roo.checkpoint.folder import CommitUnknown, NotCommitted

        assert self._commits is not None
        try:
            self._commits.finish(number)
        except (NotCommitted, CommitUnknown) as error:
            # All is written. The next run goes on from the end at worst, and finds nothing to do.
            self.event(f"the end could not be noted: {error}")
            return
        self._commits.prune()

    # Changes of workers

    def _start(self, start: core.Start) -> None:
        """Workers that are to join: they start while everything goes on."""
        self._joining = start
        self._ever |= set(start.workers)
        change = self._core.change
        host = self._asking.pop(change.number, None) if change is not None else None
        self._members.start(start.workers, clock.monotonic_s())
        if host is not None and not self._hosts.has(host):
            self._handle(core.WorkerLost(start.workers[0], "left before its turn came"))
            return
        if host is not None:
            self._writers.start_elsewhere(start.workers)
            self._hosts.spawn(host, start.workers, self._core.attempt)
        else:
            self._processes.spawn(start.workers, self._core.attempt)
            self._spawned()

    def _share_splits(self, after: Placement) -> None:
        before = self._core.placement
        for worker in after.workers:
            new = set(after.splits_of(worker)).difference(before.splits_of(worker))
            positions = {split: self._positions[split] for split in sorted(new)}
            self._send(worker, control.Splits(positions))

    def _dismiss(self, workers: tuple[int, ...], why: str) -> None:
        if why:  # which has been said
            self._sent_away.update(workers)
        for worker in workers:
            if not why:
                self._send(worker, control.Exit())
                self._writers.left(worker)
            self._processes.dismiss(worker, kill=bool(why))
            self._hosts.dismiss(worker, why)
            self._tally.left(worker)
            self._members.leave(worker)
        self._broadcast(control.Left(workers))

    def _tell_of_change(self, effect: core.Effect) -> None:
        moves = self._moves.copy()
        match effect:
            case core.ChangeBegun(_, before, after):
                joins = sorted(set(after.workers) - set(before.workers))
                leaves = sorted(set(before.workers) - set(after.workers))
                self._change_began_s = clock.monotonic_s()
                self.event(say_change(joins, leaves))
            case core.ChangeOver(_, "") if self._moves:
                seconds = clock.monotonic_s() - self._change_began_s
                self.event(say_moved(self._moves, seconds))
                self._moves.clear()
            case core.ChangeOver(_, why_not) if why_not:
                self.event(f"no change of workers: {why_not}")
                host = self._asking.pop(effect.number, None)
                if host is not None:
                    self._hosts.end(host, why_not)
        if isinstance(effect, (core.ChangeBegun, core.ChangeQueued, core.ChangeOver)):
            self._door.tell(effect, moves)
        self._tally.place = self._core.placement

    # Losses

    def _restart(self, delay_ms: int, why: str) -> None:
        """All workers are gone; new ones come after a while, from what is on the disk."""
        from roo.checkpoint.blocks import Damaged
        from roo.checkpoint.folder import Unreadable, say

        assert self._commits is not None
        try:
            found = self._commits.recover()
        except (Damaged, Unreadable, OSError) as error:
            said = say(error)
            self._cannot_recover(f"{why}; and the checkpoints can't be read: {said}")
            return
        for damage in found.damaged:
            self.event(f"damaged: {damage}")
        latest = found.manifest
        if latest is None and found.damaged:
            self._cannot_recover(f"{why}; and no checkpoint is whole")
            return
        begun = latest is not None and not latest.is_at_start
        back = f"checkpoint {latest.checkpoint}" if latest is not None and begun else "the start"
        keys = sum(latest.keys.values()) if latest is not None else 0
        said = f" ({keys} keys)" if keys else ""
        self.event(f"{why}: all workers start again from {back}{said}")
        self._writers.begin_attempt()
        self._restart_at_s = clock.monotonic_s() + delay_ms / 1000
        if not delay_ms:
            self._respawn()

    def _cannot_recover(self, what: str) -> None:
        hint = "see to the disk and run again: the run goes on from what is on the disk"
        error = {"kind": "checkpoint", "what": what, "hint": hint, "environment": True}
        self._handle(core.RunFailed(error))

    def _respawn(self) -> None:
        self.has_killed = False
        self._restart_at_s = None
        self._tally.roll_back()
        self._joining = None
        self._tally.place = place = self._core.placement
        here = self._hosts.respawn(place.workers, self._core.attempt)
        self._writers.start_elsewhere(set(place.workers).difference(here))
        self._members.restart(place.workers, clock.monotonic_s())
        self._processes.respawn(here, self._core.attempt)
        self._spawned()

    def _end(self, outcome: str, error: dict[str, Any] | None) -> None:
        if error is None:
            error = exceeded(self._plan, self._tally.errors, self._tally.messages_read, ended=True)
            outcome = "failed" if error else outcome
        seconds = clock.monotonic_s() - self._started_s
        self._view.update(self._tally.snapshot(outcome, clock.monotonic_s()))
        self.summary = self._tally.summary(outcome, seconds, error)

    def fail_late(self, worker: int, error: Mapping[str, Any]) -> None:
        """All was done, but a worker did not end well: the run has failed."""
        assert self.summary is not None
        if self.summary.outcome != "failed":
            failed = {"worker": worker, **error}
            self.summary = replace(self.summary, outcome="failed", error=failed)

    # Looking

    def _look(self, now_s: float) -> None:
        """Show how it goes; see to what nobody reports."""
        self._view.update(self._tally.snapshot(self._core.phase.value, now_s))
        self._door.tell_progress()
        if self._restart_at_s is not None:
            if now_s >= self._restart_at_s:
                self._respawn()
            return
        for worker, code in [*self._processes.exited(), *self._members.exited_elsewhere()]:
            member = self._members.get(worker)
            # Its last words may still be on the way: they say more than its exit code.
            if member is not None and member.is_gone:
                self._lost(worker, say_exit(code))
            elif member is not None:
                member.is_gone = True
        timeout_s = self._plan.spec.cluster.timeout_s
        for host in self._hosts.look(now_s, timeout_s):
            if host.workers:
                self.event(f"{host.name} has given no sign of life: its workers start again here")
                self._lost(min(host.workers), f"gave no sign of life for {timeout_s:g} s")
        for worker, code in self._processes.left():
            if code and worker not in self._sent_away:
                self.event(f"worker {worker}, which had left, {say_exit(code)}")
        for worker, heard_s in self._members.silent():
            patience_s = self._patience_s(worker)
            if now_s - heard_s > patience_s:
                self._processes.kill_one(worker)
                self._lost(worker, f"gave no sign of life for {patience_s:g} s")
                break
        for worker, attempt, why in self._reach.answers():
            away = self._hosts.host_of(worker)
            if attempt != self._core.attempt or away is None:
                continue  # it has been started anew meanwhile, or is not needed any more
            if why:
                self._hosts.end(away, f"worker {worker} {why}")
                self._handle(core.WorkerLost(worker, why))
            else:
                self._handle(core.WorkerReady(worker))
        self._scale_by_itself(now_s)
        if self._core.is_ending and self._core.phase is not Phase.ENDED:
            self._see_to_progress(now_s)
        error = exceeded(self._plan, self._tally.errors, self._tally.messages_read, ended=False)
        if error:
            self._handle(core.RunFailed(error))

    def _patience_s(self, worker: int) -> float:
        """How long a worker may be silent. One that starts imports plugins, which takes its time;
        and where nothing is kept, to take it for lost would help nobody.
        """
        if self._core.phase is Phase.STARTING or self._core.is_joining(worker):
            return SIGN_OF_LIFE_S
        return self._plan.spec.cluster.timeout_s if self._commits is not None else inf

    def _scale_by_itself(self, now_s: float) -> None:
        """Grow or shrink, if the pipeline wants that. (With changes under way it waits.)"""
        if self._autoscale is None or self._core.phase is not Phase.RUNNING or self._core.change:
            return
        place = self._core.placement
        held_back, loads = self._tally.held_back(), self._tally.loads()
        decision = self._autoscale.look(int(now_s * 1000), loads, held_back, len(place.workers))
        if decision is not None:
            self.event(f"autoscale to {decision.workers} workers: {decision.why}")
            self._next_number -= 1
            self.change(Asked(self._next_number, to=decision.workers))

    def _lost(self, worker: int, why: str) -> None:
        """A worker is gone: what was it at?"""
        if self._core.phase is not Phase.ENDED:
            note = read_note(path_of(self._processes.folder, worker))
            poison = self._suspects.take(note)
            if poison is not None:
                self.event(f"message {poison.text} has ended its worker twice in a row")
            elif note is not None and note.message is not None:
                why += f" at message {note.message.text}"
        self._handle(core.WorkerLost(worker, why))

    def _see_to_progress(self, now_s: float) -> None:
        """Of a run that is to end: give up on a step or sink that does not come back."""
        progress = self._core.phase, self._core.attempt, self._tally.progress()
        if progress != self._progress[0]:
            self._progress = (progress, now_s)
        elif now_s - self._progress[1] > STUCK_AFTER_S:
            doing = self._tally.doing() or "nobody says what it waits for"
            what = f"no progress for {STUCK_AFTER_S:.0f} s while the run is to end: {doing}"
            hint = "messages that were read and not yet written are lost"
            if self._commits is not None:
                hint = "mend it and run again: the run goes on from the last checkpoint"
            self._handle(core.RunFailed({"kind": "worker", "what": what, "hint": hint}))
