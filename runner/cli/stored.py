"""What the verbs that read checkpoints share: finding the folder and the checkpoint meant."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from roo.checkpoint.blocks import Damaged
from roo.checkpoint.export import TooLarge
from roo.checkpoint.folder import Folder, Unreadable
from roo.core.checkpoints import Manifest


class NotThere(Exception):
    """What was asked for is not there: a line for the user, and the exit code."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


def add_place(parser: argparse.ArgumentParser) -> None:
    """NAME: a pipeline's, or a checkpoint folder."""
    parser.add_argument(
        "place", metavar="NAME", help="a pipeline's name (its folder is .roo/NAME), or a folder"
    )


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """--checkpoint N."""
    parser.add_argument(
        "--checkpoint", type=int, metavar="N", help="which checkpoint (default: the newest whole)"
    )


def folder_of(place: str) -> Folder:
    """The folder with the checkpoints of NAME, or NAME itself. Raises NotThere."""
    usual = Folder(Path(".roo") / place)
    for folder in (usual, Folder(Path(place))):
        if folder.numbers():
            return folder
    raise NotThere(f"there are no checkpoints in {usual.path}, nor in a folder called {place}", 3)


def manifest_of(folder: Folder, number: int | None) -> Manifest:
    """The checkpoint that is meant. Raises NotThere, Damaged."""
    if number is not None:
        numbers = folder.numbers()
        if number not in numbers:
            there = ", ".join(map(str, reversed(numbers)))
            raise NotThere(f"there is no checkpoint {number} in {folder.path}; there is {there}")
        return folder.read(number)
    while True:
        numbers = folder.numbers()
        manifest, damaged = folder.newest_intact()
        if not damaged or folder.numbers() == numbers:
            break  # else a run goes on there, and has removed what was being read
    for damage in damaged:
        print(f"damaged: {damage}", file=sys.stderr)
    if manifest is None:
        raise NotThere(f"no checkpoint in {folder.path} is whole", 1)
    return manifest


def must_be_there(folder: Folder, manifest: Manifest) -> None:
    """Raises NotThere where a run has removed a checkpoint, and its files, while it was read."""
    if manifest.checkpoint not in folder.numbers():
        what = f"checkpoint {manifest.checkpoint} in {folder.path} was removed while it was read"
        raise NotThere(f"{what}; try again, or raise `checkpoint.keep`", 1)


def complain(error: NotThere | Damaged | TooLarge | Unreadable) -> int:
    """Say it on stderr; the exit code."""
    if isinstance(error, Unreadable):
        print(f"error: can't read {error}", file=sys.stderr)
        return 3
    which = "damaged: " if isinstance(error, Damaged) else ""
    print(f"error: {which}{error}", file=sys.stderr)
    return error.code if isinstance(error, NotThere) else 1
