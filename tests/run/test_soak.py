"""The soak itself, for a few seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_short_soak_comes_out_right() -> None:
    command = [sys.executable, "-m", "tests.soak", "--minutes", "0.1", "--workers", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "words that are wrong: 0" in done.stderr
