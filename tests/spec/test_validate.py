"""`roo validate`: every finding on stdout, 0 or 2."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pytest

from roo.cli import validate

from .wrong_files import COUNT, GOOD


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(GOOD + "nmae: a\ncluster: {workers: 0}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    validate.add_parser(parser.add_subparsers())
    return validate.run(parser.parse_args(["validate", *words]))


def test_ok(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("good.yaml") == 0
    assert capsys.readouterr() == ("good.yaml: ok (1 source, 0 steps, 1 sink)\n", "")


def test_all_findings_of_all_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bad.yaml", "good.yaml", "none.yaml") == 2
    out, err = capsys.readouterr()
    assert [line[:32] for line in out.splitlines()] == [
        "bad.yaml:4:1: unknown-option: th",
        "bad.yaml:5:20: out-of-range: clu",
        "good.yaml: ok (1 source, 0 steps",
        "none.yaml:1:1: no-file: there is",
    ]
    assert err == ""


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bad.yaml", "good.yaml", "--json") == 2
    first, second = json.loads(capsys.readouterr().out)
    assert first == {
        "file": "bad.yaml",
        "line": 4,
        "column": 1,
        "code": "unknown-option",
        "what": "the file has no option 'nmae'",
        "hint": "did you mean 'name'?",
    }
    assert second["code"] == "out-of-range"
    assert run("good.yaml", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("good.yaml", "--set", "cluster.workers=2", "--set", "sinks.out.type=null") == 0
    assert run("good.yaml", "--set", "cluster.workers=0") == 2
    found = "good.yaml:1:1: out-of-range: --set cluster.workers=0: cluster.workers is 0; "
    assert capsys.readouterr().out.splitlines()[1].startswith(found)


def test_code_references_are_imported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.py").write_text("class Total: ...\ndef word(message): ...\n")
    (tmp_path / "count.yaml").write_text(COUNT)
    monkeypatch.delitem(sys.modules, "m", raising=False)
    assert run("count.yaml") == 2
    (found,) = capsys.readouterr().out.splitlines()
    assert found.startswith("count.yaml:6:")
    assert "count" in found
    monkeypatch.delitem(sys.modules, "m", raising=False)


PLUGIN = """
from roo.api import Sink, Source, Split

class Sensor(Source):
    def __init__(self, options): self.port = options["port"]
class Nothing:
    def __init__(self, options): pass
def double(message): return 2 * message
def pair(message): yield message
async def later(message): return message
"""

WRONG_CODE = {
    "nomod:f": "no-module: there is no module 'nomod'",
    "json.decoder.x:f": "no-module: there is no module 'json.decoder.x'",
    "plgu_NAME:double": "did you mean 'plug_NAME'?",
    "plug_NAME:duoble": "did you mean 'double'?",
    "plug_NAME:pair": "wrong-kind: 'plug_NAME:pair' yields",
    "plug_NAME:later": "wrong-kind: 'plug_NAME:later' is an async function",
}


@pytest.fixture(name="plugin")
def _plugin(tmp_path: Path) -> str:
    """A plugin module that no other test has imported; its name."""
    name = f"plug_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(PLUGIN)
    return name


@pytest.mark.parametrize("reference", WRONG_CODE)
def test_code_that_can_not_work(
    plugin: str, reference: str, capsys: pytest.CaptureFixture[str]
) -> None:
    call = reference.replace("plug_NAME", plugin).replace("plgu_NAME", f"x{plugin}")
    step = f"steps: [{{name: s, type: map, call: '{call}'}}]\n"
    Path("a.yaml").write_text(GOOD + step)
    assert run("a.yaml") == 2
    out = capsys.readouterr().out
    assert out.startswith("a.yaml:4:36: ")
    assert WRONG_CODE[reference].replace("plug_NAME", plugin) in out


def test_code_and_options_are_found_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt option is no reason to keep quiet about a missing module."""
    Path("a.yaml").write_text(GOOD + "nmae: a\nsteps: [{name: s, type: map, call: 'nomod:f'}]\n")
    assert run("a.yaml") == 2
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("a.yaml:4:1: unknown-option: ")
    assert second.startswith("a.yaml:5:36: no-module: ")


def test_what_an_option_names_is_its_fault(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.yaml").write_text(GOOD + "steps: [{name: s, type: map, call: 'json:dumps'}]\n")
    assert run("a.yaml", "--set", "steps.s.call=json:dump_") == 2
    out = capsys.readouterr().out
    assert out.startswith("a.yaml:1:1: no-function: --set steps.s.call=json:dump_: json has no ")


@pytest.mark.parametrize(
    ("name", "said"),
    [("Sensor", "KeyError: 'port' ("), ("Nothing", "makes no roo.api.Source, but a Nothing")],
)
def test_connectors_that_can_not_be_made(
    plugin: str, name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"{{type: plugin, class: '{plugin}:{name}'}}"
    Path("a.yaml").write_text(GOOD.replace("{type: stdin}", source))
    assert run("a.yaml") == 2
    out = capsys.readouterr().out
    assert out.startswith("a.yaml:2:40: connector: source lines: ")
    assert said in out
    assert f"{plugin}.py:5" in out or name == "Nothing"
