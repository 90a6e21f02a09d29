"""What is in a checkpoint folder of Roo, read while a run writes there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from roo.checkpoint.blocks import FileInfo
from roo.checkpoint.folder import Folder
from roo.checkpoint.manifest import Manifest


def newest(folder: Path) -> Manifest | None:
    """The newest checkpoint, if there is one."""
    there = Folder(folder)
    numbers = there.numbers()
    return there.read(numbers[0]) if numbers else None


def keys(folder: Path) -> int:
    """How many keys the newest checkpoint has."""
    manifest = newest(folder)
    return sum(manifest.keys.values()) if manifest else 0


def read_bytes(folder: Path) -> int:
    """How far the newest checkpoint has read its one source."""
    manifest = newest(folder)
    return manifest.splits[0].offset or 0 if manifest else 0


def output_bytes(folder: Path, sink: str) -> int:
    """How long the newest checkpoint has the file of a sink that has one writer."""
    manifest = newest(folder)
    noted = manifest.sinks.get(sink, {}) if manifest else {}
    return sum(place["size_bytes"] for place in noted.values())


def taken(folder: Path) -> int:
    """How many checkpoints a finished run took on its way: all but the one at its end."""
    manifest = newest(folder)
    return manifest.checkpoint - 1 if manifest else 0


def written_bytes(folder: Path, manifest: Manifest, files: Iterable[FileInfo]) -> int:
    """What a checkpoint wrote: these files, and the manifest itself."""
    its_own = Folder(folder).manifest_path(manifest.checkpoint).stat().st_size
    return its_own + sum(file.size_bytes for file in files)
