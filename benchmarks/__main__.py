"""One command for all figures: `python -m benchmarks` (see benchmarks/README.md)."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console

from benchmarks import report
from benchmarks.checkpoints import checkpoint_bytes, checkpoint_speed, checkpoint_stalls
from benchmarks.keys import keys10m
from benchmarks.latency import latency
from benchmarks.measure import Figure
from benchmarks.memory import memory
from benchmarks.processes import CommandFailed
from benchmarks.recovery import recovery
from benchmarks.scaling import scaling
from benchmarks.settings import CACHE, Settings
from benchmarks.startup import startup
from benchmarks.throughput import uniform, zipf
from benchmarks.verify import WrongOutput

FIGURES: dict[str, Callable[[Settings], Iterable[Figure]]] = {
    "zipf": lambda settings: [zipf(settings)],
    "uniform": lambda settings: [uniform(settings)],
    "keys10m": lambda settings: [keys10m(settings)],
    "memory": lambda settings: [memory(settings)],
    "startup": lambda settings: [startup(settings)],
    "latency": latency,
    "checkpoint-speed": checkpoint_speed,
    "checkpoint-stalls": lambda settings: [checkpoint_stalls(settings)],
    "checkpoint-bytes": lambda settings: [checkpoint_bytes(settings)],
    "recovery": lambda settings: [recovery(settings)],
    "scaling": scaling,
}

GROUPS = {
    "checkpoints": ["checkpoint-speed", "checkpoint-stalls", "checkpoint-bytes", "recovery"],
}
"""One name for several figures."""


def figure_names(text: str) -> list[str]:
    """The figures that are named, with commas. Raises ArgumentTypeError for a name that is none."""
    names = [name for given in text.split(",") for name in GROUPS.get(given, [given])]
    if unknown := [name for name in names if name not in FIGURES]:
        raise argparse.ArgumentTypeError(
            f"no figure {unknown[0]!r}; there are {', '.join([*FIGURES, *GROUPS])}"
        )
    return names


def positive(text: str) -> int:
    """A whole number above 0. Raises ArgumentTypeError."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    """Run the figures asked for; 0, or 1 when a candidate failed or wrote something wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("figures", type=figure_names, nargs="?", metavar="NAME,…",
                        help=f"what to measure, of {', '.join([*FIGURES, *GROUPS])}")  # fmt: skip
    parser.add_argument(
        "--only", type=figure_names, default=list(FIGURES), metavar="NAME,…", help="the same"
    )
    parser.add_argument("--runs", type=positive, default=5, help="rounds of each figure")
    parser.add_argument("--words", type=positive, default=10_000_000, help="words of a file")
    parser.add_argument("--peers", action="store_true", help="Bytewax too")
    parser.add_argument("--peer-words", type=positive, default=1_000_000, help="words for Bytewax")
    parser.add_argument("--latency-s", type=positive, default=20, help="seconds of a latency run")
    parser.add_argument("--warm-up-s", type=positive, default=3, help="seconds before they count")
    parser.add_argument("--checkpoint-every-ms", type=positive, default=1000,
                        help="between Roo's checkpoints, where a figure has any")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there as JSON")
    asked = parser.parse_args(arguments)

    CACHE.mkdir(exist_ok=True)
    console = Console()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="run-") as scratch:
        settings = Settings(
            runs=asked.runs,
            words=asked.words,
            peers=asked.peers,
            peer_words=min(asked.peer_words, asked.words),
            latency_s=asked.latency_s,
            warm_up_s=asked.warm_up_s,
            checkpoint_every_ms=asked.checkpoint_every_ms,
            scratch=Path(scratch),
        )
        failure = ""
        try:
            for name in asked.figures or asked.only:
                for figure in FIGURES[name](settings):
                    figures.append(figure)
                    report.show(figure, console)
        except (WrongOutput, CommandFailed) as error:
            failure = f"{type(error).__name__}: {error}"
    if asked.json:
        report.write_json(figures, settings, asked.json)
    if failure:
        print(failure, file=sys.stderr)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
