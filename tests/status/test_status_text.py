"""Plain lines, JSON lines, the summary and errors: what is printed without rich."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from dataclasses import replace

import pytest
import status_samples as samples

from roo.status import errors, plain, summary
from roo.status.snapshot import RunSnapshot

START_S = 1_769_860_800.1234


def test_line() -> None:
    assert plain.line(samples.running()) == (
        " 12.3 s  running        1.23M read   102k/s  93.1k keys   12 errors  p99   3.1 ms"
        "   41%  eta 17 s"
    )


def test_line_says_who_is_held_up() -> None:
    assert plain.line(samples.stuck()) == (
        " 12.3 s  running        1.23M read    0.4/s  93.1k keys   12 errors  p99   3.1 ms"
        "  worker 1: step count for 12 s"
    )


def test_lines_stay_aligned_while_numbers_grow() -> None:
    later = replace(samples.running(), elapsed_s=4000.0, messages_read=7, keys=8, p99_ms=None,
                    phase="checkpointing")  # fmt: skip
    first, second = plain.line(samples.running()), plain.line(later)
    assert [first.index(word) for word in ("read", "/s", "keys", "errors", "p99", "eta")] == [
        second.index(word) for word in ("read", "/s", "keys", "errors", "p99", "eta")
    ]


def test_json_line() -> None:
    assert json.loads(plain.json_line(samples.running(), START_S)) == {
        "time": "2026-01-31T12:00:00.123Z",
        "level": "info",
        "phase": "running",
        "pipeline": "wordcount",
        "elapsed_s": 12.34,
        "messages_read": 1_234_567,
        "messages_per_s": 102_300.0,
        "keys": 93_112,
        "errors": 12,
        "p50_ms": 0.42,
        "p99_ms": 3.14,
        "progress": 0.41,
        "eta_s": 17.4,
        "workers": 2,
        "held_up": [],
    }


@pytest.mark.parametrize(
    ("snapshot", "level"),
    [(samples.stuck(), "warning"), (replace(samples.stuck(), phase="failed"), "error")],
)
def test_json_line_has_a_level(snapshot: RunSnapshot, level: str) -> None:
    line = json.loads(plain.json_line(snapshot, START_S))
    assert line["level"] == level
    assert line["held_up"] == [{"worker": 1, "doing": "step count for 12 s"}]


def test_json_line_knows_no_nan() -> None:
    line = plain.json_line(replace(samples.running(), p99_ms=math.nan, eta_s=math.inf), START_S)
    assert json.loads(line, parse_constant=pytest.fail)["p99_ms"] is None


def plain_view(as_json: bool = False) -> tuple[plain.PlainView, io.StringIO, list[float]]:
    """A view, what it has printed, and its clock in seconds, to be set by the test."""
    stream, now = io.StringIO(), [100.0]
    view = plain.PlainView(stream, as_json=as_json, clock=lambda: now[0], wall=lambda: START_S)
    view.start()
    return view, stream, now


def test_plain_view_prints_one_status_a_second() -> None:
    view, stream, now = plain_view()
    printed_at = []
    for quarter in range(1, 13):
        now[0] = 100.0 + quarter * 0.25
        before = stream.tell()
        view.update(samples.running())
        if stream.tell() > before:
            printed_at.append(quarter * 0.25)
    assert printed_at == [1.0, 2.0, 3.0]


def test_plain_view_prints_events_at_once() -> None:
    view, stream, now = plain_view()
    now[0] = 100.31
    view.event("source feed: client 1 closed:\nframe too long")
    assert stream.getvalue() == "  0.3 s  source feed: client 1 closed: frame too long\n"


def test_plain_view_as_json() -> None:
    view, stream, now = plain_view(as_json=True)
    now[0] = 101.5
    view.event("ready")
    view.update(samples.running())
    event, status = map(json.loads, stream.getvalue().splitlines())
    assert event == {
        "time": "2026-01-31T12:00:00.123Z",
        "level": "info",
        "elapsed_s": 1.5,
        "event": "ready",
    }
    assert status["phase"] == "running"


def test_plain_view_survives_a_stream_that_is_gone() -> None:
    view, stream, _ = plain_view()
    stream.close()
    view.event("ready")
    view.stop()


def test_summary() -> None:
    assert summary.text(samples.finished()) == (
        "wordcount finished in 2m 05s on 2 workers\n"
        "  messages read  1,234,567  9845/s\n"
        "  keys              93,112\n"
        "  outputs        8,123,444  counts\n"
        "                        12  dead\n"
        "  errors                12\n"
        "  dropped                3\n"
        "  dead letters          12\n"
        "  latency        p50 0.42 ms  p99 3.1 ms\n"
    )


def test_summary_leaves_out_what_did_not_happen() -> None:
    quiet = replace(
        samples.finished(), workers=1, errors=0, dropped=0, dead_letters=0, p50_ms=None, p99_ms=None
    )
    text = summary.text(quiet)
    assert "on 1 worker\n" in text
    assert "errors                 0\n" in text
    assert not any(word in text for word in ("dropped", "dead letters", "latency"))


def test_summary_in_colour_says_the_same() -> None:
    text = summary.text(samples.finished(), color=True)
    assert "\x1b[32mfinished\x1b[0m" in text
    assert _uncoloured(text) == summary.text(samples.finished())


def test_summary_as_json_has_every_field() -> None:
    failed = replace(samples.finished(), error={"kind": "step", "key": b"x"}, p99_ms=math.nan)
    line = summary.as_json(failed)
    assert "\n" not in line
    found = json.loads(line, parse_constant=pytest.fail)
    assert found.keys() == failed.__dict__.keys()
    assert found["error"] == {"kind": "step", "key": "b'x'"}
    assert found["outputs"] == {"counts": 8_123_444, "dead": 12}
    assert found["p99_ms"] is None


STEP_ERROR = {
    "kind": "step",
    "step": "count",
    "function": "plugins.wordcount:count",
    "key": "'they'",
    "message": "'They know they found it.'",
    "source": "lines",
    "split": "0",
    "offset": 4096,
    "traceback": '  File "plugins/wordcount.py", line 12, in count\n    raise ValueError("bad")\n',
    "what": "ValueError: bad",
    "hint": "correct the function, or skip such messages with `errors: skip`",
}


def test_error_of_a_step() -> None:
    assert errors.format_error(STEP_ERROR) == (
        "error: step count failed: ValueError: bad\n"
        "  function  plugins.wordcount:count\n"
        "  key       'they'\n"
        "  message   'They know they found it.'\n"
        "  source    lines, split 0, offset 4096\n"
        "\n"
        '    File "plugins/wordcount.py", line 12, in count\n'
        '      raise ValueError("bad")\n'
        "\n"
        "what to do: correct the function, or skip such messages with `errors: skip`\n"
    )


@pytest.mark.parametrize(
    ("error", "first"),
    [
        ({"kind": "decode", "source": "feed"}, "error: source feed: a message did not decode: no"),
        ({"kind": "source", "source": "feed"}, "error: source feed failed: no"),
        ({"kind": "source", "step": "feed"}, "error: source feed failed: no"),
        ({"kind": "sink", "sink": "counts"}, "error: sink counts failed: no"),
        ({"kind": "sink", "step": "counts"}, "error: sink counts failed: no"),
        ({"kind": "state", "step": "count"}, "error: state of step count could not be made: no"),
        ({"kind": "send", "step": "count"}, "error: sending failed: no"),
        ({"kind": "wor{}ker"}, "error: wor{}ker failed: no"),
        ({}, "error: run failed: no"),
    ],
)
def test_error_of_each_kind(error: dict[str, object], first: str) -> None:
    assert errors.format_error({**error, "what": "no"}).splitlines()[0] == first


def test_error_at_offset_zero_says_so() -> None:
    text = errors.format_error({"kind": "decode", "source": "feed", "offset": 0, "what": "bad"})
    assert "  source  feed, offset 0\n" in text


def test_error_within_a_range_of_offsets_says_so() -> None:
    where = {"kind": "step", "source": "feed", "offset": 0, "offset_end": 20, "what": "bad"}
    assert "  source  feed, offset 0 to 20\n" in errors.format_error(where)


def test_error_of_several_lines_is_indented() -> None:
    text = errors.format_error({**STEP_ERROR, "what": "ValueError: bad\nand \x1b[2Jworse"})
    assert text.startswith("error: step count failed: ValueError: bad\n  and  [2Jworse\n  function")


def test_error_in_colour_says_the_same() -> None:
    assert _uncoloured(errors.format_error(STEP_ERROR, color=True)) == errors.format_error(
        STEP_ERROR
    )


def test_rich_is_not_imported_without_the_live_view() -> None:
    code = (
        "import sys; from roo.status import choose, plain, summary, errors; "
        "choose('auto', 'text', sys.stderr); choose('plain', 'json', sys.stderr); "
        "sys.exit('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, timeout=180)
    assert done.returncode == 0, done.stderr.decode()


def _uncoloured(text: str) -> str:
    for code in ("0", "1", "2", "31", "32", "33", "1;31"):
        text = text.replace(f"\x1b[{code}m", "")
    return text
