"""Writes the diagrams of docs/developers/coordinator.md: `python docs/make_diagrams.py`.

They are made of the table that the coordinator runs by; tests/core/test_diagram.py says when the
page is out of date.
"""

from __future__ import annotations

from pathlib import Path

from roo.core.coordinator import diagram

PAGE = Path(__file__).resolve().parent / "developers" / "coordinator.md"
BEGIN, END = "```mermaid\n", "```\n"


def page(text: str) -> str:
    """The page with the diagram as it is now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + diagram() + END + after


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
