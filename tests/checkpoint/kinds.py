"""Classes whose objects are kept as states. Tests change them under a stored state's feet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import attrs
import msgspec


@dataclass
class Window:
    count: int = 0
    last: tuple[int, ...] = ()
    inner: Any = None


@dataclass(frozen=True, slots=True)
class Frozen:
    name: str
    tags: frozenset[str] = frozenset()


@attrs.define
class Basket:
    items: list[str] = attrs.field(factory=list)


class Total(msgspec.Struct):
    n: int = 0


class Fixed(msgspec.Struct, frozen=True):
    n: int


class Plain:
    def __init__(self, n: int) -> None:
        self.n = n

    def __eq__(self, other: object) -> bool:
        return type(other) is Plain and other.n == self.n

    __hash__ = None  # type: ignore[assignment]


@dataclass
class Loose:
    """Grows attributes that are no fields."""

    n: int = 0
    seen: list[int] = field(default_factory=list)
