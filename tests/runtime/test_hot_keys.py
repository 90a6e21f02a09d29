"""Frequent keys are found, whatever surrounds them."""

from __future__ import annotations

from random import Random

from roo.runtime.hot_keys import HotKeys


def test_a_hot_key_among_many() -> None:
    chance, hot = Random(1), HotKeys()
    for _ in range(5_000):
        hot.see("s", ["hot" if chance.random() < 0.3 else f"k{chance.randrange(10**6)}"
                      for _ in range(chance.randint(1, 50))])  # fmt: skip
    [(state, key, part)] = hot.top(1)
    assert (state, key) == ("s", "hot")
    assert 0.25 < part < 0.35


def test_too_little_says_nothing() -> None:
    hot = HotKeys()
    for _ in range(100):
        hot.see("s", ["k"])
    assert hot.top(5) == []
