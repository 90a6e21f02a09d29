"""A full valid file, broken in every way: the answer is a located finding, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roo.spec.findings import Finding, InvalidPipeline
from roo.spec.load import load
from roo.spec.model import Path as Node
from roo.spec.model import PipelineSpec

FULL = json.dumps(yaml.safe_load((Path(__file__).parent / "full.yaml").read_text()))
STRANGE: list[Any] = [
    *(
        None,
        True,
        0,
        -1,
        1.5,
        10**30,
        float("inf"),
        "",
        "a",
        "x y",
        "${",
        "${NOPE}",
        "a\nb",
        "\x07",
    ),
    *([], ["a"], [None, ["a"], {"a": 1}], {}, {"a": 1}, {"type": "file"}, {"type": []}),
]
"""Of each kind: nothing, empty, odd, plausible."""


def nodes(value: Any, path: Node = ()) -> Iterator[Node]:
    """The path of every node but the root."""
    if path:
        yield path
    if isinstance(value, dict):
        for name, item in value.items():
            yield from nodes(item, (*path, name))
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from nodes(item, (*path, index))


NODES = list(nodes(json.loads(FULL)))
KEYS = [path for path in NODES if isinstance(path[-1], str)]


def around(data: Any, path: Node) -> Any:
    for name in path[:-1]:
        data = data[name]
    return data


def delete(data: Any, path: Node) -> None:
    del around(data, path)[path[-1]]


def rename(data: Any, path: Node) -> None:
    """The key gets another letter, and keeps its place."""
    mapping = around(data, path)
    items = [(f"{k}x" if k == path[-1] else k, v) for k, v in mapping.items()]
    mapping.clear()
    mapping.update(items)


def retype(data: Any, path: Node, value: Any) -> None:
    around(data, path)[path[-1]] = value


def outcome(data: Any, file: Path) -> list[Finding]:
    """What is found in the data as a file: nothing, or findings that stand within it."""
    # JSON is YAML too, and puts every node on a line of its own.
    text = json.dumps(data, indent=1).replace("Infinity", ".inf")
    file.write_text(text)
    try:
        spec = load(str(file), (), {})
    except InvalidPipeline as error:
        findings = error.findings
    else:
        assert isinstance(spec, PipelineSpec)
        return []
    lines = text.split("\n")
    assert findings
    for finding in findings:
        assert 1 <= finding.line <= len(lines)
        assert 1 <= finding.column <= len(lines[finding.line - 1]) + 1
        assert finding.what
        assert finding.hint, str(finding)
        assert "\n" not in str(finding)
        assert "jsonschema" not in str(finding)
    return findings


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    return tmp_path / "a.yaml"


def test_the_full_file_is_valid(file: Path) -> None:
    assert outcome(json.loads(FULL), file) == []


def test_anything_deleted(file: Path) -> None:
    for path in NODES:
        data = json.loads(FULL)
        delete(data, path)
        found = outcome(data, file)
        if path in (("version",), ("sources",), ("sinks",)):
            assert "missing-option" in {f.code for f in found}


def test_any_key_renamed(file: Path) -> None:
    """A misspelt option is found where it stands, with the right one as a hint."""
    for path in KEYS:
        data = json.loads(FULL)
        rename(data, path)
        found = outcome(data, file)
        named = len(path) == 2 and path[0] in ("sources", "states", "sinks")
        free = "with" in path[:-1] or (path[0] == "tests" and len(path) > 3)
        if named or free or path[-1] == "type":
            continue
        at = {f.line: f for f in found if f.code == "unknown-option"}
        lines = file.read_text().split("\n")
        (line,) = [n for n in at if lines[n - 1].lstrip().startswith(f'"{path[-1]}x":')]
        assert f"did you mean '{path[-1]}'?" in at[line].hint, path


@pytest.mark.parametrize("turn", range(3))
def test_anything_of_another_type(file: Path, turn: int) -> None:
    """Three strange values for every node, all of them in turn."""
    for index, path in enumerate(NODES):
        data = json.loads(FULL)
        retype(data, path, STRANGE[(index + turn * len(STRANGE) // 3) % len(STRANGE)])
        outcome(data, file)


@pytest.mark.parametrize("index", range(len(STRANGE)))
def test_any_file(file: Path, index: int) -> None:
    """Sections, and the whole file, of every strange value."""
    assert outcome(STRANGE[index], file)
    for section in json.loads(FULL):
        data = json.loads(FULL)
        retype(data, (section,), STRANGE[index])
        outcome(data, file)


@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.sampled_from(NODES), st.sampled_from(["delete", "rename", *STRANGE])),
        min_size=2,
        max_size=6,
    )
)
def test_several_things_at_once(file: Path, changes: list[tuple[Node, Any]]) -> None:
    data = json.loads(FULL)
    for path, change in changes:
        try:
            if change == "delete":
                delete(data, path)
            elif change != "rename":
                retype(data, path, deepcopy(change))  # else it could end inside itself
            elif isinstance(path[-1], str):
                rename(data, path)
        except (LookupError, TypeError, AttributeError):
            continue  # an earlier change took the place away
    outcome(data, file)
