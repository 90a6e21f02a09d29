"""Whole clusters in one process, each from its seed.

`python -m tests.sim SEED` replays one, in words.
"""
