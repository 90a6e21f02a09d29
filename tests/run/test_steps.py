"""What each kind of step makes of its messages: in this process, and with two real workers."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.run.harness import here, locally, run, write

WORDS = ["to be or", "", "not", "to be that is", "the question", "be"]
FLAT = " ".join(WORDS).split()


class Case(NamedTuple):
    """A pipeline's steps (with `F:` for the module of functions) and what its sinks must get."""

    steps: str
    expected: dict[str, list[Any]]
    sinks: str = "sinks: {out: {type: file, path: out.jsonl, codec: json}}"
    states: str = ""


def running_totals(words: list[str], first: int = 1) -> list[str]:
    seen: Counter[str] = Counter()
    return [f"{word} {seen.update([word]) or seen[word]}" for word in words if len(word) >= first]


SPLIT = '{name: words, type: flat_map, call: "F:listed"}'
TOTALS = 'states: {s: {factory: "F:Total"}}'
NAMED = 'states: {s: {factory: "F:Named"}}'
TWO_SINKS = (
    "sinks: {out: {type: file, path: out.jsonl, codec: json, from: %s}, "
    "other: {type: file, path: other.jsonl, codec: json, from: %s}}"
)

CASES = {
    "map": Case('[{name: a, type: map, call: "F:upper"}]', {"out": [w.upper() for w in WORDS]}),
    "map to None is no output": Case(
        '[{name: a, type: map, call: "F:unless_empty"}]', {"out": [w for w in WORDS if w]}
    ),
    "filter": Case('[{name: a, type: filter, call: "F:long"}]',
                   {"out": [w for w in WORDS if len(w) > 3]}),
    "flat_map of a list": Case(f"[{SPLIT}]", {"out": FLAT}),
    "flat_map of a generator": Case(
        '[{name: a, type: flat_map, call: "F:generated"}]', {"out": FLAT}
    ),
    "flat_map of None": Case('[{name: a, type: flat_map, call: "F:nothing_for_short"}]',
                             {"out": [w for w in WORDS if len(w) > 3]}),
    "with": Case('[{name: a, type: map, call: "F:scaled", with: {factor: 2, suffix: "!"}}]',
                 {"out": [w * 2 + "!" for w in WORDS]}),
    "a chain": Case(
        f'[{SPLIT}, {{name: a, type: filter, call: "F:long"}}, '
        '{name: b, type: map, call: "F:upper"}]', {"out": ["THAT", "QUESTION"]},
    ),
    "stateful, one output": Case(
        f'[{SPLIT}, {{name: a, type: stateful, partition: "F:itself", state: s, call: "F:count"}}]',
        {"out": running_totals(FLAT)}, states=TOTALS,
    ),
    "stateful, one output or none": Case(
        f'[{SPLIT}, '
        '{name: a, type: stateful, partition: "F:itself", state: s, call: "F:odd_only"}]',
        {"out": [t.split()[0] for t in running_totals(FLAT) if int(t.split()[1]) % 2]},
        states=TOTALS,
    ),
    "stateful, many outputs, key to the factory": Case(
        f'[{SPLIT}, {{name: a, type: stateful, partition: "F:itself", state: s, '
        'call: "F:since_last", many: true}]',
        {"out": [f"{w}:{w}" for i, w in enumerate(FLAT) for _ in range(FLAT[: i + 1].count(w))]},
        states=NAMED,
    ),
    "key to factory and computation": Case(
        f'[{SPLIT}, {{name: a, type: stateful, partition: "F:first_letter", state: s, '
        'call: "F:told_its_key"}]',
        {"out": [[w[0], w[0], w] for w in FLAT]}, states=NAMED,
    ),
    "stateful with": Case(
        f'[{SPLIT}, {{name: a, type: stateful, partition: "F:itself", state: s, call: "F:add", '
        'with: {by: 10}}]',
        {"out": [f"{t}0" for t in running_totals(FLAT)]}, states=TOTALS,
    ),
    "bytes keys": Case(
        f'[{SPLIT}, {{name: a, type: stateful, partition: "F:as_bytes", state: s, '
        'call: "F:count"}]',
        {"out": running_totals(FLAT)}, states=TOTALS,
    ),
    "three partitions in a row": Case(
        f'[{SPLIT}, '
        '{name: a, type: stateful, partition: "F:first_letter", state: x, call: "F:pass_on"}, '
        '{name: b, type: stateful, partition: "F:length", state: y, call: "F:pass_on"}, '
        '{name: c, type: stateful, partition: "F:itself", state: z, call: "F:count"}]',
        {"out": running_totals(FLAT)},
        states="states: {" + ", ".join(f'{n}: {{factory: "F:Total"}}' for n in "xyz") + "}",
    ),
    "merged streams": Case(
        f'[{SPLIT}, {{name: up, type: map, from: words, call: "F:upper"}}, '
        '{name: all, type: map, from: [words, up], call: "F:itself"}]',
        {"out": FLAT + [w.upper() for w in FLAT]},
    ),
    "branches and several sinks": Case(
        f'[{SPLIT}, {{name: long, type: filter, from: words, call: "F:long"}}, '
        '{name: up, type: map, from: words, call: "F:upper"}]',
        {"out": [w for w in FLAT if len(w) > 3], "other": [w.upper() for w in FLAT]},
        sinks=TWO_SINKS % ("long", "up"),
    ),
    "one step to two sinks": Case(f"[{SPLIT}]", {"out": FLAT, "other": FLAT},
                                  sinks=TWO_SINKS % ("words", "words")),
    "an error in one branch does not cost the other": Case(
        '[{name: all, type: map, call: "F:itself"}, '
        '{name: bad, type: map, from: all, call: "F:boom_on_not", errors: {policy: skip}}, '
        '{name: good, type: map, from: all, call: "F:upper"}]',
        {"out": [w for w in WORDS if w != "not"], "other": [w.upper() for w in WORDS]},
        sinks=TWO_SINKS % ("bad", "good"),
    ),
    "a state that goes on changing what it gave": Case(
        '[{name: all, type: stateful, partition: "F:one_key", state: s, call: "F:gathered"}, '
        '{name: next, type: stateful, partition: "F:one_key", state: t, '
        'call: "F:itself_with_state"}]',
        {sink: [WORDS[: i + 1] for i in range(len(WORDS))] for sink in ("out", "other")},
        sinks=TWO_SINKS % ("all", "next"),
        states='states: {s: {factory: "builtins:list"}, t: {factory: "builtins:list"}}',
    ),
    "a reader that changes its message": Case(
        '[{name: all, type: map, call: "F:boxed"}, '
        '{name: bad, type: map, from: all, call: "F:spoilt"}]',
        {"out": [[w, "spoilt"] for w in WORDS], "other": [[w] for w in WORDS]},
        sinks=TWO_SINKS % ("bad", "all"),
    ),
    "names that differ in a dash": Case(
        '[{name: a-b, type: map, call: "F:upper"}, '
        '{name: a_b, type: map, from: lines, call: "F:itself"}]',
        {"out": [w.upper() for w in WORDS], "other": WORDS},
        sinks=TWO_SINKS % ("a-b", "a_b"),
    ),
    "twelve flat_maps": Case(
        "[" + ", ".join(f'{{name: f{i}, type: flat_map, call: "F:twice"}}' for i in range(8))
        + ", " + ", ".join(f'{{name: g{i}, type: flat_map, call: "F:listed"}}' for i in range(4))
        + "]", {"out": FLAT * 256},
    ),
    "twenty branches, each off the last": Case(
        '[{name: s0, type: map, call: "F:itself"}, ' + ", ".join(
            f'{{name: s{i}, type: map, from: s{i - 1}, call: "F:itself"}}, '
            f'{{name: t{i}, type: filter, from: s{i - 1}, call: "F:long"}}' for i in range(1, 21)
        ) + "]",
        {"out": WORDS, "other": [w for w in WORDS if len(w) > 3] * 20},
        sinks=TWO_SINKS % ("s20", "[" + ", ".join(f"t{i}" for i in range(1, 21)) + "]"),
    ),
    "a hundred and twenty maps": Case(
        "[" + ", ".join(f'{{name: m{i}, type: map, call: "F:itself"}}' for i in range(120)) + "]",
        {"out": WORDS},
    ),
    "ten flat_maps behind a key, each with a branch": Case(
        '[{name: k, type: stateful, partition: "F:itself", state: s, call: "F:pass_on"}, '
        + ", ".join(
            f'{{name: f{i}, type: flat_map, from: {f"f{i - 1}" if i else "k"}, '
            'call: "F:nothing_for_short"}, '
            f'{{name: t{i}, type: filter, from: f{i}, call: "F:long"}}' for i in range(10)
        ) + "]",
        {"out": [w for w in WORDS if len(w) > 3], "other": [w for w in WORDS if len(w) > 3] * 10},
        sinks=TWO_SINKS % ("f9", "[" + ", ".join(f"t{i}" for i in range(10)) + "]"),
        states=TOTALS,
    ),
}  # fmt: skip


