"""Every codec: what is written comes back, whatever pieces it arrives in; bad frames stay alone."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roo import connectors
from roo.api import Codec, ConnectorError, Decoder, Failure

QUICK = settings(max_examples=40, deadline=None)
FRAMINGS: list[dict[str, Any]] = [
    {"framing": "lines"},
    *({"framing": "length_prefix", "length_bytes": width} for width in (2, 4, 8)),
]
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\ufeff"), max_size=12)
LINE = TEXT.filter(lambda text: "\n" not in text and not text.endswith("\r"))


def values(floats: st.SearchStrategy[float]) -> st.SearchStrategy[Any]:
    """What json and msgpack can say."""
    return st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | floats | TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=6,
    )


COLUMNS = {"columns": ["a", "b"]}
MESSAGES: dict[str, tuple[dict[str, Any], st.SearchStrategy[Any]]] = {
    "lines": ({}, LINE),
    "json": ({}, values(st.floats(allow_nan=False, allow_infinity=False))),
    "csv": ({**COLUMNS, "header": True}, st.fixed_dictionaries({"a": TEXT, "b": TEXT})),
    "msgpack": ({}, values(st.floats(allow_nan=False)) | st.binary(max_size=12)),
    "bytes": ({}, st.binary(max_size=12).filter(lambda frame: b"\n" not in frame)),
}


def named(framing: dict[str, Any]) -> str:
    """How test reports call a framing."""
    return "-".join(map(str, framing.values()))


def upper(item: Any) -> Any:
    """A user's function: bytes in, bytes out; fails and finds nothing now and then."""
    if item.startswith(b"x"):
        raise ValueError("x!")
    return item.upper() if item else None


DECODERS: list[tuple[str, Callable[[bytes], Any] | None, dict[str, Any]]] = [
    ("lines", None, {}),
    ("json", None, {}),
    ("csv", None, {}),
    ("csv", None, COLUMNS),
    ("msgpack", None, {}),
    ("bytes", None, {}),
    ("function", upper, {}),
]


def run(decoder: Decoder, chunks: list[bytes]) -> tuple[list[Any], list[Any], str]:
    """All messages; the failures as (messages before, frame, offset, kind); what stopped it."""
    messages: list[Any] = []
    failures: list[Any] = []

    def take(found: tuple[list[Any], list[Failure]]) -> None:
        for failure in found[1]:
            before = len(messages) + failure.index
            failures.append((before, failure.frame, failure.offset, type(failure.error)))
        messages.extend(found[0])

    try:
        for chunk in chunks:
            take(decoder.feed(chunk))
        take(decoder.finish())
    except ConnectorError as error:
        return messages, failures, error.message
    return messages, failures, ""


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Data in pieces, cut at the places given (taken modulo its size)."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(places)]


CUTS = st.lists(st.integers(0, 10_000), max_size=8)
SNIPPETS = st.sampled_from(
    [b"\n", b"\r\n", b'"', b",", b"a", b"1", b"x", b"\xff", b"\xef\xbb\xbf", b'{"a":1}', b"[1,2]",
     b"\x92", b"\xa1", b"\xc1", b"\x81", b"\x00\x00", b"\x01", b'"a\nb",c\n', b"1,2\n", b"\xc4\x05"]
)  # fmt: skip
STREAM = st.lists(SNIPPETS | st.binary(max_size=4), max_size=25).map(b"".join)


@pytest.mark.parametrize("kind", MESSAGES)
@pytest.mark.parametrize("framing", FRAMINGS, ids=named)
@QUICK
@given(data=st.data())
def test_what_is_written_comes_back(kind: str, framing: dict[str, Any], data: Any) -> None:
    options, message = MESSAGES[kind]
    codec = connectors.codec(kind, None, {**options, **framing})
    messages = data.draw(st.lists(message, max_size=6))
    cut = data.draw(st.integers(0, len(messages)))
    encoder = codec.encoder()
    stream = codec.header() + encoder.encode(messages[:cut]) + encoder.encode(messages[cut:])
    got, failures, stopped = run(codec.decoder(), pieces(stream, data.draw(CUTS)))
    assert (got, failures, stopped) == (messages, [], "")


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda d: d[0])
@pytest.mark.parametrize("framing", [*FRAMINGS, {"framing": "length_prefix", "length_bytes": 1}],
                         ids=named)  # fmt: skip
