"""Whole clusters in one process, from one seed: `python -m tests.sim SEED` replays one, in words."""
