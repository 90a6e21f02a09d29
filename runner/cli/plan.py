"""`roo plan FILE`: what would run, who owns which part of the ring, where a key goes."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from roo.cli.common import add_pipeline_options, complain, load_checked, plan_of


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "plan", help="print stages, owners, and where keys go", allow_abbrev=False
    )
    add_pipeline_options(parser)
    parser.add_argument(
        "--key", dest="keys", action="append", default=[], metavar="K",
        help="say which worker owns this key (may be repeated)",
    )  # fmt: skip
    parser.add_argument("--code", action="store_true", help="print the generated hot path")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the plan; the exit code."""
    from roo.api import ConnectorError
    from roo.core.placement import Placement
    from roo.core.table import hash64
    from roo.spec.findings import InvalidPipeline

    try:
        spec = load_checked(arguments.file, arguments.overrides, arguments.workers)
        plan = plan_of(spec)
    except (InvalidPipeline, ConnectorError) as error:
        return complain(error)
    if arguments.code:
        from roo.runtime.loops import generate

        sys.stdout.write(generate(plan).source)
        return 0
    weights = dict(enumerate(spec.cluster.weights))
    table = Placement.fresh(spec.workers, [], [], weights=weights).table
    facts = {
        "pipeline": spec.name,
        "fingerprint": plan.fingerprint,
        "workers": spec.workers,
        "table_version": table.version,
        "stages": [
            {"stage": stage.index, "entries": list(stage.entries), "parts": plan.parts(stage.index)}
            for stage in plan.stages
        ],
        "exchanges": [
            {"exchange": e.index, "from_stage": e.from_stage, "to_stage": e.to_stage}
            for e in plan.exchanges
        ],
        # Hashes as text: JSON readers commonly keep numbers as doubles, which lose low bits.
        "intervals": [
            {"worker": owner, "from": f"{start:#018x}", "to": f"{end:#018x}",
             "share": (end - start) / 2**64}
            for start, end, owner in table.intervals()
        ],
        "keys": [
            {"key": key, "hash": f"{hash64(key):#018x}", "worker": table.owner_of(key)}
            for key in arguments.keys
        ],
    }  # fmt: skip
    if arguments.json:
        import json

        print(json.dumps(facts))
    else:
        print(_text(facts))
    return 0


def _text(facts: dict[str, Any]) -> str:
    workers = facts["workers"]
    lines = [f"{facts['pipeline']} on {workers} worker{'s' if workers > 1 else ''}", "", "stages"]
    for stage in facts["stages"]:
        behind = [part for part in stage["parts"] if part not in stage["entries"]]
        then = f" -> {', '.join(behind)}" if behind else ""
        lines.append(f"  {stage['stage']}  {', '.join(stage['entries'])}{then}")
    lines += ["", "exchanges"]
    lines += [
        f"  {e['exchange']}  stage {e['from_stage']} -> stage {e['to_stage']}"
        for e in facts["exchanges"]
    ]
    lines += ["", "owners (worker, share, interval)"]
    lines += [
        f"  {i['worker']:>3}  {i['share']:7.3%}  [{i['from']}, {i['to']})"
        for i in facts["intervals"]
    ]
    if facts["keys"]:
        width = max(len(repr(k["key"])) for k in facts["keys"])
        lines += ["", "keys"]
        lines += [
            f"  {k['key']!r:<{width}}  {k['hash']}  worker {k['worker']}" for k in facts["keys"]
        ]
    return "\n".join(lines)
