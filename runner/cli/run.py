"""`roo run FILE`: validate, start the workers, show how it goes, say how it ended."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from roo.cli.common import (
    add_key_option,
    add_pipeline_options,
    check_connectors,
    complain,
    is_loopback,
    key_of,
    load_checked,
    plan_of,
    promises_of,
    tcp_address,
    wants_checkpoints,
)
from roo.plan.promises import say

if TYPE_CHECKING:
    from roo.cli.resuming import Begun
    from roo.plan.model import Plan
    from roo.runtime.key import Key
    from roo.status.snapshot import Summary


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "run", help="run a pipeline", allow_abbrev=False
    )
    add_pipeline_options(parser)
    parser.add_argument(
        "--fresh", action="store_true", help="forget the checkpoints there are and start over"
    )
    parser.add_argument(
        "--no-checkpoint",
        dest="checkpoint",
        action="store_false",
        help="keep no checkpoints: what is lost in a crash is lost",
    )
    parser.add_argument(
        "--listen", metavar="ADDRESS", type=tcp_address, help="let machines join at tcp://HOST:PORT"
    )
    add_key_option(parser)
    parser.add_argument("--json", action="store_true", help="print the summary as JSON on stdout")
    parser.add_argument(
        "--status",
        choices=("auto", "rich", "plain", "none"),
        default="auto",
        help="how to show the run on stderr (auto: rich on a terminal, else one line a second)",
    )
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="how the lines on stderr are written when they are not drawn",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the pipeline to its end; the exit code."""
    from roo.api import ConnectorError
    from roo.runtime.process import Workers
    from roo.spec.findings import InvalidPipeline
    from roo.status import choose

    try:
        spec = load_checked(arguments.file, arguments.overrides, arguments.workers)
        if arguments.json and any(sink.type == "stdout" for sink in spec.sinks):
            print("error: --json prints to stdout, and so does a sink of this pipeline; leave "
                  "--json out, or change the sink with --set", file=sys.stderr)  # fmt: skip
            return 2
        plan = plan_of(spec)
        key = key_of(arguments)
        if arguments.listen and key is None and not is_loopback(arguments.listen):
            print(f"error: whoever reaches {arguments.listen} could run code here; `roo key new` "
                  "makes a key: give it with --key FILE", file=sys.stderr)  # fmt: skip
            return 2
        splits = check_connectors(spec)
        begun = None
        opening: list[str] = []
        if arguments.checkpoint and wants_checkpoints(spec):
            from roo.cli.resuming import open_folder

            begun = open_folder(plan, splits, fresh=arguments.fresh)
            splits = begun.splits
            opening += begun.said
        opening += map(say, promises_of(plan, kept=begun is not None))
    except (InvalidPipeline, ConnectorError) as error:
        return complain(error)

    to_terminal = any(s.type == "stdout" for s in spec.sinks) and sys.stdout.isatty()
    view = choose(arguments.status, arguments.log_format, sys.stderr, data_on_terminal=to_terminal)
    stdin_worker = 0 if any(s.type == "stdin" for s in spec.sources) else None
    try:
        workers = Workers(
            spec.workers, stdin_worker=stdin_worker, hear_stderr=arguments.status != "none"
        )
        if arguments.listen:
            key = key or _own_key(workers.folder)
            workers.environ["ROO_BIND"] = urlsplit(arguments.listen).hostname or ""
            workers.environ["ROO_KEY_FILE"] = key.path
        with workers:
            # ZeroMQ is imported here while the workers import it as well.
            from roo.runtime.coordinator import ForcedExit
            from roo.runtime.coordinator_main import CoordinatorProcess
            from roo.runtime.registry import register

            register(workers.folder, spec.name, os.getpid(), arguments.file,
                     arguments.listen or "")  # fmt: skip

            try:
                summary = CoordinatorProcess(
                    plan, splits, workers, view, opening=opening, listen=arguments.listen, key=key,
                    **_kept(plan, begun),
                ).run()  # fmt: skip
            except ForcedExit as forced:
                return forced.code
    except ConnectorError as error:
        return complain(error)
    return _say(summary, arguments)


def _kept(plan: Plan, begun: Begun | None) -> dict[str, Any]:
    """Where checkpoints go, for a coordinator."""
    if begun is None:
        return {}
    from roo.runtime.commits import Commits

    spec = plan.spec.checkpoint
    assert spec is not None
    commits = Commits(begun.folder, spec.keep, plan, begun.splits, begun.manifest)
    return {"commits": commits, "newest": begun.newest, "all_ended": begun.all_ended}


def _own_key(folder: str) -> Key:
    """A key for one run, where only this user finds it: nothing listens without one."""
    from roo.runtime.key import make_key, read_key
    from roo.runtime.registry import KEY

    path = Path(folder) / KEY
    make_key(path)
    return read_key(str(path))


def _say(summary: Summary, arguments: argparse.Namespace) -> int:
    """The summary, and the error last: it is what should still be seen. The exit code."""
    import time

    from roo.status import errors
    from roo.status import summary as words
    from roo.status.color import wants_color

    color = wants_color(sys.stderr)
    quiet = arguments.status == "none"
    if arguments.json:
        print(words.as_json(summary))
    if arguments.log_format == "json":
        if not quiet or summary.error:
            print(words.as_json_line(summary, time.time()), file=sys.stderr)
    elif not quiet and not arguments.json:
        print(words.text(summary, color), end="", file=sys.stderr)
    if summary.error and arguments.log_format == "text":
        print(errors.format_error(summary.error, color), end="", file=sys.stderr)
    if summary.outcome != "failed":
        return 0
    return 3 if summary.error and summary.error.get("environment") else 1
