"""`roo graph FILE`: who reads whom, and what each way from a source to a sink promises."""

from __future__ import annotations

import argparse
import json
from typing import Any

from roo.cli.common import (
    add_pipeline_options,
    complain,
    load_checked,
    plan_of,
    promises_of,
    wants_checkpoints,
)
from roo.plan.model import Plan
from roo.plan.promises import Promise, say


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "graph", help="print the steps and what each path promises", allow_abbrev=False
    )
    add_pipeline_options(parser, workers=False)
    parser.add_argument(
        "--no-checkpoint", dest="checkpoint", action="store_false", help="as for roo run"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the graph; the exit code."""
    from roo.api import ConnectorError
    from roo.spec.findings import InvalidPipeline

    try:
        spec = load_checked(arguments.file, arguments.overrides)
        plan = plan_of(spec)
        found = promises_of(plan, kept=arguments.checkpoint and wants_checkpoints(spec))
    except (InvalidPipeline, ConnectorError) as error:
        return complain(error)
    if arguments.json:
        facts = {
            "pipeline": spec.name,
            "edges": [
                [name, reader] for name, readers in plan.readers.items() for reader in readers
            ],
            "dead_letters": dict(plan.dead_letters),
            "promises": [promise._asdict() for promise in found],
        }
        print(json.dumps(facts))
    else:
        print("\n".join(_lines(plan, found)))
    return 0


def _lines(plan: Plan, found: list[Promise]) -> list[str]:
    lines = []
    for source in plan.spec.sources:
        lines.append(f"{source.name} ({source.type})")
        lines += _branches(plan, source.name, "", set())
    lines += [f"errors of {name} -> {sink}" for name, sink in plan.dead_letters.items()]
    return [*lines, "", "promises", *(f"  {say(promise)}" for promise in found)]


def _branches(plan: Plan, name: str, indent: str, drawn: set[str]) -> list[str]:
    """What reads a part, drawn as a tree; a part that several read is drawn in full once."""
    lines = []
    readers = plan.readers.get(name, ())
    for index, reader in enumerate(readers):
        last = index == len(readers) - 1
        again = reader in drawn and bool(plan.readers.get(reader))
        lines.append(f"{indent}{'└─' if last else '├─'} {_label(plan, reader)}{' …' * again}")
        if not again:
            drawn.add(reader)
            lines += _branches(plan, reader, indent + ("   " if last else "│  "), drawn)
    return lines


def _label(plan: Plan, name: str) -> str:
    step, sink = plan.step(name), plan.sink(name)
    if sink is not None:
        return f"{name} ({sink.type})"
    assert step is not None
    return f"{name} ({step.type}{f', state {step.state}' if step.state else ''})"
