"""`roo join ADDRESS`: workers on this machine for a run on another one."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from roo.cli.common import add_key_option, complain, key_of, tcp_address, worker_count


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "join", help="start workers here for a run on another machine", allow_abbrev=False
    )
    parser.add_argument("address", metavar="ADDRESS", type=tcp_address,
                        help="what it listens at: tcp://HOST:PORT")  # fmt: skip
    parser.add_argument("--workers", metavar="N", type=worker_count, default=1, help="so many (1)")
    parser.add_argument("--advertise", metavar="HOST",
                        help="where others reach this machine (default: found out)")  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="print the plan and change nothing")
    add_key_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Stay until the run is over or the workers here have left; the exit code."""
    from roo.api import ConnectorError
    from roo.cli.changing import Following, show_plan
    from roo.cli.visitor import NoAnswer, Visitor
    from roo.runtime.joining import Joining

    sys.path.insert(0, os.getcwd())  # noqa: PTH109 where the plugins are looked for
    try:
        key = key_of(arguments, arguments.address)
        if arguments.dry_run:
            with Visitor(arguments.address, key) as visitor:
                plan = visitor.ask_once("change", dry_run=True, joins=arguments.workers)
            return show_plan(plan, as_json=False)
        Joining(arguments.address, arguments.workers, key, arguments.advertise, _say,
                Following().take).stay()  # fmt: skip
    except NoAnswer as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except ConnectorError as error:
        return complain(error)
    _say("not needed any more")
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
