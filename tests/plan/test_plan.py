"""The step graph cut into stages, and the code that runs them.

`ROO_GOLDEN=rewrite pytest tests/plan` writes the golden files anew: look at the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from roo.plan.build import make
from roo.plan.model import Plan
from roo.runtime.loops import generate
from roo.spec.load import load

GOLDEN = Path(__file__).parent / "golden"
EXAMPLES = sorted(Path("pipelines").glob("*.yaml"))

SHAPES = {
    "two partitions in a row": (
        "{name: a, type: stateful, partition: P, state: s, call: C}, "
        "{name: b, type: stateful, partition: P, state: t, call: C}",
        "out: {type: stdout}",
        [("lines",), ("a",), ("b",), ("out",)],
        [(0, 1), (1, 2), (2, 3)],
    ),
    "steps that share a state at one depth are one stage": (
        "{name: a, type: stateful, partition: P, state: s, call: C, from: lines}, "
        "{name: b, type: stateful, partition: P, state: s, call: C, from: lines}",
        "out: {type: stdout, from: [a, b]}",
        [("lines",), ("a", "b"), ("out",)],
        [(0, 1), (1, 2)],
    ),
    "the same state deeper is a stage of its own": (
        "{name: a, type: stateful, partition: P, state: s, call: C}, "
        "{name: b, type: stateful, partition: P, state: s, call: C}",
        "out: {type: stdout}",
        [("lines",), ("a",), ("b",), ("out",)],
        [(0, 1), (1, 2), (2, 3)],
    ),
    "an exchange may skip a stage": (
        "{name: a, type: stateful, partition: P, state: s, call: C, from: lines}, "
        "{name: b, type: stateful, partition: P, state: t, call: C, from: [lines, a]}",
        "out: {type: stdout, from: b}",
        [("lines",), ("a",), ("b",), ("out",)],
        [(0, 1), (0, 2), (1, 2), (2, 3)],
    ),
    "steps without a key need no stage": (
        "{name: a, type: map, call: M}, {name: b, type: filter, call: M}",
        'out: {type: "null"}',
        [("lines",)],
        [],
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_stages_and_exchanges(tmp_path: Path, shape: str) -> None:
    steps, sinks, stages, exchanges = SHAPES[shape]
    steps = steps.replace("P,", '"tests.plan.test_plan:key",')
    steps = steps.replace("call: C", 'call: "tests.plan.test_plan:compute"')
    steps = steps.replace("call: M", 'call: "tests.plan.test_plan:key"')
    states = ", ".join(f"{s}: {{factory: 'builtins:list'}}" for s in "st" if f"state: {s}" in steps)
    file = tmp_path / "p.yaml"
    file.write_text(
        "version: 1\nsources: {lines: {type: stdin}}\n"
        f"states: {{{states}}}\n"
        f"steps: [{steps}]\nsinks: {{{sinks}}}\n"
    )
    plan = plan_of(file)
    assert [stage.entries for stage in plan.stages] == stages
    assert [(e.from_stage, e.to_stage) for e in plan.exchanges] == exchanges


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_the_code_of_the_examples(file: Path) -> None:
    plan = plan_of(file)
    stages = "".join(f"# stage {s.index}: {', '.join(s.entries)}\n" for s in plan.stages)
    code = f"{stages}\n{generate(plan).source}"
    golden = GOLDEN / f"{file.stem}.txt"
    if os.environ.get("ROO_GOLDEN") == "rewrite":
        golden.write_text(code)
    assert code == golden.read_text()


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_the_code_of_an_only_worker_differs_where_owners_are_looked_up(file: Path) -> None:
    plan = plan_of(file)
    code, alone = generate(plan), generate(plan, alone=True)
    assert (code.where, code.functions, code.counters) == (
        alone.where,
        alone.functions,
        alone.counters,
    )
    lines = zip(code.source.splitlines(), alone.source.splitlines(), strict=True)
    different = [(line, other) for line, other in lines if line != other]
    assert different
    assert all("digest(" in line and "digest(" not in other for line, other in different)


def test_every_line_of_the_code_that_calls_a_plugin_names_it() -> None:
    """A failure is told by its line: each call of user code must be found by it."""
    for file in EXAMPLES:
        code = generate(plan_of(file))
        for number, line in enumerate(code.source.splitlines(), start=1):
            calls = any(f" {name}" in line for name in ("call_", "key_", "create_"))
            if (calls or "encode_" in line) and not line.lstrip().startswith("def "):
                assert number in code.where, line


def test_a_fingerprint_changes_with_what_is_run_and_only_with_that(tmp_path: Path) -> None:
    text = Path("pipelines/wordcount.yaml").read_text()

    def fingerprint(name: str, old: str = "", new: str = "") -> str:
        file = tmp_path / name
        file.write_text(text.replace(old, new, 1))
        return plan_of(file).fingerprint

    same = fingerprint("a.yaml")
    assert fingerprint("b.yaml") == same
    assert fingerprint("a.yaml", "workers: 2", "workers: 3") == same
    assert fingerprint("a.yaml", "type: flat_map", "type: map") != same
    assert fingerprint("a.yaml", "codec: lines", "codec: json") != same
    assert fingerprint("a.yaml", "codec: lines", "codec: lines\n    max_frame: 1KiB") == same


def plan_of(file: Path) -> Plan:
    spec = load(file)
    return make(spec, {sink.name: sink.type in ("file", "stdout") for sink in spec.sinks})


def key(message: str) -> str:
    return message


def compute(message: str, state: list[str]) -> str:
    return message
