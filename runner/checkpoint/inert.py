"""Stored states as plain data, for whoever only wants to see them: no code of anybody is run.

A pickle is a program that names what makes its objects. Here nothing that it names is looked up:
what it would call becomes a stand-in that says by what and with what, and afterwards the data types
of the standard library, which are known here one by one, are made from their stand-ins.

What was stored by field name is a dict of its fields, any other object a dict of its attributes.
"""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import fractions
import io
import ipaddress
import pathlib
import pickle
import uuid
import zoneinfo
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

HELPERS = "roo.checkpoint.encoding"
"""The module under whose name `encoding` stores what it calls."""


class NotStates(Exception):
    """Not what was ever stored: how."""


class Named:
    """What a pickle names: a class, a function, anything."""

    __slots__ = ("named",)

    def __init__(self, module: str, name: str) -> None:
        self.named = f"{module}:{name}"


class Made:
    """Stands for what calling something would make. by: what, a `Named` if all is well."""

    __slots__ = ("arguments", "attributes", "by", "called", "items", "pairs")

    def __init__(self, by: Any, arguments: Any, *, called: bool) -> None:
        self.by = by
        self.arguments = arguments
        self.called = called
        self.attributes: Any = None
        self.items: list[Any] = []
        self.pairs: list[tuple[Any, Any]] = []

    def append(self, item: Any) -> None:
        """As pickle adds to what is made from a list."""
        self.items.append(item)

    def extend(self, items: Iterable[Any]) -> None:
        """The same."""
        self.items.extend(items)

    def add(self, item: Any) -> None:
        """As pickle adds to what is made from a set."""
        self.items.append(item)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.pairs.append((key, value))


def plain_states(data: bytes) -> list[Any]:
    """The states in encoded bytes. Raises NotStates."""
    try:
        states = _InertUnpickler(data).load()
        if type(states) is not list:
            raise TypeError(f"a list of states is a {type(states).__name__}")
        return [_Simplified().of(state) for state in states]
    except Exception as error:
        what = str(error) if isinstance(error, NotStates) else type(error).__name__
        raise NotStates(f"stored states can't be read: {what}") from error


_PythonUnpickler: Any = pickle._Unpickler
"""The one in Python: of the one in C nothing but `find_class` can be replaced, and a few bytes can
make it ask for gigabytes.
"""


class _InertUnpickler(_PythonUnpickler):  # type: ignore[misc]
    dispatch = dict(_PythonUnpickler.dispatch)

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self._cells_max = len(data)  # each takes a byte at least

    def find_class(self, module: str, name: str) -> Named:
        return Named(str(module), str(name))

    def persistent_load(self, pid: Any) -> NoReturn:
        raise NotStates("it refers to something outside of it")

    def get_extension(self, code: int) -> NoReturn:
        raise NotStates("it refers to something outside of it")

    def _instantiate(self, by: Any, arguments: Any) -> None:
        self.append(Made(by, tuple(arguments), called=True))

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = self._called(self.stack[-1], arguments)

    dispatch[pickle.REDUCE[0]] = load_reduce

    def load_newobj(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = Made(self.stack[-1], arguments, called=False)

    dispatch[pickle.NEWOBJ[0]] = load_newobj

    def load_newobj_ex(self) -> None:
        keywords = self.stack.pop()
        arguments = self.stack.pop()
        self.stack[-1] = Made(self.stack[-1], (*arguments, keywords), called=False)

    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex

    def load_build(self) -> None:
        state = self.stack.pop()
        made = self.stack[-1]
        if type(made) is not Made:
            raise NotStates("it sets the attributes of what has none")
        made.attributes = state

    dispatch[pickle.BUILD[0]] = load_build

    def load_bytearray8(self) -> None:
        length = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(min(length, self._cells_max))))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    def _called(self, by: Any, arguments: Any) -> Any:
        """What comes of a call. Those that `encoding` stores are its own, and known."""
        module, _, helper = by.named.partition(":") if type(by) is Named else ("", "", "")
        if module != HELPERS:
            return Made(by, arguments, called=True)
        match helper, arguments:
            case "_new", (_,):
                return {}
            case "_fill", (dict(made), dict(fields)):
                made.update(fields)
                return made
            case "_struct", (_, dict(fields)):
                return fields
            case "_zone", (str(_),):
                return Made(by, arguments, called=True)
            case "_rows", (_, tuple(names), tuple(columns)):
                return self._rows(names, columns)
        raise NotStates(f"it calls {by.named} as nobody does")

    def _rows(self, names: tuple[Any, ...], columns: tuple[Any, ...]) -> list[Any]:
        if len(names) * max(map(len, columns), default=0) > self._cells_max:
            raise NotStates("it has more values than bytes")
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


