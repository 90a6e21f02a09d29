"""A thousand clusters, each from its seed: nothing is lost, doubled or reordered in any of them."""

from __future__ import annotations

import pytest

from tests.sim.world import World

SEEDS = 1_000
BLOCK = 50


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_clusters(first: int) -> None:
    """A failure names its seed; `python -m tests.sim SEED` replays it."""
    for seed in range(first, first + BLOCK):
        World(seed).run()
