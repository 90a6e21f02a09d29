"""The worker's machine: which batch runs next, who may send, when a barrier has cut a stage.

    core.handle(event) -> effects      # to be performed in order
    core.next_work()   -> RunStage | ReadSplit | None

Flow control is by credit. Each channel (sender, exchange, receiver) has a window of messages, bytes
and batches; sending takes from it, the receiver gives back what it has consumed. A stage runs only
while every exchange it feeds has credit to every receiver, and the highest stage that can run runs
first; sources are read only when nothing else can run. The stage graph has no cycle, so the last
stage always drains: no deadlock, and what is queued is bounded by the windows. (A batch that is
larger than what is left overdraws its window once: batches are never cut. The window of batches is
what keeps latency low: a source that trickles makes small batches, and a receiver that can't keep
up with those makes it wait, and so read larger ones.)

What is under way is bounded in time as well, since a barrier waits for all that has been read. A
receiver knows how long its stage takes over a message: the window of messages that it grants is
what it runs in `IN_FLIGHT_MS`, shared by the senders. A window begins small (but not in a change of
workers) and grows as credit is given back, to twice its size at most. A read begins small too, and
is as large as fits into half of the windows that it fills. So where steps are fast neither bounds
anything, and where a step takes 50 ms a message a few messages are under way, not thousands.

A barrier cuts every channel. A stage that has it on all its channels is aligned; until then what
follows the barrier on a channel is held (Carbone et al., "Lightweight Asynchronous Snapshots for
Distributed Dataflows", 2015).

A barrier may carry a change of workers. Before it on a channel the old table holds, after it the
new one: each stage turns over as it is aligned, and what comes by the new table before that is
held. Messages for a key whose state is still on its way are handed back (`Ran.waiting`) and run
again when `StatesCame`; until then they keep the credit that they took, so what waits is bounded.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from roo.core.batch import Batch, Header, Kind, Origin, Output

WINDOW_BYTES = 512 * 1024
WINDOW_MESSAGES = 65_536
WINDOW_BATCHES = 32
WINDOW_MESSAGES_FIRST = 64
IN_FLIGHT_MS = 200.0
"""How long a stage may be busy with what its senders have sent ahead."""

READ_BYTES, READ_BYTES_LEAST = 64 * 1024, 16
READ_MS = 100.0
"""Reading and running stage 0 takes at most about so long: else less is read the next time."""

COST_KEPT = 0.9
"""How much of what is known of a stage's speed is kept from one batch to the next."""

PARKED = -1
"""The sequence number of a batch that has waited: it has been counted already."""

NOWHERE = Origin(-1, -1, 0, 0)


class Link(NamedTuple):
    """An exchange as core sees it: from one stage to a later one."""

    exchange: int
    from_stage: int
    to_stage: int


# Events


class Arrived(NamedTuple):
    """A batch or a barrier came in on a channel."""

    batch: Batch


class Credited(NamedTuple):
    """A receiver has consumed what this worker sent. window: how many messages may now be under way
    to it; the messages given back have more or fewer in them where that has changed.
    """

    exchange: int
    receiver: int
    messages: int
    cost_bytes: int
    batches: int
    window: int = WINDOW_MESSAGES


class Ran(NamedTuple):
    """The stage has run `batch`; these are its outputs, in order.

    waiting: the part of it that could not run yet, as a batch of its own. took_ms: how long it
    ran, with reading for stage 0.
    """

    stage: int
    batch: Batch
    outputs: Sequence[Output]
    waiting: Batch | None = None
    took_ms: float = 0.0


class StatesCame(NamedTuple):
    """States that messages of these stages wait for may have come: let them try again."""

    stages: tuple[int, ...]


class Started(NamedTuple):
    """The coordinator said go."""


class SplitReady(NamedTuple):
    """A split may have something to read."""

    split: int


class SplitIdle(NamedTuple):
    """A split had nothing to read just now."""

    split: int


class SplitEnded(NamedTuple):
    """A split will never have anything again."""

    split: int


class Change(NamedTuple):
    """Other workers from a barrier on. table_version: what their batches carry."""

    workers: tuple[int, ...]
    table_version: int


class BarrierOpened(NamedTuple):
    """The coordinator opens a barrier. last: nothing is read after it (stop, end of input).

    change: who works after it; None: the same. gives: splits that this worker reads no more.
    """

    barrier: int
    last: bool
    change: Change | None = None
    gives: frozenset[int] = frozenset()


