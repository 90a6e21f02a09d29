"""The sequence-window detector: finds messages lost, doubled or out of order, and lost states.

Every key is given 1, 2, 3 … and keeps its last four values in its state, the ring. Each update is
emitted, so each ring must follow from the one before it. It is checked three times: in the step
that updates the ring, in a second keyed step behind another exchange, and in the output file:

    python -m plugins.sequence_detector out/sequence.txt --keys 1000 --last 100
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

Ring = tuple[int, int, int, int]
EMPTY: Ring = (0, 0, 0, 0)
LINE = re.compile(r"(.+): \[(\d+), (\d+), (\d+), (\d+)\]")


class SequenceError(Exception):
    """A value or a ring does not follow from the one before it: Roo is broken, or the input is."""


@dataclass(slots=True)
class Window:
    """The state of one key: its last four values, oldest first, 0 where there was none yet."""

    ring: Ring = EMPTY


@dataclass(slots=True)
class Group:
    """The state behind the second exchange: the last ring of every key of the group."""

    rings: dict[str, Ring] = field(default_factory=dict)


def numbers(keys: int, per_key: int, seed: int = 1) -> Iterator[tuple[str, int]]:
    """(key, n) for every key and n from 1 to per_key; in order per key, shuffled across keys."""
    turns = [index for index in range(keys) for _ in range(per_key)]
    Random(seed).shuffle(turns)
    last = [0] * keys
    for index in turns:
        last[index] += 1
        yield f"key-{index}", last[index]


def key(message: tuple[str, int] | tuple[str, Ring]) -> str:
    """The first partition function: the key the message carries."""
    return message[0]


def group(message: tuple[str, Ring]) -> str:
    """The second partition function: by the last digit, so keys of many owners meet in a group."""
    return f"group-{message[0][-1]}"


def follow(name: str, ring: Ring, following: Ring) -> None:
    """Raise SequenceError unless `following` is `ring`, moved on by the next value."""
    right = (*ring[1:], ring[3] + 1)
    if following != right:
        raise SequenceError(f"{name}: {list(following)} came after {list(ring)}, not {list(right)}")


def detect(message: tuple[str, int], window: Window) -> tuple[str, Ring]:
    """Take one more value into the ring of its key. Returns the key and the new ring.

    Raises SequenceError when the value is not the one after the last.
    """
    name, value = message
    ring = (*window.ring[1:], value)
    follow(name, window.ring, ring)
    window.ring = ring
    return name, ring


def verify(message: tuple[str, Ring], state: Group) -> tuple[str, Ring]:
    """The same check on the rings themselves, behind another exchange. Passes them on."""
    name, ring = message
    follow(name, state.rings.get(name, EMPTY), ring)
    state.rings[name] = ring
    return message


def format(message: tuple[str, Ring]) -> str:
    """One line of output: `key-7: [1, 2, 3, 4]`."""
    return f"{message[0]}: {list(message[1])}"


def check(
    lines: Iterable[str], keys: int | None = None, last: int | None = None
) -> tuple[int, int]:
    """Check an output, line by line. Returns how many keys and updates it has.

    keys, last: how many keys there must be and the value each must end with; what is lost at the
    very end shows in nothing else. Raises SequenceError at the first violation.
    """
    rings: dict[str, Ring] = {}
    updates = 0
    for number, line in enumerate(lines, 1):
        match = LINE.fullmatch(line.rstrip("\n"))
        if not match:
            raise SequenceError(f"line {number}: not `key: [a, b, c, d]`: {line.rstrip()[:80]!r}")
        name = match[1]
        ring = (int(match[2]), int(match[3]), int(match[4]), int(match[5]))
        try:
            follow(name, rings.get(name, EMPTY), ring)
        except SequenceError as error:
            raise SequenceError(f"line {number}: {error}") from None
        rings[name] = ring
        updates += 1
    if keys is not None and len(rings) != keys:
        raise SequenceError(f"{len(rings)} keys, not {keys}")
    for name, ring in rings.items():
        if last is not None and ring[3] != last:
            raise SequenceError(f"{name}: ends with {ring[3]}, not {last}")
    return len(rings), updates


def main() -> int:
    """Check an output file. Returns 0, or 1 when it has a violation, which is printed."""
    parser = argparse.ArgumentParser(description="Check an output of sequence_detector.yaml.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--keys", type=int, help="how many keys there must be")
    parser.add_argument("--last", type=int, help="the value each key must end with")
    args = parser.parse_args()
    try:
        with args.file.open(encoding="utf-8") as lines:
            found, updates = check(lines, args.keys, args.last)
    except (SequenceError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"ok: {found} keys, {updates} updates")
    return 0


if __name__ == "__main__":
    sys.exit(main())
