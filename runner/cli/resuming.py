"""What a run begins with: the checkpoint to go on from, or the reason why it can't."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from roo.api import ConnectorError, Split
from roo.checkpoint.blocks import Damaged
from roo.checkpoint.folder import Folder, Found, Unreadable, say
from roo.core.checkpoints import Manifest
from roo.plan.model import Plan
from roo.runtime.presence import all_workers_ended
from roo.runtime.resume import differences, of_same_outputs, splits_of
from roo.spec.findings import Finding, InvalidPipeline


class Begun(NamedTuple):
    """What a run begins with. manifest: the checkpoint to go on from; None: from nothing. newest:
    the highest number that any checkpoint there has had. all_ended: whether the processes of the
    run before have been seen to end. said: what the user is to know.
    """

    folder: Folder
    manifest: Manifest | None
    splits: dict[int, tuple[str, Split]]
    newest: int
    all_ended: bool
    said: tuple[str, ...] = ()


def open_folder(plan: Plan, splits: Mapping[int, tuple[str, Split]], *, fresh: bool) -> Begun:
    """Lock the checkpoint folder of a plan, and choose what to go on from.

    fresh: forget what there is. Raises ConnectorError (another run has the folder; nothing in it is
    whole; it can't be read or written) and InvalidPipeline (the checkpoint is another pipeline's).
    """
    spec = plan.spec.checkpoint
    assert spec is not None
    folder = Folder(Path(spec.folder))
    folder.lock()
    all_ended = all_workers_ended(folder.path)
    try:
        if fresh or folder.is_finished or folder.is_half_cleared:
            folder.clear()
        found = folder.find()
        manifest = _checked(folder, found)
        if manifest is None:
            return Begun(folder, None, dict(splits), found.newest, all_ended)
        if manifest.is_at_start:
            manifest = of_same_outputs(manifest, plan)
        different = differences(manifest, plan)
        if different:
            raise InvalidPipeline([_does_not_fit(plan, manifest, line) for line in different])
        folder.go_on_from(manifest.checkpoint)
        said = (say_resumed(folder, manifest), *_pruned(folder, spec.keep))
    except (Damaged, Unreadable) as error:
        raise ConnectorError(f"can't go on from {error}", _HINT, environment=True) from error
    except OSError as error:
        what = f"can't tidy {folder.path}: {os.strerror(error.errno or 0)}"
        hint = "see its owner and mode, or set `checkpoint.dir` to a folder that can be written"
        raise ConnectorError(what, hint, environment=True) from error
    return Begun(folder, manifest, splits_of(manifest, plan, splits), found.newest, all_ended, said)


def _pruned(folder: Folder, keep: int) -> list[str]:
    """Remove what nobody needs; what is to be said if that does not work, which stops no run."""
    try:
        folder.prune(keep)
    except (OSError, Damaged, Unreadable) as error:
        return [f"old checkpoints could not be removed: {say(error)}"]
    return []


def _checked(folder: Folder, found: Found) -> Manifest | None:
    """The checkpoint to go on from; None: there never was one. Raises ConnectorError."""
    for damage in found.damaged:
        print(f"damaged: {damage}", file=sys.stderr)
    if found.manifest is None and (found.damaged or folder.holds_states):
        what = f"no checkpoint in {folder.path} is whole"
        if not found.damaged:
            what = f"{folder.path} has states and no manifest, so it is not whole"
        raise ConnectorError(what, _HINT, environment=True)
    return found.manifest


_HINT = "put the files back, or start over from nothing with --fresh"


def say_resumed(folder: Folder, manifest: Manifest) -> str:
    """What a run says first when it goes on."""
    if manifest.is_at_start:
        return f"starting anew: the run before kept nothing in {folder.path} yet"
    keys = sum(manifest.keys.values())
    return (f"going on from checkpoint {manifest.checkpoint} of {manifest.written_at} "
            f"({keys} keys) in {folder.path}")  # fmt: skip


def _does_not_fit(plan: Plan, manifest: Manifest, line: str) -> Finding:
    what = f"checkpoint {manifest.checkpoint} in {plan.spec.checkpoint.folder} does not fit: {line}"  # type: ignore[union-attr]
    hint = "change it back, start over with --fresh, or keep both with another `checkpoint.dir`"
    return Finding(plan.spec.file, 1, 1, "other-checkpoint", what, hint)
