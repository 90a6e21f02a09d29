"""The diagram in the documents is that of the table which the coordinator runs by."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from roo.core.coordinator import TRANSITIONS, diagram
from roo.core.run_events import Phase

ROOT = Path(__file__).parents[2]


def test_the_diagram_is_current() -> None:
    """`python docs/make_diagrams.py` writes it anew."""
    spec = importlib.util.spec_from_file_location("diagrams", ROOT / "docs" / "make_diagrams.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = module.PAGE.read_text()
    assert module.page(text) == text


def test_every_phase_is_reached_and_left() -> None:
    drawn = diagram()
    for phase in Phase:
        assert f"--> {phase.value}" in drawn
        assert f"    {phase.value} --> " in drawn


def test_no_transition_names_its_own_phase_alone() -> None:
    for (phase, event), transition in TRANSITIONS.items():
        assert transition.to != (phase,), (phase, event)
