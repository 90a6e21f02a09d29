"""States as bytes, and back, so that they outlive a change of the code.

Dataclasses, attrs classes and msgspec Structs are stored by the names of their fields, at any
depth: a field that was added with a default reads as its default, one that was removed is left
out. Everything built in keeps its exact type. Any other class is pickled as Python does it, and
named to whoever asks (`StateEncoder.by_pickle`).

The carrier is pickle protocol 5, because it is exact (a tuple stays a tuple, objects may share
parts and form rings) and fast. States of one class are given to it a field at a time (`columns`),
which is five times as fast as one by one. A checkpoint is as trusted as the code beside it: whoever
can write there can run code here.
"""

from __future__ import annotations

import importlib
import io
import pickle
import sys
from functools import cache
from typing import Any

from roo.checkpoint.columns import Columns, columns_of, objects_of
from roo.items import are_all

_UNSET = object()


class StateMismatch(Exception):
    """Stored states do not fit the code: what differs, and what to do."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class StateEncoder:
    """Encodes lists of states. by_pickle: classes ("module:name") stored as pickle does it."""

    def __init__(self) -> None:
        self.by_pickle: set[str] = set()
        self.by_field: set[str] = set()
        self._one_by_one: set[type] = set()

    def encode(self, states: list[Any]) -> bytes:
        """Raises whatever pickle raises for what it can't take (a lock, a socket, a lambda)."""
        kind = type(states[0]) if states else None
        if kind is not None and kind not in self._one_by_one and are_all(states, kind):
            columns = self._columns(kind, states)
            if columns is not None:
                try:
                    return self._pickled(columns, kind)
                except _LeadsBack:
                    self._one_by_one.add(kind)
        return self._pickled(states, None)

    def _columns(self, kind: Any, states: list[Any]) -> Columns | None:
        described = _describe(kind)
        columns = columns_of(kind, states, described[1] if described else None)
        if columns is not None and _find(columns.named) is not kind:
            return None  # pickle says better what is wrong with that
        if columns is not None:
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
        described = _describe(kind)
        if described is None or not _only_fields(value, described[1]):
            if kind.__module__ not in sys.stdlib_module_names and kind is not type:
                self._encoder.by_pickle.add(reference(kind))
            return NotImplemented
        named, names = described
        self._encoder.by_field.add(named)
        if hasattr(kind, "__struct_fields__"):
            return _struct, (named, {name: getattr(value, name) for name in names})
        # In two parts, object and fields, so that an object may lead back to itself. A field that
        # was never set has no value to store.
        fields = [(name, getattr(value, name, _UNSET)) for name in names]
        kept = {name: field for name, field in fields if field is not _UNSET}
        return _new, (named,), kept, None, None, _fill


def decode(data: bytes) -> list[Any]:
    """The states again. Raises StateMismatch where the code no longer has their shape."""
    try:
        states: list[Any] = pickle.loads(data)
    except StateMismatch:
        raise
    except Exception as error:  # of whatever code the class has now
        what = f"a stored state can't be made again: {type(error).__name__}: {error}"
        raise StateMismatch(what, _HINT) from error
    return states


def decode_plain(data: bytes) -> list[Any]:
    """The states as built-in types alone, without importing anybody's code.

    What was stored by field name is a dict of its fields; an object of any other class that the
    standard library does not have is a dict of its attributes.
    """
    return [simplify(state) for state in _PlainUnpickler(io.BytesIO(data)).load()]


def reference(kind: type) -> str:
    """A class as "module:name"."""
    return f"{kind.__module__}:{kind.__qualname__}"


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


def _new(named: str) -> Any:
    """An object of a class, without its `__init__`."""
    kind: Any = _find(named)
    return kind.__new__(kind)


def _rows(named: str, names: tuple[str, ...], columns: tuple[list[Any], ...]) -> list[Any]:
    """Objects of one class, from what `columns_of` made of them."""
    kind: Any = _find(named)
    described = _describe(kind)
    if hasattr(kind, "__struct_fields__"):
        rows = zip(*columns, strict=True)
        return [_struct(named, dict(zip(names, row, strict=True))) for row in rows]
    values = dict(zip(names, columns, strict=True))
    count = len(columns[0])
    if described is not None:
        values = {
            name: values[name] if name in values else [_default(kind, name) for _ in range(count)]
            for name in described[1]
        }
    return objects_of(kind, count, values)


def _struct(named: str, fields: dict[str, Any]) -> Any:
    """A msgspec Struct, which is made in one go; it knows its own defaults."""
    kind = _find(named)
    described = _describe(kind)
    known = described[1] if described else ()
    try:
        return kind(**{name: value for name, value in fields.items() if name in known})
    except TypeError as error:
        raise StateMismatch(f"stored states do not fit {named}: {error}", _HINT) from error


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


class _Opaque:
    """Stands for an object of a class that is not imported."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Opaque:
        self = super().__new__(cls)
        self.contents = list(args) or {}
        return self

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 2:  # (attributes, slots)
            state = {**(state[0] or {}), **(state[1] or {})}
        self.contents = state

    def append(self, item: Any) -> None:
        """For subclasses of list."""
        self.contents = [*self.contents, item]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.contents = {**self.contents, key: value}


def _second(named: str, fields: dict[str, Any]) -> dict[str, Any]:
    return fields


def _plain_rows(
    named: str, names: tuple[str, ...], columns: tuple[list[Any], ...]
) -> list[dict[str, Any]]:
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


_PLAIN = {
    "_new": lambda named: {}, "_fill": dict.update, "_struct": _second, "_rows": _plain_rows,
}  # fmt: skip


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == __name__:
            return _PLAIN[name]
        if module.partition(".")[0] in _DATA_MODULES:
            return super().find_class(module, name)
        if module in ("copyreg", "copy_reg"):
            return super().find_class("copyreg", name)
        return type(name, (_Opaque,), {"__module__": module})


_DATA_MODULES = frozenset({
    "collections", "datetime", "decimal", "fractions", "uuid", "ipaddress", "pathlib", "_codecs",
    "zoneinfo", "array",
})  # fmt: skip
"""Where data types live: nothing that runs a command is found in these."""


def simplify(value: Any) -> Any:
    """Objects of unknown classes, at any depth, as what is in them."""
    if isinstance(value, _Opaque):
        return simplify(value.contents)
    if type(value) is dict:
        return {simplify(k) if isinstance(k, tuple) else k: simplify(v) for k, v in value.items()}
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(map(simplify, value))
    return value
