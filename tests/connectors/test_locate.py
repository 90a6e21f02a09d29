"""Decoders tell where a message began: decoding from there brings that message first."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from roo import connectors
from roo.api import ConnectorError
from tests.connectors.test_codecs import (
    COLUMNS,
    CUTS,
    FRAMINGS,
    QUICK,
    STREAM,
    named,
    pieces,
    upper,
)

CODECS: list[tuple[str, dict[str, Any]]] = [
    ("lines", {}),
    ("json", {}),
    ("csv", COLUMNS),
    ("msgpack", {}),
    ("bytes", {}),
    ("function", {}),
]


@pytest.mark.parametrize(("kind", "options"), CODECS, ids=[kind for kind, _ in CODECS])
@pytest.mark.parametrize("framing", FRAMINGS[:2], ids=named)
@QUICK
@given(stream=STREAM, cuts=CUTS)
def test_decoding_from_its_place_brings_the_message_first(
    kind: str, options: dict[str, Any], framing: dict[str, Any], stream: bytes, cuts: list[int]
) -> None:
    stream = stream.replace(b"\xef\xbb\xbf", b"")  # a mark counts only where a stream begins
    codec = connectors.codec(kind, upper, {**options, **framing})
    decoder = codec.decoder()
    located: list[tuple[Any, Any]] = []
    try:
        for piece in [*pieces(stream, cuts), None]:
            messages, _ = decoder.finish() if piece is None else decoder.feed(piece)
            if messages:
                assert decoder.locate is not None
                located += [(m, (decoder.locate, i)) for i, m in enumerate(messages)]
    except ConnectorError:
        pass  # what came before it has its place all the same
    places = [locate(index) for _, (locate, index) in located]  # asked only after all is read
    assert places == sorted(set(places))
    for (message, _), place in zip(located, places, strict=True):
        again = codec.decoder()
        try:
            found = again.feed(stream[place:])[0] or again.finish()[0]
        except ConnectorError:
            found = again.finish()[0]
        assert found[0] == message


@pytest.mark.parametrize("kind", ["lines", "json", "csv"])
def test_a_mark_a_header_and_blank_lines_are_counted(kind: str) -> None:
    header = b'"a\nb"\r\n\n' if kind == "csv" else b""
    stream = b"\xef\xbb\xbf" + header + (b"\n\n" if kind == "json" else b"") + b"1\n22\n"
    decoder = connectors.codec(kind, None, {}).decoder()
    messages, failures = decoder.feed(stream)
    assert (len(messages), failures) == (2, [])
    assert decoder.locate is not None
    assert [decoder.locate(0), decoder.locate(1)] == [stream.index(b"1"), stream.index(b"22")]


def test_blank_lines_of_json_are_passed_over() -> None:
    decoder = connectors.codec("json", None, {}).decoder()
    assert decoder.feed(b"\n1\n\n\n22\n") == ([1, 22], [])
    assert decoder.locate is not None
    assert [decoder.locate(0), decoder.locate(1)] == [1, 5]
    with pytest.raises(IndexError):
        decoder.locate(2)


@pytest.mark.parametrize("kind", ["bytes", "lines"])
def test_lengths_are_counted(kind: str) -> None:
    framing = {"framing": "length_prefix", "length_bytes": 2}
    decoder = connectors.codec(kind, None, framing).decoder()
    messages, _ = decoder.feed(b"\0\x03a\nb\0\0\0\x01c\0")
    assert len(messages) == 3
    assert decoder.locate is not None
    assert [decoder.locate(i) for i in range(3)] == [0, 5, 7]
