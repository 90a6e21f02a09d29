"""`python -m tests.sim SEED`: replay one simulated cluster and say what happens."""

from __future__ import annotations

import sys

from tests.sim.world import World

World(int(sys.argv[1]), print).run()
print("right")
