"""Is a word count right? Each word's updates must be exactly 1 to n, in this order.

    python -m benchmarks.verify WORDS COUNTS...      exit 1 with the reason if it is not

A process of its own, so that the memory it takes for ten million keys is given back.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, compress, count
from operator import ne
from pathlib import Path

CHUNK_BYTES = 16 * 1024 * 1024


class WrongOutput(Exception):
    """A candidate's output is not what its input asks for."""


def check_counts(words: Path, counts: Sequence[Path]) -> None:
    """Compare the updates in all files of `counts` with `words`. Raises WrongOutput.

    All loops over messages run inside C functions: about 0.4 s a million.
    """
    next_total: defaultdict[str, count[int]] = defaultdict(partial(count, 1))
    for path in counts:
        for text in _chunks(path):
            parts = text.replace(" => ", "\n").split("\n")
            del parts[-1]
            if len(parts) != 2 * text.count("\n") or len(parts) != 2 * text.count(" => "):
                raise WrongOutput(f"{path}: has a line that is not `word => n`")
            keys, totals = parts[0::2], parts[1::2]
            expected = list(map(str, map(next, map(next_total.__getitem__, keys))))
            if expected != totals:
                wrong = next(compress(range(len(keys)), map(ne, expected, totals)))
                raise WrongOutput(
                    f"{path}: has `{keys[wrong]} => {totals[wrong]}` "
                    f"where `{keys[wrong]} => {expected[wrong]}` is due"
                )
    seen = dict(zip(next_total, map((-1).__add__, map(next, next_total.values())), strict=True))
    with words.open() as lines:
        model = Counter(chain.from_iterable(map(str.split, lines)))
    if not dict.__eq__(model, seen):
        word = next(word for word in chain(model, seen) if seen.get(word, 0) != model[word])
        raise WrongOutput(
            f"{word} has {seen.get(word, 0)} updates, is {model[word]} times in the input"
        )


def check_counts_apart(words: Path, counts: Sequence[Path]) -> None:
    """The same in a process of its own. Raises WrongOutput."""
    command: list[str | Path] = [sys.executable, "-m", "benchmarks.verify", words, *counts]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise WrongOutput(done.stderr.strip().rpartition("\n")[2] or f"exit {done.returncode}")


def _chunks(path: Path) -> Iterator[str]:
    """The file's text in pieces of whole lines."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield (chunk + file.readline()).decode()


def main() -> None:
    gc.disable()
    words, *counts = map(Path, sys.argv[1:])
    try:
        check_counts(words, counts)
    except WrongOutput as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
