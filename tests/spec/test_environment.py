"""What comes from outside the file: `${V}` in its texts, and `--set`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from roo.spec.findings import InvalidPipeline
from roo.spec.load import load

from .conftest import SMALL, Load, full


@pytest.mark.parametrize(
    ("written", "environ", "read"),
    [
        ("${V}", {"V": "x"}, "x"),
        ("${V}", {"V": ""}, None),
        ("a/${V}/${W}", {"V": "x", "W": "y"}, "a/x/y"),
        ("${V:-d}", {}, "d"),
        ("${V:-d}", {"V": ""}, "d"),
        ("${V:-d}", {"V": "x"}, "x"),
        ("${V:-a b/c.txt}", {}, "a b/c.txt"),
        ("${V:?why}", {"V": "x"}, "x"),
        ("$${V}", {"V": "x"}, "${V}"),
        ("${V}", {"V": "${W}"}, "${W}"),
        ("${V}", {"V": "2024"}, "2024"),
        ("$V", {"V": "x"}, "$V"),
    ],
)
def test_environment(make: Load, written: str, environ: dict[str, str], read: str | None) -> None:
    """A path stays text, whatever it looks like; nothing is put into what was put in."""
    text = SMALL.replace('stdin, decode: "m:parse"', f'file, path: "{written}"')
    if read is None:
        with pytest.raises(InvalidPipeline, match=r"sources\.a\.path is empty"):
            make(text, environ=environ)
    else:
        assert make(text, environ=environ).sources[0].options["path"] == read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("true", True),
        *((text, text) for text in ("yes", "null", "010", "2020-01-01", "[1]", "x: y", "9" * 5000)),
    ],
)
def test_parameters_from_the_environment_are_typed(value: str, read: Any) -> None:
    """As YAML would type them, but for its traps."""
    made = {source.name: source for source in full(TEXT=value).sources}["made"]
    assert made.options["with"]["text"] == read
    assert type(made.options["with"]["text"]) is type(read)


def test_numbers_from_the_environment(make: Load) -> None:
    text = SMALL + 'cluster: {workers: "${N:-2}"}\n'
    assert make(text).workers == 2
    assert make(text, environ={"N": "3"}).workers == 3
    with pytest.raises(InvalidPipeline, match="must be a whole number, not the text 'x'"):
        make(text, environ={"N": "x"})


def test_names_references_and_tests_know_no_environment(make: Load) -> None:
    text = (
        SMALL.replace("stdout", "stdout, from: '${V}'")
        + "tests: [{name: '${V}', input: {a: ['${V}']}, expect: {b: []}}]\n"
    )
    with pytest.raises(InvalidPipeline) as caught:
        make(text, environ={"V": "t"})
    assert [f.code for f in caught.value.findings] == ["unread", "unknown-name"]
    spec = make(text.replace(", from: '${V}'", ""), environ={"V": "t"})
    assert (spec.tests[0].name, spec.tests[0].input) == ("${V}", {"a": ("${V}",)})


def test_parameters_may_be_called_as_anything(make: Load) -> None:
    """`name` and `call` are names only where they are options of the file."""
    text = SMALL.replace('call: "m:f"}', 'call: "m:f", with: {name: "${V}", call: "${V}"}}', 1)
    assert make(text, environ={"V": "x"}).steps[0].parameters == {"name": "x", "call": "x"}


def test_this_process_is_the_default_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROO_TEST_WORKERS", "7")
    file = tmp_path / "a.yaml"
    file.write_text(SMALL + 'cluster: {workers: "${ROO_TEST_WORKERS}"}\n')
    assert load(str(file)).workers == 7


def test_overrides() -> None:
    spec = full(
        "cluster.workers=3",
        "sources.numbers.count=0",
        "sources.parsed.path=a=b.c",
        "sources.made.with.every=[1, {a: b}]",
        "sources.made.with.more=null",
        "steps.clean.with.limit=",
        "steps.6.from=one",
        "sinks.shown.codec={type: json}",
        "errors.max_errors=2020",
        "name=other",
    )
    options = {source.name: source.options for source in spec.sources}
    assert (spec.workers, spec.name, spec.errors.max_errors) == (3, "other", 2020)
    assert options["numbers"]["count"] == 0
    assert options["parsed"]["path"] == "a=b.c"
    assert options["made"]["with"]["every"] == [1, {"a": "b"}]
    assert options["made"]["with"]["more"] is None
    assert spec.steps[0].parameters == {"limit": ""}
    assert spec.steps[6].inputs == ("one",)
    assert {sink.name: sink.codec.kind for sink in spec.sinks}["shown"] == "json"


def test_an_override_may_add_what_is_not_there_and_name_the_environment(make: Load) -> None:
    assert make(SMALL, "cluster.workers=${N:-4}").workers == 4
    assert make(SMALL, "steps.s.with.a.b=1").steps[0].parameters == {"a": {"b": 1}}


def test_an_override_is_checked_like_the_file(make: Load) -> None:
    with pytest.raises(InvalidPipeline, match=r"cluster\.workers is 0; it must be at least 1"):
        make(SMALL, "cluster.workers=0")
