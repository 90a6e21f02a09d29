"""The word count as one engineer would write it with no framework: one process, one loop.

It calls the very same plugin functions, once per message, and writes the same file.

    python -m benchmarks.jobs.handwritten WORDS COUNTS [--gc-off] [--hold]
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections import defaultdict
from pathlib import Path

from benchmarks.jobs.wordcount import Total, count, format, split, word


def count_words(words: Path, counts: Path, totals: defaultdict[str, Total]) -> None:
    """Read `words`, write every update to `counts`; `totals` is filled with each word's state.

    One write per line of input: faster than one per word, and as plain.
    """
    with words.open() as lines, counts.open("w") as out:
        for line in lines:
            updates = [format(count(message, totals[word(message)])) for message in split(line)]
            updates.append("")
            out.write("\n".join(updates))


def main() -> None:
    """--hold: when all is written, say so on stdout and wait for the end of stdin."""
    parser = argparse.ArgumentParser()
    parser.add_argument("words", type=Path)
    parser.add_argument("counts", type=Path)
    parser.add_argument("--gc-off", action="store_true")
    parser.add_argument("--hold", action="store_true")
    arguments = parser.parse_args()
    if arguments.gc_off:
        gc.disable()
    totals: defaultdict[str, Total] = defaultdict(Total)
    count_words(arguments.words, arguments.counts, totals)
    if arguments.hold:
        print("done", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
