"""Codec csv: names of columns, quotes over several lines, bad rows, what is written."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roo import connectors
from roo.api import ConnectorError

AB: dict[str, Any] = {"columns": ["a", "b"]}


def test_the_first_row_names_the_columns() -> None:
    decoder = connectors.codec("csv", None, {}).decoder()
    assert decoder.feed(b'\n"a\nx",b\r\n1,2\r\n\r\n') == ([{"a\nx": "1", "b": "2"}], [])
    assert decoder.feed(b"3,4\n") == ([{"a\nx": "3", "b": "4"}], [])


def test_columns_win_over_the_header() -> None:
    decoder = connectors.codec("csv", None, {**AB, "header": True}).decoder()
    assert decoder.feed(b"x,y,z\n1,2\n") == ([{"a": "1", "b": "2"}], [])


def test_a_header_that_cannot_be_stops_the_stream() -> None:
    for header, what in [(b'"a"x\n', "can't be read"), (b"\xff\n", "can't be read"),
                         (b"a,b,a\n", "two csv columns are called 'a'")]:  # fmt: skip
        with pytest.raises(ConnectorError, match=what):
            connectors.codec("csv", None, {}).decoder().feed(header)


def test_bad_rows_cost_nothing_but_themselves() -> None:
    decoder = connectors.codec("csv", None, AB).decoder()
    rows = [b"1,2", b"1,2,3", b"1", b'"x"y,2', b'"x\ny"z,2', b"\xff,1", b'"3\n\n3",4']
    messages, failures = decoder.feed(b"\n".join(rows) + b"\n5,")
    assert messages == [{"a": "1", "b": "2"}, {"a": "3\n\n3", "b": "4"}]
    assert [f.frame for f in failures] == rows[1:6]
    assert [f.offset for f in failures] == [4, 10, 12, 19, 28]
    assert {f.index for f in failures} == {1}
    assert str(failures[0].error) == "3 fields for 2 columns"


def test_a_row_with_open_quotes_is_pending_until_they_close() -> None:
    decoder = connectors.codec("csv", None, {**AB, "delimiter": ";"}).decoder()
    assert decoder.feed(b'1;"x\ny\n') == ([], [])
    assert decoder.pending_bytes == 7
    assert decoder.feed(b'""z"') == ([], [])
    assert decoder.pending_bytes == 11
    assert decoder.feed(b'\n2;"') == ([{"a": "1", "b": 'x\ny\n"z'}], [])
    assert decoder.pending_bytes == 3
    messages, failures = decoder.finish()
    assert messages == []
    assert [(f.frame, f.offset) for f in failures] == [(b'2;"', 12)]


CELL = st.text(st.sampled_from('ab",;\r\n\t é'), max_size=5)


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(CELL, CELL), max_size=6), tab=st.booleans())
def test_rows_are_read_as_the_standard_library_reads_them(
    rows: list[tuple[str, str]], tab: bool
) -> None:
    delimiter = "\t" if tab else ","
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows(rows)
    codec = connectors.codec("csv", None, {**AB, "delimiter": delimiter})
    expected = [{"a": a, "b": b} for a, b in rows]
    decoder = codec.decoder()
    assert decoder.feed(text.getvalue().encode()) == (expected, [])
    encoded = codec.encoder().encode(rows).decode()
    assert list(csv.reader(io.StringIO(encoded, newline=""), delimiter=delimiter)) == [
        list(row) for row in rows
    ]


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.sampled_from('ab",\n'), max_size=25))
def test_rows_end_where_the_standard_library_ends_them(text: str) -> None:
    """For any text at all: quotes that open, stand in the middle, or never close."""
    expected = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    decoder = connectors.codec("csv", None, AB).decoder()
    messages, failures = decoder.feed(text.encode())
    last, unfinished = decoder.finish()
    assert len(messages) + len(failures) + len(last) + len(unfinished) == len(expected)
    if not failures and not unfinished:
        assert [list(message.values()) for message in messages + last] == expected


def test_the_header_is_written_apart_from_the_rows() -> None:
    codec = connectors.codec("csv", None, {"columns": ["a", "b,c"], "header": True})
    assert codec.header() == b'a,"b,c"\n'
    rows = [{"a": 1, "b,c": None, "more": 2}, ("x\ry", 'say "x"'), ["", ""]]
    assert codec.encoder().encode(rows) == b'1,\n"x\ry","say ""x"""\n,\n'
    assert connectors.codec("csv", None, AB).header() == b""
    framed = {"columns": ["a"], "header": True, "framing": "length_prefix", "length_bytes": 2}
    assert connectors.codec("csv", None, framed).header() == b"\0\x01a"


@pytest.mark.parametrize(
    ("message", "error", "what"),
    [
        ({"a": 1}, ValueError, "no value for the csv column 'b'"),
        ((1, 2, 3), ValueError, "3 values for 2 csv columns"),
        ("xy", TypeError, "list or tuple, not str"),
    ],
)
def test_a_message_that_is_no_row_leaves_the_encoder_whole(
    message: Any, error: type[Exception], what: str
) -> None:
    encoder = connectors.codec("csv", None, AB).encoder()
    with pytest.raises(error, match=what):
        encoder.encode([(1, 2), message])
    assert encoder.encode([(1, 2)]) == b"1,2\n"


def test_options_that_cannot_work_are_refused() -> None:
    for options, what in [
        ({"header": False}, "has no names"),
        ({"columns": ["a", "a"]}, "two csv columns"),
        ({"delimiter": ",,"}, "can't be delimited by ',,'"),
        ({"delimiter": '"'}, "can't be delimited"),
    ]:
        with pytest.raises(ConnectorError, match=what):
            connectors.codec("csv", None, options)
    with pytest.raises(ConnectorError, match="needs to know the columns"):
        connectors.codec("csv", None, {}).encoder()
    with pytest.raises(ConnectorError, match="needs to know the columns"):
        connectors.codec("csv", None, {}).header()
