"""What another machine has to have the same of."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from roo.cli.common import load_checked, plan_of
from roo.runtime.digests import differences, digests, modules_of
from tests.run.harness import write

PIPELINE = """
sources: {lines: {type: stdin}}
steps: [{name: upper, type: map, call: "shop_plug:upper"}]
sinks: {out: {type: stdout}}
"""


def test_modules_that_a_plugin_imports_count_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop_plug.py").write_text("import shop_help\ndef upper(line): return line\n")
    (tmp_path / "shop_help.py").write_text("RATE = 1\n")
    (tmp_path / "shop_unused.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        plan = plan_of(load_checked(str(write(tmp_path, PIPELINE, "")), []))
        assert modules_of(plan) == ["shop_help", "shop_plug"]
        before = digests(modules_of(plan))
        (tmp_path / "shop_help.py").write_text("RATE = 2\n")
        [line] = differences(before, digests(before))
        assert line.startswith(f"plugin module shop_help: {before['shop_help']} there, ")
        (tmp_path / "shop_help.py").unlink()
        [line] = differences(before, digests(before))
        assert line.endswith(", not there here")
    finally:
        for name in ("shop_plug", "shop_help"):
            sys.modules.pop(name, None)
