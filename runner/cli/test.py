"""`roo test FILE…`: run the `tests:` blocks of pipeline files in this process."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from roo.cli.common import complain, load_checked, plan_of


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "test", help="run the tests that pipeline files carry", allow_abbrev=False
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="pipeline files (YAML)")
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="PATH=VALUE",
        help="change one value of every file (may be repeated)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Run every test of every good file; 0 when all passed, 1 when one failed, 2 for a bad file."""
    from roo.api import ConnectorError
    from roo.spec.findings import InvalidPipeline

    started_s = time.monotonic()
    bad = 0
    results: list[dict[str, Any]] = []
    for file in arguments.files:
        try:
            spec = load_checked(file, arguments.overrides)
            plan = plan_of(spec)
        except (InvalidPipeline, ConnectorError) as error:
            bad = max(bad, complain(error))
            continue
        for test in spec.tests:
            problem = _problem(plan, test)
            results.append({"file": file, "test": test.name, "problem": problem})
            if not arguments.json:
                print(f"{'FAILED' if problem else 'ok    '}  {file}: {test.name}")
                if problem:
                    print("\n".join(f"        {line}" for line in problem.splitlines()))
        if not spec.tests:
            print(f"none    {file}: it has no tests; add a `tests:` block", file=sys.stderr)
    failed = sum(1 for result in results if result["problem"])
    passed = len(results) - failed
    if arguments.json:
        import json

        print(json.dumps({"passed": passed, "failed": failed, "tests": results}))
    elif results or not bad:  # else what is wrong has been said
        print(f"{passed} passed, {failed} failed in {time.monotonic() - started_s:.2f} s")
    return bad or (1 if failed else 0)


def _problem(plan: Any, test: Any) -> str:
    """What is wrong with the outputs of one test; "" when they are as expected."""
    from roo.plan.resolve import raised_at
    from roo.runtime.failures import RunFailure
    from roo.runtime.local import LocalRun
    from roo.status.errors import format_error
    from roo.testing import compare

    try:
        local = LocalRun(plan)
        for source, items in test.input.items():
            for item in items:
                local.feed(source, item)
    except RunFailure as failure:
        return format_error(failure.error)
    except SystemExit as error:
        return f"SystemExit: {error}{raised_at(error)}; a plugin must not end the process"
    aside = set(plan.dead_letters.values())
    problems = (
        compare(sink, test.expect[sink], local.outputs[sink], test.order, partly=sink in aside)
        for sink in test.expect
    )
    return "\n".join(problem for problem in problems if problem)
