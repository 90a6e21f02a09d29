"""Simulated clusters, from the command line.

python -m tests.sim SEED             one, in words
python -m tests.sim 'Shape(...)'     the same of one that is given whole
python -m tests.sim --seeds FROM N   many, and what is wrong with them
python -m tests.sim --night MINUTES  as many as there is time for; a failure is made shorter
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Iterable
from itertools import islice

from tests.sim.calls import Fault
from tests.sim.shorten import in_words, kind_of, shortened, verdict
from tests.sim.small import SHAPES, with_every_fault
from tests.sim.standins import install
from tests.sim.world import Event, Shape, shape_of

FIRST_OF_THE_NIGHT = 1_000_000
AT_ONCE = 100


def main() -> int:
    """The exit code: 1 where something is wrong."""
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is a part of the seed
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.sim", *sys.argv[1:]])
    parser = argparse.ArgumentParser(prog="python -m tests.sim")
    parser.add_argument("cluster", nargs="?")
    parser.add_argument("--calls", action="store_true", help="say each call of files")
    parser.add_argument("--seeds", nargs=2, type=int, metavar=("FROM", "N"))
    parser.add_argument("--small", choices=SHAPES)
    parser.add_argument("--every", type=int, default=1, help="of the small ones only each Nth")
    parser.add_argument("--first", action="store_true", help="stop at the first that is wrong")
    parser.add_argument("--night", type=float, metavar="MINUTES")
    arguments = parser.parse_args()
    if arguments.seeds:
        first, count = arguments.seeds
        return many(map(shape_of, range(first, first + count)), first_only=arguments.first)
    if arguments.small:
        return many(islice(with_every_fault(SHAPES[arguments.small]), 0, None, arguments.every))
    if arguments.night:
        return night(arguments.night)
    if arguments.cluster is None:
        parser.error("which one?")
    return one(arguments.cluster, calls=arguments.calls)


def one(text: str, *, calls: bool) -> int:
    """Play one, in words."""
    names = {"Shape": Shape, "Event": Event, "Fault": Fault}
    shape = shape_of(int(text)) if text.isdigit() else eval(text, names)
    print(in_words(shape))
    what, _ = verdict(shape, print, calls=calls)
    print(f"WRONG: {what}" if what else "right")
    return bool(what)


def judged(shape: Shape) -> tuple[Shape, str]:
    """(cluster, what is wrong with it)."""
    try:
        what, _ = verdict(shape)
    except BaseException:
        what = traceback.format_exc()
    gc.collect()
    return shape, what


def many(shapes: Iterable[Shape], *, first_only: bool = False) -> int:
    """Play many; say what is wrong, each kind once."""
    wrong: dict[str, list[tuple[Shape, str]]] = defaultdict(list)
    install()
    with multiprocessing.Pool(maxtasksperchild=50) as pool:
        for shape, what in pool.imap_unordered(judged, shapes, chunksize=5):
            if what:
                wrong[kind_of(what)].append((shape, what))
                if first_only:
                    break
    for found in sorted(wrong.values(), key=len, reverse=True):
        shape, what = min(found, key=lambda one: len(in_words(one[0])))
        how = str(shape.seed) if shape == shape_of(shape.seed) else f'"{in_words(shape)}"'
        print(f"{len(found)} clusters, one is `python -m tests.sim {how}`: {what}")
    return bool(wrong)


def night(minutes: float) -> int:
    """Play new ones until the time is over; of each kind of failure say how to see it again."""
    end_s = time.monotonic() + minutes * 60
    seen: set[str] = set()
    count, seed = 0, FIRST_OF_THE_NIGHT + int(time.time()) % 100_000 * 1_000
    install()
    with multiprocessing.Pool(maxtasksperchild=50) as pool:
        while time.monotonic() < end_s:
            shapes = map(shape_of, range(seed + count, seed + count + AT_ONCE))
            count += AT_ONCE
            for shape, what in pool.imap_unordered(judged, shapes):
                if what and kind_of(what) not in seen:
                    seen.add(kind_of(what))
                    print(f"seed {shape.seed}: {what}", flush=True)
                    print(f'  python -m tests.sim "{in_words(shortened(shape))}"', flush=True)
    print(f"{count} clusters, {len(seen)} kinds of failure")
    return bool(seen)


if __name__ == "__main__":
    sys.exit(main())
