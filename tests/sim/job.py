"""The pipeline that simulated clusters run: each key counts its messages and keeps the last four.

Lines are "KEY ID". What comes out is "KEY N ID ID ID ID", N being 1, 2, 3 and so on for each key,
with the four last ids: so a line that is lost, doubled or of a stale state is seen. A second state
does the same for groups of keys, in some worlds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Chain:
    """What a key has seen."""

    n: int = 0
    last: list[str] = field(default_factory=lambda: ["-", "-", "-", "-"])

    def step(self, number: str) -> str:
        """One more."""
        self.n += 1
        self.last = [*self.last[1:], number]
        return f"{self.n} {' '.join(self.last)}"


class Pace:
    """How long a message takes, as the world has it."""

    wait: Callable[[], None] = staticmethod(lambda: None)


def key(line: Any) -> str:
    """The key of a line."""
    return str(fields(line)[0])


def fields(line: Any) -> list[str]:
    """KEY and ID, of a line or of a CSV record."""
    return line.split(" ") if isinstance(line, str) else [line["key"], line["id"]]


def chain(line: Any, state: Chain) -> str:
    """KEY N ID ID ID ID."""
    Pace.wait()
    name, number = fields(line)
    return f"{name} {state.step(number)}"


def group(line: str) -> str:
    """A group of keys, for the second state."""
    return "g" + line.split(" ")[0][-1]


def chain_group(line: str, state: Chain, key: str) -> str:
    """The same again by group; the line of the first state follows."""
    name, _, *_, number = line.split(" ")
    return f"{key} {state.step(f'{name}:{number}')} | {line}"
