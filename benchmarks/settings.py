"""What one call of the benchmark was asked for, and where its files go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
"""Where every process starts, so that `benchmarks.jobs…` resolves."""

CACHE = Path(__file__).parent / ".cache"
"""Word files and Bytewax's environment; outside git."""

KEYS_MAX = 1_000_000
"""As many keys as the figures "at 1 M keys" have, where there are as many words."""


@dataclass(frozen=True)
class Settings:
    """runs: rounds of each figure. words: messages of a throughput run; peer_words: a peer's.

    latency_s: how long the feed lasts after a warm-up of `warm_up_s`. checkpoint_every_ms: the time
    between Roo's checkpoints, where a figure has any. scratch: the folder that candidates write to,
    emptied at the end.
    """

    runs: int
    words: int
    peers: bool
    peer_words: int
    latency_s: int
    warm_up_s: int
    checkpoint_every_ms: int
    scratch: Path
