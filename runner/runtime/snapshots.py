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

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from roo import clock
from roo.checkpoint.blocks import BlockWriter, Group
from roo.checkpoint.encoding import StateEncoder
from roo.core.checkpoints import FileInfo, Part, StatePart
from roo.core.position import Position
from roo.runtime.failures import RunFailure, shorten
from roo.runtime.keys_in_turn import (
    SMALL_BYTES,
    AllKeys,
    EveryKey,
    Litter,
    Page,
    Touched,
    TouchedKeys,
    states_of,
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
            self.add(file, full=not self.files)

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

    def add(self, file: FileInfo, *, full: bool) -> None:
        """The next one. full: it is the base of a new chain."""
        if full:
            self.files, self.delta_bytes = 0, 0
            self.base_bytes, self.base_keys = file.size_bytes, file.keys
        else:
            self.delta_bytes += file.size_bytes
        self.files += 1


class _Cut:
    """One state being stored. waiting: whose value at the cut is not encoded yet. groups: encoded,
    and not yet given to the thread.
    """

    def __init__(self, waiting: TouchedKeys | EveryKey, keys: int) -> None:
        self.waiting = waiting
        self.keys = keys
        self.keys_at_once = GROUP_KEYS_FIRST
        self.groups: list[Group] = []
        self.groups_bytes = 0
        self.writer: BlockWriter | None = None
        self.file: FileInfo | None = None


class Snapshots:
    """The snapshots of one worker, one barrier after the other.

    states: state name -> key -> state object. chains: what each state was restored from, where the
    next delta may follow on that.
    """

    def __init__(
        self,
        folder: Path,
        worker: int,
        states: Mapping[str, dict[Any, Any]],
        chains: Mapping[str, Iterable[FileInfo]],
    ) -> None:
        self._folder = folder
        self._worker = worker
        self._states = states
        self._chains = {name: _Chain(chains.get(name, ())) for name in states}
        self._keys = {name: AllKeys(of) for name, of in states.items()}
        self._litter = Litter()
        self._touched = {name: Touched(of, self._litter) for name, of in states.items()}
        for name, chain in self._chains.items():
            self._expect(name, chain)
        self._cuts: dict[str, _Cut] = {}
        self._barrier: int | None = None
        self._last_one = False
        self._encoder = StateEncoder()
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._error = ""
        self._synced = threading.Event()
        self._last: dict[str, StatePart] = {}
        threading.Thread(target=self._write, name="snapshots", daemon=True).start()

    # Between batches

    def touch(self, state: str, keys: list[Any]) -> None:
        """A batch is about to run over these keys."""
        cut = self._cuts.get(state)
        if cut is not None and cut.waiting.left:
            first = cut.waiting.ahead(keys)
            if first:
                self._encode(state, cut, states_of(first, self._states[state]))
        self._touched[state].note(keys)
        self._litter.tidy()
        self._keys[state].note_new()
        self._keys[state].tidy()

    def moving(self, state: str, keys: list[Any]) -> None:
        """Keys are about to come or go."""
        self.touch(state, keys)
        self._keys[state].going(keys)

    @property
    def active(self) -> bool:
        """Whether a checkpoint is being taken."""
        return self._barrier is not None

    def slice(self, away_s: float = 0.0) -> None:
        """Encode for a while. away_s: how long batches have had."""
        begun_s = clock.monotonic_s()
        end_s = begun_s + min(max(SLICE_S, away_s), SLICE_S_MAX)
        for state, cut in self._cuts.items():
            while cut.waiting.left:
                if self._queue.qsize() > QUEUE_BLOCKS_MAX:
                    return
                self._encode(state, cut, cut.waiting.some(cut.keys_at_once))
                now_s = clock.monotonic_s()
                if now_s - begun_s < GROUP_S:
                    cut.keys_at_once = min(2 * cut.keys_at_once, GROUP_KEYS_MAX)
                elif now_s - begun_s > 2 * GROUP_S:
                    cut.keys_at_once = max(cut.keys_at_once // 2, 1)
                if now_s > end_s:
                    return
                begun_s = now_s

    # One checkpoint

    def begin(self, barrier: int, *, last: bool = False) -> None:
        """A barrier has opened."""
        self._barrier = barrier
        self._last_one = last
        self._error = ""
        self._synced.clear()

    def cut(self, state: str) -> None:
        """Every stage that works on a state is aligned: its values are to be kept as they are."""
        touched = self._touched[state].start_anew()
        keys = len(self._states[state])
        if touched is None or self._chains[state].wants_base(last=self._last_one):
            self._cuts[state] = _Cut(EveryKey(self._keys[state], self._litter), keys)
            if touched:
                self._litter.add(touched)
        else:
            self._cuts[state] = _Cut(TouchedKeys(touched, self._states[state]), keys)

    def sync(self, sinks: Iterable[Any]) -> None:
        """Nothing more will be cut: finish the files, and what sinks have prepared."""
        for state, cut in self._cuts.items():
            self._hand_on(state, cut)
        self._queue.put((list(self._cuts.values()), list(sinks)))

    @property
    def all_encoded(self) -> bool:
        """Whether no key waits."""
        return not any(cut.waiting.left for cut in self._cuts.values())

    @property
    def synced(self) -> bool:
        """Whether everything is durable (or has failed to become it)."""
        return self._synced.is_set()

    def part(self, splits: dict[int, Position], sinks: dict[str, Any]) -> Part:
        """What to report. Ends the checkpoint here; `settle` is still to come."""
        assert self._barrier is not None
        self._last = {
            name: StatePart(cut.file, cut.waiting.full, cut.keys)
            for name, cut in self._cuts.items()
        }
        part = Part(self._barrier, splits, sinks, self._last,
                    tuple(sorted(self._encoder.by_pickle)), self._error)  # fmt: skip
        self._barrier = None
        return part

    def settle(self, *, kept: bool) -> None:
        """The checkpoint is real, or never will be: then its keys go into the next one."""
        for name in self._cuts:
            chain, part = self._chains[name], self._last[name]
            if kept and part.file is not None:
                chain.add(part.file, full=part.full)
            elif not kept:
                self._touched[name].everything()
            self._expect(name, chain)
        self._cuts = {}

    def _expect(self, state: str, chain: _Chain) -> None:
        """How a state's next checkpoint will be, as far as its chain tells."""
        self._touched[state].small = chain.is_small
        if not chain.files:
            self._touched[state].everything()

    # Encoding and writing

    def _encode(self, state: str, cut: _Cut, page: Page) -> None:
        for start in range(0, len(page.keys), GROUP_KEYS_MAX):
            part = page.part(start, start + GROUP_KEYS_MAX)
            try:
                encoded = self._encoder.encode(part.states)
            except Exception as error:
                raise self._unstorable(state, part, error) from error
            group = Group(part.packed_keys(), encoded, len(part.keys))
            cut.groups.append(group)
            cut.groups_bytes += len(group.keys) + len(group.states)
            if cut.groups_bytes > BLOCK_BYTES:
                self._hand_on(state, cut)

    def _hand_on(self, state: str, cut: _Cut) -> None:
        if cut.groups:
            self._queue.put((cut, state, cut.groups))
            cut.groups, cut.groups_bytes = [], 0

    def _unstorable(self, state: str, page: Page, error: Exception) -> RunFailure:
        """Which of the keys it was."""
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
                    "hint": "keep plain data in states (no files, locks or lambdas), or run with "
                            "--no-checkpoint",
                })  # fmt: skip
        return RunFailure({"kind": "state", "step": state, "what": str(error), "hint": ""})

    def _write(self) -> None:
        """The thread."""
        while True:
            job = self._queue.get()
            try:
                if len(job) == 3:
                    self._put(*job)
                else:
                    self._finish(*job)
            except Exception as error:  # no room, most likely: the checkpoint fails, not the run
                self._error = self._error or str(error) or type(error).__name__
            if len(job) == 2:
                self._synced.set()

    def _put(self, cut: _Cut, state: str, groups: list[Group]) -> None:
        if self._error:
            return
        if cut.writer is None:
            name = f"c{self._barrier:08}-w{self._worker}-{state}.snap"
            cut.writer = BlockWriter(self._folder / name)
        cut.writer.add(groups)

    def _finish(self, cuts: list[_Cut], sinks: list[Any]) -> None:
        for cut in cuts:
            if cut.writer is not None and not self._error:
                cut.file = cut.writer.finish()
            elif cut.writer is not None:
                cut.writer.abandon()
        for sink in sinks:
            sink.sync()
