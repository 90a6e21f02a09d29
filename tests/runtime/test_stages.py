"""A stage over a batch: at once, or a part of its keys at a time while a checkpoint is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from roo.core.placement import Placement
from roo.plan.build import make
from roo.runtime.payload import Keyed
from roo.runtime.stages import NO_LIMIT, Stages
from roo.spec.load import load

F = "tests.run.functions"
STEP = (
    f'  - {{{{name: {{}}, type: stateful, partition: "{F}:first_word", state: s, '
    f'call: "{F}:pass_on", from: lines}}}}\n'
)
PIPELINE = f"""
version: 1
name: parts
sources: {{lines: {{type: stdin}}}}
states: {{s: {{factory: "{F}:Total"}}}}
steps:
{"".join(STEP.format(name) for name in "ab")}sinks: {{out: {{type: stdout, from: [a, b]}}}}
"""


@pytest.mark.parametrize("at_once", [1, 3, 7, 10, NO_LIMIT])
def test_a_batch_in_parts_gives_the_same(
    tmp_path: Path, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(PIPELINE)
    plan = make(load(path), {})
    stages = Stages(plan, 0, Placement.fresh(1, [], ()))

    [stage] = stages.state_at
    touched: list[list[str]] = []
    monkeypatch.setattr(stages.keyed[stages.state_at[stage]], "touch", touched.append)
    stages.keys_at_once = at_once
    pauses: list[int] = []
    stages.between_parts = lambda: pauses.append(len(touched))
    keys = [f"k{i % 4}" for i in range(10)]
    entries = [i % 2 for i in range(10)]
    stages.run_keyed(stage, Keyed(keys, [f"{key} {i}" for i, key in enumerate(keys)], entries))
    assert stages.take_items("out") == [f"{key} {i}" for i, key in enumerate(keys)]
    assert [key for some in touched for key in some] == keys
    assert max(map(len, touched)) == min(at_once, 10)
    assert pauses == list(range(1, len(touched)))
    assert stages.messages_in == {"a": 5, "b": 5}
