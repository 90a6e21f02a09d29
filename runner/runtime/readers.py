"""The splits that a worker reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from roo import api, clock
from roo.api import ConnectorError, Read, Reader, Split
from roo.core.position import START, Position
from roo.plan.model import Plan
from roo.runtime.failures import RunFailure, render, say, shorten, users_frames
from roo.runtime.outlets import check_plain, connector_failure, make_codec, make_source


class Readers:
    """Opens splits, reads them without blocking, and knows when to look again.

    messages, bytes_read: so far, by source name. ended: splits at their ends, and where that is.
    done_bytes: of each split, what was skipped and what has been done with since its start.
    """

    def __init__(
        self,
        plan: Plan,
        splits: Mapping[int, tuple[str, Split]],
        stood: Mapping[int, Position],
    ) -> None:
        """stood: where splits go on from, by split; those without one begin at their start."""
        self._plan = plan
        self._stood = dict(stood)
        self._splits = splits
        self._offsets: dict[int, int | None] = {}
        self._readers: dict[int, Reader] = {}
        self._retry_at_s: dict[int, float] = {}
        self.source_index = {s.name: i for i, s in enumerate(plan.spec.sources)}
        self.messages = {s.name: 0 for s in plan.spec.sources}
        self.bytes_read = {s.name: 0 for s in plan.spec.sources}
        self.ended: dict[int, Position] = {}
        self.done_bytes: dict[int, tuple[int, int]] = {}

    def source_of(self, split: int) -> str:
        """The name of the source that a split is part of."""
        return self._splits[split][0]

    def open(self, mine: tuple[int, ...], context: api.Context) -> None:
        """Open the splits assigned to this worker. Raises RunFailure."""
        for index in mine:
            name, split = self._splits[index]
            spec, stood = self._plan.source(name), self._stood.get(index, START)
            here = replace(context, name=name, memory=stood.memory)
            try:
                reader = make_source(spec).open(split, stood.offset, make_codec(spec.codec), here)
                _check_type(reader, Reader, "open")
            except ConnectorError as error:
                if not stood.ended:
                    raise RunFailure(connector_failure("source", name, error)) from error
                context.log(f"{error.message}: nothing of it is needed, it was read to its end")
                reader = _Ended(stood, split.size_bytes or 0)
            except Exception as error:
                raise self._plugin_failure(name, error) from error
            self._readers[index] = reader
            self._offsets[index] = stood.offset
            self.done_bytes[index] = reader.skipped_bytes, reader.skipped_bytes

    def give(self, splits: Iterable[int]) -> None:
        """Let go of splits that another worker reads from now on."""
        for split in splits:
            self._readers.pop(split).close()
            self.done_bytes.pop(split, None)
            self._offsets.pop(split, None)
            self._retry_at_s.pop(split, None)
            self.ended.pop(split, None)

    def take(self, positions: Mapping[int, Position], context: api.Context) -> None:
        """Go on with splits that another worker has read. Raises RunFailure."""
        self._stood |= positions
        self.open(tuple(positions), context)

    def read(self, split: int, batch_bytes: int = api.BATCH_BYTES) -> Read | None:
        """What the split has now, about so much at most; None: nothing. Raises RunFailure."""
        name = self.source_of(split)
        reader = self._readers[split]
        reader.batch_bytes = batch_bytes
        try:
            read = reader.read()
            if read is not None:
                _check_type(read, Read, "read")
        except ConnectorError as error:
            raise RunFailure(connector_failure("source", name, error)) from error
        except Exception as error:
            raise self._plugin_failure(name, error) from error
        if read is not None:
            self._offsets[split] = read.offset
            self.messages[name] += len(read.messages) + len(read.failures)
            self.bytes_read[name] += read.bytes_read
            skipped, done = self.done_bytes[split]
            self.done_bytes[split] = skipped, done + read.bytes_read
            if read.end:
                self.ended[split] = Position(read.offset, True, self._memory(split))
        elif reader.fileno() is None:
            wait_s = reader.ready_in_ms() / 1000
            self._retry_at_s[split] = clock.monotonic_s() + wait_s
        return read

    def positions(self) -> dict[int, Position]:
        """Where each open split stands. Raises RunFailure."""
        return {
            split: self.ended.get(split) or Position(offset, False, self._memory(split))
            for split, offset in self._offsets.items()
        }

    def _memory(self, split: int) -> Any:
        name = self.source_of(split)
        try:
            memory = self._readers[split].memory()
            if memory is not None and self._plan.source(name).type == "plugin":
                check_plain(memory, "what `memory` returns")
        except ConnectorError as error:
            raise RunFailure(connector_failure("source", name, error)) from error
        except Exception as error:
            raise self._plugin_failure(name, error) from error
        return memory

    def fileno(self, split: int) -> int | None:
        """The descriptor to poll for a split that had nothing; None: go by the clock."""
        return self._readers[split].fileno()

    def due(self, idle: frozenset[int]) -> tuple[list[int], float]:
        """Of the idle splits without a descriptor: those to ask again now, and the wait in ms
        until the next one is due (-1: none is waiting).
        """
        now_s = clock.monotonic_s()
        waits = {s: at - now_s for s, at in self._retry_at_s.items() if s in idle}
        ready = [split for split, wait_s in waits.items() if wait_s <= 0]
        for split in ready:
            del self._retry_at_s[split]
        later = [wait_s for wait_s in waits.values() if wait_s > 0]
        return ready, min(later) * 1000 if later else -1

    def close(self) -> None:
        """Close every reader. Raises RunFailure."""
        for split, reader in self._readers.items():
            try:
                reader.close()
            except Exception as error:
                raise self._plugin_failure(self.source_of(split), error) from error
        self._readers.clear()

    def _plugin_failure(self, name: str, error: Exception) -> RunFailure:
        failure: dict[str, Any] = {
            "kind": "source",
            "step": name,
            "what": say(error),
            "traceback": render(users_frames(error.__traceback__)),
            "hint": "a source that raises can't go on: mend it",
        }
        return RunFailure(failure)


class _Ended(Reader):
    """In place of one whose split was at its end, and can't be opened any more."""

    def __init__(self, stood: Position, size_bytes: int) -> None:
        self.skipped_bytes = size_bytes
        self._stood = stood

    def read(self) -> Read:
        offset = self._stood.offset or 0
        return Read([], offset, offset, end=True)

    def memory(self) -> Any:
        return self._stood.memory


def _check_type(made: Any, wanted: type, by: str) -> None:
    """Raise ConnectorError for what a plugin's method should not have returned."""
    if not isinstance(made, wanted):
        what = f"`{by}` returned {shorten(made)} ({type(made).__name__})"
        raise ConnectorError(what, f"let it return a roo.api.{wanted.__name__}")
