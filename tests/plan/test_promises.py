"""What is promised is true to what is configured."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from roo import connectors
from roo.api import Sink
from roo.plan.promises import delivery_of, promises, say
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
    ("kept", "rewinds", "delivery", "expected"),
    [
        (True, True, "exactly once", "state exactly once, output exactly once"),
        (True, True, "at least once", "state exactly once, output at least once"),
        (True, True, "best effort", "state exactly once, output best effort"),
        (True, False, "exactly once", "state at most once, output at most once"),
        (True, False, "at least once", "state at most once, output at most once"),
        (True, False, "best effort", "state at most once, output best effort"),
        (False, True, "exactly once", "state lost in a crash, output lost in a crash"),
        (False, True, "best effort", "state lost in a crash, output best effort"),
    ],
)
def test_with_state(
    tmp_path: Path, kept: bool, rewinds: bool, delivery: str, expected: str
) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(PIPELINE.format(**KEYED, more=MORE))
    sinks = {"o": delivery, "p": "exactly once"}
    found = promises(plan_of(file), {"s": rewinds, "other": True}, sinks, kept=kept)
    assert [(p.source, p.sink) for p in found] == [("s", "o"), ("other", "p")]
    assert say(found[0]) == f"s -> o: {expected}"
    assert found[1].state == "none"


def test_dead_letters_are_a_way_too(tmp_path: Path) -> None:
    plan = plan_of(Path("pipelines/transactional_email.yaml"))
    source, sinks = plan.spec.sources[0].name, [s.name for s in plan.spec.sinks]
    found = promises(plan, {source: True}, dict.fromkeys(sinks, "exactly once"), kept=True)
    assert {p.sink for p in found} == set(sinks)


def test_what_a_sink_can_promise(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for kind, options, promise in (
        ("file", {"path": str(tmp_path / "out.txt")}, "exactly once"),
        ("file", {"path": str(pipe)}, "best effort"),
        ("stdout", {}, "at least once"),
        ("tcp", {"address": "localhost:1"}, "best effort"),
    ):
        assert delivery_of(connectors.sink(kind, options)) == promise
    assert delivery_of(Sink({})) == "at least once"
