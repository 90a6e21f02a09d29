"""`roo key new FILE`: a key for runs that other machines may join."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from roo.cli.common import complain


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "key", help="make the key that machines of a cluster share", allow_abbrev=False
    )
    parser.add_argument("what", choices=["new"], help="make one")
    parser.add_argument("file", metavar="FILE", nargs="?", default="cluster.key",
                        help="where it goes (cluster.key), readable by you alone")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Make the key; the exit code."""
    from roo.api import ConnectorError
    from roo.runtime.key import make_key

    try:
        make_key(Path(arguments.file))
    except ConnectorError as error:
        return complain(error)
    print(f"{arguments.file}: copy it to every machine of the cluster, by a way you trust",
          file=sys.stderr)  # fmt: skip
    return 0
