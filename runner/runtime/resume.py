"""Going on from a checkpoint: states, offsets and positions, for any number of workers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from roo.api import Sink, Split
from roo.checkpoint.allowed import Allowed
from roo.checkpoint.blocks import Damaged
from roo.checkpoint.encoding import StateDecoder, StateMismatch
from roo.checkpoint.restore import Decode, restore
from roo.core.checkpoints import SINGLE, Chain, Manifest, own_chain
from roo.core.position import Position
from roo.core.table import Table
from roo.plan.model import Plan
from roo.plan.resolve import resolve
from roo.runtime.failures import RunFailure
from roo.runtime.stages import Stages


def differences(manifest: Manifest, plan: Plan) -> list[str]:
    """Why a checkpoint does not fit a pipeline, a line each."""
    found = []
    now = plan.shape
    for path in sorted({*manifest.shape, *now}):
        before, after = manifest.shape.get(path), now.get(path)
        if before != after:
            found.append(f"{path} was {_said(before)} and is {_said(after)}")
    for state in plan.spec.states:
        stored = manifest.state_versions.get(state.name, state.version)
        if stored > state.version:
            found.append(f"states.{state.name} was stored by version {stored} of its shape and the "
                         f"file says {state.version}")  # fmt: skip
        elif stored < state.version and not state.migrate:
            found.append(f"states.{state.name}.version was {stored} and is {state.version}, and it "
                         "has no `migrate`")  # fmt: skip
    return found


def of_same_outputs(manifest: Manifest, plan: Plan) -> Manifest:
    """A checkpoint from before the first message, as one of this plan: there are no offsets and no
    states that would have to fit. Of sinks that write elsewhere now, and sources that read
    otherwise, it knows nothing.
    """
    now = plan.shape
    differ = [p for p in {*manifest.shape, *now} if manifest.shape.get(p) != now.get(p)]
    outputs = {path.split(".")[1] for path in differ if _is_output(path)}
    inputs = {path.split(".")[1] for path in differ if path.startswith("sources.")}
    sinks = {name: noted for name, noted in manifest.sinks.items() if name not in outputs}
    splits = tuple(split for split in manifest.splits if split.source not in inputs)
    return replace(manifest, sinks=sinks, splits=splits, shape=now, fingerprint=plan.fingerprint)


def splits_of(
    manifest: Manifest, plan: Plan, fresh: Mapping[int, tuple[str, Split]]
) -> dict[int, tuple[str, Split]]:
    """The splits of a resumed run: those of the checkpoint, then what has come since."""
    if manifest.is_at_start:
        return dict(fresh)
    known = {(s.source, s.name) for s in manifest.splits}
    cut = {s.source for s in manifest.splits if "start" in s.options}
    rotated = _rotated_since(manifest, plan, fresh)
    splits = [(s.source, Split(s.name, s.options, s.size_bytes)) for s in manifest.splits]
    # A file that was cut into ranges keeps its cuts: its new ones would overlap them.
    splits += [
        (source, split)
        for source, split in fresh.values()
        if (source, split.name) not in known | rotated and source not in cut
    ]
    return dict(enumerate(splits))


def _rotated_since(
    manifest: Manifest, plan: Plan, fresh: Mapping[int, tuple[str, Split]]
) -> set[tuple[str, str]]:
    """Files that are the rest of one that was followed, which may have no successor yet."""
    found = set()
    for source in plan.spec.sources:
        if source.type == "file" and source.options.get("follow"):
            from roo.connectors.file_rotation import without_rotated

            now = {split.name for name, split in fresh.values() if name == source.name}
            there = now.union(s.name for s in manifest.splits if s.source == source.name)
            first = set(map(str, without_rotated(sorted(map(Path, there)))))
            found |= {(source.name, name) for name in now - first}
    return found


def stands_of(manifest: Manifest, splits: Mapping[int, tuple[str, Split]]) -> dict[int, Position]:
    """Where the splits of a resumed run stood, those that the checkpoint knows."""
    stood = {(s.source, s.name): s.position for s in manifest.splits}
    return {
        index: stood[source, split.name]
        for index, (source, split) in splits.items()
        if (source, split.name) in stood
    }


def restore_states(stages: Stages, folder: Path, manifest: Manifest) -> None:
    """Fill the states that this worker owns. Raises RunFailure."""
    for spec in stages.plan.spec.states:
        stored = manifest.state_versions.get(spec.name, spec.version)
        decoded: Decode = StateDecoder(allowed_classes(stages.plan))
        if stored != spec.version and spec.migrate:
            decoded = _migration(spec.migrate, stored)
        try:
            states = restore(
                folder, manifest, spec.name, stages.place[0].table, stages.worker, decoded=decoded
            )
        except Damaged as error:
            raise _failed(spec.name, str(error), "run `roo checkpoint verify`") from error
        except StateMismatch as error:
            raise _failed(spec.name, error.what, error.hint) from error
        except OSError as error:
            what = f"a checkpoint in {folder} can't be read: {os.strerror(error.errno or 0)}"
            raise _failed(spec.name, what, "look after the disk, then run it again") from error
        stages.keyed[spec.name].take_in(list(states), states.values())


def allowed_classes(plan: Plan) -> Allowed:
    """What the stored states of a plan may be of: its plugin modules say it."""
    spec = plan.spec
    references = [
        *(reference for step in spec.steps for reference in (step.call, step.partition)),
        *(reference for state in spec.states for reference in (state.factory, state.migrate)),
        *(source.codec.function for source in spec.sources),
        *(sink.codec.function for sink in spec.sinks),
    ]
    return Allowed([r.partition(":")[0] for r in references if r])


def own_chains(
    manifest: Manifest | None, plan: Plan, table: Table, worker: int
) -> dict[str, Chain]:
    """The chains that the next deltas of a worker may follow on: its own, of the same intervals."""
    if manifest is None:
        return {}
    intervals = [(start, end) for start, end, _ in table.intervals(worker)]
    found = {}
    for state in plan.spec.states:
        chain = own_chain(manifest, state.name, worker, intervals)
        if chain is not None and manifest.state_versions.get(state.name) == state.version:
            found[state.name] = chain
    return found


def knows(manifest: Manifest, sink: str, worker: int) -> bool:
    """Whether a checkpoint knows a writer: one that it does not know has not written yet."""
    return not {SINGLE, str(worker)}.isdisjoint(manifest.sinks.get(sink, {}))


def is_to_roll_back(manifest: Manifest, name: str, sink: Sink, gone: int) -> bool:
    """Whether what a worker wrote that is gone has to go back to a checkpoint.

    Not where it had left in peace by then: what it noted last is all it wrote. Only what it was
    still to commit it may not have come to.
    """
    had_left = gone in manifest.left
    return sink.rolls_back and knows(manifest, name, gone) and (sink.commits or not had_left)


def noted_by(manifest: Manifest, sink: str, worker: int) -> Any:
    """What a writer noted at a checkpoint that knows it."""
    noted = manifest.sinks[sink]
    return noted[SINGLE] if SINGLE in noted else noted[str(worker)]


def _migration(reference: str, version: int) -> Decode:
    from roo.checkpoint.inert import plain_states  # many data types, which few runs have

    migrate = resolve(reference)

    def decoded(data: bytes) -> list[Any]:
        try:
            return [migrate(fields, version) for fields in plain_states(data)]
        except Exception as error:
            what = f"{reference} failed: {type(error).__name__}: {error}"
            raise StateMismatch(what, "mend it: it is given the stored fields and their version") \
                from error  # fmt: skip

    return decoded


def _failed(state: str, what: str, hint: str) -> RunFailure:
    return RunFailure({"kind": "state", "step": state, "what": what, "hint": hint})


def _is_output(path: str) -> bool:
    """Whether a part of a shape says what a sink writes to."""
    return path.startswith("sinks.") and not path.endswith(".from")


def _said(value: str | None) -> str:
    return "not there" if value is None else f"'{value}'"
