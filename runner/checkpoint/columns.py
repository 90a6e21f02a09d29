"""Objects of one class as columns, a list for each attribute, and back.

Pickle asks Python how to store every single object; a column of numbers or strings it walks alone.
Only for classes that pickle would take apart in the very same way: nothing but attributes, no idea
of their own of how they are stored.
"""

from __future__ import annotations

import sys
from abc import ABCMeta
from collections import deque
from collections.abc import Sequence
from copyreg import dispatch_table
from functools import cache
from itertools import repeat
from operator import attrgetter
from typing import Any, NamedTuple

_ASKED_BY_PICKLE = ("__reduce__", "__reduce_ex__", "__getstate__")
_OWN_IDEAS = ("__setstate__", "__getnewargs__", "__getnewargs_ex__", "__getattr__")
_HEAP_TYPE, _IMMUTABLE_TYPE = 1 << 9, 1 << 8


class Columns(NamedTuple):
    """named: the class as "module:name". columns: for each of names its values, in order."""

    named: str
    names: tuple[str, ...]
    columns: tuple[list[Any], ...]


def columns_of(
    kind: type, objects: Sequence[Any], fields: tuple[str, ...] | None
) -> Columns | None:
    """The columns of at least one object; None where they would not tell everything.

    kind: the class of all of them. fields: its declared fields, which then must be all that the
    objects have.
    """
    slots = _slots(kind) if fields is None else fields
    if slots is None:
        return None
    names = slots
    if hasattr(objects[0], "__dict__"):
        shapes = set(map(tuple, map(vars, objects)))
        if fields is not None:
            if not all(set(fields).issuperset(shape) for shape in shapes):
                return None
        elif len(shapes) > 1:
            return None
        else:
            names = (*slots, *shapes.pop())
    if not names:
        return None
    if fields is None and not all(_is_attribute(kind, name) for name in names):
        return None
    try:
        columns = tuple(list(map(attrgetter(name), objects)) for name in names)
    except AttributeError:  # one that was never set
        return None
    return Columns(f"{kind.__module__}:{kind.__qualname__}", names, columns)


def objects_of(kind: type, count: int, values: dict[str, list[Any]]) -> list[Any]:
    """So many objects of a class, without its `__init__`. values: attribute -> column."""
    new: Any = kind.__new__
    objects = list(map(new, repeat(kind, count)))
    for name, column in values.items():
        # As `object` does it: a frozen class's own would refuse.
        deque(map(object.__setattr__, objects, repeat(name), column), maxlen=0)
    return objects


@cache
def _slots(kind: Any) -> tuple[str, ...] | None:
    """The slots of a class whose objects are their attributes and nothing else; None of others."""
    flags = kind.__flags__
    if (
        type(kind) not in (type, ABCMeta)
        or not flags & _HEAP_TYPE
        or flags & _IMMUTABLE_TYPE
        or kind in dispatch_table
        or kind.__new__ is not object.__new__
        or any(getattr(kind, n, None) is not getattr(object, n, None) for n in _ASKED_BY_PICKLE)
        or any(hasattr(kind, name) for name in _OWN_IDEAS)
    ):
        return None
    names: list[str] = []
    for base in kind.__mro__[:-1]:
        if not base.__flags__ & _HEAP_TYPE:
            return None  # made of something built in
        slots = base.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else slots
    if any(name.startswith("__") and name not in ("__dict__", "__weakref__") for name in names):
        return None  # a mangled name
    return tuple(sys.intern(name) for name in names if not name.startswith("__"))


@cache
def _is_attribute(kind: type, name: str) -> bool:
    """Whether a name is stored in the object itself: in a slot or its dict, not by a property."""
    where = getattr(kind, name, None)
    return not hasattr(where, "__set__") or hasattr(where, "__objclass__")
