"""The frame: golden renders, and what holds at every size.

`ROO_GOLDEN=rewrite pytest tests/status` writes the golden files anew: look at the difference.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import status_samples as samples
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from roo.status.layout import ASCII, UNICODE, bar, shorten, shorten_path
from roo.status.snapshot import RunSnapshot, SinkRow, SourceRow, StepRow, WorkerRow
from roo.status.view import render

GOLDEN = Path(__file__).parent / "golden"


def drawn(
    snapshot: RunSnapshot, width: int, height: int | None = None, *, ascii_only: bool = False
) -> list[str]:
    """The frame's lines as text, rendered with room to spare so that what is too wide shows."""
    console = Console(width=4 * width + 100, height=1000, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(render(snapshot, width, height, ascii_only=ascii_only), end="")
    return capture.get().split("\n")[:-1]


@pytest.mark.parametrize("sample", ["running", "stuck", "moved", "many"])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 30), (200, 50)])
def test_golden(sample: str, width: int, height: int) -> None:
    lines = drawn(getattr(samples, sample)(), width, height)
    text = "\n".join(lines) + "\n"
    file = GOLDEN / f"{sample}_{width}x{height}.txt"
    if os.environ.get("ROO_GOLDEN") == "rewrite":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width


def test_at_80_columns_the_workers_keep_what_matters_most() -> None:
    titles = " ".join(drawn(samples.running(), 80)[3].split())
    assert titles == "worker share ring keys new/s in/s out/s p99 ms queue mem cpu"


def test_at_200_columns_the_workers_show_everything() -> None:
    titles = " ".join(drawn(samples.running(), 200)[3].split())
    assert titles == ("worker pid share ring keys new/s in/s out/s p50 ms p99 ms queue memory cpu")


def test_the_busiest_workers_are_shown_with_how_many_more() -> None:
    lines = drawn(samples.many(), 80, 24)
    shown = [int(text.split()[0]) for text in lines[4:] if text[:6].strip().isdigit()]
    assert shown == sorted(shown)
    assert 63 in shown, "a worker that is held up is why one looks"
    assert any(text.startswith(f"… {64 - len(shown)} more: ") for text in lines)


def test_a_worker_held_up_says_with_what() -> None:
    lines = drawn(samples.stuck(), 80, 24)
    assert "       └ pid 41201: step count for 12 s" in lines


def test_what_has_no_size_has_no_bar() -> None:
    assert drawn(samples.stuck(), 80)[0] == "wordcount  running  12.3 s"


def test_numbers_are_never_cut() -> None:
    base = samples.running()
    wide = replace(base.workers[0], worker=123_456_789, keys=10**30, memory_bytes=10**30, cpu=640.0)
    for width in range(60, 200):
        text = "\n".join(drawn(replace(base, workers=(wide,)), width))
        assert "123456789" in text
        assert "…" not in text.split("\n\n")[1], "a number of the worker was cut"


def test_a_terminal_without_box_drawing_gets_ascii() -> None:
    snapshot = replace(samples.stuck(), pipeline="Zähler", progress=0.5)
    lines = drawn(snapshot, 60, 24, ascii_only=True)
    assert "\n".join(lines).isascii()
    assert lines[0].startswith("Z?hler  running  12.3 s  =")


def test_control_characters_never_reach_the_terminal() -> None:
    evil = "a\x1b[2Jb\nc\td\x00\u2028e"
    snapshot = replace(samples.running(), pipeline=evil, events=((0.0, evil),))
    assert all(text.isprintable() for text in drawn(snapshot, 120, 30))
    assert "a [2Jb c d  e" in drawn(snapshot, 120, 30)[0]


