"""Seeded word files, ten words a line, made once and kept beside the benchmark's other files."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate, chain, islice
from math import gcd
from pathlib import Path

SEED = 20_231
WORDS_A_LINE = 10
ZIPF_VOCABULARY, ZIPF_EXPONENT = 200_000, 1.1
UNIFORM_VOCABULARY = 1_000_000
DRAWS_AT_ONCE = 100_000


def zipf(folder: Path, words: int) -> Path:
    """A file of `words` words drawn by Zipf's law (exponent 1.1) from 200,000."""
    drawn = _drawn(ZIPF_VOCABULARY, words, list(accumulate(_zipf_weights(ZIPF_VOCABULARY))))
    return _written(folder / f"zipf-{words}-{SEED}.txt", drawn)


def uniform(folder: Path, words: int) -> Path:
    """A file of `words` words drawn evenly from 1,000,000."""
    return _written(folder / f"uniform-{words}-{SEED}.txt", _drawn(UNIFORM_VOCABULARY, words))


def every_key(folder: Path, words: int, keys: int, *, evenly: bool = True) -> Path:
    """A file of `words` words that first has each of `keys` words once, then draws evenly, or by
    Zipf's law.
    """
    step = round(keys * 0.618) or 1  # scatters the first occurrences
    while gcd(step, keys) != 1:
        step += 1
    firsts = (f"w{index * step % keys}" for index in range(min(keys, words)))
    weights = None if evenly else list(accumulate(_zipf_weights(keys)))
    rest = _drawn(keys, max(0, words - keys), weights)
    name = "keys" if evenly else "keys-zipf"
    return _written(folder / f"{name}-{keys}-{words}-{SEED}.txt", chain(firsts, rest))


def empty(folder: Path) -> Path:
    """A file with nothing in it."""
    return _written(folder / "empty.txt", iter(()))


def _zipf_weights(vocabulary: int) -> Iterator[float]:
    return (1 / rank**ZIPF_EXPONENT for rank in range(1, vocabulary + 1))


def _drawn(vocabulary: int, words: int, cumulative: list[float] | None = None) -> Iterator[str]:
    """`words` words, in random order, evenly or by the cumulative weights given."""
    dice = random.Random(SEED)
    names = [f"w{index}" for index in range(vocabulary)] if words else []
    for done in range(0, words, DRAWS_AT_ONCE):
        at_once = min(DRAWS_AT_ONCE, words - done)
        yield from dice.choices(names, cum_weights=cumulative, k=at_once)


def _written(path: Path, words: Iterator[str]) -> Path:
    """The file, made unless it is already there; never half of one."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        with unfinished.open("w") as out:
            while line := " ".join(islice(words, WORDS_A_LINE)):
                out.write(line + "\n")
        unfinished.rename(path)
    return path
