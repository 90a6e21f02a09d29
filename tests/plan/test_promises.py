"""What is promised is true to what is configured."""

from __future__ import annotations

from pathlib import Path

import pytest

from roo.plan.promises import promises, say
from tests.plan.test_plan import plan_of

PIPELINE = """
version: 1
sources: {{s: {{type: stdin}}, other: {{type: generate, count: 1}}}}
states: {{t: {{factory: "builtins:list"}}}}
steps:
  - {{name: a, type: {type}, from: s, call: "tests.plan.test_plan:{call}"{more}}}
sinks: {{o: {{type: stdout, from: [a]}}, p: {{type: "null", from: [other]}}}}
"""
KEYED = {"type": "stateful", "call": "compute"}
MORE = ', partition: "tests.plan.test_plan:key", state: t'


@pytest.mark.parametrize(
    ("kept", "rewinds", "rolls_back", "expected"),
    [
        (True, True, True, "state exactly once, output exactly once"),
        (True, True, False, "state exactly once, output at least once"),
        (True, False, True, "state at most once, output at most once"),
        (True, False, False, "state at most once, output at most once"),
        (False, True, True, "state lost in a crash, output lost in a crash"),
    ],
)
def test_with_state(
    tmp_path: Path, kept: bool, rewinds: bool, rolls_back: bool, expected: str
) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(PIPELINE.format(**KEYED, more=MORE))
    found = promises(
        plan_of(file), {"s": rewinds, "other": True}, {"o": rolls_back, "p": True}, kept=kept
    )
    assert [(p.source, p.sink) for p in found] == [("s", "o"), ("other", "p")]
    assert say(found[0]) == f"s -> o: {expected}"
    assert found[1].state == "none"


def test_dead_letters_are_a_way_too(tmp_path: Path) -> None:
    plan = plan_of(Path("pipelines/transactional_email.yaml"))
    source, sinks = plan.spec.sources[0].name, [s.name for s in plan.spec.sinks]
    found = promises(plan, {source: True}, dict.fromkeys(sinks, True), kept=True)
    assert {p.sink for p in found} == set(sinks)
