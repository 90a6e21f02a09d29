"""One split's messages of one key stay in order through any number of exchanges; none is lost."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.run.harness import here, run, summary, write

pytestmark = pytest.mark.slow

MESSAGES = 100_000
F = "tests.run.functions"


def step(name: str, partition: str, call: str = "pass_on") -> str:
    return (f'  - {{name: {name}, type: stateful, partition: "{F}:{partition}", state: {name}, '
            f'call: "{F}:{call}"}}\n')  # fmt: skip


def pipeline(*before: str) -> str:
    """Through the partitions in `before` and then by key, where the order is checked."""
    names = [f"hop{i}" for i in range(len(before))]
    states = "".join(f', {name}: {{factory: "{F}:Total"}}' for name in names)
    steps = "".join(step(n, partition) for n, partition in zip(names, before, strict=True))
    return (
        'sources: {feed: {type: file, path: "in*.txt"}}\n'
        f'states: {{last: {{factory: "{F}:Named"}}{states}}}\n'
        f"steps:\n{steps}{step('last', 'first_word', 'checked')}"
        "sinks: {out: {type: file, path: out.txt}}\n"
    )


# On its way a key takes the same owners for all its messages only where a partition says so: the
# hops go by key, by something made of the key, and by key again.
@pytest.mark.parametrize("before", [(), ("last_of_key",), ("last_of_key", "first_word")])
def test_order_of_a_key_through_exchanges(tmp_path: Path, before: tuple[str, ...]) -> None:
    feed = random.Random(len(before))
    expected = []
    for part in range(4):
        seen = dict.fromkeys((f"{part}-{i}" for i in range(250)), 0)
        lines = []
        for key in feed.choices(list(seen), k=MESSAGES // 4):
            seen[key] += 1
            lines.append(f"{key} {seen[key]}")
        (tmp_path / f"in{part}.txt").write_text("\n".join(lines) + "\n")
        expected += lines
    write(tmp_path, pipeline(*before))
    done = run(tmp_path, "run", "p.yaml", "--workers", "3", "--json", **here())
    outcome = summary(done)
    assert outcome["messages_read"] == outcome["outputs"]["out"] == MESSAGES
    out = (tmp_path / "out.txt").read_text().splitlines()
    assert [line for line in out if " after " in line] == []
    assert sorted(out) == sorted(expected)


def test_nothing_is_lost_or_doubled_where_keys_part_and_meet_again(tmp_path: Path) -> None:
    """Through partitions that tear a key's messages apart there is no order to keep."""
    lines = [f"k{i % 100} {i}" for i in range(MESSAGES)]
    (tmp_path / "in0.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "in1.txt").write_text("\n".join(lines) + "\n")
    text = pipeline("by_17", "by_7").replace(f"{F}:checked", f"{F}:itself_with_state")
    write(tmp_path, text)
    done = run(tmp_path, "run", "p.yaml", "--workers", "3", "--json", **here())
    assert summary(done)["outputs"]["out"] == 2 * MESSAGES
    assert sorted((tmp_path / "out.txt").read_text().splitlines()) == sorted(lines * 2)
