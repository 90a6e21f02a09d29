"""Finding the message that ends its worker, when the worker can no longer tell.

A worker writes what it is about to run into a page of memory that outlives it (a mapped file in
the run's folder): a few bytes for each batch. After a death the coordinator reads the note; the
next attempt runs what descends from the same read one message at a time, with a note for each.
A message that is in the notes of two deaths in a row is poison: from then on it is not run, but
given to the error policy.

One death proves nothing (it may have come from outside, as `kill -9` does), which is why a message
has to be caught twice.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle
import struct
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from xxhash import xxh3_64_intdigest

from roo.core.batch import Origin
from roo.runtime.failures import shorten

_BATCH = struct.Struct("<iqqq")
_NONE, _ONE_BATCH, _ONE_MESSAGE = 0, 1, 2
PAGE_BYTES = 4096


class Message(NamedTuple):
    """A message as it can be found again after a restart: its place, its content and, among
    equals, its turn. text: for people.
    """

    stage: int
    split: int
    digest: int
    turn: int
    text: str


class Note(NamedTuple):
    """What a worker was running when it ended: a batch of a read, or one message of it."""

    stage: int
    split: int
    start: int
    end: int
    message: Message | None


class Suspicion(NamedTuple):
    """What the next attempt is to be careful with. notes: of the deaths so far; poison: messages
    that are not to be run any more.
    """

    notes: tuple[Note, ...] = ()
    poison: frozenset[Message] = frozenset()

    def concerns(self, stage: int, origin: Origin) -> bool:
        """Whether a batch descends from a read that something was running when it ended."""
        return any(
            note.stage == stage
            and note.split == origin.split
            and note.start < origin.end
            and origin.start < note.end
            for note in self.notes
        )


def path_of(folder: str, worker: int) -> Path:
    """Where a worker of the run in `folder` keeps its notes."""
    return Path(folder) / f"note-{worker}"


class Notebook:
    """A worker's page. turns: how many equal messages were noted so far."""

    def __init__(self, path: Path) -> None:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.ftruncate(file, PAGE_BYTES)
            self._page = mmap.mmap(file, PAGE_BYTES)
        finally:
            os.close(file)
        self._turns: Counter[tuple[int, int, int]] = Counter()

    def batch(self, stage: int, origin: Origin) -> None:
        """A batch is about to run."""
        _BATCH.pack_into(self._page, 1, stage, origin.split, origin.start, origin.end)
        self._page[0] = _ONE_BATCH

    def message(self, stage: int, origin: Origin, key: Any, message: Any) -> Message:
        """One message of the batch is about to run: how it is known."""
        digest = xxh3_64_intdigest(pickle.dumps((key, message), 5))
        turn = self._turns[stage, origin.split, digest]
        self._turns[stage, origin.split, digest] += 1
        text = shorten(message)
        known = Message(stage, origin.split, digest, turn, text)
        packed = pickle.dumps(known, 5)
        start = 1 + _BATCH.size
        self._page[start : start + len(packed)] = packed
        self._page[0] = _ONE_MESSAGE
        return known

    def end(self) -> None:
        """Nothing is running."""
        self._page[0] = _NONE


def read_note(path: Path) -> Note | None:
    """What the note of a dead worker says; None: nothing was running. Removes it."""
    with contextlib.suppress(OSError):
        page = path.read_bytes()
        path.unlink()
        if len(page) == PAGE_BYTES and page[0] != _NONE:
            message = pickle.loads(page[1 + _BATCH.size :]) if page[0] == _ONE_MESSAGE else None
            stage, split, start, end = _BATCH.unpack_from(page, 1)
            return Note(stage, split, start, end, message)
    return None


class Suspects:
    """The coordinator's side: notes in, after each death; a suspicion for the next attempt."""

    def __init__(self) -> None:
        self.suspicion = Suspicion()
        self._last: Message | None = None
        self._offsets: dict[int, int] = {}

    def take(self, note: Note | None) -> Message | None:
        """A worker is lost. Returns the message that has just been found to be poison."""
        message = note.message if note else None
        caught = message is not None and message == self._last
        self._last = message
        if note is None:
            return None
        notes, poison = self.suspicion
        if note not in notes:
            notes = (*notes, note)
        if caught and message is not None:
            poison |= {message}
        self.suspicion = Suspicion(notes, poison)
        return message if caught else None

    def committed(self, offsets: dict[int, int | None]) -> None:
        """A checkpoint is real: what was read before its offsets is over. So is all that a split
        has had whose offset is less than before: its reader has gone on to another file.
        """
        before = self._offsets
        self._offsets = {s: offset for s, offset in offsets.items() if offset is not None}
        notes = tuple(
            note
            for note in self.suspicion.notes
            if (offset := offsets.get(note.split)) is None
            or before.get(note.split, 0) <= offset < note.end
        )
        left = {(note.stage, note.split) for note in notes}
        poison = {m for m in self.suspicion.poison if (m.stage, m.split) in left}
        self.suspicion = Suspicion(notes, frozenset(poison))