def pipeline(case: Case) -> str:
    text = "\n".join([
        "sources: {lines: {type: file, path: in.txt}}",
        case.states, f"steps: {case.steps}", case.sinks, "",
    ])  # fmt: skip
    return text.replace("F:", "tests.run.functions:")


@pytest.mark.parametrize("name", CASES)
def test_in_this_process(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    (tmp_path / "in.txt").touch()
    made = locally(tmp_path, pipeline(case), {"lines": WORDS})
    for sink, expected in case.expected.items():
        got = [list(item) if isinstance(item, tuple) else item for item in made[sink]]
        assert sorted(got) == sorted(expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_with_two_workers(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    (tmp_path / "in.txt").write_text("\n".join(WORDS) + "\n")
    write(tmp_path, pipeline(case))
    done = run(tmp_path, "run", "p.yaml", "--workers", "2", **here())
    assert done.returncode == 0, done.stderr
    for sink, expected in case.expected.items():
        got = [json.loads(line) for line in (tmp_path / f"{sink}.jsonl").read_text().splitlines()]
        assert sorted(got) == sorted(expected)


TWO_SOURCES = """
sources:
  left: {type: file, path: left.txt}
  right: {type: file, path: right.txt}
states: {s: {factory: "tests.run.functions:Total"}}
steps:
  - {name: up, type: map, from: left, call: "tests.run.functions:upper"}
  - name: count
    type: stateful
    from: [up, right]
    partition: "tests.run.functions:itself"
    state: s
    call: "tests.run.functions:count"
sinks: {out: {type: file, path: out.txt}}
"""


def test_two_sources_locally(tmp_path: Path) -> None:
    for side in ("left", "right"):
        (tmp_path / f"{side}.txt").touch()
    made = locally(tmp_path, TWO_SOURCES, {"left": ["a", "b"], "right": ["A", "c"]})
    assert made["out"] == ["A 1", "B 1", "A 2", "c 1"]


@pytest.mark.slow
def test_two_sources_meet_in_one_state(tmp_path: Path) -> None:
    (tmp_path / "left.txt").write_text("a\nb\n" * 100)
    (tmp_path / "right.txt").write_text("A\nc\n" * 100)
    write(tmp_path, TWO_SOURCES)
    assert run(tmp_path, "run", "p.yaml", "--workers", "2", **here()).returncode == 0
    lines = (tmp_path / "out.txt").read_text().splitlines()
    for key, total in (("A", 200), ("B", 100), ("c", 100)):
        assert [ln for ln in lines if ln[0] == key] == [f"{key} {n + 1}" for n in range(total)]


SHARED = """
sources: {feed: {type: file, path: feed.txt}}
states: {s: {factory: "tests.run.functions:Named"}}
steps:
  - {name: even, type: filter, from: feed, call: "tests.run.functions:starts_even"}
  - {name: odd, type: filter, from: feed, call: "tests.run.functions:starts_odd"}
  - name: evens
    type: stateful
    from: even
    partition: "tests.run.functions:first_word"
    state: s
    call: "tests.run.functions:seen_as"
    with: {kind: even}
  - name: odds
    type: stateful
    from: odd
    partition: "tests.run.functions:first_word"
    state: s
    call: "tests.run.functions:seen_as"
    with: {kind: odd}
sinks: {out: {type: file, path: out.txt, from: [evens, odds]}}
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_two_steps_over_one_state_keep_the_order_of_a_key(tmp_path: Path, workers: int) -> None:
    feed = random.Random(workers)
    rows = [f"k{feed.randrange(40)} {feed.randrange(1000)} {i}" for i in range(20_000)]
    (tmp_path / "feed.txt").write_text("\n".join(rows) + "\n")
    write(tmp_path, SHARED)
    done = run(tmp_path, "run", "p.yaml", "--workers", str(workers), **here())
    assert done.returncode == 0, done.stderr
    seen: Counter[str] = Counter()
    expected: dict[str, list[str]] = {}
    for row in rows:
        key, number, _ = row.split()
        seen[key] += 1
        kind = "odd" if int(number) % 2 else "even"
        expected.setdefault(key, []).append(f"{row} {kind} {seen[key]}")
    got: dict[str, list[str]] = {}
    for line in (tmp_path / "out.txt").read_text().splitlines():
        got.setdefault(line.split()[0], []).append(line)
    assert got == expected
