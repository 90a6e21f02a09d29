"""The judge of the benchmarks: it must accept what is right and name what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import words
from benchmarks.jobs.collector import latencies_ms
from benchmarks.verify import WrongOutput, check_counts, check_counts_apart

WORDS = "a b a\nc a b\n"
RIGHT = ["a => 1", "b => 1", "a => 2", "c => 1", "a => 3", "b => 2"]


def verify(folder: Path, *outputs: list[str], check: Callable[..., None] = check_counts) -> None:
    """Write the word file and one file per output, and check them."""
    source = folder / "words.txt"
    source.write_text(WORDS)
    counts = [folder / f"counts.{index}" for index in range(len(outputs))]
    for path, lines in zip(counts, outputs, strict=True):
        path.write_text("".join(f"{line}\n" for line in lines))
    check(source, counts)


def test_accepts_right_counts_in_any_order_of_keys(tmp_path: Path) -> None:
    verify(tmp_path, RIGHT)
    verify(tmp_path, sorted(RIGHT))
    verify(tmp_path, [line for line in RIGHT if line[0] == "a"],
           [line for line in RIGHT if line[0] != "a"])  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (RIGHT[:-1], "b has 1 updates, is 2 times"),
        ([*RIGHT, "b => 2"], "`b => 2` where `b => 3`"),
        ([*RIGHT, "b => 3"], "b has 3 updates, is 2 times"),
        ([*RIGHT, "d => 1"], "d has 1 updates, is 0 times"),
        ([line for line in RIGHT if line[0] != "c"], "c has 0 updates, is 1 times"),
        ([RIGHT[2], RIGHT[1], RIGHT[0], *RIGHT[3:]], "`a => 2` where `a => 1`"),
        ([*RIGHT[:-1], "b => 02"], "`b => 02` where `b => 2`"),
        ([*RIGHT, "b"], "not `word => n`"),
        ([*RIGHT[:-1], "b", "2"], "not `word => n`"),
        ([], "updates"),
    ],
)
def test_names_what_is_wrong(tmp_path: Path, lines: list[str], reason: str) -> None:
    with pytest.raises(WrongOutput, match=reason.replace("(", "\\(")):
        verify(tmp_path, lines)


def test_a_key_in_two_files_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(WrongOutput, match="`a => 1` where `a => 4`"):
        verify(tmp_path, RIGHT, ["a => 1"])


def test_a_last_line_without_its_end_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("a\n")
    (tmp_path / "counts").write_text("a => 1")
    with pytest.raises(WrongOutput, match="not `word => n`"):
        check_counts(tmp_path / "words.txt", [tmp_path / "counts"])


def test_says_the_same_from_a_process_of_its_own(tmp_path: Path) -> None:
    verify(tmp_path, RIGHT, check=check_counts_apart)
    with pytest.raises(WrongOutput, match="b has 1 updates, is 2 times"):
        verify(tmp_path, RIGHT[:-1], check=check_counts_apart)


def test_word_files_hold_what_they_promise(tmp_path: Path) -> None:
    keys = words.every_key(tmp_path, 1000, 300).read_text().splitlines()
    assert [len(line.split()) for line in keys] == [10] * 100
    assert len(set(" ".join(keys[:30]).split())) == 300
    for make in (words.zipf, words.uniform):
        drawn = make(tmp_path, 1005).read_text()
        assert len(drawn.split()) == 1005
        (tmp_path / "again").mkdir(exist_ok=True)
        assert make(tmp_path / "again", 1005).read_text() == drawn
    assert words.empty(tmp_path).read_bytes() == b""


FEED = ["k0 0 5 5 1\n", "k1 1 5 5 1\n", "k0 2 5 6 2\n", "k1 3 5 6 2\n"]


def test_latency_counts_after_the_warm_up() -> None:
    reads = [(1_000_005, "".join(FEED[:3]).encode()), (3_000_005, FEED[3].encode())]
    assert latencies_ms({1: reads}, 4, warm_up=2) == ([1.0, 3.0], [0.999999, 2.999999])


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (FEED[:3], "1 of 4 messages never came"),
        ([*FEED, FEED[3]], "follows number 3, place 2"),
        ([FEED[2], FEED[0], *FEED[1::2]], "follows number -1, place 0"),
        ([*FEED[:3], "k1 3 5 6 3\n"], "follows number 1, place 1"),
    ],
)
def test_latency_refuses_lost_doubled_or_unordered(lines: list[str], reason: str) -> None:
    with pytest.raises(WrongOutput, match=reason):
        latencies_ms({1: [(9, "".join(lines).encode())]}, 4, warm_up=0)
