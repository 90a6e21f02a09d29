"""From a cluster that goes wrong to the smallest one near it that does so too."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

from tests.sim.oracle import Wrong
from tests.sim.world import Shape, World

SIMPLER: tuple[dict[str, Any], ...] = (
    {"two": False}, {"append": False}, {"committed": False}, {"each": False}, {"local": False},
    {"away": 0},
    {"source": "files"}, {"splits": 1}, {"keys": 1}, {"keys": 2}, {"workers": 1}, {"workers": 2},
    {"preempts": 0.0}, {"lag_ms": 0.1}, {"delay_ms": 0.1}, {"is_linux": True}, {"keep": 1},
)  # fmt: skip
"""What is tried besides fewer events, fewer faults and fewer lines."""


def verdict(
    shape: Shape, say: Callable[[str], None] | None = None, *, calls: bool = False
) -> tuple[str, World]:
    """What is wrong with a cluster; "" where nothing is. calls: each call of files is said too."""
    world = World(shape, say)
    if calls:
        world.calls.told = world.say
    try:
        world.run()
    except Wrong as wrong:
        return str(wrong), world
    return "", world


def shortened(shape: Shape, most: int = 300) -> Shape:
    """The same failure with less; `most` clusters are tried."""
    what, world = verdict(shape)
    fixed = replace(shape, faults=tuple(world.faults.happened), rate=0.0, most=0)
    kind = kind_of(what)
    best = fixed if kind_of(verdict(fixed)[0]) == kind else shape
    tried = 0
    while True:
        for less in _less(best):
            tried += 1
            if kind_of(verdict(less)[0]) == kind:
                best = less
                break
            if tried >= most:
                return best
        else:
            return best


def kind_of(what: str) -> str:
    """A verdict without its numbers and names."""
    lines = what.strip().splitlines()
    text = lines[-1] if "Traceback" in what else what.split(";")[0]
    return re.sub(r"\bk\d+|\bg\d|\d+|\[.*?\]|out\S*|run\S*|join\S*", "#", text)[:120]


def _less(shape: Shape) -> Iterator[Shape]:
    for i in range(len(shape.events)):
        yield replace(shape, events=shape.events[:i] + shape.events[i + 1 :])
    for i in range(len(shape.faults or ())):
        faults = shape.faults or ()
        yield replace(shape, faults=faults[:i] + faults[i + 1 :])
    if shape.lines > 2:
        yield replace(shape, lines=shape.lines // 2)
        yield replace(shape, lines=shape.lines - 1)
    for change in SIMPLER:
        ((name, value),) = change.items()
        now = getattr(shape, name)
        if now != value and not (name in ("keys", "workers", "splits", "keep") and now < value):
            yield replace(shape, **change)


def in_words(shape: Shape) -> str:
    """A shape as Python has it, without what is as it is by default."""
    given = [
        f"{field.name}={getattr(shape, field.name)!r}"
        for field in fields(shape)
        if field.name == "seed" or getattr(shape, field.name) != field.default
    ]
    return f"Shape({', '.join(given)})"