@QUICK
@given(stream=STREAM, cuts=CUTS, max_frame_bytes=st.sampled_from([3, 8, 1 << 20]))
def test_pieces_make_no_difference(
    decoder: Any, framing: dict[str, Any], stream: bytes, cuts: list[int], max_frame_bytes: int
) -> None:
    kind, function, options = decoder
    options = {**options, **framing, "max_frame_bytes": max_frame_bytes}
    codec = connectors.codec(kind, function, options)
    whole = run(codec.decoder(), [stream])
    assert run(codec.decoder(), pieces(stream, cuts)) == whole
    assert run(codec.decoder(), [stream[i : i + 1] for i in range(len(stream))]) == whole
    for _, frame, offset, _ in whole[1]:
        assert stream[offset:].find(frame) in (0, width(framing))


def width(framing: dict[str, Any]) -> int:
    """How far into its place in the stream a frame begins."""
    return framing.get("length_bytes", 0)


@pytest.mark.parametrize("kind", [k for k in MESSAGES if k != "csv"] + ["function"])
@QUICK
@given(stream=STREAM, cuts=CUTS)
def test_fed_less_pending_is_a_clean_offset(kind: str, stream: bytes, cuts: list[int]) -> None:
    check_clean(connectors.codec(kind, upper, {}), stream, cuts)


@QUICK
@given(stream=STREAM, cuts=CUTS)
def test_so_it_is_for_csv_without_a_header(stream: bytes, cuts: list[int]) -> None:
    check_clean(connectors.codec("csv", None, COLUMNS), stream, cuts)


def check_clean(codec: Codec, stream: bytes, cuts: list[int]) -> None:
    """After each piece: a new decoder from the clean offset on brings exactly what is missing."""
    stream = stream.replace(b"\xef\xbb\xbf", b"")  # a mark counts only where a stream begins
    expected, _, stopped = run(codec.decoder(), [stream])
    decoder = codec.decoder()
    fed, got = 0, []
    for piece in pieces(stream, cuts):
        try:
            got += decoder.feed(piece)[0]
        except ConnectorError:
            assert stopped
            return
        fed += len(piece)
        offset = fed - decoder.pending_bytes
        assert 0 <= offset <= fed
        assert got + run(codec.decoder(), [stream[offset:]])[0] == expected
    if not stopped:
        decoder.finish()
        assert decoder.pending_bytes == 0


@pytest.mark.parametrize("kind", ["lines", "json", "csv", "msgpack", "bytes"])
@pytest.mark.parametrize("framing", ["lines", "length_prefix"])
def test_no_more_than_max_frame_is_ever_held(kind: str, framing: str) -> None:
    options = {"framing": framing, "max_frame_bytes": 1000, **COLUMNS}
    decoder = connectors.codec(kind, None, options).decoder()
    good = {"lines": b"1,1\n" if kind == "csv" else b"1\n", "length_prefix": b"\0\0\0\x011"}
    if kind == "msgpack":
        good = {"lines": b"\x01", "length_prefix": b"\0\0\0\x01\x01"}
    if kind == "csv":
        good["length_prefix"] = b"\0\0\0\x031,1"
    begin = {"lines": b'"', "length_prefix": b"\x40\0\0\0"}[framing]
    if (kind, framing) == ("msgpack", "lines"):
        begin = b"\xdc\x03\xff"  # an array of 1023, none of its lengths too large by itself
    messages, _ = decoder.feed(good[framing] + begin)
    assert len(messages) == 1
    with pytest.raises(ConnectorError, match=f"byte {len(good[framing])} .*max_frame .1000"):
        for _ in range(1100):
            decoder.feed(b"\xc0")
            assert decoder.pending_bytes <= 1000


