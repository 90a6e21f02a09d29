"""Every finding is made, at its place, in words that say what to do."""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path

import pytest

from roo.spec import cross, ends, environment, parts, schema, text
from roo.spec.findings import InvalidPipeline
from roo.spec.load import load

from .wrong_files import COUNT, GOOD, WRONG

# Findings that need more than a text; the tests below make them.
ELSEWHERE = {
    *("no-file", "is-a-folder", "no-permission", "unreadable", "not-text", "bad-set", "too-large"),
}


def findings(file: Path | str, overrides: tuple[str, ...] = ()) -> InvalidPipeline:
    with pytest.raises(InvalidPipeline) as caught:
        load(str(file), overrides, {"V": "v"})
    return caught.value


def test_what_is_so_deep_that_the_parser_gives_up_is_too_deep_as_well(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("version: 1\nname: " + "[" * 50_000)
    [finding] = findings(file).findings
    assert (finding.line, finding.code) == (2, "yaml-depth")


@pytest.mark.parametrize("name", WRONG)
def test_wrong_file(name: str, tmp_path: Path) -> None:
    content, places, words = WRONG[name]
    file = tmp_path / "a.yaml"
    file.write_text(content)
    error = findings(file)
    assert [f"{f.line}:{f.column}: {f.code}" for f in error.findings] == places
    assert words in str(error)
    assert all(line.startswith(f"{file}:") for line in str(error).split("\n"))
    assert "None" not in str(error)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"version: 1\n\xff\xfe\x00\x80", "2:1"),
        (b"version: 1\nname: a\0b\n", "2:8"),
        (b"\xef\xbb\xbfname: \xc3\xa9\xff\n", "1:8"),
    ],
    ids=["binary", "zero byte", "byte order mark"],
)
def test_not_text(content: bytes, place: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(content)
    assert str(findings(file)).startswith(f"{file}:{place}: not-text: this is not UTF-8 text; ")


def test_an_endless_file() -> None:
    assert str(findings(Path("/dev/zero"))).startswith("/dev/zero:1:1: too-large: ")


def test_too_many_values(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(GOOD + f"states: {{s: {{keys: {{list: [{'k, ' * 100_000}]}}}}}}\n")
    assert "too-large: this file holds more than 100,000 values" in str(findings(file))


def test_byte_order_mark_and_windows_lines_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load(str(file)).places.values[("sources",)] == (2, 10)


def test_missing_file(tmp_path: Path) -> None:
    (tmp_path / "wordcount.yaml").write_text(GOOD)
    file = tmp_path / "wordcont.yaml"
    near = tmp_path / "wordcount.yaml"
    what = f"no-file: there is no file {file}; did you mean '{near}'?"
    assert str(findings(file)) == f"{file}:1:1: {what}"
    assert "check the path" in str(findings(tmp_path / "nowhere" / "a.yaml"))


def test_folder(tmp_path: Path) -> None:
    assert f"{tmp_path} is a folder" in str(findings(tmp_path))
    assert findings(tmp_path).findings[0].code == "is-a-folder"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(GOOD)
    file.chmod(0)
    assert findings(file).findings[0].code == "no-permission"


@pytest.mark.parametrize("name", ["a\0b", "a" * 5000, __file__ + "/a.yaml"])
def test_unreadable(name: str) -> None:
    assert findings(name).findings[0].code == "unreadable"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("cluster.workers", "it must read path=value; e.g. --set cluster.workers=3"),
        ("=3", "it must read path=value"),
        ("cluster..workers=3", "it must read path=value"),
        ("sources.line.type=stdin", "sources has no 'line'; did you mean 'lines'?"),
        ("steps.cont.type=map", "there is no 'cont'; did you mean 'count'?"),
        ("steps.1.type=map", "there is no '1'"),
        ("version.a=1", "'version' has no options"),
    ],
)
def test_bad_override(override: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(COUNT)
    found = findings(file, (override,)).findings[0]
    assert found.code == "bad-set"
    assert f"--set {override}: " in str(found)
    assert words in str(found)


@pytest.mark.parametrize(
    "value", ["2020-99-99", "&a [*a]", "[", "9" * 5000, "!!int ''", "{1: 2}", "!!python/none x"]
)
def test_strange_override_is_checked_like_the_file(value: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(GOOD)
    found = findings(file, (f"cluster={value}",)).findings
    assert [(f.line, f.code) for f in found] == [(1, "wrong-type")]


def test_every_code_is_made_by_a_test() -> None:
    """Codes are the only texts in kebab-case there."""
    modules = (cross, ends, environment, parts, schema, text)
    source = "\n".join(inspect.getsource(module) for module in modules)
    codes = set(re.findall(r'"([a-z]+(?:-[a-z]+)+)"', source))
    made = {place.partition(": ")[2] for _, places, _ in WRONG.values() for place in places}
    assert len(codes) > 25
    assert codes <= made | ELSEWHERE
