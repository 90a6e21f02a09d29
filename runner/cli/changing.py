"""`roo scale`, `roo leave`, `roo rebalance`: other workers, or other shares, while it runs."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from roo.cli.common import add_run_name, complain, key_of


def add_scale(subparsers: Any) -> None:
    """`roo scale NAME N|+N|-N`."""
    parser = _parser(subparsers, "scale", "change how many workers a run has, while it runs")
    parser.add_argument(
        "number", metavar="N", type=_number, help="so many in all; +N or -N: so many more or fewer"
    )
    parser.set_defaults(request=lambda a: {"to": a.number} if isinstance(a.number, int)
                        else {"joins": int(a.number)})  # fmt: skip


def add_leave(subparsers: Any) -> None:
    """`roo leave NAME WORKER…`."""
    parser = _parser(subparsers, "leave", "let workers of a run leave, any of them")
    parser.add_argument("workers", metavar="WORKER", type=int, nargs="+", help="its number")
    parser.set_defaults(request=lambda a: {"leaves": a.workers})


def add_rebalance(subparsers: Any) -> None:
    """`roo rebalance NAME`."""
    parser = _parser(subparsers, "rebalance", "share the keys out again, by weight or by load")
    parser.add_argument("--weight", metavar="WORKER=N", type=_weight, action="append", default=[],
                        help="what a worker's share is in proportion to (default 1)")  # fmt: skip
    parser.add_argument("--by", choices=["weight", "load"], default="weight",
                        help="load: so that all workers are equally busy")  # fmt: skip
    parser.set_defaults(request=_rebalance)


def _rebalance(arguments: argparse.Namespace) -> dict[str, Any]:
    by_load = arguments.by == "load"
    return {"rebalance": True, "weights": dict(arguments.weight), "by_load": by_load}


def _parser(subparsers: Any, verb: str, help_: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(verb, help=help_, allow_abbrev=False)
    add_run_name(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the plan and change nothing")
    parser.add_argument("--no-wait", action="store_true", help="ask, and do not wait for the end")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    return parser


def _number(text: str) -> int | str:
    """N as an int; +N and -N as they are."""
    if text[:1] in "+-" and text[1:].isdigit():
        return text
    if text.isdigit():
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of workers, like 4, +1 or -2")


def _weight(text: str) -> tuple[str, int]:
    worker, _, weight = text.partition("=")
    if worker.isdigit() and weight.isdigit() and int(weight) > 0:
        return worker, int(weight)
    raise argparse.ArgumentTypeError(f"{text!r} is not WORKER=N, like 2=3")


def run(arguments: argparse.Namespace) -> int:
    """Ask for the change and follow it; the exit code."""
    from roo.api import ConnectorError
    from roo.cli.visitor import NoAnswer, Visitor
    from roo.runtime.registry import NoSuchRun

    request = arguments.request(arguments)
    try:
        with Visitor(arguments.name, key_of(arguments, arguments.name)) as visitor:
            if arguments.dry_run:
                answer = visitor.ask_once("change", dry_run=True, **request)
                return show_plan(answer, as_json=arguments.json)
            return _follow(visitor, request, arguments)
    except NoSuchRun as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except NoAnswer as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except ConnectorError as error:
        return complain(error)


def _follow(visitor: Any, request: dict[str, Any], arguments: argparse.Namespace) -> int:
    following = Following(quiet=arguments.json)
    for answer in visitor.ask("change", **request):
        following.take(answer)
        if arguments.no_wait:
            break
    if arguments.json:
        print(json.dumps({k: v for k, v in answer.items() if k != "done"}))
    return 1 if answer.get("why_not") else 0


class Following:
    """Says on stderr what becomes of changes, one after the other. quiet: but for results."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._begun_s: float | None = None
        self._progress = _Progress()
        self._intervals = 0
        self._quiet = quiet

    def take(self, answer: dict[str, Any]) -> None:
        """One answer of the run. The last one gets what was found out on the way."""
        now_s = time.monotonic()
        self._begun_s = now_s if self._begun_s is None else self._begun_s
        if answer.get("queued"):
            _say(f"waiting: {answer['ahead']} change(s) come first" if answer["ahead"]
                 else "waiting for all workers to be there")  # fmt: skip
        elif answer.get("begun"):
            self._intervals, self._progress = answer["intervals_moved"], _Progress()
            _say(f"moving {self._intervals} interval(s), about {answer['keys_to_move']:,} keys")
        elif answer.get("progress"):
            self._progress.show(answer)
        elif answer.get("done"):
            self._progress.end()
            answer["seconds"] = round(now_s - self._begun_s, 3)
            answer["intervals_moved"] = self._intervals
            self._begun_s, self._intervals = None, 0
            if answer["why_not"]:
                _say(f"error: {answer['why_not']}")
            elif not self._quiet:
                _say(_result(answer))


def _result(answer: dict[str, Any]) -> str:
    if not answer.get("keys_moved") and not answer.get("cut_ms"):
        return "nothing to change"
    what = f"{answer['intervals_moved']} interval(s), {answer['keys_moved']:,} keys"
    return (
        f"moved {what} ({answer['bytes_moved'] / 1e6:.1f} MB) in {answer['seconds']:.1f} s; "
        f"longest pause {answer['pause_ms']:.0f} ms for keys that moved, "
        f"{answer['cut_ms']:.0f} ms for the others"
    )


def show_plan(answer: dict[str, Any], *, as_json: bool) -> int:
    """Print what a change would come to; the exit code."""
    if answer.get("why_not"):
        _say(f"error: {answer['why_not']}")
        return 1
    if as_json:
        print(json.dumps({k: v for k, v in answer.items() if k != "done"}))
        return 0
    print("worker      share            intervals    keys (about)                 bytes (about)")
    for row in answer["workers"]:
        sizes = [row["bytes_before"], row["bytes_after"]]
        shown = "" if None in sizes else f"{sizes[0]:>12,} -> {sizes[1]:,}"
        print(
            f"{row['worker']:>6}   {row['share_before']:6.1%} -> {row['share_after']:6.1%}   "
            f"{row['intervals_before']:>3} -> {row['intervals_after']:<3}   "
            f"{row['keys_before']:>10,} -> {row['keys_after']:<10,} {shown}"
        )
    print(f"{answer['intervals_moved']} intervals and about {answer['keys_to_move']:,} keys move")
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr)


class _Progress:
    """One line on a terminal, redrawn; a line every two seconds elsewhere."""

    def __init__(self) -> None:
        self._begun_s = self._said_s = time.monotonic()
        self._open = False

    def show(self, answer: dict[str, Any]) -> None:
        """So many keys of about so many have moved, how large they were, and who is busy."""
        keys, of, size_bytes = answer["keys"], answer["of"], answer["bytes"]
        now_s = time.monotonic()
        terminal = sys.stderr.isatty()
        if not terminal and now_s - self._said_s < 2.0:
            return
        self._said_s = now_s
        left = ""
        if 0 < keys < of:
            left = f", {(now_s - self._begun_s) * (of - keys) / keys:.0f} s left"
        doing = f"; {answer['doing']}" if answer["doing"] else ""
        line = f"{keys:,} of about {of:,} keys, {size_bytes / 1e6:.1f} MB{left}{doing}"
        print(f"\r\x1b[K{line}" if terminal else line, end="" if terminal else "\n",
              file=sys.stderr, flush=True)  # fmt: skip
        self._open = terminal

    def end(self) -> None:
        """Clear the line."""
        if self._open:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
