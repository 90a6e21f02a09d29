"""What a valid file comes to: defaults, inputs, codecs, errors, places."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from jsonschema import Draft7Validator

from roo.spec.model import CodecSpec, ErrorsSpec, KeysSpec
from roo.spec.schema import schema

from .conftest import FULL, SMALL, Load, full


def options_of(rule: Any) -> Iterator[tuple[str, str]]:
    """(title of the mapping, option) of everything the schema knows."""
    for option, inner in rule.get("properties", {}).items():
        yield rule["title"], option
        yield from options_of(inner)


def options_in(rule: Any, value: Any) -> Iterator[tuple[str, str]]:
    """(title of the mapping, option) of everything that a valid value uses."""
    definitions = schema()["definitions"]
    if "$ref" in rule:
        rule = definitions[rule["$ref"].rpartition("/")[2]]
    for branch in rule.get("allOf", []):
        if Draft7Validator({**branch["if"], "definitions": definitions}).is_valid(value):
            yield from options_in(branch["then"], value)
    for name, item in value.items() if isinstance(value, dict) else ():
        if name in rule.get("properties", {}):
            yield rule["title"], name
            yield from options_in(rule["properties"][name], item)
        elif isinstance(rule.get("additionalProperties"), dict):
            yield from options_in(rule["additionalProperties"], item)
    for item in value if isinstance(value, list) and "items" in rule else ():
        yield from options_in(rule["items"], item)


def test_every_option_stands_in_a_valid_file(make: Load) -> None:
    full()
    make(SMALL)
    used = {
        pair
        for text in (FULL.read_text(), SMALL)
        for pair in options_in(schema(), yaml.safe_load(text))
    }
    known = {p for rule in (schema(), *schema()["definitions"].values()) for p in options_of(rule)}
    assert known - used == set()


def test_defaults(make: Load) -> None:
    spec = make(SMALL)
    lines = {"framing": "lines", "length_bytes": 4, "max_frame_bytes": 16 * 1024 * 1024}
    (source,), (sink,) = spec.sources, spec.sinks
    assert (spec.name, spec.workers, spec.states, spec.tests) == ("small", 1, (), ())
    assert spec.errors == source.errors == sink.errors == ErrorsSpec("fail", None, None, None)
    assert source.codec == CodecSpec("function", "m:parse", lines)
    assert sink.codec == CodecSpec("lines", None, lines)
    assert [(step.name, step.inputs) for step in spec.steps] == [("s", ("a",)), ("t", ("s",))]
    assert sink.inputs == ("t",)


def test_defaults_of_kinds() -> None:
    spec = full()
    source = {source.name: source.options for source in spec.sources}
    sink = {sink.name: sink.options for sink in spec.sinks}
    assert source["parsed"] == {
        "path": "data/large.bin",
        "splits": 4,
        "follow": False,
        "rotate_wait_s": 1.0,
        "compression": "auto",
    }
    assert source["numbers"] == {
        "start": 10,
        "step": -2,
        "rate": 0.5,
        "count": 3,
        "call": None,
        "with": {},
    }
    assert source["meter"] == {"class": "m.deep:Meter.Inner", "with": {}}
    assert sink["encoded"] == {"path": "out/b", "mode": "overwrite", "visibility": "immediate"}
    assert sink["sent"] == {"address": "[::1]:7002", "retry_for_s": 90.0}
    assert sink["sent_by"]["retry_for_s"] == 60.0
    assert sink["nothing"] == {}
    assert {s.name: s.type for s in spec.sinks}["nothing"] == "null"


def test_codecs() -> None:
    codec = {part.name: part.codec for part in (*full().sources, *full().sinks)}
    assert codec["feed"].kind == "msgpack"
    assert codec["feed"].options == {
        "framing": "length_prefix",
        "length_bytes": 2,
        "max_frame_bytes": 100_000,
    }
    assert codec["files"].options["columns"] == ["name", "city"]
    assert codec["files"].options["delimiter"] == ";"
    assert codec["shown_by"] == CodecSpec("function", "m:format", codec["shown"].options)


def test_states_and_keys() -> None:
    keys = {state.name: (state.keys, state.unknown) for state in full().states}
    assert keys == {
        "totals": (None, "create"),
        "listed": (KeysSpec(values=("a", "b")), "dead_letter"),
        "filed": (KeysSpec(file="keys.txt"), "drop"),
        "called": (KeysSpec(call="m:symbols"), "reject"),
    }


def test_inputs() -> None:
    spec = full()
    inputs = {part.name: part.inputs for part in (*spec.steps, *spec.sinks)}
    assert inputs["one"] == ("count",)  # the step before
    assert inputs["three"] == ("count",)  # as it says
    assert inputs["file"] == ("one", "two")
    assert inputs["archive"] == ("three",)  # the last step
    assert inputs["dead"] == ()  # dead letters, and nothing else


def test_a_sink_without_steps_reads_the_only_source(make: Load) -> None:
    text = "version: 1\nsources: {a: {type: stdin}}\nsinks: {b: {type: stdout}}\n"
    assert make(text).sinks[0].inputs == ("a",)


def test_errors_are_inherited_whole_and_their_sink_always() -> None:
    spec = full()
    errors = {part.name: part.errors for part in (*spec.sources, *spec.steps, *spec.sinks)}
    assert errors["keep"] == spec.errors == ErrorsSpec("fail", "dead", 5, 0.5)
    assert errors["numbers"] == ErrorsSpec("skip", "dead", None, None)
    assert errors["clean"] == ErrorsSpec("dead_letter", "dead", None, None)
    assert errors["sensor"] == ErrorsSpec("fail", "dead", 0, None)
    assert errors["count"] == ErrorsSpec("skip", "dead", None, 1)


def test_tests_are_as_they_stand() -> None:
    (test,) = full().tests
    assert test.input == {"files": ("a", {"b": 1}, [1, 2.5, None, True]), "numbers": ()}
    assert test.expect == {"shown": ("a => 1",), "dead": ({"step": "clean"},)}
    assert test.order == "exact"


def test_every_node_has_its_place() -> None:
    lines = FULL.read_text().split("\n")
    positions = full().places.values
    for path, word in (
        (("sources", "files", "codec", "columns", 1), "city"),
        (("steps", 3, "partition"), '"m:key"'),
        (("sinks", "nothing", "type"), "null"),
        (("tests", 0, "input", "files", 2, 2), "null"),
    ):
        line, column = positions[path]
        assert lines[line - 1][column - 1 :].startswith(word), path


def test_many_steps_in_any_order(make: Load) -> None:
    count = 3000
    steps = [f'  - {{name: s{i}, type: map, call: "m:f", from: s{i + 1}}}' for i in range(count)]
    text = SMALL.replace("  - {name: s,", "\n".join([*steps, f"  - {{name: s{count}, from: a,"]))
    text = text.replace("name: t,", "name: t, from: s0,")
    assert len(make(text).steps) == count + 2


def test_a_limit_alone_leaves_the_policy_of_the_pipeline(make: Load) -> None:
    limited = '{name: s, type: map, call: "m:f", errors: {max_errors: 3}}'
    spec = make(
        SMALL.replace('{name: s, type: map, call: "m:f"}', limited) + "errors: {policy: skip}\n"
    )
    assert spec.steps[0].errors == ErrorsSpec("skip", None, 3, None)
