"""`roo join ADDRESS`: workers on this machine for a run on another one."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from roo.cli.common import add_key_option, complain, key_of, tcp_address


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "join", help="start workers here for a run on another machine", allow_abbrev=False
    )
    parser.add_argument("address", metavar="ADDRESS", type=tcp_address,
                        help="what it listens at: tcp://HOST:PORT")  # fmt: skip
    parser.add_argument("--workers", metavar="N", type=_count, default=1, help="so many (1)")
    parser.add_argument("--advertise", metavar="HOST",
                        help="where others reach this machine (default: found out)")  # fmt: skip
    add_key_option(parser)


def _count(text: str) -> int:
    if text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of workers")


def run(arguments: argparse.Namespace) -> int:
    """Stay until the run is over or the workers here have left; the exit code."""
    from roo.api import ConnectorError
    from roo.runtime.joining import Joining

    sys.path.insert(0, os.getcwd())  # noqa: PTH109 where the plugins are looked for
    try:
        key = key_of(arguments)
        Joining(arguments.address, arguments.workers, key, arguments.advertise, _say).stay()
    except ConnectorError as error:
        return complain(error)
    _say("not needed any more")
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
