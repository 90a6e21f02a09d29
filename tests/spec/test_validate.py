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
