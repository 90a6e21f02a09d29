"""What a run begins with: the checkpoint to go on from, or the reason why it can't."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from roo.api import ConnectorError, Split
from roo.checkpoint.folder import Folder
from roo.checkpoint.manifest import Manifest
from roo.plan.model import Plan
from roo.runtime.resume import differences, splits_of
from roo.spec.findings import Finding, InvalidPipeline


def open_folder(
    plan: Plan, splits: Mapping[int, tuple[str, Split]], *, fresh: bool
) -> tuple[Folder, Manifest | None, dict[int, tuple[str, Split]]]:
    """The locked checkpoint folder of a plan, the checkpoint to go on from (None: start from
    nothing), and the splits to read.

    fresh: forget what there is. Raises ConnectorError (another run has the folder; nothing in it is
    whole) and InvalidPipeline (the checkpoint is another pipeline's).
    """
    spec = plan.spec.checkpoint
    assert spec is not None
    folder = Folder(Path(spec.folder))
    folder.lock()
    if fresh:
        folder.clear()
    manifest, damaged = folder.newest_intact()
    for damage in damaged:
        print(f"damaged: {damage}", file=sys.stderr)
    if manifest is None:
        if damaged:
            what = f"no checkpoint in {folder.path} is whole"
            hint = "put the files back, or start over from nothing with --fresh"
            raise ConnectorError(what, hint, environment=True)
        return folder, None, dict(splits)
    if manifest.finished:
        folder.clear()
        return folder, None, dict(splits)
    different = differences(manifest, plan)
    if different:
        raise InvalidPipeline([_does_not_fit(plan, manifest, line) for line in different])
    folder.prune(spec.keep)
    return folder, manifest, splits_of(manifest, splits)


def say_resumed(folder: Folder, manifest: Manifest) -> str:
    """What a run says first when it goes on."""
    keys = sum(manifest.keys.values())
    return (f"going on from checkpoint {manifest.checkpoint} of {manifest.written_at} "
            f"({keys} keys) in {folder.path}")  # fmt: skip


def _does_not_fit(plan: Plan, manifest: Manifest, line: str) -> Finding:
    what = f"checkpoint {manifest.checkpoint} in {plan.spec.checkpoint.folder} does not fit: {line}"  # type: ignore[union-attr]
    hint = "change it back, start over with --fresh, or keep both with another `checkpoint.dir`"
    return Finding(plan.spec.file, 1, 1, "other-checkpoint", what, hint)