def test_a_row_within_quotes_counts_as_one_frame() -> None:
    decoder = connectors.codec("csv", None, {"max_frame_bytes": 50}).decoder()
    assert decoder.feed(b'a,b\n1,2\n3,"')[0] == [{"a": "1", "b": "2"}]
    with pytest.raises(ConnectorError, match="byte 8 is larger than max_frame"):
        for _ in range(60):
            decoder.feed(b"x\n")


def test_frames_before_one_too_large_are_not_lost() -> None:
    decoder = connectors.codec("lines", None, {"max_frame_bytes": 4}).decoder()
    assert decoder.feed(b"a\nb\ntoo large\nc\n") == (["a", "b"], [])
    assert decoder.pending_bytes == len(b"too large\nc\n")
    with pytest.raises(ConnectorError, match="byte 4 is larger"):
        decoder.feed(b"d\n")


def test_a_bad_line_costs_nothing_but_itself() -> None:
    decoder = connectors.codec("lines", None, {}).decoder()
    assert decoder.feed(b"one\n") == (["one"], [])
    messages, failures = decoder.feed(b"two\nthr\xffee\r\nfour\r\nfi")
    assert messages == ["two", "four"]
    assert [(f.index, f.frame, f.offset) for f in failures] == [(1, b"thr\xffee\r", 8)]
    assert isinstance(failures[0].error, UnicodeDecodeError)
    assert decoder.pending_bytes == 2
    assert decoder.finish() == (["fi"], [])


def test_lines_end_in_a_newline_and_nothing_else() -> None:
    decoder = connectors.codec("lines", None, {}).decoder()
    text = "a\u2028b\x0bc\x85d\re\r\n\r\r\n\n"
    assert decoder.feed(text.encode())[0] == ["a\u2028b\x0bc\x85d\re", "\r", ""]


@pytest.mark.parametrize("kind", ["lines", "json", "csv"])
def test_a_byte_order_mark_is_left_out(kind: str) -> None:
    decoder = connectors.codec(kind, None, {"columns": ["a"]}).decoder()
    expected = {"lines": "1", "json": 1, "csv": {"a": "1"}}[kind]
    assert decoder.feed(b"\xef\xbb\xbf1\n1\n") == ([expected, expected], [])


def test_json_takes_one_value_a_line() -> None:
    decoder = connectors.codec("json", None, {}).decoder()
    messages, failures = decoder.feed(b'{"a": 1}\r\n\n \t\n1,2\nnull\n[\n1]\n"\xc3\xa9"\n')
    assert messages == [{"a": 1}, None, "é"]
    assert [(f.index, f.frame, f.offset) for f in failures] == [
        (1, b"1,2", 14),
        (2, b"[", 23),
        (2, b"1]", 25),
    ]
    assert all(isinstance(f.error, json.JSONDecodeError) for f in failures)


def test_json_is_written_compact_and_readable() -> None:
    encoder = connectors.codec("json", None, {}).encoder()
    assert encoder.encode([{"é": [1, None]}, "x"]).decode() == '{"é":[1,null]}\n"x"\n'
    with pytest.raises(TypeError, match="set is not JSON serializable"):
        encoder.encode([set()])


def test_json_is_written_as_others_read_it() -> None:
    encoder = connectors.codec("json", None, {}).encoder()
    assert encoder.encode(["é", "\ud800", {"\udfff": "\U0001f600"}]).decode() == (
        '"é"\n"\\ud800"\n{"\\udfff":"\U0001f600"}\n'
    )
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="not JSON compliant"):
            encoder.encode([{"value": value}])


