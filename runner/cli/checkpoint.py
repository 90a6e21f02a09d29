"""`roo checkpoint list|show|verify|prune NAME`: what is kept on disk, and whether it is whole."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from roo.api import ConnectorError
from roo.checkpoint.blocks import Damaged
from roo.checkpoint.folder import Folder, Unreadable
from roo.checkpoint.restore import verify_states
from roo.cli.stored import NotThere, add_checkpoint, add_place, complain, folder_of, manifest_of
from roo.core.checkpoints import Manifest
from roo.status.numbers import count, size


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "checkpoint", help="list, show, verify or prune checkpoints", allow_abbrev=False
    )
    verbs = parser.add_subparsers(dest="what", metavar="list|show|verify|prune", required=True)
    for name, help_, _ in _VERBS:
        verb = verbs.add_parser(name, help=help_, allow_abbrev=False)
        add_place(verb)
        if name == "show":
            add_checkpoint(verb)
        if name == "prune":
            verb.add_argument("--keep", type=int, default=1, metavar="N", help="how many stay (1)")
        else:
            verb.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """The exit code."""
    call = next(call for name, _, call in _VERBS if name == arguments.what)
    try:
        code: int = call(folder_of(arguments.place), arguments)
        return code
    except (NotThere, Damaged, Unreadable) as error:
        return complain(error)


def _list(folder: Folder, arguments: argparse.Namespace) -> int:
    rows = []
    for number in reversed(folder.numbers()):
        try:
            rows.append(_facts(folder.read(number)))
        except Damaged as error:
            rows.append({"checkpoint": number, "damaged": error.what})
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return 0
    for row in rows:
        if "damaged" in row:
            print(f"{row['checkpoint']:>8}  damaged: {row['damaged']}")
            continue
        cells = (
            f"{row['checkpoint']:>8}",
            row["written_at"],
            f"{count(row['keys']):>7} keys",
            f"{size(row['size_bytes']):>8}",
            f"{row['workers']} workers",
            "finished" * row["finished"],
        )
        print("  ".join(cells).rstrip())
    return 0


def _show(folder: Folder, arguments: argparse.Namespace) -> int:
    manifest = manifest_of(folder, arguments.checkpoint)
    if arguments.json:
        print(folder.manifest_path(manifest.checkpoint).read_text(encoding="utf-8"), end="")
        return 0
    facts = _facts(manifest)
    print(f"checkpoint {manifest.checkpoint} of {manifest.pipeline}, {manifest.written_at}"
          f"{', finished' if manifest.finished else ''}")  # fmt: skip
    print(f"  {count(facts['keys'])} keys, {size(facts['size_bytes'])}, {manifest.workers} workers")
    for split in manifest.splits:
        stands = "not read yet" if split.offset is None else f"offset {split.offset}"
        print(f"  source {split.source}, {split.name}: {stands}{', at its end' * split.ended}")
    for state, version in manifest.state_versions.items():
        files = [file for chain in manifest.chains if chain.state == state for file in chain.files]
        total = size(sum(file.size_bytes for file in files))
        keys = count(manifest.keys.get(state, 0))
        print(f"  state {state}, version {version}: {keys} keys, {len(files)} files, {total}")
    for sink, noted in manifest.sinks.items():
        for by, place in noted.items():
            whose = "" if by == "single" else f", worker {by}"
            print(f"  sink {sink}{whose}: {json.dumps(place)}")
    if manifest.by_pickle:
        print(f"  stored by pickle: {', '.join(manifest.by_pickle)}")
    return 0


def _verify(folder: Folder, arguments: argparse.Namespace) -> int:
    rows = []
    for number in reversed(folder.numbers()):
        what = ""
        try:
            manifest = folder.read(number)
            folder.verify(manifest)
            verify_states(folder.path, manifest)
        except (Damaged, Unreadable) as error:
            what = str(error)
        except OSError as error:
            what = (
                f"{error.filename or folder.path}: can't be read: {os.strerror(error.errno or 0)}"
            )
        rows.append({"checkpoint": number, "whole": not what, "what": what})
    if arguments.json:
        print(json.dumps(rows, indent=1))
    else:
        for row in rows:
            print(f"{row['checkpoint']:>8}  {'whole' if row['whole'] else row['what']}")
    return 0 if all(row["whole"] for row in rows) else 1


def _prune(folder: Folder, arguments: argparse.Namespace) -> int:
    if arguments.keep < 1:
        print("error: --keep takes a number from 1", file=sys.stderr)
        return 2
    try:
        folder.lock()
        manifest = manifest_of(folder, None)
        folder.go_on_from(manifest.checkpoint)
        removed = folder.prune(arguments.keep)
    except ConnectorError as error:
        print(f"error: {error.message}\n  {error.hint}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"error: can't remove what is in {folder.path}: {os.strerror(error.errno or 0)}",
              file=sys.stderr)  # fmt: skip
        return 3
    print(f"removed {len(removed)} files; kept {len(folder.numbers())} checkpoints")
    return 0


def _facts(manifest: Manifest) -> dict[str, Any]:
    return {
        "checkpoint": manifest.checkpoint,
        "written_at": manifest.written_at,
        "keys": sum(manifest.keys.values()),
        "size_bytes": manifest.size_bytes,
        "workers": manifest.workers,
        "finished": manifest.finished,
    }


_VERBS = (
    ("list", "every checkpoint, the newest last", _list),
    ("show", "what one holds: offsets, states, positions", _show),
    ("verify", "read every file, compare its checksum, and count the keys", _verify),
    ("prune", "remove all but the newest", _prune),
)