class SplitsTaken(NamedTuple):
    """After a change: the splits that this worker reads in addition."""

    splits: tuple[int, ...]


Event = (
    Started
    | Arrived
    | Credited
    | Ran
    | StatesCame
    | SplitReady
    | SplitIdle
    | SplitEnded
    | BarrierOpened
    | SplitsTaken
)


# Effects


class Send(NamedTuple):
    """Send a batch (or a barrier) to a worker."""

    receiver: int
    batch: Batch


class GiveCredit(NamedTuple):
    """Tell the sender of a channel that this much has been consumed. window: as in `Credited`."""

    receiver: int
    exchange: int
    messages: int
    cost_bytes: int
    batches: int
    window: int


class Aligned(NamedTuple):
    """A stage is cut: everything before the barrier has run, nothing after it has."""

    stage: int
    barrier: int


class BarrierPassed(NamedTuple):
    """Every stage of this worker is cut: report it."""

    barrier: int


class AllSplitsEnded(NamedTuple):
    """This worker has nothing left to read: report it. table_version: as it stands."""

    table_version: int


Effect = Send | GiveCredit | Aligned | BarrierPassed | AllSplitsEnded


# Work


class RunStage(NamedTuple):
    """Run a stage over a batch; answer with `Ran`."""

    stage: int
    batch: Batch


class ReadSplit(NamedTuple):
    """Read a split and run stage 0 over it; answer with `Ran`, `SplitIdle` or `SplitEnded`."""

    split: int


class ProtocolError(Exception):
    """Something that cannot happen did: a gap in a channel, a batch of another table."""