def test_a_msgpack_object_that_cannot_be_made_is_stepped_over() -> None:
    decoder = connectors.codec("msgpack", None, {}).decoder()
    bad = b"\x92\xa1\xff\xa1a"
    messages, failures = decoder.feed(b"\x01" + bad[:3])
    assert (messages, failures, decoder.pending_bytes) == ([1], [], 3)
    messages, failures = decoder.feed(bad[3:] + b"\x02" + bad + b"\x03" + b"\xc1")
    assert messages == [2, 3]
    assert [(f.index, f.frame, f.offset) for f in failures] == [(0, bad, 1), (1, bad, 7)]
    with pytest.raises(ConnectorError, match="byte 13 is not msgpack: FormatError"):
        decoder.feed(b"")


def test_a_msgpack_object_in_many_pieces_is_read_once() -> None:
    message = [["word", i, {"n": b"\xff"}] for i in range(500)]
    data = msgpack.packb(message)
    decoder = connectors.codec("msgpack", None, {}).decoder()
    for i in range(len(data) - 1):
        assert decoder.feed(data[i : i + 1]) == ([], [])
        assert decoder.pending_bytes == i + 1
    assert decoder.feed(data[-1:]) == ([message], [])


def test_exceptions_of_the_user_keep_their_traceback() -> None:
    decoder = connectors.codec("function", upper, {}).decoder()
    messages, failures = decoder.feed(b"a\nxb\n\nc\n")
    assert messages == [b"A", b"C"]
    (failure,) = failures
    assert (failure.index, failure.frame, failure.offset) == (1, b"xb", 2)
    names, traceback = [], failure.error.__traceback__
    while traceback:
        names.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert names[-1] == "upper"


def test_a_function_encodes() -> None:
    encoder = connectors.codec("function", lambda m: m and f"<{m}>", {}).encoder()
    assert encoder.encode([1, None, "é"]).decode() == "<1>\n<é>\n"
    with pytest.raises(TypeError, match="str or bytes, not int"):
        connectors.codec("function", lambda m: m, {}).encoder().encode([1])


@pytest.mark.parametrize(
    ("kind", "message", "expected"),
    [("lines", b"x", "str, not bytes"), ("bytes", "x", "bytes, not str")],
)
def test_a_message_of_the_wrong_type_is_named(kind: str, message: Any, expected: str) -> None:
    with pytest.raises(TypeError, match=expected):
        connectors.codec(kind, None, {}).encoder().encode([message])


def test_a_codec_that_cannot_be_is_refused() -> None:
    for kind, options, what in [
        ("lines", {"framing": "linse"}, "no framing is called 'linse'"),
        ("bytes", {"framing": "length_prefix", "length_bytes": 3}, "can't take 3 bytes"),
        ("jsno", {}, "no codec is called 'jsno'"),
    ]:
        with pytest.raises(ConnectorError, match=what):
            connectors.codec(kind, None, options)


@pytest.mark.parametrize(("kind", "function", "options"), DECODERS)
@pytest.mark.parametrize("framing", FRAMINGS[:2], ids=named)
@QUICK
@given(stream=STREAM, cuts=CUTS)
def test_another_goes_on_at_each_clean_offset_with_what_the_first_has_learnt(
    kind: str,
    function: Callable[[bytes], Any] | None,
    options: dict[str, Any],
    framing: dict[str, Any],
    stream: bytes,
    cuts: list[int],
) -> None:
    """Memory is plain data. Without it a mark or a header in the rest would be taken for one."""
    codec = connectors.codec(kind, function, {**options, **framing})
    whole = run(codec.decoder(), [stream])
    first = codec.decoder()
    fed, messages, failures = 0, 0, 0
    for piece in pieces(stream, cuts):
        try:
            found = first.feed(piece)
        except ConnectorError:
            break
        fed, messages, failures = (
            fed + len(piece),
            messages + len(found[0]),
            failures + len(found[1]),
        )
        clean = fed - first.pending_bytes
        other = codec.decoder()
        other.remember(json.loads(json.dumps(first.memory())))
        rest = run(other, [stream[clean:]])
        assert rest[0] == whole[0][messages:]
        assert [f[1] for f in rest[1]] == [f[1] for f in whole[1][failures:]]
        assert [f[2] + clean for f in rest[1]] == [f[2] for f in whole[1][failures:]]
