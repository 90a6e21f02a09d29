"""Dynamic and preloaded keys: a key's state is made once, where it belongs, when it is wanted."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from roo.core.table import Table
from roo.runtime.failures import RunFailure
from roo.runtime.preload import keys_of
from roo.spec.model import KeysSpec
from tests.run.harness import here, locally, run, summary, write

PIPELINE = """
sources: {lines: {type: file, path: "in*.txt"}}
states: {s: {factory: "tests.run.functions:Logged" STATE}}
steps:
  - name: count
    type: stateful
    partition: "tests.run.functions:itself"
    state: s
    call: "tests.run.functions:count"
sinks:
  out: {type: file, path: out.txt}
  aside: {type: file, path: aside.jsonl, codec: json}
errors: {sink: aside}
"""


def born(folder: Path) -> list[list[str]]:
    """The keys that each worker has made a state for, in the order they were made."""
    return [log.read_text().splitlines() for log in folder.glob("born.*")]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 3])
def test_every_worker_sees_every_key_at_once_and_each_state_is_made_once(
    tmp_path: Path, workers: int
) -> None:
    keys = [f"key-{i}" for i in range(3000)]
    for part in range(6):
        turned = keys[part * 500 :] + keys[: part * 500]
        (tmp_path / f"in{part}.txt").write_text("\n".join(turned * 3) + "\n")
    write(tmp_path, PIPELINE.replace("STATE", ""))
    done = run(tmp_path, "run", "p.yaml", "--workers", str(workers), "--json", **here())
    outcome = summary(done)
    assert (outcome["keys"], outcome["messages_read"]) == (3000, 3000 * 18)
    made = born(tmp_path)
    assert len(made) == workers  # each owns some
    assert Counter(key for keys in made for key in keys) == Counter(keys)
    table = Table.equal(workers)
    for mine in made:
        assert len({table.owner_of(key) for key in mine}) == 1
    last = Counter((tmp_path / "out.txt").read_text().split("\n")[:-1])
    assert last == Counter(f"{key} {n}" for key in keys for n in range(1, 19))


KEYS = {
    "list": "list: [" + ", ".join(f"k{i}" for i in range(20)) + "]",
    "file": "file: keys.txt",
    "call": 'call: "tests.run.functions:some_keys"',
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KEYS)
def test_preloaded_keys_are_there_before_the_first_message(tmp_path: Path, kind: str) -> None:
    (tmp_path / "in0.txt").write_text("new\nk3\n")
    (tmp_path / "keys.txt").write_text("\n".join(f"k{i}" for i in range(20)) + "\n")
    write(tmp_path, PIPELINE.replace("STATE", f", keys: {{{KEYS[kind]}}}"))
    done = run(tmp_path, "run", "p.yaml", "--workers", "2", "--json", **here())
    assert summary(done)["keys"] == 21
    made = born(tmp_path)
    assert Counter(key for keys in made for key in keys) == Counter(
        ["new", *(f"k{i}" for i in range(20))]
    )
    assert all("new" not in mine[:-1] for mine in made), "the first message came before the keys"


@pytest.mark.parametrize("kind", KEYS)
def test_preloaded_keys_without_any_message(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in0.txt").touch()
    (tmp_path / "keys.txt").write_text("\n".join(f"k{i}" for i in range(20)))
    text = PIPELINE.replace("STATE", f", keys: {{{KEYS[kind]}}}")
    assert locally(tmp_path, text, {"lines": []})["out"] == []
    assert born(tmp_path) == [[f"k{i}" for i in range(20)]]


def unknown(policy: str) -> str:
    return PIPELINE.replace("STATE", f", keys: {{list: [a, b]}}, unknown: {policy}")


@pytest.mark.parametrize(
    ("policy", "out", "keys"),
    [("create", ["a 1", "x 1", "b 1", "x 2", "a 2"], ["a", "b", "x"]),
     ("drop", ["a 1", "b 1", "a 2"], ["a", "b"]),
     ("dead_letter", ["a 1", "b 1", "a 2"], ["a", "b"])],
)  # fmt: skip
def test_a_key_outside_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, out: list[str], keys: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in0.txt").touch()
    made = locally(tmp_path, unknown(policy), {"lines": ["a", "x", "b", "x", "a"]})
    assert made["out"] == out
    assert born(tmp_path) == [keys]
    letters = [(letter["key"], letter["message"], letter["step"]) for letter in made["aside"]]
    assert letters == ([("x", "x", "count")] * 2 if policy == "dead_letter" else [])


def test_a_key_outside_the_list_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in0.txt").touch()
    with pytest.raises(RunFailure) as failed:
        locally(tmp_path, unknown("reject"), {"lines": ["a", "x"]})
    error = failed.value.error
    assert (error["step"], error["key"]) == ("count", "x")
    assert "not in the keys of state s" in error["what"]


@pytest.mark.slow
def test_a_dropped_key_is_counted_and_makes_no_state(tmp_path: Path) -> None:
    (tmp_path / "in0.txt").write_text("a\nx\nb\nx\n")
    write(tmp_path, unknown("drop"))
    outcome = summary(run(tmp_path, "run", "p.yaml", "--workers", "3", "--json", **here()))
    assert (outcome["keys"], outcome["dropped"], outcome["errors"]) == (2, 2, 0)
    assert sorted(key for keys in born(tmp_path) for key in keys) == ["a", "b"]


@pytest.mark.slow
def test_dead_letters_of_unknown_keys_count_once(tmp_path: Path) -> None:
    (tmp_path / "in0.txt").write_text("a\nx\nb\nx\n")
    write(tmp_path, unknown("dead_letter"))
    outcome = summary(run(tmp_path, "run", "p.yaml", "--workers", "2", "--json", **here()))
    assert (outcome["keys"], outcome["dead_letters"]) == (2, 2)
    letters = [json.loads(line) for line in (tmp_path / "aside.jsonl").read_text().splitlines()]
    assert [letter["key"] for letter in letters] == ["x", "x"]
    assert {letter["source"] for letter in letters} == {"lines"}


def test_a_file_of_keys_has_one_a_line(tmp_path: Path) -> None:
    """A byte order mark is no part of the first; only line ends end a key."""
    (tmp_path / "keys.txt").write_bytes("\ufeffa\r\nb\u2028c\n\n\x85d".encode())
    spec = KeysSpec(file=str(tmp_path / "keys.txt"))
    assert keys_of("s", spec) == ["a", "b\u2028c", "\x85d"]


@pytest.mark.parametrize(
    ("keys", "code", "fact"),
    [
        ("file: none.txt", 2, "p.yaml:4:"),
        ('call: "plug:wrong_keys"', 1, "it returned 5 (int), not a key"),
    ],
)
def test_keys_that_cannot_be_had(tmp_path: Path, keys: str, code: int, fact: str) -> None:
    plugin = "def wrong_keys(): return 'a', 5"
    (tmp_path / "in.txt").touch()
    write(tmp_path, PIPELINE.replace("STATE", f", keys: {{{keys}}}"), plugin)
    done = run(tmp_path, "run", "p.yaml", **here())
    assert done.returncode == code
    assert "state" in done.stderr
    assert fact in done.stderr
