"""docs/pipeline-file.md says what the schema says, and its links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

from roo.spec.schema import schema

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "pipeline-file.md").read_text()


def generator() -> Any:
    found = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "make_reference.py")
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_up_to_date() -> None:
    assert generator().page(schema()) == PAGE, "run python docs/make_reference.py"


def test_every_option_of_every_mapping_has_a_row() -> None:
    for name, rule in schema()["definitions"].items():
        if rule.get("additionalProperties") is not False:
            continue
        section = PAGE.partition(f"# {rule['title']}\n")[2].partition("\n#")[0]
        assert re.findall(r"^\| `(\w+)`", section, re.MULTILINE) == list(rule["properties"]), name


def test_links_lead_to_headings() -> None:
    anchor = generator()._anchor
    headings = {anchor(h) for h in re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)}
    links = set(re.findall(r"\(#([^)]+)\)", PAGE))
    assert links
    assert links <= headings
