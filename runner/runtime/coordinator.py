"""The coordinator: starts the workers, hears them, and does what its core decides."""

from __future__ import annotations

import pickle
import signal
import socket
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

import zmq

from roo import clock
from roo.api import ConnectorError, Split
from roo.core import run_events as core
from roo.core.autoscale import Autoscale, Rules
from roo.core.changes import Asked
from roo.core.coordinator import CoordinatorCore
from roo.core.placement import Placement
from roo.core.position import Position
from roo.core.run_events import Phase
from roo.plan.model import Plan
from roo.runtime import control
from roo.runtime.commits import CommitError, Commits
from roo.runtime.door import Door, placed
from roo.runtime.hosts import Host, Hosts
from roo.runtime.key import Key
from roo.runtime.limits import exceeded
from roo.runtime.lines import Lines, Peer
from roo.runtime.moved import say_change, say_moved, weights_by_load
from roo.runtime.outlets import make_source
from roo.runtime.process import Workers, say_exit
from roo.runtime.reach import Reach
from roo.runtime.stderr import Stderr
from roo.runtime.suspects import Suspects, path_of, read_note
from roo.runtime.tally import Tally
from roo.runtime.transport import Address, ipc
from roo.status import View
from roo.status.snapshot import Summary

if TYPE_CHECKING:
    from roo.checkpoint.folder import Folder
    from roo.checkpoint.manifest import Manifest

LOOK_EVERY_MS = 250
GOODBYE_MS = 500
SIGN_OF_LIFE_S = 60.0
"""How long a worker may take to start, or to say its last word, before it counts as lost."""


STUCK_AFTER_S = 60.0
"""How long a run that is to end may go without any progress: then what holds it up is stuck."""


def _cannot_keep(error: CommitError) -> dict[str, Any]:
    return {
        "kind": "checkpoint",
        "what": f"no checkpoint can be written: {error}",
        "hint": "make room, set `checkpoint.dir`, or run with --no-checkpoint",
        "environment": True,
    }


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


