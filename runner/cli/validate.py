"""`roo validate FILE…`: everything that is wrong with pipeline files, at once."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from roo.cli.common import load_checked


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "validate", help="check pipeline files and print every finding", allow_abbrev=False
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="pipeline files (YAML)")
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="PATH=VALUE",
        help="change one value of every file first (may be repeated)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the findings as a JSON list")


def run(arguments: argparse.Namespace) -> int:
    """Print the findings on stdout; 0 without any, else 2."""
    from roo.spec.findings import Finding, InvalidPipeline

    findings: list[Finding] = []
    for file in arguments.files:
        try:
            spec = load_checked(file, arguments.overrides)
        except InvalidPipeline as error:
            findings += error.findings
            if not arguments.json:
                print("\n".join(map(str, error.findings)))
            continue
        if not arguments.json:
            parts = ((spec.sources, "source"), (spec.steps, "step"), (spec.sinks, "sink"))
            counts = ", ".join(f"{len(p)} {w}{'s' * (len(p) != 1)}" for p, w in parts)
            print(f"{file}: ok ({counts})")
    if arguments.json:
        import json

        print(json.dumps([asdict(finding) for finding in findings]))
    return 2 if findings else 0