class _Simplified:
    """Objects at any depth as what is in them, once for each object: what was shared, or led back
    to itself, still does.
    """

    def __init__(self) -> None:
        self._done: dict[int, Any] = {}

    def of(self, value: Any) -> Any:
        kind = type(value)
        if kind not in (dict, list, tuple, set, frozenset, Made, Named):
            return value
        if id(value) in self._done:
            return self._done[id(value)]
        if kind is list:
            made: Any = []
            self._done[id(value)] = made
            made.extend(map(self.of, value))
        elif kind is dict:
            made = {}
            self._done[id(value)] = made
            made.update(self._pairs(value.items()))
        elif kind is tuple:
            made = tuple(map(self.of, value))
        elif kind is Named:
            made = value.named
        elif kind is Made:
            made = self._made(value)
        else:
            items = list(map(self.of, value))
            made = kind(items) if all(map(_may_be_key, items)) else items
        self._done[id(value)] = made
        return made

    def _pairs(self, pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
        simple = [(self.of(key), self.of(value)) for key, value in pairs]
        return {key if _may_be_key(key) else repr(key): value for key, value in simple}

    def _made(self, made: Made) -> Any:
        named = made.by.named if type(made.by) is Named else "?"
        arguments = self.of(made.arguments)
        make = _DATA.get(named)
        if make is not None and type(arguments) is tuple:
            items, pairs = list(map(self.of, made.items)), self._pairs(made.pairs)
            try:
                return make(arguments, self.of(made.attributes), items, pairs)
            except Exception:  # of no such thing
                return {"class": named, "arguments": arguments}
        shown: dict[str, Any] = {}
        self._done[id(made)] = shown  # it may lead back to itself
        attributes = self._attributes(made.attributes)
        items, pairs = list(map(self.of, made.items)), self._pairs(made.pairs)
        given = [bool(arguments), bool(items), bool(pairs)]
        if not made.called and not any(given) and type(attributes) is dict:
            shown.update(attributes)
            return shown
        if not made.called and made.attributes is None and given.count(True) == 1:
            return pairs or items or list(arguments)
        facts = {"arguments": arguments, "attributes": attributes, "items": items, "pairs": pairs}
        shown.update({"class": named, **{name: fact for name, fact in facts.items() if fact}})
        return shown

    def _attributes(self, state: Any) -> Any:
        """As BUILD has them: a dict, or (dict or None, slots)."""
        if type(state) is tuple and len(state) == 2:
            both = [part for part in state if part is not None]
            if all(type(part) is dict for part in both):
                return {k: v for part in both for k, v in self._pairs(part.items()).items()}
        return {} if state is None else self.of(state)


def _may_be_key(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


Make = Callable[[tuple[Any, ...], Any, list[Any], dict[Any, Any]], Any]


def _of_arguments(kind: Callable[..., Any]) -> Make:
    """A type that makes no more of its arguments than they are."""
    return lambda arguments, attributes, items, pairs: kind(*arguments)


def _of_scalars(kind: Callable[..., Any]) -> Make:
    def make(arguments: tuple[Any, ...], attributes: Any, items: Any, pairs: Any) -> Any:
        if not all(
            argument is None or type(argument) in (str, int, float, bool) for argument in arguments
        ):
            raise TypeError(arguments)
        return kind(*arguments)

    return make


def _of_a_collection(kind: Callable[..., Any]) -> Make:
    """A collection of the one that it is given: not of a range, which may be endless."""

    def make(arguments: tuple[Any, ...], attributes: Any, items: Any, pairs: Any) -> Any:
        if any(type(given) not in (list, tuple, set, frozenset, dict) for given in arguments[:1]):
            raise TypeError(arguments)
        made = kind(*arguments)
        if pairs:
            made.update(pairs)
        if items:
            made.extend(items)
        return made

    return make


def _fraction(arguments: tuple[Any, ...], *_: Any) -> fractions.Fraction:
    """Not of text with an exponent, which may stand for gigabytes."""
    if len(arguments) == 1 and type(arguments[0]) is str:
        arguments = tuple(map(int, arguments[0].split("/")))
    return fractions.Fraction(*arguments)


def _uuid(arguments: tuple[Any, ...], attributes: Any, *_: Any) -> uuid.UUID:
    return uuid.UUID(int=attributes["int"])


def _default_dict(
    arguments: tuple[Any, ...], attributes: Any, items: Any, pairs: dict[Any, Any]
) -> Any:
    kinds = {"list": list, "dict": dict, "set": set, "int": int, "float": float, "str": str}
    kind = kinds.get(str(arguments[0]).removeprefix("builtins:")) if arguments else None
    return pairs if kind is None else collections.defaultdict(kind, pairs)


def _array(arguments: tuple[Any, ...], *_: Any) -> Any:
    if type(arguments[-1]) not in (list, bytes):
        raise TypeError(arguments)
    if len(arguments) == 2:
        return array.array(*arguments)
    return array._array_reconstructor(array.array, *arguments[1:])  # type: ignore[attr-defined]


_DATA: dict[str, Make] = {
    **{
        f"{module.__name__}:{name}": _of_arguments(getattr(module, name))
        for module, names in (
            (datetime, "date datetime time timedelta timezone"),
            (decimal, "Decimal"),
            (ipaddress, "IPv4Address IPv4Interface IPv4Network "
                        "IPv6Address IPv6Interface IPv6Network"),
            (pathlib, "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath"),
        )
        for name in names.split()
    },
    **{f"builtins:{kind.__name__}": _of_scalars(kind)
       for kind in (bool, complex, float, int, range, slice, str)},
    **{f"builtins:{kind.__name__}": _of_a_collection(kind)
       for kind in (dict, frozenset, list, set, tuple)},
    **{f"collections:{kind.__name__}": _of_a_collection(kind)
       for kind in (collections.Counter, collections.OrderedDict, collections.deque)},
    "collections:defaultdict": _default_dict,
    "fractions:Fraction": _fraction,
    "uuid:UUID": _uuid,
    "array:array": _array,
    "array:_array_reconstructor": _array,
    f"{HELPERS}:_zone": _of_arguments(zoneinfo.ZoneInfo),
}  # fmt: skip