def test_bar() -> None:
    assert bar([(0.0, 0.5)], 4, UNICODE) == "━━──"
    assert bar([(0.0, 0.375)], 4, UNICODE) == "━╾──"
    assert bar([(0.625, 1.0)], 4, UNICODE) == "──╼━"
    assert bar([(0.0, 0.25), (0.75, 1.0)], 4, UNICODE) == "━──━"
    assert bar([(0.501, 0.502)], 4, UNICODE) == "──╾─", "a speck is still shown"
    assert bar([(0.0, 1.0)], 4, ASCII) == "===="
    assert bar([], 4, ASCII) == "----"
    assert bar([(0.0, 1.0)], 0, UNICODE) == ""


@given(st.integers(1, 64), st.integers(1, 40))
def test_equal_shares_cover_the_ring_once(workers: int, width: int) -> None:
    """Where there is a half for each worker, every half belongs to exactly one."""
    if workers > 2 * width:
        return
    owned = [0] * (2 * width)
    for row in samples.running(workers).workers:
        for cell, shape in enumerate(bar(row.intervals, width, UNICODE)):
            owned[2 * cell] += shape in "━╾"
            owned[2 * cell + 1] += shape in "━╼"
    assert owned == [1] * (2 * width)


def test_shorten() -> None:
    assert shorten("wordcount", 9, UNICODE) == "wordcount"
    assert shorten("wordcount", 6, UNICODE) == "wordc…"
    assert shorten("日本語", 5, UNICODE) == "日本…"
    assert shorten("wordcount", 6, ASCII) == "wordc~"
    assert shorten("wordcount", 0, UNICODE) == ""
    assert shorten_path("out/wordcount.txt", 16, UNICODE) == "…/wordcount.txt"
    assert shorten_path("out/wordcount.txt", 6, UNICODE) == "…t.txt"


counts = st.integers(0, 2**63)
rates = st.floats(0, 1e12)
latencies = st.none() | st.floats(0, 1e7)
names = st.text(max_size=60)

worker_rows = st.builds(
    WorkerRow,
    worker=st.integers(0, 10_000),
    pid=st.integers(1, 2**22),
    share=st.floats(0, 1),
    intervals=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=4).map(tuple),
    keys=counts,
    new_keys_per_s=rates,
    in_per_s=rates,
    out_per_s=rates,
    p50_ms=latencies,
    p99_ms=latencies,
    queue_messages=counts,
    memory_bytes=counts,
    cpu=st.floats(0, 64),
    doing=st.just("") | names,
)
snapshots = st.builds(
    RunSnapshot,
    pipeline=names,
    phase=st.sampled_from(["starting", "running", "draining", "finished", "stopped", "failed"]),
    elapsed_s=st.floats(0, 1e7),
    workers=st.lists(worker_rows, max_size=12).map(tuple),
    steps=st.lists(
        st.builds(StepRow, names, st.just("flat_map"), counts, counts, rates, counts), max_size=9
    ).map(tuple),
    sources=st.lists(
        st.builds(
            SourceRow,
            names,
            st.just("file"),
            counts,
            rates,
            counts,
            st.none() | counts,
            counts,
            st.booleans(),
        ),
        max_size=3,
    ).map(tuple),
    sinks=st.lists(
        st.builds(SinkRow, names, st.just("file"), names, counts, rates, counts), max_size=3
    ).map(tuple),
    events=st.lists(st.tuples(st.floats(0, 1e7), names), max_size=9).map(tuple),
    progress=st.none() | st.floats(0, 1),
    eta_s=st.none() | st.floats(0, 1e7),
    keys=counts,
    messages_read=counts,
    errors=counts,
    p50_ms=latencies,
    p99_ms=latencies,
)


@settings(max_examples=60, deadline=None)
@given(snapshots, st.integers(1, 220), st.integers(1, 70) | st.none(), st.booleans())
def test_any_snapshot_fits_any_terminal(
    snapshot: RunSnapshot, width: int, height: int | None, ascii_only: bool
) -> None:
    lines = drawn(snapshot, width, height, ascii_only=ascii_only)
    assert max(map(cell_len, lines)) <= width
    assert height is None or len(lines) <= height
    assert not ascii_only or "".join(lines).isascii()
