"""A worker's part of a checkpoint, taken without stopping: a slice at a time between batches.

Only what was touched since the last checkpoint is written. At the cut of a state the set of touched
keys becomes the set of keys that wait to be encoded; from then on a batch that is about to touch a
waiting key has that one encoded first, so every value is stored as it was at the cut. A thread
compresses, writes and syncs; the main thread only encodes.

Where so many keys are touched that noting them costs more than it spares, all are written. Nothing
here walks over all keys at once: neither the cut nor a batch takes longer for a million keys than
for ten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from roo import clock
from roo.checkpoint.blocks import BlockWriter, Group
from roo.checkpoint.encoding import StateEncoder
from roo.checkpoint.folder import say
from roo.core.checkpoints import Chain, FileInfo, Part, StatePart
from roo.core.position import Position
from roo.core.table import RING
from roo.runtime.background import Background
from roo.runtime.failures import RunFailure, shorten
from roo.runtime.keyed_states import KeyedStates
from roo.runtime.keys_in_turn import (
    SMALL_BYTES,
    AllKeys,
    EveryKey,
    Litter,
    Page,
    Touched,
    TouchedKeys,
    Waiting,
)

SLICE_S, SLICE_S_MAX = 0.003, 0.005
"""How long the main thread encodes between two batches: as long as it was away, within these. What
batches come upon before its turn is dear, so beside large batches a slice is large too.
"""

GROUP_KEYS_FIRST, GROUP_KEYS_MAX = 64, 2048
GROUP_S = 0.0005
"""How many keys are encoded at once: more and more, as long as they take no longer than this."""

BLOCK_BYTES = 256 * 1024
"""What the thread is given at a time: after each of its calls it waits for the interpreter."""

QUEUE_BLOCKS_MAX = 32
"""How many blocks may wait for a slow disk before slices pause."""

CHAIN_FILES_MAX = 64


class _Chain:
    """How large the files are that a state would be restored from."""

    def __init__(self, files: Iterable[FileInfo] = ()) -> None:
        self.files = self.base_bytes = self.base_keys = self.delta_bytes = 0
        for file in files:
            self.add(file)

    def wants_base(self, *, last: bool) -> bool:
        """Whether the next file is to hold everything: the deltas outgrow what they change.

        last: it is a run's last one, which nobody restores, or one run that is resumed once.
        """
        outgrown = self.delta_bytes > self.base_bytes or self.files >= CHAIN_FILES_MAX
        return not self.files or (outgrown and not last)

    @property
    def is_small(self) -> bool:
        """Whether its keys take few bytes, as far as is known."""
        return 0 < self.base_bytes <= SMALL_BYTES * self.base_keys

    def add(self, file: FileInfo) -> None:
        """The next one: the full one, or a delta."""
        if self.files:
            self.delta_bytes += file.size_bytes
        else:
            self.base_bytes, self.base_keys = file.size_bytes, file.keys
        self.files += 1


class _Cut:
    """One state being stored. waiting: whose value at the cut is not encoded yet. keys, keys_hash:
    as they were at the cut. stored: how many are encoded; in_turn, in_turn_hash: of these, the ones
    that had their turn. groups: encoded, and not yet given to the background.
    """

    def __init__(self, waiting: Waiting, keyed: KeyedStates) -> None:
        self.waiting = waiting
        self.keys = len(keyed.objects)
        self.keys_hash = keyed.keys_hash
        self.keys_at_once = GROUP_KEYS_FIRST
        self.stored = self.in_turn = self.in_turn_hash = 0
        self.groups: list[Group] = []
        self.groups_bytes = 0
        self.writer: BlockWriter | None = None
        self.file: FileInfo | None = None

    def complaint(self) -> str:
        """What is wrong with the counts when everything is encoded and written; "" if nothing."""
        written = self.file.keys if self.file is not None else 0
        if written != self.stored:
            return f"{self.stored} keys were encoded, and {written} written"
        stored = self.in_turn if self.waiting.full else self.stored
        return self.waiting.complaint(stored, self.in_turn_hash % RING)


class _State:
    """One state, told of all that happens to it (a `keyed_states.Watcher`), and the cut of it that
    is being stored. encode: stores a page of it now; whether ahead of its turn.
    """

    def __init__(
        self,
        keyed: KeyedStates,
        restored: Chain | None,
        litter: Litter,
        encode: Callable[[_State, Page, bool], None],
        fail: Callable[[str, str], RunFailure],
    ) -> None:
        self.keyed = keyed
        self.chain = _Chain()
        self.keys = AllKeys(keyed.objects)
        self.touched = Touched(keyed.objects, litter)
        self.cut: _Cut | None = None
        self._litter = litter
        self._encode = encode
        self._fail = fail
        self.touched.everything()
        keyed.watch(self)
        # Keys that were created since they were restored, by preloading, are in no file.
        now = len(keyed.objects), keyed.keys_hash
        if restored is not None and (restored.keys, restored.keys_hash) == now:
            self.chain = _Chain(restored.files)
            self.touched.start_anew()
        self.expect()

    @property
    def waiting(self) -> Waiting | None:
        """The keys that are still to be encoded, if there are any."""
        cut = self.cut
        return cut.waiting if cut is not None and cut.waiting.left else None

    def touching(self, keys: list[Any]) -> None:
        """As in `Watcher`."""
        waiting = self.waiting
        if waiting is not None:
            self._encode(self, waiting.touching(keys), True)
        self.touched.note(keys)
        self._litter.tidy()
        self.keys.tidy()

    def taken_in(self, keys: Sequence[Any]) -> None:
        """As in `Watcher`."""
        self.keys.add(keys)
        waiting = self.waiting
        if waiting is not None:
            waiting.taken_in(keys)
        if self.touched.lacks(keys):
            raise self._fail(self.keyed.name, "a new key was not among those to be stored")

    def giving_away(self, keys: Sequence[Any]) -> None:
        """As in `Watcher`. What was stored of them before must not be gone on from: the next
        snapshot is a full one.
        """
        waiting = self.waiting
        if waiting is not None:
            self._encode(self, waiting.giving_away(keys), True)
        self.keys.remove(keys)
        self.touched.everything()

    def expect(self) -> None:
        """How the next checkpoint will be, as far as the chain tells."""
        self.touched.small = self.chain.is_small
        if not self.chain.files:
            self.touched.everything()

    def begin_cut(self, *, last: bool) -> _Cut:
        """The values are to be kept as they are now. Raises RunFailure where books and states
        differ.
        """
        keyed = self.keyed
        keyed.note_created()
        if self.keys.count != len(keyed.objects):
            what = (
                f"{self.keys.count} keys have come and not gone, and {len(keyed.objects)} are there"
            )
            raise self._fail(keyed.name, what)
        touched = self.touched.start_anew()
        waiting: Waiting
        if touched is None or self.chain.wants_base(last=last):
            waiting = EveryKey(keyed, self.keys, self._litter)
            if touched:
                self._litter.add(touched)
        else:
            waiting = TouchedKeys(touched, keyed.objects)
        self.cut = _Cut(waiting, keyed)
        return self.cut

    def settle(self, part: StatePart, *, kept: bool) -> None:
        """The checkpoint that this was a part of is real, or never will be."""
        if not kept:
            self.touched.everything()
        elif part.full:
            self.chain = _Chain([part.file] if part.file else [])
        elif part.file is not None:
            self.chain.add(part.file)
        self.cut = None
        self.expect()


class _Checkpoint:
    """One checkpoint. moves: states move at its cut. error, sink_error: as in `Part`."""

    def __init__(self, barrier: int, *, last: bool, moves: bool) -> None:
        self.barrier = barrier
        self.last = last
        self.moves = moves
        self.error = ""
        self.sink_error = ""
        self.is_synced = False


class Snapshots:
    """The snapshots of one worker, one barrier after the other.

    folder: where they go. prefix: in the names of the files, so that no other run or attempt has
    the same. states: state name -> the states. chains: what each was restored from, where the next
    delta may follow on that. background: does what waits for the disk. encoder: of states.
    """

    def __init__(
        self,
        folder: Path,
        worker: int,
        states: Mapping[str, KeyedStates],
        chains: Mapping[str, Chain],
        *,
        background: Background,
        prefix: str = "",
        encoder: StateEncoder | None = None,
    ) -> None:
        self._folder = folder
        self._worker = worker
        self._prefix = prefix
        self._litter = Litter()
        self._encoder = encoder or StateEncoder()
        self._background = background
        self._blocks_given = self._blocks_done = 0
        self._checkpoint: _Checkpoint | None = None
        self._last: dict[str, StatePart] = {}
        self._states = {
            name: _State(keyed, chains.get(name), self._litter, self._encode, self._wrong)
            for name, keyed in states.items()
        }

    # Between batches

    @property
    def active(self) -> bool:
        """Whether a checkpoint is being taken."""
        return self._checkpoint is not None

    def slice(self, away_s: float = 0.0) -> None:
        """Encode for a while. away_s: how long batches have had."""
        begun_s = clock.monotonic_s()
        end_s = begun_s + min(max(SLICE_S, away_s), SLICE_S_MAX)
        for state in self._states.values():
            while (waiting := state.waiting) is not None:
                if self._blocks_given - self._blocks_done > QUEUE_BLOCKS_MAX:
                    return
                assert state.cut is not None
                cut = state.cut
                self._encode(state, waiting.some(cut.keys_at_once), False)
                now_s = clock.monotonic_s()
                if now_s - begun_s < GROUP_S:
                    cut.keys_at_once = min(2 * cut.keys_at_once, GROUP_KEYS_MAX)
                elif now_s - begun_s > 2 * GROUP_S:
                    cut.keys_at_once = max(cut.keys_at_once // 2, 1)
                if now_s > end_s:
                    return
                begun_s = now_s

    # One checkpoint

    def begin(self, barrier: int, *, last: bool = False, moves: bool = False) -> None:
        """A barrier has opened. moves: at its cut states go to other workers, so what is stored
        later is not gone on from what is stored now: the next snapshot of each state is a full one.
        """
        self._checkpoint = _Checkpoint(barrier, last=last, moves=moves)

    def cut(self, state: str) -> None:
        """Every stage that works on a state is aligned: its values are to be kept as they are.

        Raises RunFailure where books and states differ.
        """
        checkpoint = self._checkpoint
        assert checkpoint is not None
        one = self._states[state]
        one.begin_cut(last=checkpoint.last)
        if checkpoint.moves:
            one.touched.everything()

    def sync(self, sinks: Iterable[Any]) -> None:
        """Nothing more will be cut: finish the files, and what sinks have prepared."""
        assert self._checkpoint is not None
        for state in self._states.values():
            self._hand_on(state)
        self._background(partial(self._finish, self._checkpoint, self._cuts, list(sinks)))

    @property
    def all_encoded(self) -> bool:
        """Whether no key waits."""
        return all(state.waiting is None for state in self._states.values())

    @property
    def synced(self) -> bool:
        """Whether everything is durable (or has failed to become it)."""
        return self._checkpoint is not None and self._checkpoint.is_synced

    def part(self, splits: dict[int, Position], sinks: dict[str, Any]) -> Part:
        """What to report. Ends the checkpoint here; `settle` is still to come.

        Raises RunFailure where other keys were stored than were to be.
        """
        checkpoint = self._checkpoint
        assert checkpoint is not None
        self._last = {}
        for name, state in self._states.items():
            cut = state.cut
            if cut is not None:
                what = "" if checkpoint.error else cut.complaint()
                if what:
                    raise self._wrong(name, what)
                self._last[name] = StatePart(cut.file, cut.waiting.full, cut.keys, cut.keys_hash)
        part = Part(checkpoint.barrier, splits, sinks, self._last,
                    tuple(sorted(self._encoder.by_pickle)), checkpoint.error,
                    checkpoint.sink_error)  # fmt: skip
        self._checkpoint = None
        return part

    def settle(self, *, kept: bool) -> None:
        """The checkpoint is real, or never will be: then its keys go into the next one."""
        for name, part in self._last.items():
            self._states[name].settle(part, kept=kept)
        self._last = {}

    # Encoding and writing

    @property
    def _cuts(self) -> list[_Cut]:
        return [state.cut for state in self._states.values() if state.cut is not None]

    def _encode(self, state: _State, page: Page, ahead: bool) -> None:
        cut = state.cut
        assert cut is not None
        for start in range(0, len(page.keys), GROUP_KEYS_MAX):
            part = page.part(start, start + GROUP_KEYS_MAX)
            try:
                encoded = self._encoder.encode(part.states)
            except Exception as error:
                raise self._unstorable(state.keyed.name, part, error) from error
            group = Group(part.packed_keys(), encoded, len(part.keys), ahead)
            cut.groups.append(group)
            cut.groups_bytes += len(group.keys) + len(group.states)
            cut.stored += len(part.keys)
            if not ahead:
                cut.in_turn += len(part.keys)
                cut.in_turn_hash += part.keys_hash() if cut.waiting.full else 0
            if cut.groups_bytes > BLOCK_BYTES:
                self._hand_on(state)

    def _hand_on(self, state: _State) -> None:
        cut = state.cut
        if cut is not None and cut.groups:
            assert self._checkpoint is not None
            job = partial(self._write, self._checkpoint, cut, state.keyed.name, cut.groups)
            cut.groups, cut.groups_bytes = [], 0
            self._blocks_given += 1
            self._background(job)

    def _wrong(self, state: str, what: str) -> RunFailure:
        """What was counted differs: nothing may be built on it."""
        return RunFailure({
            "kind": "state",
            "step": state,
            "what": f"internal error: state {state} of worker {self._worker}: {what}",
            "hint": "please report this; run it again, and it goes on from the last checkpoint, "
                    "which does not have it",
        })  # fmt: skip

    def _unstorable(self, state: str, page: Page, error: Exception) -> RunFailure:
        """Which of the keys it was."""
        hint = "keep plain data in states (no files, locks or lambdas), or run with --no-checkpoint"
        for key, value in zip(page.keys, page.states, strict=True):
            try:
                self._encoder.encode([value])
            except Exception as found:
                kind = type(value)
                return RunFailure({
                    "kind": "state",
                    "step": state,
                    "key": shorten(key),
                    "what": f"a state of type {kind.__module__}.{kind.__qualname__} can't be "
                            f"stored: {found}",
                    "hint": getattr(found, "hint", hint),
                })  # fmt: skip
        return RunFailure({"kind": "state", "step": state, "what": str(error), "hint": hint})

    # In the background

    def _write(self, checkpoint: _Checkpoint, cut: _Cut, state: str, groups: list[Group]) -> None:
        """A block. Where there is no room, most likely, the checkpoint fails, and not the run."""
        try:
            if not checkpoint.error:
                if cut.writer is None:
                    which = f"-{self._prefix}" if self._prefix else ""
                    name = f"c{checkpoint.barrier:08}{which}-w{self._worker}-{state}.snap"
                    cut.writer = BlockWriter(self._folder / name)
                cut.writer.add(groups)
        except Exception as error:
            checkpoint.error = _said(error)
        self._blocks_done += 1

    def _finish(self, checkpoint: _Checkpoint, cuts: list[_Cut], sinks: list[Any]) -> None:
        """A file whose fsync has failed is not tried again: the kernel has dropped its pages."""
        writers = [(cut, cut.writer) for cut in cuts if cut.writer is not None]
        for cut, writer in writers:
            try:
                if not checkpoint.error:
                    cut.file = writer.finish()
            except Exception as error:
                checkpoint.error = _said(error)
        if checkpoint.error:
            for _, writer in writers:
                writer.abandon()
        for sink in sinks:
            try:
                sink.sync()
            except Exception as error:
                checkpoint.sink_error = checkpoint.sink_error or _said(error)
        checkpoint.is_synced = True


def _said(error: Exception) -> str:
    return say(error) or type(error).__name__
