"""The coordinator's side of checkpoints: parts of workers in, a manifest out, old files away."""

from __future__ import annotations

from collections.abc import Mapping

from roo import clock
from roo.api import Split
from roo.checkpoint.blocks import Damaged
from roo.checkpoint.folder import Folder, Found, NotCommitted, Unreadable, say
from roo.core.checkpoints import (
    Manifest,
    Opened,
    Part,
    Pipeline,
    finished,
    first_manifest,
    next_manifest,
    with_ends,
)
from roo.core.placement import Placement
from roo.plan.model import Plan


class WriterFailed(Exception):
    """A sink could not be made durable, so its writer has to begin anew: which worker, and why."""

    def __init__(self, worker: int, why: str) -> None:
        super().__init__(why)
        self.worker = worker
        self.why = why


class Commits:
    """The checkpoints of one run. latest: the newest one that is durable, as far as this run knows.

    Between `open` and `commit` or `drop` the parts of one barrier of one attempt are gathered; then
    they are gone.
    """

    def __init__(
        self,
        folder: Folder,
        keep: int,
        plan: Plan,
        splits: Mapping[int, tuple[str, Split]],
        latest: Manifest | None,
    ) -> None:
        self.folder = folder
        self.latest = latest
        self._keep = keep
        self._pipeline = pipeline_of(plan, splits)
        self._gathering: _Gathering | None = None

    def open(self, attempt: int, barrier: int, cut: Placement, after: Placement) -> None:
        """A barrier opens. cut: who has what up to it; after: who has what from there on."""
        self._gathering = _Gathering(attempt, barrier, cut, after)

    def take(self, attempt: int, worker: int, part: Part) -> None:
        """A worker has its part durable, or failed to. Of another barrier or attempt: nothing."""
        gathering = self._gathering
        if gathering is not None and (attempt, part.barrier) == (
            gathering.attempt,
            gathering.barrier,
        ):
            gathering.parts[worker] = part

    def drop(self) -> None:
        """The open barrier comes to nothing."""
        self._gathering = None

    def commit(self) -> Manifest:
        """Make a checkpoint of the parts. Raises NotCommitted, CommitUnknown, WriterFailed and
        NotWhole.
        """
        gathering, self._gathering = self._gathering, None
        assert gathering is not None
        assert self.latest is not None
        parts = gathering.parts
        for worker, part in sorted(parts.items()):
            if part.sink_error:
                raise WriterFailed(worker, part.sink_error)
        failed = [f"worker {w}: {part.error}" for w, part in sorted(parts.items()) if part.error]
        if failed:
            raise NotCommitted("; ".join(failed))
        manifest = next_manifest(
            self._pipeline, self.latest, parts, gathering.cut, gathering.after, clock.utc_now()
        )
        return self._write(manifest)

    def note(self, number: int, opened: Mapping[int, Opened], place: Placement) -> None:
        """Note where splits and outputs begin that no checkpoint knows yet, before anything is read
        or written. number: of the manifest, if one is needed. Raises NotCommitted, CommitUnknown.
        """
        now = clock.utc_now()
        if self.latest is None:
            self._write(first_manifest(self._pipeline, place, number, opened, now))
        else:
            manifest = with_ends(self._pipeline, self.latest, number, opened, now)
            if manifest is not None:
                self._write(manifest)

    def finish(self, number: int) -> None:
        """Everything has been read and written: the next run starts fresh. Raises NotCommitted,
        CommitUnknown.
        """
        assert self.latest is not None
        self._write(finished(self.latest, number, clock.utc_now()))

    def _write(self, manifest: Manifest) -> Manifest:
        self.folder.commit(manifest)
        self.latest = manifest
        return manifest

    def recover(self) -> Found:
        """All workers start again: from what is on the disk, as the next run would. Raises
        Unreadable, Damaged, OSError.
        """
        self.drop()
        found = self.folder.find()
        if found.manifest is not None:
            self.folder.go_on_from(found.manifest.checkpoint)
        self.latest = found.manifest
        return found

    def prune(self) -> str:
        """Remove what nobody needs any more. Call it when no barrier is open. Returns why that did
        not work, or "": the checkpoint holds all the same.
        """
        try:
            self.folder.prune(self._keep)
        except OSError as error:
            return say(error)
        except (Damaged, Unreadable) as error:
            return str(error)
        return ""


class _Gathering:
    """The parts of one barrier."""

    def __init__(self, attempt: int, barrier: int, cut: Placement, after: Placement) -> None:
        self.attempt = attempt
        self.barrier = barrier
        self.cut = cut
        self.after = after
        self.parts: dict[int, Part] = {}


def pipeline_of(plan: Plan, splits: Mapping[int, tuple[str, Split]]) -> Pipeline:
    """What manifests say of a plan."""
    return Pipeline(
        plan.spec.name,
        plan.fingerprint,
        plan.shape,
        {state.name: state.version for state in plan.spec.states},
        {
            index: (source, split.name, dict(split.options), split.size_bytes)
            for index, (source, split) in splits.items()
        },
        frozenset(sink.name for sink in plan.spec.sinks if sink.name in plan.stage_of),
    )
