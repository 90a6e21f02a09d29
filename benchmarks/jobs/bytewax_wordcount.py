"""The same word count for Bytewax 0.21: run by the interpreter of its own environment.

Written to be as fast as Bytewax lets it be: whole batches of lines in, one Python call per step
and message, no per-item adapter where a batch operator does, one file per worker.
"""
# mypy: disable-error-code="import-not-found, misc"

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import (
    DynamicSink,
    FixedPartitionedSink,
    StatefulSinkPartition,
    StatelessSinkPartition,
)

from benchmarks.jobs.wordcount import Total, count, format, split, word

READ_BYTES = 64 * 1024
FOLLOW_EVERY = timedelta(milliseconds=20)
"""As Roo does."""


class ByteRange(StatefulSourcePartition[str, int]):
    """The lines that start in [start, end) of a file."""

    def __init__(self, path: Path, start: int, end: int) -> None:
        self._file = path.open("rb")
        self._end = end
        if start > 0:
            self._file.seek(start - 1)
            self._file.readline()

    def next_batch(self) -> list[str]:
        left = self._end - self._file.tell()
        if left <= 0:
            raise StopIteration
        return [line.decode() for line in self._file.readlines(min(READ_BYTES, left))]

    def snapshot(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


class RangedFile(FixedPartitionedSource[str, int]):
    """A file in `parts` byte ranges of one size."""

    def __init__(self, path: str, parts: int) -> None:
        self._path = Path(path)
        self._parts = parts

    def list_parts(self) -> list[str]:
        return [str(part) for part in range(self._parts)]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> ByteRange:
        size_bytes, part = self._path.stat().st_size, int(for_part)
        start = size_bytes * part // self._parts
        return ByteRange(self._path, start, size_bytes * (part + 1) // self._parts)


class LineFile(StatelessSinkPartition[tuple[str, str]]):
    def __init__(self, path: Path) -> None:
        self._file = path.open("w")

    def write_batch(self, items: list[tuple[str, str]]) -> None:
        updates = [update for _, update in items]
        updates.append("")
        self._file.write("\n".join(updates))

    def close(self) -> None:
        self._file.close()


class FilePerWorker(DynamicSink[tuple[str, str]]):
    """Worker i writes `PATH.i`."""

    def __init__(self, path: str) -> None:
        self._path = path

    def build(self, step_id: str, worker_index: int, worker_count: int) -> LineFile:
        return LineFile(Path(f"{self._path}.{worker_index}"))


class FollowedFile(StatefulSourcePartition[str, int]):
    """The lines of a file that grows, until `PATH.end` is there."""

    def __init__(self, path: Path, offset: int) -> None:
        self._file = path.open("rb")
        self._file.seek(offset)
        self._end = path.with_name(f"{path.name}.end")
        self._wake: datetime | None = None

    def next_batch(self) -> list[str]:
        ends = self._end.exists()
        lines = self._file.readlines(READ_BYTES)
        if lines and not lines[-1].endswith(b"\n"):  # its writer is not done with it
            self._file.seek(-len(lines.pop()), os.SEEK_CUR)
        if ends and not lines:
            raise StopIteration
        self._wake = None if lines else datetime.now(UTC) + FOLLOW_EVERY
        return [line.decode() for line in lines]

    def next_awake(self) -> datetime | None:
        return self._wake

    def snapshot(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


class Followed(FixedPartitionedSource[str, int]):
    """A file that grows, in one part."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def list_parts(self) -> list[str]:
        return ["0"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> FollowedFile:
        return FollowedFile(self._path, resume_state or 0)


class ResumedFile(StatefulSinkPartition[str, int]):
    """A file that is cut back to where it stood at the snapshot."""

    def __init__(self, path: Path, size_bytes: int | None) -> None:
        self._file = path.open("wb" if size_bytes is None else "r+b", buffering=0)
        self._file.truncate(size_bytes or 0)
        self._file.seek(0, os.SEEK_END)

    def write_batch(self, values: list[str]) -> None:
        updates = [*values, ""]
        data = memoryview("\n".join(updates).encode())
        while data:
            data = data[self._file.write(data) :]

    def snapshot(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


class ResumedFiles(FixedPartitionedSink[str, int]):
    """Part i is `PATH.i`."""

    def __init__(self, path: str, parts: int) -> None:
        self._path = path
        self._parts = parts

    def list_parts(self) -> list[str]:
        return [str(part) for part in range(self._parts)]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> ResumedFile:
        return ResumedFile(Path(f"{self._path}.{for_part}"), resume_state)


def keyed_words(lines: list[str]) -> list[tuple[str, str]]:
    return [(word(message), message) for line in lines for message in split(line)]


def counted(total: Total | None, message: str) -> tuple[Total, tuple[str]]:
    if total is None:
        total = Total()
    return total, (format(count(message, total)),)


def flow(words: str, counts: str, parts: int) -> Any:
    """The dataflow: `words` read in `parts` byte ranges, updates to `counts`.0, `counts`.1 …"""
    return counting(RangedFile(words, parts), FilePerWorker(counts))


def followed(words: str, counts: str, parts: int) -> Any:
    """The same over a file that grows; output that can go on from a snapshot, in as many parts."""
    return counting(Followed(words), ResumedFiles(counts, parts))


def counting(source: Any, sink: Any) -> Any:
    """The word count between any two ends."""
    dataflow = Dataflow("wordcount")
    lines = op.input("lines", dataflow, source)
    messages = op.flat_map_batch("split", lines, keyed_words)
    updates = op.stateful_flat_map("count", messages, counted)
    op.output("counts", updates, sink)
    return dataflow
