"""What a run makes of stored states, and what it stores: the same list for both."""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import enum
import fractions
import functools
import ipaddress
import pathlib
import random
import re
import sys
import types
import uuid
import zoneinfo
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from roo.checkpoint.allowed import Allowed, NotAllowed
from roo.checkpoint.encoding import StateDecoder, StateEncoder, StateMismatch
from roo.checkpoint.inert import plain_states
from tests.checkpoint import kinds
from tests.checkpoint.kinds import Frozen, Plain, Total, Window


class Color(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int


class Many(list[int]):
    pass


class Named(dict[str, int]):
    pass


class Outer:
    @dataclass
    class Inner:
        n: int = 0


class Sentinel:
    def __reduce__(self) -> str:
        return "MISSING"


MISSING = Sentinel()


@pytest.fixture(name="allowed", scope="module")
def _allowed() -> Allowed:
    return Allowed([__name__])


STANDARD = [
    datetime.datetime(2026, 1, 2, 3, 4, 5, 6, datetime.UTC),
    datetime.datetime(2026, 1, 2, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    datetime.date(2026, 1, 2),
    datetime.time(1, 2, 3),
    datetime.timedelta(1, 2, 3),
    decimal.Decimal("1.50"),
    fractions.Fraction(1, 3),
    uuid.UUID(int=7),
    ipaddress.ip_address("10.0.0.1"),
    ipaddress.ip_network("fe80::/16"),
    pathlib.PurePosixPath("a/b"),
    pathlib.Path("a"),
    collections.OrderedDict(a=1),
    collections.Counter("aab"),
    collections.deque([1, 2], 3),
    collections.defaultdict(list, a=[1]),
    array.array("i", [1, 2]),
    {1, 2},
    frozenset({("a", 1)}),
    {datetime.date(2026, 1, 2): uuid.UUID(int=8)},
    complex(1, 2),
    range(3),
    slice(1, 2),
    bytearray(b"a"),
    b"a",
    zoneinfo.ZoneInfo("UTC"),
]


@pytest.mark.parametrize("value", STANDARD, ids=repr)
def test_data_types_of_the_standard_library(allowed: Allowed, value: Any) -> None:
    data = StateEncoder(allowed).encode([value, [value]])
    for read in (StateDecoder(allowed), plain_states):
        back, [again] = read(data)
        assert (type(back), back, again) == (type(value), value, value)
    if isinstance(value, collections.deque):
        assert back.maxlen == value.maxlen


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Window(3, (1,), Total(2)), {"count": 3, "last": (1,), "inner": {"n": 2}}),
        (Frozen("a", frozenset("b")), {"name": "a", "tags": frozenset("b")}),
        (Plain(4), {"n": 4}),
        (Outer.Inner(5), {"n": 5}),
        (Color.RED, {"class": f"{__name__}:Color", "arguments": ("red",)}),
        (Point(1, 2), [1, 2]),
        (Many([1, 2]), [1, 2]),
        (Named(a=1), {"a": 1}),
        ([Plain, len], None),
        (ValueError("no"), {"class": "builtins:ValueError", "arguments": ("no",)}),
        (types.SimpleNamespace(a=1), {"class": "types:SimpleNamespace", "attributes": {"a": 1}}),
    ],
    ids=repr,
)
def test_classes_of_the_plugins_and_how_they_are_shown(
    allowed: Allowed, value: Any, plain: Any
) -> None:
    if plain is None:
        value, plain = value[0], f"{kinds.__name__}:Plain"
    data = StateEncoder(allowed).encode([value, 1])
    back, _ = StateDecoder(allowed)(data)
    assert type(back) is type(value)
    assert repr(back) == repr(value) or vars(back) == vars(value)
    assert plain_states(data)[0] == plain


def test_generators_of_random_numbers_go_on(allowed: Allowed) -> None:
    dice = random.Random(1)
    [back] = StateDecoder(allowed)(StateEncoder(allowed).encode([dice]))
    assert back.random() == dice.random()


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (functools.partial(len), "functools:partial"),
        (len, "builtins:len"),
        ([1].append, "builtins:list.append"),
        (re.compile("a"), "re:_compile"),
        (MISSING, f"{__name__}:MISSING"),
        (Window(inner=functools.partial(len)), "functools:partial"),
        (random.choice, "builtins:getattr"),
        (Color.RED.name.join, "builtins:str.join"),
    ],
    ids=repr,
)
def test_what_could_not_be_read_again_is_not_stored(
    allowed: Allowed, value: Any, named: str
) -> None:
    """A run finds out at its first checkpoint, not when it has to go on from one."""
    with pytest.raises(NotAllowed, match=named) as error:
        StateEncoder(allowed).encode([value, 1])
    assert "plugin module" in error.value.hint
    if value is not MISSING:
        assert StateEncoder().encode([value, 1])


def test_classes_that_the_plugin_has_not_imported(allowed: Allowed) -> None:
    """Neither those of modules that nobody uses, nor standard ones, though they be in its names."""
    data = StateEncoder().encode([Window(1)])
    stranger = Allowed(["tests.core.test_table"])
    with pytest.raises(StateMismatch, match=r"tests\.checkpoint\.kinds:Window") as error:
        StateDecoder(Allowed(["json"]))(data)
    assert "import the class" in error.value.hint
    assert StateDecoder(allowed)(data) == [Window(1)]
    for module, name in (
        ("functools", "partial"), ("os", "system"), ("tests.checkpoint.kinds", "dataclass"),
        ("tests.checkpoint.kinds", "Window.__init__"), ("tests.checkpoint.kinds", "attrs.define"),
        (__name__, "Window"), (__name__, "sys.modules"), ("builtins", "type"), ("builtins", "exec"),
        ("builtins", "BaseException"), ("antigravity", "x"), ("", ""), ("builtins", ""),
    ):  # fmt: skip
        for some in (allowed, stranger):
            with pytest.raises(NotAllowed):
                some.find(module, name)
    assert "antigravity" not in sys.modules


def test_a_class_of_an_installed_package_is_allowed_by_its_name_alone() -> None:
    """A module that a plugin imports from a package gives it nothing but what it names."""
    import msgspec

    module = types.ModuleType("plugin_of_a_test")
    module.Raw = msgspec.Raw  # type: ignore[attr-defined]
    module.json = msgspec.json  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    try:
        allowed = Allowed([module.__name__])
        assert allowed.find("msgspec", "Raw") is msgspec.Raw
        with pytest.raises(NotAllowed):
            allowed.find("msgspec.json", "Encoder")
    finally:
        del sys.modules[module.__name__]
