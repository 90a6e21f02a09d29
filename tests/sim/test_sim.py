"""A thousand clusters, each from its seed: nothing is lost, doubled or reordered in any of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.world import World

SEEDS = 1_000
BLOCK = 50


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_clusters(first: int) -> None:
    """A failure names its seed; `python -m tests.sim SEED` replays it."""
    for seed in range(first, first + BLOCK):
        World(seed).run()


def test_one_is_replayed_in_words() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.sim", "7"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.endswith("right\n")
    assert done.stdout.count("\n") > 3
