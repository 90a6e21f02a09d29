"""`roo ps`, `roo status`, `roo stop`, `roo top`: looking at runs from another terminal."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from roo.cli.common import add_run_name, complain, key_of

TOP_EVERY_S = 0.5
STOP_WITHIN_S = 60.0


def add_ps(subparsers: Any) -> None:
    """`roo ps`."""
    parser = subparsers.add_parser("ps", help="list the runs on this machine", allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(look=_ps)


def add_status(subparsers: Any) -> None:
    """`roo status NAME`."""
    parser = _named(subparsers, "status", "print how a run stands")
    parser.add_argument("--json", action="store_true", help="everything, as one JSON object")
    parser.set_defaults(look=_status)


def add_stop(subparsers: Any) -> None:
    """`roo stop NAME`."""
    parser = _named(subparsers, "stop", "let a run finish what it has read, and end")
    parser.add_argument("--now", action="store_true", help="end it at once, like a second Ctrl-C")
    parser.add_argument("--no-wait", action="store_true", help="ask, and do not wait for the end")
    parser.set_defaults(look=_stop)


def add_top(subparsers: Any) -> None:
    """`roo top NAME`."""
    parser = _named(subparsers, "top", "the live view of a run, from another terminal")
    parser.set_defaults(look=_top)


def _named(subparsers: Any, verb: str, help_: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(verb, help=help_, allow_abbrev=False)
    add_run_name(parser)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Look; the exit code: 3 where there is no such run, or it does not answer."""
    from roo.api import ConnectorError
    from roo.cli.visitor import NoAnswer
    from roo.runtime.registry import NoSuchRun

    try:
        return int(arguments.look(arguments))
    except (NoSuchRun, NoAnswer) as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except ConnectorError as error:
        return complain(error)
    except KeyboardInterrupt:
        return 0


def _ps(arguments: argparse.Namespace) -> int:
    from roo.runtime.registry import runs
    from roo.status.numbers import duration

    there = runs()
    if arguments.json:
        for one in there:
            print(json.dumps(one._asdict()))
    elif not there:
        print("nothing runs", file=sys.stderr)
    else:
        width = max(len("NAME"), *(len(one.name) for one in there))
        print(f"{'NAME':<{width}}  {'PID':>8}  {'SINCE':>8}  FILE")
        for one in there:
            since = duration(time.time() - one.started_s, whole=True)
            print(f"{one.name:<{width}}  {one.pid:>8}  {since:>8}  {one.file}")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from roo.cli.visitor import Visitor
    from roo.status.snapshot import from_facts

    with Visitor(arguments.name, key_of(arguments, arguments.name)) as visitor:
        status = visitor.ask_once("status")["status"]
    if arguments.json:
        print(json.dumps(status))
        return 0
    from rich.console import Console

    from roo.status.view import render

    console = Console()
    width = console.size.width if console.is_terminal else 120
    console.print(render(from_facts(status), width, 200, ascii_only=console.options.ascii_only))
    return 0


def _stop(arguments: argparse.Namespace) -> int:
    from roo.cli.visitor import Visitor
    from roo.runtime.registry import runs

    deadline_s = time.monotonic() + STOP_WITHIN_S

    def is_late() -> bool:
        if late := time.monotonic() > deadline_s:
            print(f"error: {arguments.name} is still running after {STOP_WITHIN_S:g} s; "
                  "`roo stop --now` ends it at once", file=sys.stderr)  # fmt: skip
        return late

    wait = not arguments.no_wait
    with Visitor(arguments.name, key_of(arguments, arguments.name)) as visitor:
        for answer in visitor.ask("stop", now=arguments.now, wait=wait):
            if not answer.get("done") and is_late():
                return 1
    # It has said its last word; here it can be seen to be gone as well.
    while wait and any(arguments.name in (one.name, str(one.pid)) for one in runs()):
        if is_late():
            return 1
        time.sleep(0.05)
    return 0


def _top(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from roo.cli.visitor import NoAnswer, Visitor
    from roo.status.live import LiveView
    from roo.status.plain import line
    from roo.status.snapshot import from_facts

    console = Console()
    view = LiveView(console) if console.is_terminal else None
    with Visitor(arguments.name, key_of(arguments, arguments.name)) as visitor:
        snapshot = from_facts(visitor.ask_once("status")["status"])
        if view is not None:
            view.start()
        try:
            while True:
                if view is not None:
                    view.update(snapshot)
                else:
                    print(line(snapshot), flush=True)
                time.sleep(TOP_EVERY_S)
                try:
                    snapshot = from_facts(visitor.ask_once("status")["status"])
                except NoAnswer:
                    break  # it has ended
        finally:
            if view is not None:
                view.stop()
    print(f"{arguments.name} has ended, or does not answer", file=sys.stderr)
    return 0
