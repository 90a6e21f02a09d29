"""`roo state get|export`: states as a checkpoint holds them, without importing the plugins."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterable
from typing import Any

from roo.checkpoint.blocks import Damaged
from roo.checkpoint.export import TooLarge, as_json, stored_state, stored_states
from roo.checkpoint.folder import Folder, Unreadable
from roo.cli.stored import (
    NotThere,
    add_checkpoint,
    add_place,
    complain,
    folder_of,
    manifest_of,
    must_be_there,
)
from roo.core.checkpoints import Manifest


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "state", help="print stored states", allow_abbrev=False
    )
    verbs = parser.add_subparsers(dest="what", metavar="get|export", required=True)
    get = verbs.add_parser("get", help="the state of one key, as JSON", allow_abbrev=False)
    add_place(get)
    get.add_argument("state", metavar="STATE", help="a name under `states:`")
    get.add_argument("key", metavar="KEY")
    add_checkpoint(get)
    export = verbs.add_parser("export", help="all keys and states", allow_abbrev=False)
    add_place(export)
    export.add_argument("state", metavar="STATE", help="a name under `states:`")
    export.add_argument("--format", choices=("jsonl", "csv"), default="jsonl")
    add_checkpoint(export)


def run(arguments: argparse.Namespace) -> int:
    """The exit code: 1 where there is no such key."""
    try:
        folder = folder_of(arguments.place)
        manifest = manifest_of(folder, arguments.checkpoint)
        if arguments.state not in manifest.state_versions:
            there = ", ".join(manifest.state_versions) or "none"
            raise NotThere(f"no state is called {arguments.state}; there is {there}")
        try:
            _print(folder, manifest, arguments)
        except Damaged:
            must_be_there(folder, manifest)
            raise
    except KeyError:
        print(f"error: state {arguments.state} has no key {arguments.key!r} in checkpoint "
              f"{manifest.checkpoint}", file=sys.stderr)  # fmt: skip
        return 1
    except (NotThere, Damaged, TooLarge, Unreadable) as error:
        return complain(error)
    return 0


def _print(folder: Folder, manifest: Manifest, arguments: argparse.Namespace) -> None:
    """One state, or all. Raises KeyError, Damaged, TooLarge, OSError."""
    if arguments.what == "get":
        value = stored_state(folder.path, manifest, arguments.state, arguments.key)
        print(json.dumps(as_json(value), ensure_ascii=False))
    else:
        pairs = stored_states(folder.path, manifest, arguments.state)
        (_as_csv if arguments.format == "csv" else _as_jsonl)(pairs)


def _as_jsonl(pairs: Iterable[tuple[Any, Any]]) -> None:
    for key, value in pairs:
        line = {"key": as_json(key), "state": as_json(value)}
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")


def _as_csv(pairs: Iterable[tuple[Any, Any]]) -> None:
    """A column for each field of the first state, or one called `state`. What is no text or number
    is written as JSON.
    """
    writer = csv.writer(sys.stdout, lineterminator="\n")
    columns: list[str] | None = None
    for key, state in pairs:
        value = as_json(state)
        fields = value if isinstance(value, dict) else {"state": value}
        if columns is None:
            columns = list(fields)
            writer.writerow(["key", *columns])
        cells = [fields.get(column) for column in columns]
        writer.writerow([as_json(key), *map(_cell, cells)])


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value
