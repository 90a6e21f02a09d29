"""What a checkpoint is: a value, made once, of the one before it and the parts of its barrier.

A manifest is never changed. What is learnt between two barriers (where new outputs begin; that the
run has finished) is a manifest of its own. The parts of a barrier belong to it alone: they are gone
with it, whatever became of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from roo.core.placement import Placement
from roo.core.position import START, Position
from roo.core.table import RING, Table

SINGLE = "single"
"""Under which a sink with a single writer is noted, whichever worker that is."""

# What a worker reports


@dataclass(frozen=True)
class FileInfo:
    """A snapshot file. checksum: xxh3_64 of its bytes. keys: how many it holds."""

    name: str
    size_bytes: int
    checksum: str
    keys: int


class StatePart(NamedTuple):
    """One state of one worker at a cut. file: None where nothing was touched. full: it begins a new
    chain. keys, keys_hash: how many keys it had, and the sum of their hashes modulo 2^64.
    """

    file: FileInfo | None
    full: bool
    keys: int
    keys_hash: int = 0


class Opened(NamedTuple):
    """What a worker has opened, before anything is read or written. splits: by index. sinks: what
    each open writer noted.
    """

    splits: Mapping[int, Position]
    sinks: Mapping[str, Any]


NOTHING_OPENED = Opened({}, {})


class Part(NamedTuple):
    """One worker's part of a checkpoint. splits: by index. sinks: what each open writer noted.
    error: why a snapshot could not be written, or "". sink_error: why a sink could not be made
    durable; that writer is not to be trusted any more.
    """

    barrier: int
    splits: Mapping[int, Position]
    sinks: Mapping[str, Any]
    states: Mapping[str, StatePart]
    by_pickle: tuple[str, ...] = ()
    error: str = ""
    sink_error: str = ""


# What is kept


@dataclass(frozen=True)
class SplitPosition:
    """A split of a source, and where it stood: what `api.Split` has, and a `Position`."""

    source: str
    name: str
    options: Mapping[str, Any]
    size_bytes: int | None
    offset: int | None
    ended: bool
    memory: Any = None

    @property
    def position(self) -> Position:
        """Where it stood."""
        return Position(self.offset, self.ended, self.memory)


@dataclass(frozen=True)
class Chain:
    """One state of one worker: its snapshot files, oldest first, a full one and its deltas.

    intervals: what that worker owned, as (from, to) with `to` exclusive: all its keys are of these.
    keys, keys_hash: as in `StatePart`, at the cut.
    """

    state: str
    worker: int
    intervals: tuple[tuple[int, int], ...]
    files: tuple[FileInfo, ...]
    keys: int = 0
    keys_hash: int = 0


@dataclass(frozen=True)
class Manifest:
    """One checkpoint: all that is needed to go on from it.

    checkpoint: its number; each is greater than those before. shape: the parts of the pipeline that
    stored data depend on, by path; fingerprint: their digest. table: who owns what from here on.
    (Chains are of those who owned it up to here: of a change of workers the old owners.) sinks: by
    sink and writer what each writer there has been noted; a writer that has left is noted for ever.
    left: workers that had left in peace by then. by_pickle: classes whose states are pickled.
    finished: the run had read everything.
    """

    checkpoint: int
    pipeline: str
    fingerprint: str
    shape: Mapping[str, Any]
    written_at: str
    workers: int
    table: Table
    splits: tuple[SplitPosition, ...]
    chains: tuple[Chain, ...]
    state_versions: Mapping[str, int]
    sinks: Mapping[str, Mapping[str, Any]]
    left: tuple[int, ...] = ()
    by_pickle: tuple[str, ...] = ()
    finished: bool = False

    @property
    def files(self) -> list[FileInfo]:
        """Every file this checkpoint needs."""
        return [file for chain in self.chains for file in chain.files]

    @property
    def keys(self) -> dict[str, int]:
        """How many keys each state has."""
        counted = dict.fromkeys(self.state_versions, 0)
        for chain in self.chains:
            counted[chain.state] = counted.get(chain.state, 0) + chain.keys
        return counted

    @property
    def is_at_start(self) -> bool:
        """Whether nothing has been read by then: it has nothing but the positions of outputs."""
        return not self.chains and all(s.offset is None and not s.ended for s in self.splits)

    @property
    def size_bytes(self) -> int:
        """What its files take together."""
        return sum(file.size_bytes for file in self.files)


# How the next one is made


class NotWhole(Exception):
    """The parts of a barrier make no checkpoint: something is missing, or there twice.

    This must not happen. The run ends before anything is built on it.
    """


@dataclass(frozen=True)
class Pipeline:
    """What of a run every manifest says, and what its manifests are checked by.

    splits: index -> (source, name, options, size in bytes). single: sinks with a single writer.
    """

    name: str
    fingerprint: str
    shape: Mapping[str, Any]
    state_versions: Mapping[str, int]
    splits: Mapping[int, tuple[str, str, Mapping[str, Any], int | None]]
    single: frozenset[str] = field(default_factory=frozenset)


def first_manifest(
    pipeline: Pipeline,
    place: Placement,
    number: int,
    opened: Mapping[int, Opened],
    written_at: str,
) -> Manifest:
    """The one before the first message. opened: by worker.

    Without it a crash before the first checkpoint could not tell old content of an output from new
    content, nor a file that is read from one that takes its name, nor a folder that has lost its
    manifests from one that never had any.
    """
    return Manifest(
        number, pipeline.name, pipeline.fingerprint, pipeline.shape, written_at,
        len(place.workers), place.table, _positions(pipeline, _stands(opened)), (),
        pipeline.state_versions, _by_sink(pipeline, opened),
    )  # fmt: skip


def with_ends(
    pipeline: Pipeline,
    before: Manifest,
    number: int,
    opened: Mapping[int, Opened],
    written_at: str,
) -> Manifest | None:
    """The same checkpoint as a manifest of its own that knows where new splits and new outputs
    begin as well, and that whoever opened one has not left: it may have the number of one that had,
    in a run before. None: it knows all of that already.
    """
    known = before.sinks
    new = {
        sink: {by: noted for by, noted in writers.items() if by not in known.get(sink, {})}
        for sink, writers in _by_sink(pipeline, opened).items()
    }
    stood = {(s.source, s.name): s for s in before.splits if s.position != START}
    splits = tuple(
        stood.get((split.source, split.name), split)
        for split in _positions(pipeline, _stands(opened))
    )
    left = tuple(sorted(set(before.left).difference(opened)))
    if not any(new.values()) and splits == before.splits and left == before.left:
        return None
    sinks = {s: {**known.get(s, {}), **new.get(s, {})} for s in [*known, *new]}
    return replace(
        before, checkpoint=number, splits=splits, sinks=sinks, left=left, written_at=written_at
    )


def next_manifest(
    pipeline: Pipeline,
    before: Manifest,
    parts: Mapping[int, Part],
    cut: Placement,
    after: Placement,
    written_at: str,
) -> Manifest:
    """The checkpoint of a barrier. parts: by worker, of all that worked up to the cut.

    cut: who had what up to it; after: who has what from there on, the same unless it carries a
    change. Raises NotWhole.
    """
    _need(set(parts) == set(cut.workers), f"parts of {sorted(parts)}, workers {cut.workers}")
    barriers = {part.barrier for part in parts.values()}
    _need(len(barriers) == 1, f"parts of several barriers: {sorted(barriers)}")
    number = barriers.pop()
    _need(number > before.checkpoint, f"barrier {number} after checkpoint {before.checkpoint}")
    stands = _stands(parts)
    missing = sorted(set(pipeline.splits) - set(stands))
    _need(not missing, f"nobody says where splits {missing} stand")
    return replace(
        before,
        checkpoint=number,
        fingerprint=pipeline.fingerprint,
        shape=pipeline.shape,
        written_at=written_at,
        workers=len(after.workers),
        table=after.table,
        splits=_positions(pipeline, stands),
        chains=tuple(_chains(pipeline, before, parts, cut)),
        state_versions=pipeline.state_versions,
        sinks=_merged(pipeline, before, parts),
        left=tuple(sorted({*before.left, *cut.workers}.difference(after.workers))),
        by_pickle=tuple(sorted({name for part in parts.values() for name in part.by_pickle})),
    )


def finished(before: Manifest, number: int, written_at: str) -> Manifest:
    """The last checkpoint again, as one of a run that has read and written everything."""
    return replace(before, checkpoint=number, finished=True, written_at=written_at)


def own_chain(
    before: Manifest, state: str, worker: int, intervals: Iterable[tuple[int, int]]
) -> Chain | None:
    """The chain that a delta of a worker follows on: its own, of the very same intervals."""
    wanted = tuple(intervals)
    for chain in before.chains:
        if (chain.state, chain.worker, chain.intervals) == (state, worker, wanted):
            return chain
    return None


def _chains(
    pipeline: Pipeline, before: Manifest, parts: Mapping[int, Part], cut: Placement
) -> list[Chain]:
    found = []
    for worker, part in sorted(parts.items()):
        intervals = tuple((start, end) for start, end, _ in cut.table.intervals(worker))
        _need(
            set(part.states) == set(pipeline.state_versions),
            f"worker {worker} reports the states {sorted(part.states)}",
        )
        for name, state in sorted(part.states.items()):
            files: tuple[FileInfo, ...] = ()
            if not state.full:
                chain = own_chain(before, name, worker, intervals)
                _need(chain is not None, f"a delta of state {name} of worker {worker}, no chain")
                files = chain.files if chain is not None else ()
            files = (*files, *([state.file] if state.file is not None else []))
            _need(bool(files) or not state.keys,
                  f"state {name} of worker {worker} has {state.keys} keys and no file")  # fmt: skip
            if files:
                found.append(Chain(name, worker, intervals, files, state.keys, state.keys_hash))
    return found


def _merged(
    pipeline: Pipeline, before: Manifest, parts: Mapping[int, Part]
) -> dict[str, dict[str, Any]]:
    """By sink and writer, the newest of each: also of writers that have left."""
    noted = _by_sink(pipeline, parts)
    return {s: {**before.sinks.get(s, {}), **noted.get(s, {})} for s in [*before.sinks, *noted]}


def _by_sink(pipeline: Pipeline, of: Mapping[int, Part | Opened]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for worker, had in sorted(of.items()):
        for name, position in had.sinks.items():
            by = SINGLE if name in pipeline.single else str(worker)
            writers = found.setdefault(name, {})
            _need(by not in writers, f"sink {name} has a second writer, worker {worker}")
            writers[by] = position
    return found


def _stands(of: Mapping[int, Part | Opened]) -> dict[int, Position]:
    stands: dict[int, Position] = {}
    for worker, had in of.items():
        for split, stand in had.splits.items():
            _need(split not in stands, f"split {split} is read by worker {worker} and another one")
            stands[split] = stand
    return stands


def _positions(pipeline: Pipeline, stands: Mapping[int, Position]) -> tuple[SplitPosition, ...]:
    return tuple(
        SplitPosition(*split, *stands.get(index, START))
        for index, split in sorted(pipeline.splits.items())
    )


def _need(holds: bool, what: str) -> None:
    if not holds:
        raise NotWhole(what)


# Which are kept


def to_keep(numbers: Iterable[int], keep: int) -> set[int]:
    """Of the checkpoints there are, those that stay: the newest `keep`, and one at least."""
    return set(sorted(numbers, reverse=True)[: max(keep, 1)])


def garbage(
    names: Mapping[str, int], manifests: Iterable[Manifest], *, open_barrier: int | None
) -> list[str]:
    """Of the snapshot files there are (name -> barrier), those that nobody needs any more.

    manifests: of all checkpoints there are, every one of them. open_barrier: the files of this
    barrier, and of later ones, may yet be named.
    """
    named = {file.name for manifest in manifests for file in manifest.files}
    return sorted(
        name
        for name, barrier in names.items()
        if name not in named and (open_barrier is None or barrier < open_barrier)
    )


def keys_differ(state: str, worker: int, keys: tuple[int, int], found: tuple[int, int]) -> str:
    """What is said where two counts of the same keys differ; "" where they do not.

    keys, found: (how many, sum of hashes) as they should be and as they are.
    """
    if (keys[0], keys[1] % RING) == (found[0], found[1] % RING):
        return ""
    if keys[0] == found[0]:
        return f"state {state} of worker {worker} has {keys[0]} keys, and not the same ones"
    return f"state {state} of worker {worker} has {found[0]} keys, and should have {keys[0]}"
