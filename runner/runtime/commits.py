"""The coordinator's side of checkpoints: workers' parts in, a manifest out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from roo import clock
from roo.api import Split
from roo.checkpoint.folder import Folder
from roo.checkpoint.manifest import Chain, Manifest, SplitPosition
from roo.core.placement import Placement
from roo.plan.model import Plan
from roo.runtime.resume import SINGLE, own_chains
from roo.runtime.snapshots import Part

Noted = Mapping[int, Mapping[str, Any]]
"""By worker and sink: what an open writer noted (`api.Sink.prepare`)."""


class CommitError(Exception):
    """A checkpoint could not be written: why."""


class Commits:
    """Gathers the parts of each barrier. latest: the newest checkpoint there is to go on from.

    place: who has what at the cut of the next one.
    """

    def __init__(
        self,
        folder: Folder,
        keep: int,
        plan: Plan,
        place: Placement,
        splits: Mapping[int, tuple[str, Split]],
        latest: Manifest | None,
    ) -> None:
        self.folder = folder
        self.latest = latest
        self._keep = keep
        self._plan = plan
        self.place = place
        self._splits = splits
        self._single = {s.name for s in plan.spec.sinks if s.name in plan.stage_of}
        self._parts: dict[int, Part] = {}
        self._chains = self._inherited()

    def take(self, worker: int, part: Part) -> None:
        """A worker has its part durable (or failed to)."""
        self._parts[worker] = part

    def begin(self) -> None:
        """A barrier opens."""
        self._parts.clear()

    def restart(self, place: Placement) -> None:
        """All workers start again from `latest`."""
        self._parts.clear()
        self.place = place
        self._chains = self._inherited()

    def commit(self, barrier: int) -> Manifest:
        """Write the manifest of the parts. Raises CommitError."""
        failed = [
            f"worker {w}: {p.error or p.sink_error}"
            for w, p in sorted(self._parts.items())
            if p.error or p.sink_error
        ]
        if failed:
            raise CommitError("; ".join(failed))
        # What a worker that has left had stored is in what its heirs store now.
        chains = {key: chain for key, chain in self._chains.items() if key[1] in self._parts}
        keys: dict[str, int] = {}
        for worker, part in self._parts.items():
            owned = tuple((a, b) for a, b, _ in self.place.table.intervals(worker))
            for name, state in part.states.items():
                before = None if state.full else chains.get((name, worker))
                files = (*(before.files if before else ()), *([state.file] if state.file else []))
                chains[name, worker] = Chain(
                    name, worker, owned, files, state.keys, state.keys_hash
                )
                keys[name] = keys.get(name, 0) + state.keys
        manifest = self._manifest(barrier, chains, self._noted(), keys)
        self._write(manifest)
        self._chains = chains
        return manifest

    def finish(self) -> None:
        """Everything has been read and written: the next run starts fresh. Raises CommitError."""
        assert self.latest is not None
        self._write(replace(self.latest, finished=True))

    def begin_with(self, opened: Noted) -> None:
        """Note where outputs stand before their first message: all of them where a run starts
        (`Manifest.at_start`), else those that the newest checkpoint does not know.

        Without it a crash before the next checkpoint could not tell old content from new, nor a
        folder that has lost its manifests from one that never had any. Raises CommitError.
        """
        noted = self._noted(opened)
        if self.latest is None:
            self._write(self._manifest(0, {}, noted, {}))
        elif noted != self.latest.sinks:
            self._write(replace(self.latest, sinks=noted))

    def _inherited(self) -> dict[tuple[str, int], Chain]:
        return {
            (state, worker): chain
            for worker in self.place.workers
            for state, chain in own_chains(
                self.latest, self._plan, self.place.table, worker
            ).items()
        }

    def _write(self, manifest: Manifest) -> None:
        try:
            self.folder.commit(manifest)
            self.folder.prune(self._keep)
        except OSError as error:
            raise CommitError(os.strerror(error.errno or 0).lower()) from error
        self.latest = manifest

    def _noted(self, opened: Noted | None = None) -> dict[str, dict[str, Any]]:
        """By sink and writer, the newest of each. Also of workers that have left: what they wrote
        stays theirs.
        """
        found = self._by_sink(opened or {})
        before = self.latest.sinks if self.latest is not None else {}
        parts = self._by_sink({worker: part.sinks for worker, part in self._parts.items()})
        for newer in (before, parts):
            for name, noted in newer.items():
                found[name] = {**found.get(name, {}), **noted}
        return found

    def _by_sink(self, noted: Noted) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for worker, sinks in noted.items():
            for name, place in sinks.items():
                by = SINGLE if name in self._single else str(worker)
                found.setdefault(name, {})[by] = place
        return found

    def _manifest(
        self,
        barrier: int,
        chains: Mapping[tuple[str, int], Chain],
        sinks: Mapping[str, Mapping[str, Any]],
        keys: Mapping[str, int],
    ) -> Manifest:
        positions = {i: place for part in self._parts.values() for i, place in part.splits.items()}
        plan, table = self._plan, self.place.table
        return Manifest(
            checkpoint=barrier,
            pipeline=plan.spec.name,
            fingerprint=plan.fingerprint,
            shape=plan.shape,
            written_at=clock.utc_now(),
            workers=len(self.place.workers),
            table=table,
            splits=tuple(
                SplitPosition(source, split.name, dict(split.options), split.size_bytes,
                              *positions.get(index, (None, False)))
                for index, (source, split) in self._splits.items()
            ),
            chains=tuple(chain for _, chain in sorted(chains.items()) if chain.files),
            state_versions={s.name: s.version for s in plan.spec.states},
            sinks=sinks,
            keys=keys,
            by_pickle=tuple(sorted({c for p in self._parts.values() for c in p.by_pickle})),
        )  # fmt: skip
