"""Files for the tests of the loader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from roo.spec.load import load
from roo.spec.model import PipelineSpec

FULL = Path(__file__).parent / "full.yaml"
SMALL = """\
version: 1
sources:
  a: {type: stdin, decode: "m:parse"}
steps:
  - {name: s, type: map, call: "m:f"}
  - {name: t, type: map, call: "m:f"}
sinks:
  b: {type: stdout}
"""

Load = Callable[..., PipelineSpec]


@pytest.fixture(name="make")
def _make(tmp_path: Path) -> Load:
    def make(text: str, *overrides: str, environ: Mapping[str, str] | None = None) -> PipelineSpec:
        file = tmp_path / "small.yaml"
        file.write_text(text)
        return load(str(file), overrides, environ or {})

    return make


def full(*overrides: str, **environ: str) -> PipelineSpec:
    return load(str(FULL), overrides, environ)
