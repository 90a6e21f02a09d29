"""States as bytes, and back, so that they outlive a change of the code.

Dataclasses, attrs classes and msgspec Structs are stored by the names of their fields, at any
depth: a field that was added with a default reads as its default, one that was removed is left
out. Everything built in keeps its exact type. Any other class is pickled as Python does it, and
named to whoever asks (`StateEncoder.by_pickle`).

The carrier is pickle protocol 5, because it is exact (a tuple stays a tuple, objects may share
parts and form rings) and fast. States of one class are given to it a field at a time (`columns`),
which is five times as fast as one by one. A pickle names what makes its objects, so there are three
ways to read one: `StateDecoder` for a run that goes on from a checkpoint, which looks names up in a
list (`allowed`); `inert` for whoever only wants to see states, which calls nothing; and `decode`
for what one worker of a run has sent to another. What a run stores is checked against its list as
well, so that it can be read again.
"""

from __future__ import annotations

import importlib
import io
import pickle
import sys
from collections.abc import Callable
from functools import cache
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any

from roo.checkpoint.allowed import Allowed, NotAllowed
from roo.checkpoint.columns import Columns, columns_of, objects_of
from roo.items import are_all

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_UNSET = object()


class StateMismatch(Exception):
    """Stored states do not fit the code: what differs, and what to do."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class StateEncoder:
    """Encodes lists of states. by_pickle: classes ("module:name") stored as pickle does it.

    allowed: what may be named; None: anything, since nobody else will read it.
    """

    def __init__(self, allowed: Allowed | None = None) -> None:
        self.by_pickle: set[str] = set()
        self.by_field: set[str] = set()
        self._one_by_one: set[type] = set()
        self._allowed = allowed
        self._admitted: set[Any] = set(_HELPERS.values())

    def encode(self, states: list[Any]) -> bytes:
        """Raises NotAllowed, and whatever pickle raises for what it can't take (a lock, a socket, a
        lambda).
        """
        kind = type(states[0]) if states else None
        if kind is not None and kind not in self._one_by_one and are_all(states, kind):
            columns = self._columns(kind, states)
            if columns is not None:
                try:
                    return self._pickled(columns, kind)
                except _LeadsBack:
                    self._one_by_one.add(kind)
        return self._pickled(states, None)

    def admit(self, value: Any) -> None:
        """A class or function is about to be named. Raises NotAllowed."""
        if self._allowed is None or value in self._admitted:
            return
        named = reference(value)
        if self._allowed.find(*named.split(":", 1)) is not value:
            raise NotAllowed(named)
        self._admitted.add(value)

    @property
    def is_strict(self) -> bool:
        """Whether what is named is looked up in a list."""
        return self._allowed is not None

    def _columns(self, kind: Any, states: list[Any]) -> Columns | None:
        described = _describe(kind)
        columns = columns_of(kind, states, described[1] if described else None)
        if columns is not None and _find(columns.named) is not kind:
            return None  # pickle says better what is wrong with that
        if columns is not None:
            self.admit(kind)
            (self.by_field if described else self.by_pickle).add(columns.named)
        return columns

    def _pickled(self, states: list[Any] | Columns, kind: type | None) -> bytes:
        buffer = io.BytesIO()
        _Pickler(buffer, self, kind).dump(states)
        return buffer.getvalue()


class _LeadsBack(Exception):
    """States hold states of their own class, maybe one another: one by one they keep who is who."""


class _Pickler(pickle.Pickler):
    """in_columns: the class whose fields are being stored."""

    def __init__(self, file: io.BytesIO, encoder: StateEncoder, in_columns: type | None) -> None:
        super().__init__(file, 5)
        self._encoder = encoder
        self._in_columns = in_columns

    def reducer_override(self, value: Any) -> Any:
        kind: Any = type(value)
        if kind is Columns:
            return _rows, tuple(value)
        if kind is self._in_columns:
            raise _LeadsBack
        if kind in _NAMED or isinstance(value, type):
            self._encoder.admit(value)
            return NotImplemented
        if (kind.__module__, kind.__qualname__) == ("zoneinfo", "ZoneInfo") and value.key:
            return _zone, (value.key,)
        described = _describe(kind)
        if described is None or not _only_fields(value, described[1]):
            if kind.__module__ not in sys.stdlib_module_names:
                self._encoder.by_pickle.add(reference(kind))
                if self._encoder.is_strict:
                    _must_not_be_a_name(value)
            return NotImplemented
        named, names = described
        self._encoder.admit(kind)
        self._encoder.by_field.add(named)
        if hasattr(kind, "__struct_fields__"):
            return _struct, (named, {name: getattr(value, name) for name in names})
        # In two parts, object and fields, so that an object may lead back to itself. A field that
        # was never set has no value to store.
        fields = [(name, getattr(value, name, _UNSET)) for name in names]
        kept = {name: field for name, field in fields if field is not _UNSET}
        return _new, (named,), kept, None, None, _fill


def _must_not_be_a_name(value: Any) -> None:
    """Raises NotAllowed for an object that says it is the one that a module has by some name."""
    kind: Any = type(value)
    if kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ is object.__reduce__:
        return
    reduced = value.__reduce_ex__(5)
    if isinstance(reduced, str):
        raise NotAllowed(f"{type(value).__module__}:{reduced}")


def decode(data: bytes) -> list[Any]:
    """The states again: of this run's own workers, so anything may be named in them. Raises
    StateMismatch where the code no longer has their shape.
    """
    return _loaded(pickle.loads, data)


class StateDecoder:
    """Makes stored states again. allowed: what may be named in them."""

    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed

    def __call__(self, data: bytes) -> list[Any]:
        """Raises StateMismatch where the code no longer has their shape."""
        return _loaded(lambda data: _Unpickler(io.BytesIO(data), self._allowed).load(), data)


class _Unpickler(pickle.Unpickler):
    """What a pickle can name is what `Allowed` has, and methods of this."""

    def __init__(self, file: io.BytesIO, allowed: Allowed) -> None:
        super().__init__(file)
        self._allowed = allowed
        self._helpers: dict[str, Callable[..., Any]] = {
            "_new": self._new, "_rows": self._rows, "_struct": self._struct,
            "_fill": self._fill, "_zone": self._zone,
        }  # fmt: skip

    def find_class(self, module: str, name: str) -> Any:
        """As pickle asks for it. Raises NotAllowed."""
        if module == __name__ and name in self._helpers:
            return self._helpers[name]
        return self._allowed.find(module, name)

    def _new(self, named: str) -> Any:
        return _make_new(self._allowed.find_class(named))

    def _rows(
        self, named: str, names: tuple[str, ...], columns: tuple[list[Any], ...]
    ) -> list[Any]:
        return _make_rows(self._allowed.find_class(named), names, columns)

    def _struct(self, named: str, fields: dict[str, Any]) -> Any:
        return _make_struct(self._allowed.find_class(named), fields)

    def _fill(self, value: Any, fields: dict[str, Any]) -> None:
        _fill(value, fields)

    def _zone(self, key: str) -> ZoneInfo:
        return _zone(key)


def _loaded(load: Callable[[bytes], Any], data: bytes) -> list[Any]:
    try:
        states = load(data)
        if not isinstance(states, list):
            raise TypeError(f"a list of states is a {type(states).__name__}")
    except StateMismatch:
        raise
    except NotAllowed as error:
        if error.is_gone:
            what = f"stored states are of {error.named}, which is not there"
            raise StateMismatch(what, _HINT) from error
        raise StateMismatch(f"stored states can't be made again: {error}", error.hint) from error
    except Exception as error:  # of whatever code the class has now
        what = f"a stored state can't be made again: {type(error).__name__}: {error}"
        raise StateMismatch(what, _HINT) from error
    return states


def reference(kind: Any) -> str:
    """A class or function as "module:name"."""
    return f"{kind.__module__ or 'builtins'}:{kind.__qualname__}"


_NAMED = frozenset({FunctionType, BuiltinFunctionType})
_HINT = (
    "give the state a `version` and a `migrate` function, put the class back, or start over with "
    "--fresh"
)


@cache
def _describe(kind: Any) -> tuple[str, tuple[str, ...]] | None:
    """A class stored by field name, and those names; None for all others."""
    if "__reduce__" in kind.__dict__ or "__reduce_ex__" in kind.__dict__:
        return None  # the class has an own idea of how it is stored
    if "__dataclass_fields__" in kind.__dict__:
        from dataclasses import fields

        return reference(kind), tuple(field.name for field in fields(kind))
    if "__attrs_attrs__" in kind.__dict__:
        return reference(kind), tuple(attribute.name for attribute in kind.__attrs_attrs__)
    if hasattr(kind, "__struct_fields__"):
        return reference(kind), tuple(kind.__struct_fields__)
    return None


def _only_fields(value: Any, names: tuple[str, ...]) -> bool:
    """Whether an object has nothing beside its fields: nothing may be lost in storing it."""
    return getattr(value, "__dict__", {}).keys() <= set(names)


# What a pickle of states calls by name


def _new(named: str) -> Any:
    """An object of a class, without its `__init__`."""
    return _make_new(_find(named))


def _rows(named: str, names: tuple[str, ...], columns: tuple[list[Any], ...]) -> list[Any]:
    """Objects of one class, from what `columns_of` made of them."""
    return _make_rows(_find(named), names, columns)


def _struct(named: str, fields: dict[str, Any]) -> Any:
    """A msgspec Struct, which is made in one go; it knows its own defaults."""
    return _make_struct(_find(named), fields)


def _zone(key: str) -> ZoneInfo:
    """A time zone. Its own way names a function that finds any attribute of anything."""
    from zoneinfo import ZoneInfo

    return ZoneInfo(key)


def _make_new(kind: Any) -> Any:
    return kind.__new__(kind)


def _make_rows(kind: Any, names: tuple[str, ...], columns: tuple[list[Any], ...]) -> list[Any]:
    described = _describe(kind)
    if hasattr(kind, "__struct_fields__"):
        rows = zip(*columns, strict=True)
        return [_make_struct(kind, dict(zip(names, row, strict=True))) for row in rows]
    values = dict(zip(names, columns, strict=True))
    count = len(columns[0])
    if described is not None:
        values = {
            name: values[name] if name in values else [_default(kind, name) for _ in range(count)]
            for name in described[1]
        }
    return objects_of(kind, count, values)


def _make_struct(kind: Any, fields: dict[str, Any]) -> Any:
    described = _describe(kind)
    known = described[1] if described else ()
    try:
        return kind(**{name: value for name, value in fields.items() if name in known})
    except TypeError as error:
        what = f"stored states do not fit {reference(kind)}: {error}"
        raise StateMismatch(what, _HINT) from error


def _fill(value: Any, fields: dict[str, Any]) -> None:
    """Give an object its stored fields, and defaults to those it has gained since."""
    kind: Any = type(value)
    described = _describe(kind)
    if described is None:
        what = f"{reference(kind)} was stored by its fields and has none now"
        raise StateMismatch(what, _HINT)
    for name in described[1]:
        if name in fields:
            object.__setattr__(value, name, fields[name])  # a frozen class's own would refuse
        else:
            object.__setattr__(value, name, _default(kind, name))


@cache
def _find(named: str) -> type:
    module, _, name = named.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise StateMismatch(f"stored states are of {named}, which is not there", _HINT) from error
    return found  # type: ignore[no-any-return]


def _default(kind: Any, name: str) -> Any:
    """The default of a field that the stored states lack. Raises StateMismatch without one."""
    if hasattr(kind, "__dataclass_fields__"):
        from dataclasses import MISSING

        field = kind.__dataclass_fields__[name]
        if field.default_factory is not MISSING:
            return field.default_factory()
        if field.default is not MISSING:
            return field.default
    else:
        default = getattr(kind.__attrs_attrs__, name).default
        if hasattr(default, "factory"):
            return default.factory()
        if getattr(default, "name", "") != "NOTHING":
            return default
    what = f"{reference(kind)} has a new field {name} without a default"
    raise StateMismatch(what, f"give {name} a default, or {_HINT}")


_HELPERS: dict[str, Callable[..., Any]] = {
    "_new": _new, "_rows": _rows, "_struct": _struct, "_fill": _fill, "_zone": _zone,
}  # fmt: skip