class WorkerCore:
    """One worker of a run.

    workers: all of them, this one included. links: all exchanges; stages are numbered so that each
    leads to a later stage. splits: those assigned to this worker; None: it joins by a change, and
    is told with `SplitsTaken`. shared: groups of stages that work on one state. Their common cut is
    the barrier of the last of them: a stage that has it waits with what follows until all have.
    """

    def __init__(
        self,
        worker: int,
        workers: Iterable[int],
        stages: int,
        links: Iterable[Link],
        splits: Iterable[int] | None,
        *,
        shared: Iterable[Iterable[int]] = (),
        table_version: int = 1,
        attempt: int = 1,
        window_bytes: int = WINDOW_BYTES,
        window_messages: int = WINDOW_MESSAGES,
        window_batches: int = WINDOW_BATCHES,
    ) -> None:
        self.worker = worker
        self.workers = tuple(workers)
        self.stages = stages
        self.links = tuple(links)
        self.table_version = table_version
        self.attempt = attempt
        self._window = (window_messages, window_bytes, window_batches)
        self._into = [[link for link in self.links if link.to_stage == s] for s in range(stages)]
        self._out_of = [
            [link for link in self.links if link.from_stage == s] for s in range(stages)
        ]
        channels = [(link.exchange, peer) for link in self.links for peer in self.workers]
        # Sending side: credit left, next sequence number, and how many channels of a stage have
        # none left (0: it may run).
        joins = splits is None
        first = window_messages if joins else min(WINDOW_MESSAGES_FIRST, window_messages)
        self._credit = {channel: [first, *self._window[1:]] for channel in channels}
        self._window_to = dict.fromkeys(channels, first)
        self._read_bytes = READ_BYTES_LEAST
        self._sequence_out = dict.fromkeys(channels, 0)
        self._exhausted = [0] * stages
        self._stage_of = {link.exchange: link.from_stage for link in self.links}
        # Receiving side: next sequence number expected, consumed but not yet given back.
        self._sequence_in: defaultdict[tuple[int, int], int] = defaultdict(int)
        self._owed: defaultdict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0, 0])
        # Windows; of a sender that joins it is the whole one, as that itself has it.
        self._granted = defaultdict(lambda: window_messages, dict.fromkeys(channels, first))
        # Of each stage: how many messages it has run of late, and how long that took.
        self._pace = [[0.0, 0.0] for _ in range(stages)]
        self._target = {link.exchange: link.to_stage for link in self.links}
        self._inbox: list[deque[Batch]] = [deque() for _ in range(stages)]
        self._parked: list[list[Batch]] = [[] for _ in range(stages)]
        # Splits: ready to be read (in turn), waiting for data. Between a change and what it brings
        # there may be none without an end of input.
        self._ready = deque(splits or ())
        self._idle: set[int] = set()
        self._awaits_splits = splits is None
        self._reading = True
        self._told_ended = False
        # Barrier: which one is open, channels cut so far and batches held, per stage.
        self._barrier: int | None = None
        self._change: Change | None = None
        # By stage, as they turn over one by one: the table, and who gets what it makes.
        self._version = [table_version] * stages
        self._to = [self.workers] * stages
        self._cut: list[set[tuple[int, int]]] = [set() for _ in range(stages)]
        self._held: list[list[Batch]] = [[] for _ in range(stages)]
        self._stages_aligned = 0
        # Stages that share a state and wait for each other's barrier: which, and for whom.
        self._group: dict[int, set[int]] = {}
        for group in map(tuple, shared):
            for stage in group:
                self._group.setdefault(stage, set()).update(group)
        self._aligned: set[int] = set()

    # Looking

    @property
    def queued_messages(self) -> int:
        """Messages received and not yet run."""
        queues = (*self._inbox, *self._parked)
        return sum(batch.header.messages for queue in queues for batch in queue)

    @property
    def idle_splits(self) -> frozenset[int]:
        """Splits that wait for data: the runtime watches these, and only while `may_read`."""
        return frozenset(self._idle)

    @property
    def may_read(self) -> bool:
        """Whether stage 0 could run now."""
        return self._reading and not self._exhausted[0] and not self._waits(0)

    @property
    def held_back(self) -> bool:
        """Whether a split could be read, and nobody takes what it would give."""
        return bool(self._ready) and self._exhausted[0] > 0

    @property
    def read_bytes(self) -> int:
        """About how much is to be read at once."""
        return self._read_bytes

    def credit(self, exchange: int, receiver: int) -> tuple[int, int, int]:
        """(messages, bytes, batches) that may still be sent on a channel."""
        messages, cost_bytes, batches = self._credit[exchange, receiver]
        return messages, cost_bytes, batches

    def receivers(self, stage: int) -> tuple[int, ...]:
        """The workers that what a stage makes now may go to."""
        return self._to[stage]

    # Deciding

    def next_work(self) -> RunStage | ReadSplit | None:
        """What to do now; None: wait for an event."""
        for stage in range(self.stages - 1, 0, -1):
            if self._inbox[stage] and not self._exhausted[stage] and not self._waits(stage):
                return RunStage(stage, self._inbox[stage].popleft())
        if self._ready and self.may_read:
            self._ready.rotate(-1)
            return ReadSplit(self._ready[-1])
        return None

    def handle(self, event: Event) -> list[Effect]:
        """Take one event in; the effects are to be performed in order."""
        effects: list[Effect] = []
        match event:
            case Ran():
                self._ran(event, effects)
            case Arrived(batch):
                self._arrived(batch)
                self._pass_barriers(self._target[batch.header.exchange], effects)
            case Credited():
                self._take_credit(event)
            case SplitReady(split):
                if split in self._idle:
                    self._idle.remove(split)
                    self._ready.append(split)
            case SplitIdle(split):
                self._ready.remove(split)
                self._idle.add(split)
            case SplitEnded(split):
                self._ready.remove(split)
            case StatesCame(stages):
                for stage in stages:
                    self._inbox[stage].extendleft(reversed(self._parked[stage]))
                    self._parked[stage].clear()
            case BarrierOpened():
                self._open(event, effects)
            case SplitsTaken(splits):
                self._ready.extend(splits)
                self._awaits_splits = False
        if not (self._ready or self._idle or self._told_ended or self._awaits_splits):
            self._told_ended = True
            effects.append(AllSplitsEnded(self.table_version))
        return effects

    def _waits(self, stage: int) -> bool:
        """Whether a stage is past a barrier that another one, working on its state, is not."""
        return stage in self._aligned and not self._group.get(stage, set()) <= self._aligned

    # Sending and receiving

    def _ran(self, event: Ran, effects: list[Effect]) -> None:
        done = event.batch.header
        fill = 0.0
        for output in event.outputs:
            sequence = self._sequence_out[output.exchange, output.receiver]
            self._sequence_out[output.exchange, output.receiver] = sequence + 1
            header = done._replace(
                kind=Kind.BATCH,
                sender=self.worker,
                exchange=output.exchange,
                sequence=sequence,
                table_version=self._version[event.stage],
                messages=output.messages,
                cost_bytes=output.cost_bytes,
            )
            self._spend(output)
            fill = max(fill, output.messages / self._window_to[output.exchange, output.receiver])
            self._dispatch(output.receiver, Batch(header, output.payload), effects)
        if event.stage == 0:
            self._fit_reads(fill, event.took_ms)
        else:
            if event.waiting is not None:
                # What waits keeps its messages' credit, not the batch's: others go on.
                held = event.waiting.header
                self._parked[event.stage].append(
                    event.waiting._replace(header=held._replace(sequence=PARKED))
                )
                done = done._replace(
                    messages=done.messages - held.messages,
                    cost_bytes=done.cost_bytes - held.cost_bytes,
                )
            self._note_pace(event.stage, done.messages, event.took_ms)
            self._consumed(done, effects)
            self._pass_barriers(event.stage, effects)

    def _fit_reads(self, fill: float, took_ms: float) -> None:
        """How much to read the next time. fill: the part of a window that the last read filled."""
        if fill > 0.5 or took_ms > READ_MS:
            self._read_bytes = max(self._read_bytes // 2, READ_BYTES_LEAST)
        elif fill <= 0.25 and took_ms < READ_MS / 4:
            self._read_bytes = min(self._read_bytes * 2, READ_BYTES)

    def _note_pace(self, stage: int, messages: int, took_ms: float) -> None:
        pace = self._pace[stage]
        pace[0] = COST_KEPT * pace[0] + messages
        pace[1] = COST_KEPT * pace[1] + took_ms

    def _window_for(self, stage: int) -> int:
        """How many messages may be under way on each channel to a stage, as fast as it is."""
        messages, took_ms = self._pace[stage]
        if took_ms <= 0:
            return self._window[0]
        senders = len(self._into[stage]) * len(self.workers)
        return min(max(int(IN_FLIGHT_MS * messages / took_ms / senders), 1), self._window[0])

    def _dispatch(self, receiver: int, batch: Batch, effects: list[Effect]) -> None:
        """To another worker by the runtime; to this one straight into its inbox."""
        if receiver != self.worker:
            effects.append(Send(receiver, batch))
            return
        self._arrived(batch)
        self._pass_barriers(self._target[batch.header.exchange], effects)

    def _arrived(self, batch: Batch) -> None:
        header = batch.header
        if header.attempt != self.attempt:
            return
        channel = (header.exchange, header.sender)
        if header.sequence != self._sequence_in[channel]:
            raise ProtocolError(
                f"worker {self.worker} expected batch {self._sequence_in[channel]} from worker "
                f"{header.sender} on exchange {header.exchange}, got {header.sequence}"
            )
        self._sequence_in[channel] += 1
        stage = self._target[header.exchange]
        if channel in self._cut[stage] or header.table_version > self._version[stage]:
            self._held[stage].append(batch)
        else:
            self._inbox[stage].append(batch)

    def _spend(self, output: Output) -> None:
        credit = self._credit[output.exchange, output.receiver]
        had = min(credit) > 0
        credit[0] -= output.messages
        credit[1] -= output.cost_bytes
        credit[2] -= 1
        if had and min(credit) <= 0:
            self._exhausted[self._stage_of[output.exchange]] += 1

    def _take_credit(self, event: Credited) -> None:
        credit = self._credit.get((event.exchange, event.receiver))
        if credit is None:  # from a worker that has left meanwhile
            return
        had = min(credit) > 0
        credit[0] += event.messages
        credit[1] += event.cost_bytes
        credit[2] += event.batches
        self._window_to[event.exchange, event.receiver] = event.window
        if not had and min(credit) > 0:
            self._exhausted[self._stage_of[event.exchange]] -= 1

    def _consumed(self, header: Header, effects: list[Effect]) -> None:
        """Give credit back once a quarter of the window is owed: few frames, no starving."""
        channel = (header.exchange, header.sender)
        owed, granted = self._owed[channel], self._granted[channel]
        owed[0] += header.messages
        owed[1] += header.cost_bytes
        owed[2] += header.sequence != PARKED
        _, cost_bytes, batches = self._window
        if owed[0] * 4 < granted and owed[1] * 4 < cost_bytes and owed[2] * 4 < batches:
            return
        # A window grows to twice its size at most; it shrinks by what is not given back.
        window = min(self._window_for(self._target[header.exchange]), 2 * granted)
        window = self._granted[channel] = max(window, granted - owed[0])
        given = owed[0] + window - granted, owed[1], owed[2], window
        owed[:] = 0, 0, 0
        if header.sender == self.worker:
            self._take_credit(Credited(header.exchange, self.worker, *given))
        else:
            effects.append(GiveCredit(header.sender, header.exchange, *given))

    # Barriers

    def _open(self, event: BarrierOpened, effects: list[Effect]) -> None:
        barrier = event.barrier
        if self._barrier is not None:
            raise ProtocolError(f"barrier {barrier} opened inside barrier {self._barrier}")
        if any(self._parked):
            raise ProtocolError(f"barrier {barrier} opened while states are on their way")
        self._barrier = barrier
        self._change = event.change
        self._stages_aligned = 0
        if event.last:
            self._reading = False
        if event.change is not None:
            self._ready = deque(split for split in self._ready if split not in event.gives)
            self._idle -= event.gives
            self._awaits_splits = self.worker in event.change.workers
            self._told_ended = not self._awaits_splits
        # A stage that nothing leads to (a dead-letter sink while errors are skipped) has no channel
        # for the barrier to come by: it is cut at once, like stage 0.
        for stage in range(self.stages - 1, -1, -1):
            if not self._into[stage]:
                self._align(stage, effects)

    def _pass_barriers(self, stage: int, effects: list[Effect]) -> None:
        """Take barriers off the front of a stage's inbox: all before them has run."""
        inbox = self._inbox[stage]
        while inbox and inbox[0].header.kind is Kind.BARRIER:
            header = inbox.popleft().header
            channel = (header.exchange, header.sender)
            self._cut[stage].add(channel)
            # What this channel had already sent after its barrier waits for the others.
            after = [b for b in inbox if (b.header.exchange, b.header.sender) == channel]
            if after:
                kept = [b for b in inbox if (b.header.exchange, b.header.sender) != channel]
                self._held[stage].extend(after)
                inbox.clear()
                inbox.extend(kept)
            if len(self._cut[stage]) == len(self._into[stage]) * len(self.workers):
                self._align(stage, effects)

    def _align(self, stage: int, effects: list[Effect]) -> None:
        """Everything before the barrier has run here: pass it on, let go of what was held."""
        assert self._barrier is not None
        effects.append(Aligned(stage, self._barrier))
        self._aligned.add(stage)
        self._cut[stage].clear()
        self._inbox[stage].extendleft(reversed(self._held[stage]))
        self._held[stage].clear()
        self._stages_aligned += 1
        for link in self._out_of[stage]:
            for receiver in self.workers:
                batch = self._barrier_on(link.exchange, receiver)
                if receiver == self.worker:
                    self._arrived(batch)
                else:
                    effects.append(Send(receiver, batch))
        if self._change is not None:
            self._turn_over(stage, self._change)
        if self._stages_aligned == self.stages:
            effects.append(BarrierPassed(self._barrier))
            if self._change is not None:
                self._have_changed(self._change)
            self._barrier = None
            self._aligned.clear()
            return
        # Only now may this worker's own later stages align: their barriers must leave after these.
        for link in self._out_of[stage]:
            self._pass_barriers(link.to_stage, effects)

    def _turn_over(self, stage: int, change: Change) -> None:
        """What a stage makes goes by the new table from now on."""
        before, self._to[stage] = set(self._to[stage]), change.workers
        self._version[stage] = change.table_version
        for link in self._out_of[stage]:
            for receiver in before.difference(change.workers):
                del self._credit[link.exchange, receiver]
                del self._window_to[link.exchange, receiver]
                del self._sequence_out[link.exchange, receiver]
            for receiver in set(change.workers) - before:
                # What waits for states there is not to hold up all that this worker reads.
                self._credit[link.exchange, receiver] = list(self._window)
                self._window_to[link.exchange, receiver] = self._window[0]
                self._sequence_out[link.exchange, receiver] = 0
        self._exhausted[stage] = sum(
            min(credit) <= 0
            for (exchange, _), credit in self._credit.items()
            if self._stage_of[exchange] == stage
        )

    def _have_changed(self, change: Change) -> None:
        """All stages have turned over: those that left will send nothing more."""
        for channel in [c for c in self._sequence_in if c[1] not in change.workers]:
            del self._sequence_in[channel]
            self._owed.pop(channel, None)
            self._granted.pop(channel, None)
        self.workers = change.workers
        self.table_version = change.table_version
        self._change = None

    def _barrier_on(self, exchange: int, receiver: int) -> Batch:
        sequence = self._sequence_out[exchange, receiver]
        self._sequence_out[exchange, receiver] = sequence + 1
        assert self._barrier is not None
        header = Header(
            Kind.BARRIER, self.worker, exchange, sequence, self.table_version, self.attempt,
            -1, 0, 0, 0, NOWHERE._replace(start=self._barrier),
        )  # fmt: skip
        return Batch(header, None)
