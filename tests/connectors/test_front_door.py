"""The names that a pipeline file may use, the user's own classes, and joining what users encode."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from roo import connectors
from roo.api import ConnectorError, Sink, Source


class Ticks(Source):
    pass


class Printer(Sink):
    pass


def test_a_plugin_is_given_what_stands_under_with() -> None:
    made = connectors.source("plugin", {"class": Ticks, "with": {"every_ms": 5}})
    assert isinstance(made, Ticks)
    assert made.options == {"every_ms": 5}
    assert isinstance(connectors.sink("plugin", {"class": Printer}), Printer)


@pytest.mark.parametrize("make", [connectors.source, connectors.sink])
def test_a_plugin_of_the_wrong_kind_is_named(make: Any) -> None:
    wrong = Printer if make is connectors.source else Ticks
    with pytest.raises(ConnectorError, match=rf"test_front_door:{wrong.__name__} makes no roo.api"):
        make("plugin", {"class": wrong})


def test_an_unknown_kind_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConnectorError, match="no source is called 'fiel'") as caught:
        connectors.source("fiel", {})
    assert caught.value.hint == "one of: file, stdin, tcp, generate"


def test_nothing_is_imported_that_is_not_asked_for() -> None:
    code = (
        "import sys; from roo import connectors; connectors.codec('lines', None, {});"
        "print([m for m in ('json', 'csv', 'msgpack', 'roo.connectors.codec_json') "
        "if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


@pytest.mark.parametrize(
    ("items", "lines", "prefixed"),
    [
        ([], b"", b""),
        (["é", ""], b"\xc3\xa9\n\n", b"\x02\xc3\xa9\x00"),
        ([b"\xff", "b", bytearray(b"c")], b"\xff\nb\nc\n", b"\x01\xff\x01b\x01c"),
        ([b"a", b"b"], b"a\nb\n", b"\x01a\x01b"),
    ],
)
def test_items_are_joined(items: list[Any], lines: bytes, prefixed: bytes) -> None:
    assert connectors.joiner({})(items) == lines
    framed = connectors.joiner({"framing": "length_prefix", "length_bytes": 1})
    assert framed(items) == prefixed


@pytest.mark.parametrize("options", [{}, {"framing": "length_prefix", "length_bytes": 1}])
def test_items_that_cannot_be_joined_say_why(options: dict[str, Any]) -> None:
    join = connectors.joiner(options)
    with pytest.raises(TypeError, match="str or bytes, not dict"):
        join(["a", {}])
    with pytest.raises(UnicodeEncodeError):
        join(["a", "\ud800"])


def test_an_item_too_long_for_its_prefix_is_refused() -> None:
    join = connectors.joiner({"framing": "length_prefix", "length_bytes": 1})
    assert join(["x" * 255]) == b"\xff" + b"x" * 255
    with pytest.raises(ValueError, match="256 bytes are too many for a length of 1 bytes"):
        join(["x" * 256])