class Coordinator:
    """One run on this machine. `run` returns its summary; the outcome is in it.

    checkpoints: the locked folder that they are kept in; None: none are. resume: the one to go on
    from. opening: what is said first. listen: where other machines may join, with the key.
    """

    def __init__(
        self,
        plan: Plan,
        splits: dict[int, tuple[str, Split]],
        workers: Workers,
        view: View,
        checkpoints: Folder | None = None,
        resume: Manifest | None = None,
        opening: Sequence[str] = (),
        listen: str | None = None,
        key: Key | None = None,
    ) -> None:
        self._plan = plan
        self._opening = opening
        self._view = view
        self._workers = workers
        self._splits = splits
        place = self._first_placement()
        self._commits: Commits | None = None
        durability = None
        if checkpoints is not None:
            spec, cluster = plan.spec.checkpoint, plan.spec.cluster
            assert spec is not None
            durability = core.Durability(
                int(spec.every_s * 1000),
                cluster.restarts_max,
                int(cluster.restarts_within_s * 1000),
            )
            self._commits = Commits(checkpoints, spec.keep, plan, place, splits, resume)
        # A checkpoint opens at a tick: often enough for its period, never a busy loop.
        every_ms = durability.every_ms if durability else LOOK_EVERY_MS
        self._tick_ms = max(1, min(LOOK_EVERY_MS, every_ms // 4))
        # Every worker there has been: their own sinks may have to be rolled back.
        self._ever = set(place.workers)
        if resume is not None:
            by = (b for noted in resume.sinks.values() for b in noted if b.isdigit())
            self._ever |= set(map(int, by))
        self._core = CoordinatorCore(
            place,
            durability,
            resume.checkpoint if resume is not None else 0,
            next_worker=max(self._ever) + 1,
            fixed=frozenset(i for i, (name, _) in splits.items() if not self._rewinds(name)),
            bound=frozenset(i for i, (name, _) in splits.items() if self._kind(name) == "stdin"),
        )
        self._joining: core.Start | None = None
        self._positions: dict[int, Position] = {}
        self._moves: list[control.MovedIn] = []
        self._change_began_s = 0.0
        self._restart_at_s: float | None = None
        self._suspects = Suspects()
        self._opened: dict[int, dict[str, Any]] = {}
        self._started_s = clock.monotonic_s()
        self._tally = Tally(plan, place, splits, self._started_s)
        self._listen, self._key = listen, key
        self._peers: dict[int, Peer] = {}
        self._addresses: dict[int, Address] = {}
        # Who asked for a change to join from another machine; how its workers get to run there.
        self._asking: dict[int, Host] = {}
        self._exited_elsewhere: dict[int, int] = {}
        self._next_number = 0
        self._refused = 0
        self._autoscale = _autoscale(plan)
        self._heard_s = dict.fromkeys(place.workers, self._started_s)
        self._signals = 0
        self._summary: Summary | None = None
        self._gone: set[int] = set()
        # Those whose change was called off; a number is never given twice.
        self._sent_away: set[int] = set()
        self._progress: tuple[Any, float] = (None, self._started_s)

    def _first_placement(self) -> Placement:
        stdin = self._workers.stdin_worker
        pinned = {
            i: stdin
            for i, (name, _) in self._splits.items()
            if stdin is not None and self._kind(name) == "stdin"
        }
        return Placement.fresh(
            self._workers.count, self._plan.single_writers, self._splits, pinned=pinned,
            weights=dict(enumerate(self._plan.spec.cluster.weights)),
        )  # fmt: skip

    def _kind(self, source: str) -> str:
        return self._plan.source(source).type

    def _rewinds(self, source: str) -> bool:
        spec = self._plan.source(source)
        return make_source(spec).rewindable

    def run(self) -> Summary:
        """Until the run has ended. Raises ForcedExit on a second signal, ConnectorError."""
        context: zmq.Context[Any] = zmq.Context()
        try:
            self._lines = Lines(context, self._workers.folder, self._listen, self._key)
        except ConnectorError:
            context.destroy(0)
            raise
        wake_read, wake_write = socket.socketpair()
        wake_write.setblocking(False)
        before = signal.set_wakeup_fd(wake_write.fileno())
        handlers = {n: signal.signal(n, self._signal) for n in (signal.SIGINT, signal.SIGTERM)}
        self._view.start()
        for line in self._opening:
            self._event(line)
        try:
            if self._lines.endpoint:
                self._event(f"listening at {self._lines.endpoint} for `roo join`")
            folder = self._commits.folder.path if self._commits is not None else None
            self._reach = Reach()
            self._hosts = Hosts(
                self._plan,
                folder,
                self._lines.send,
                self._host_joins,
                self._host_leaves,
                self._host_exited,
            )
            self._door = Door(context, ipc(self._workers.folder, "door"), self)
            self._poller = zmq.Poller()
            self._poller.register(self._door.socket, zmq.POLLIN)
            for socket_ in self._lines.sockets:
                self._poller.register(socket_, zmq.POLLIN)
            self._poller.register(wake_read, zmq.POLLIN)
            self._stderr = Stderr(self._poller, self._event)
            self._stderr.listen(self._workers.processes)
            look_s = clock.monotonic_s()
            while self._summary is None:
                for ready, _ in self._poller.poll(self._tick_ms):
                    if ready in self._lines.sockets:
                        self._hear()
                    elif ready is self._door.socket:
                        self._door.hear()
                    elif ready in self._stderr:
                        if not self._stderr.relay(ready):
                            look_s = 0.0  # its process is gone, most likely
                    elif isinstance(ready, int) and ready != wake_read.fileno():
                        continue  # the stderr of a worker that has been replaced
                    else:
                        wake_read.recv(64)
                        self._handle(core.StopRequested())
                if self._restart_at_s is None:
                    self._handle(core.Tick(int(clock.monotonic_s() * 1000)))
                if (clock.monotonic_s() - look_s) * 1000 >= LOOK_EVERY_MS:
                    look_s = clock.monotonic_s()
                    self._look(look_s)
            self._door.close(GOODBYE_MS)
            self._hosts.end_all("")
            self._workers.wait()
            self._stderr.relay_the_rest()
            return self._with_last_words(self._summary)
        except ForcedExit:
            self._door.close(GOODBYE_MS)  # whoever asked for it gets the answer
            self._lines.close(GOODBYE_MS)
            raise
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
            self._view.stop()
            self._lines.close(0)
            context.destroy(0)
            wake_read.close()
            wake_write.close()

    def _signal(self, number: int, frame: Any) -> None:
        self._signals += 1
        if self._signals > 1:
            raise ForcedExit(number)
        self._event("stopping: finishing what has been read (again to stop at once)")

    # What the door asks

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
        if attempt == self._core.attempt:
            self._exited_elsewhere[worker] = code

    def change(self, asked: Asked) -> None:
        """Workers are to come or go."""
        self._handle(core.ChangeAsked(asked))

    def preview(self, asked: Asked) -> tuple[Placement, Placement]:
        """(now, after a change). Raises Refused."""
        return self._core.placement, self._core.preview(asked)

    def stop(self, *, now: bool) -> None:
        """As a first Ctrl-C; now: as a second one."""
        if now:
            raise ForcedExit(signal.SIGTERM)
        self._event("stopping: finishing what has been read (asked for by `roo stop`)")
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

    def _with_last_words(self, summary: Summary) -> Summary:
        """All was done, but a worker that could not close its sinks says so: the run has failed."""
        failed = [worker for worker, code in self._workers.exited() if code > 0]
        if summary.outcome == "failed" or not failed:
            return summary
        what = f"worker {failed[0]} failed when all was done and it was to end"
        error: dict[str, Any] = {"kind": "worker", "what": what, "hint": "see what it wrote above"}
        if any(line.poll(GOODBYE_MS) for line in self._lines.sockets):
            for peer, packed in self._lines.receive():
                if peer.identity.startswith(b"worker-"):
                    message = pickle.loads(packed)
                    if type(message) is control.Failed:
                        error = {"worker": int(peer.identity.split(b"-")[2]), **message.error}
        return replace(summary, outcome="failed", error=error)

    def _hear(self) -> None:
        for peer, packed in self._lines.receive():
            if peer.identity.startswith(b"visitor-"):
                self._door.take(partial(self._lines.send, peer), packed)
                continue
            if peer.identity.startswith(b"host-"):
                self._hosts.hear(peer, pickle.loads(packed))
                continue
            attempt, index = map(int, peer.identity.split(b"-")[1:])
            if attempt != self._core.attempt:
                continue  # from a worker that has been replaced
            if index not in self._heard_s:
                continue  # it has left
            self._heard_s[index] = clock.monotonic_s()
            self._take(index, peer, pickle.loads(packed))
        refused = self._lines.refused()
        if refused and not self._refused:
            self._event("a connection without the cluster key was refused (said once)")
        self._refused += refused

    def _take(self, worker: int, peer: Peer, message: Any) -> None:
        match message:
            case control.Hello():
                self._peers[worker] = peer
                self._send(worker, self._assignment(worker))
            case control.Ready(sinks, port):
                host = self._hosts.host_of(worker)
                where = (host.peer.identity.decode(), host.address) if host else ("", "")
                self._addresses[worker] = Address(*where, port)
                self._opened[worker] = sinks
                if host is None:
                    self._handle(core.WorkerReady(worker))
                else:
                    self._reach.ask(worker, self._core.attempt, host.address, port)
            case control.Ended(version):
                self._handle(core.SplitsEnded(worker, version))
            case control.Copied(version, few):
                self._handle(core.Copied(worker, version, few))
            case control.CopyFailed(version, error):
                self._handle(core.CopyFailed(worker, version, {"worker": worker, **error}))
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
                    self._commits.take(worker, part)
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
                self._event(line)
            case control.WorkerStats():
                message.monotonic_s = clock.monotonic_s()  # another machine has another clock
                before = self._tally.now.get(worker)
                self._tally.report(message)
                if before is not None and message.moved_keys != before.moved_keys:
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
        )  # fmt: skip

    # Doing

    def _handle(self, event: core.Event) -> None:
        for effect in self._core.handle(event):
            match effect:
                case core.Go(workers):
                    self._go(workers)
                case core.OpenBarrier():
                    self._open_barrier(effect)
                case core.Start():
                    self._start(effect)
                case core.Copy(after):
                    self._copy(after)
                case core.CallOff():
                    self._broadcast(control.CallOff())
                case core.ShareSplits(after):
                    self._share_splits(after)
                case core.Dismiss(workers, why):
                    self._dismiss(workers, why)
                case core.ChangeBegun() | core.ChangeQueued() | core.ChangeOver():
                    self._tell_of_change(effect)
                case core.Commit(barrier):
                    self._commit(barrier)
                case core.Finish():
                    self._finish()
                case core.Announce(barrier, kept):
                    self._broadcast(control.Announce(barrier, kept))
                case core.Restart(_, delay_ms, why):
                    self._restart(delay_ms, why)
                case core.Release():
                    self._broadcast(control.Exit())
                case core.Kill():
                    self._workers.kill()
                    self._hosts.kill()
                case core.End(outcome, error):
                    self._end(outcome.value, error)

    def _go(self, workers: tuple[int, ...]) -> None:
        first = workers == self._core.placement.workers
        if self._commits is not None:
            try:
                self._commits.begin_with(self._opened)
            except CommitError as error:
                if first:
                    self._handle(core.RunFailed(_cannot_keep(error)))
                    return
                self._event(f"where new outputs begin could not be noted: {error}")
        self._joining = None if first else self._joining
        # Joiners answer to leavers too, while their states come. (The first ones hear of joiners
        # when they are to copy: a change that waited for the start may have begun by now.)
        there = set(self._core.placement.workers)
        there |= set() if first else set(self._core.change_workers)
        for worker in workers:
            self._send(worker, control.Go({w: self._addresses[w] for w in there}))

    # Changes of workers

    def _copy(self, after: Placement) -> None:
        before = self._core.placement.workers
        joins = set(after.workers).difference(before)
        message = control.Copy(after, {w: self._addresses[w] for w in joins})
        for worker in before:
            self._send(worker, message)

    def _open_barrier(self, effect: core.OpenBarrier) -> None:
        if self._commits is not None:
            self._commits.begin()
        self._positions.clear()
        self._moves.clear()
        for worker in self._core.placement.workers:
            self._send(worker, control.Barrier(*effect))

    def _start(self, start: core.Start) -> None:
        """Workers that are to join: they start while everything goes on."""
        self._joining = start
        self._ever |= set(start.workers)
        change = self._core.change
        host = self._asking.pop(change.number, None) if change is not None else None
        if host is not None and not self._hosts.has(host):
            self._handle(core.WorkerLost(start.workers[0], "left before its turn came"))
            return
        if host is not None:
            self._hosts.spawn(host, start.workers, self._core.attempt)
        else:
            self._workers.spawn(start.workers, self._core.attempt)
        self._heard_s |= dict.fromkeys(start.workers, clock.monotonic_s())
        self._stderr.listen(self._workers.processes)

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
            self._workers.dismiss(worker, kill=bool(why))
            self._hosts.dismiss(worker, why)
            self._tally.left(worker)
            for known in (
                self._exited_elsewhere,
                self._peers,
                self._heard_s,
                self._opened,
                self._addresses,
            ):
                known.pop(worker, None)
        self._broadcast(control.Left(workers))

    def _tell_of_change(self, effect: core.Effect) -> None:
        moves = self._moves.copy()
        match effect:
            case core.ChangeBegun(_, before, after):
                joins = sorted(set(after.workers) - set(before.workers))
                leaves = sorted(set(before.workers) - set(after.workers))
                self._change_began_s = clock.monotonic_s()
                self._event(say_change(joins, leaves))
            case core.ChangeOver(_, "") if self._moves:
                seconds = clock.monotonic_s() - self._change_began_s
                self._event(say_moved(self._moves, seconds))
                self._moves.clear()
            case core.ChangeOver(_, why_not) if why_not:
                self._event(f"no change of workers: {why_not}")
                host = self._asking.pop(effect.number, None)
                if host is not None:
                    self._hosts.end(host, why_not)
        if isinstance(effect, (core.ChangeBegun, core.ChangeQueued, core.ChangeOver)):
            self._door.tell(effect, moves)
        self._tally.place = self._core.placement
        if self._commits is not None:
            self._commits.place = self._core.placement

    def _commit(self, barrier: int) -> None:
        assert self._commits is not None
        try:
            self._commits.commit(barrier)
        except CommitError as error:
            self._event(f"checkpoint {barrier} could not be written: {error}")
            self._handle(core.CommitFailed(barrier, str(error)))
            return
        self._tally.keep()
        latest = self._commits.latest
        assert latest is not None
        self._suspects.committed({i: split.offset for i, split in enumerate(latest.splits)})
        self._handle(core.Committed(barrier))

    def _finish(self) -> None:
        assert self._commits is not None
        try:
            self._commits.finish()
        except CommitError as error:  # the next run goes on from the end, and finds nothing to do
            self._event(f"the end could not be noted: {error}")

    def _restart(self, delay_ms: int, why: str) -> None:
        """All workers are gone; new ones come after a while."""
        assert self._commits is not None
        self._commits.restart(self._core.placement)
        latest = self._commits.latest
        back = f"checkpoint {latest.checkpoint}" if latest and latest.checkpoint else "the start"
        keys = f" ({sum(latest.keys.values())} keys)" if latest and latest.keys else ""
        self._event(f"{why}: all workers start again from {back}{keys}")
        self._restart_at_s = clock.monotonic_s() + delay_ms / 1000
        if not delay_ms:
            self._respawn()

    def _respawn(self) -> None:
        self._restart_at_s = None
        self._stderr.relay_the_rest()
        self._peers.clear()
        self._opened.clear()
        self._addresses.clear()
        self._gone.clear()
        self._tally.roll_back()
        self._joining = None
        self._exited_elsewhere.clear()
        self._tally.place = place = self._core.placement
        here = self._hosts.respawn(place.workers, self._core.attempt)
        self._workers.respawn(here, self._core.attempt)
        self._heard_s = dict.fromkeys(place.workers, clock.monotonic_s())
        self._stderr.listen(self._workers.processes)

    def _end(self, outcome: str, error: dict[str, Any] | None) -> None:
        if error is None:
            error = exceeded(self._plan, self._tally.errors, self._tally.messages_read, ended=True)
            outcome = "failed" if error else outcome
        seconds = clock.monotonic_s() - self._started_s
        self._view.update(self._tally.snapshot(outcome, clock.monotonic_s()))
        self._summary = self._tally.summary(outcome, seconds, error)

    def _send(self, worker: int, message: Any) -> None:
        self._lines.send(self._peers[worker], pickle.dumps(message, 5))

    def _broadcast(self, message: Any) -> None:
        """To all that work: one that is to join hears nothing before its Go."""
        for worker in self._core.placement.workers:
            if worker in self._peers:
                self._send(worker, message)

    def _event(self, line: str) -> None:
        self._tally.events.append((clock.monotonic_s() - self._started_s, line))
        self._view.event(line)

    # Looking

    def _look(self, now_s: float) -> None:
        """Show how it goes; see to what nobody reports."""
        self._view.update(self._tally.snapshot(self._core.phase.value, now_s))
        self._door.tell_progress()
        if self._restart_at_s is not None:
            if now_s >= self._restart_at_s:
                self._respawn()
            return
        for worker, code in [*self._workers.exited(), *self._exited_elsewhere.items()]:
            # Its last words may still be on the way: they say more than its exit code.
            if worker in self._gone:
                self._lost(worker, say_exit(code))
            self._gone.add(worker)
        timeout_s = self._plan.spec.cluster.timeout_s
        for host in self._hosts.look(now_s, timeout_s):
            if host.workers:
                self._event(f"{host.name} has given no sign of life: its workers start again here")
                self._lost(min(host.workers), f"gave no sign of life for {timeout_s:g} s")
        for worker, process in self._workers.left():
            self._stderr.relay_all(process)
            if process.returncode and worker not in self._sent_away:
                self._event(f"worker {worker}, which had left, {say_exit(process.returncode)}")
        for worker, heard_s in list(self._heard_s.items()):
            patience_s = self._patience_s(worker)
            if now_s - heard_s > patience_s:
                what = f"gave no sign of life for {patience_s:g} s"
                if worker in self._workers.processes:
                    self._workers.processes[worker].kill()
                self._lost(worker, what)
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
        if self._core.phase in (Phase.DRAINING, Phase.SETTLING):
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
            self._event(f"autoscale to {decision.workers} workers: {decision.why}")
            self._next_number -= 1
            self.change(Asked(self._next_number, to=decision.workers))

    def _lost(self, worker: int, why: str) -> None:
        """A worker is gone: what was it at?"""
        if self._core.phase is not Phase.ENDED:
            note = read_note(path_of(self._workers.folder, worker))
            poison = self._suspects.take(note)
            if poison is not None:
                self._event(f"message {poison.text} has ended its worker twice in a row")
            elif note is not None and note.message is not None:
                why += f" at message {note.message.text}"
        self._handle(core.WorkerLost(worker, why))

    def _see_to_progress(self, now_s: float) -> None:
        """While draining: give up on a step or sink that does not come back."""
        progress = self._tally.progress()
        if progress != self._progress[0]:
            self._progress = (progress, now_s)
        elif now_s - self._progress[1] > STUCK_AFTER_S:
            doing = self._tally.doing() or "nobody says what it waits for"
            what = f"no progress for {STUCK_AFTER_S:.0f} s while draining: {doing}"
            hint = "messages that were read and not yet written are lost"
            self._handle(core.RunFailed({"kind": "worker", "what": what, "hint": hint}))
