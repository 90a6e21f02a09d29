"""`roo VERB …`: picks the verb, imports nothing else."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import Any, NoReturn

import roo

VERBS = {
    "run": "run:add_parser",
    "validate": "validate:add_parser",
    "test": "test:add_parser",
    "plan": "plan:add_parser",
    "graph": "graph:add_parser",
    "ps": "watching:add_ps",
    "status": "watching:add_status",
    "top": "watching:add_top",
    "stop": "watching:add_stop",
    "join": "join:add_parser",
    "scale": "changing:add_scale",
    "leave": "changing:add_leave",
    "rebalance": "changing:add_rebalance",
    "key": "key:add_parser",
    "checkpoint": "checkpoint:add_parser",
    "state": "state:add_parser",
}
"""verb -> module of roo.cli, and what adds it to the command line; `run` of the module runs it."""


class Parser(argparse.ArgumentParser):
    """argparse that answers a misspelt verb or option with the one that was meant."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and end with exit code 2."""
        known = [option for action in self._actions for option in action.option_strings]
        words = [word.partition("=")[0] for word in sys.argv[1:]]
        for word in words:
            if word.startswith("-") and word not in known and word in message:
                message += _did_you_mean(word, known)
        choice = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        if choice is not None:
            message += _did_you_mean(choice[1], re.findall(r"[\w-]+", choice[2]))
        self.exit(2, f"{self.prog}: {message}\n{self.format_usage()}")


def main() -> NoReturn:
    """The console script."""
    _open_closed_streams()
    signal.signal(signal.SIGTERM, _terminate)
    code: Any = 0
    try:
        try:
            code = _run(sys.argv[1:])
        except SystemExit as end:  # of argparse, whose help page is still to be flushed
            code = end.code
        sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        code = 128 + (signal.SIGTERM if interrupt.args else signal.SIGINT)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # else: `roo plan … | head -1` has seen enough
            where = f": {error.filename}" if error.filename else ""
            print(f"error: {error.strerror or error}{where}", file=sys.stderr)
            code = 3
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
    sys.exit(code)


def _terminate(number: int, frame: Any) -> NoReturn:
    """As Ctrl-C: whatever was begun is cleaned up."""
    raise KeyboardInterrupt(number)


def _open_closed_streams() -> None:
    """What was closed at the start reads and writes nothing: no other file may get its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
    if isinstance(sys.stdout, TextIOWrapper):  # a locale without "…" is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")


def _run(words: list[str]) -> int:
    parser = Parser(
        prog="roo",
        description="A declarative, stateful stream processor: YAML, plain Python functions, "
        "dynamic keys.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"roo {roo.__version__}")
    first = words[0] if words else ""
    verb = first if first and not first.startswith("-") else None
    if verb is not None and verb not in VERBS:
        parser.exit(2, f"roo: there is no verb '{verb}'{_did_you_mean(verb, list(VERBS))}\n"
                       f"verbs: {', '.join(VERBS)} (roo --help says what they do)\n")  # fmt: skip
    subparsers: Any = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser)
    if first.startswith("-") and first not in ("-h", "--help", "--version"):
        parser.error(f"there is no option {first} before the verb")
    # The help page needs every verb; a run needs its own alone.
    modules = {}
    for name in [verb] if verb else VERBS:
        module, _, add = VERBS[name].partition(":")
        modules[name] = import_module(f"roo.cli.{module}")
        getattr(modules[name], add)(subparsers)
    arguments, unknown = parser.parse_known_args(words)
    if unknown:  # said by the verb, which knows what its options are called
        chosen = subparsers.choices.get(arguments.verb, parser)
        option = unknown[0].startswith("-")
        chosen.error(f"{'there is no option' if option else 'too much:'} {' '.join(unknown)}")
    if arguments.verb is None:
        parser.print_help(sys.stderr)
        return 2
    code: int = modules[arguments.verb].run(arguments)
    return code


def _did_you_mean(word: str, known: list[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=1, cutoff=0.7 if word.startswith("-") else 0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
