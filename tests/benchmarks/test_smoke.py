"""The benchmark itself, small: it measures, it verifies, and a wrong output ends it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmark
from benchmarks import checkpoints, recovery, scaling, throughput, wordcount
from benchmarks.checkpoints import TAKEN
from benchmarks.jobs import gaps
from benchmarks.measure import Reach, Series, ratio
from benchmarks.processes import ROO
from benchmarks.settings import ROOT
from benchmarks.wordcount import Job

DEADLINE_S = 120


@pytest.mark.slow
def test_the_command_measures_and_writes_json(tmp_path: Path) -> None:
    report = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--only", "zipf,startup", "--runs", "1"]
    done = subprocess.run(
        [*command, "--words", "20000", "--json", report],
        cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(report.read_text())["figures"]
    assert [figure["name"] for figure in figures] == ["zipf", "startup"]
    assert [one["candidate"] for one in figures[0]["series"]] == [
        wordcount.HAND, wordcount.HAND_GC_OFF, wordcount.ROO_1, wordcount.ROO_2,
    ]  # fmt: skip
    assert all(one["median"] > 0 for figure in figures for one in figure["series"])
    assert wordcount.ROO_2 in done.stdout


@pytest.mark.slow
def test_latency_is_measured_and_every_message_accounted_for(tmp_path: Path) -> None:
    report = tmp_path / "figures.json"
    short = ["--runs", "1", "--latency-s", "1", "--warm-up-s", "1"]
    assert benchmark.main(["--only", "latency", *short, "--json", str(report)]) == 0
    for figure in json.loads(report.read_text())["figures"]:
        by_metric = {one["metric"]: one["median"] for one in figure["series"]}
        assert 0 < by_metric["p50_ms"] <= by_metric["p99_ms"] <= by_metric["p999_ms"]


@pytest.mark.slow
def test_what_checkpoints_cost_and_how_a_run_comes_back(tmp_path: Path) -> None:
    report = tmp_path / "figures.json"
    short = ["--runs", "1", "--words", "50000", "--checkpoint-every-ms", "50"]
    assert benchmark.main(["checkpoints", *short, "--json", str(report)]) == 0
    figures = {one["name"]: one for one in json.loads(report.read_text())["figures"]}
    names = benchmark.GROUPS["checkpoints"]
    assert list(figures) == [names[0], "checkpoint-speed-zipf", *names[1:]]
    medians = {
        name: [(one["candidate"], one["metric"], one["median"]) for one in figure["series"]]
        for name, figure in figures.items()
    }
    every, never = checkpoints.names(wordcount.ROO_2, 50)
    assert [where[:2] for where in medians["checkpoint-speed"]] == [
        (never, "words_per_s"), (every, "words_per_s"), (every, "checkpoints"),
    ]  # fmt: skip
    assert all(value > 0 for _, metric, value in medians["checkpoint-speed"] if metric != TAKEN)
    assert medians["checkpoint-stalls"][0][1] == "gap_max_ms"
    (_, _, full_bytes), (_, _, delta_bytes) = medians["checkpoint-bytes"]
    assert 0 < delta_bytes < 0.2 * full_bytes
    assert [candidate for candidate, _, _ in medians["recovery"]] == [
        recovery.WORKER, recovery.WHOLE,
    ]  # fmt: skip
    assert all(0 < seconds < DEADLINE_S for _, _, seconds in medians["recovery"])


@pytest.mark.slow
def test_what_a_join_and_a_leave_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = tmp_path / "figures.json"
    for name, less in (("RATE_PER_S", 5_000), ("BEFORE_S", 1.0), ("AFTER_S", 1.0)):
        monkeypatch.setattr(scaling, name, less)
    short = ["--runs", "1", "--words", "20000", "--latency-s", "4", "--warm-up-s", "1"]
    assert benchmark.main(["scaling", *short, "--json", str(report)]) == 0
    [figure] = json.loads(report.read_text())["figures"]
    found = {one["metric"]: one["median"] for one in figure["series"]}
    assert list(found) == [f"{change} {m}" for change in ("+1", "-1") for m in scaling.METRICS]
    assert found["+1 pause_moved_ms"] > 0 < found["-1 pause_moved_ms"]
    assert 0.9 < found["+1 moved_over_minimum"] < 1.1


def test_first_output_is_what_comes_after_the_cut(tmp_path: Path) -> None:
    outputs = [tmp_path / "a", tmp_path / "b"]
    for path in outputs:
        path.write_bytes(b"12345")
    watch = recovery.Regrown(outputs)
    steps = [
        (0, b"1234567", False), (0, b"12345", False), (1, b"123456", False), (1, b"123", False),
        (1, b"12", False), (1, b"12", False), (1, b"123", True),
    ]  # fmt: skip
    for which, content, is_back in steps:
        outputs[which].write_bytes(content)
        assert watch.look() == is_back


def test_gaps_between_calls_are_noted(tmp_path: Path) -> None:
    script = (
        "import time; from benchmarks.jobs.gaps import count; "
        "from benchmarks.jobs.wordcount import Total\n"
        "total = Total(); count('w', total); time.sleep(0.03); count('w', total)\n"
        "time.sleep(0.05); count('w', total)\n"
        "until = time.monotonic() + 0.03\n"
        "while time.monotonic() < until: pass\n"
        "count('w', total); [count('w', total) for _ in range(1000)]; assert total.n == 1004"
    )
    command = ["env", f"{gaps.FOLDER}={tmp_path}", sys.executable, "-c", script]
    subprocess.run(command, cwd=ROOT, check=True, timeout=DEADLINE_S)
    slept, computed, *_ = checkpoints.noted_gaps(tmp_path)
    assert slept.length_ms >= 50 > 25 > slept.cpu_ms
    assert computed.length_ms >= 30
    assert computed.cpu_ms > 0


@pytest.mark.slow
def test_a_wrong_output_ends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def forgetful(words: Path, counts: Path, *options: str) -> Job:
        """The hand-written loop, and then its last update is cut off."""
        cut = "import sys; p = sys.argv[1]; lines = open(p).readlines(); "
        cut += "open(p, 'w').writelines(lines[:-1])"
        loop = wordcount.by_hand(words, counts).commands[0]
        script = 'counts=$1; shift; "$@" && exec "$0" -c "$CUT" "$counts"'
        command = ["env", f"CUT={cut}", "sh", "-c", script, sys.executable, counts, *loop]
        return Job([command], words, [counts])

    monkeypatch.setattr(throughput, "by_hand", forgetful)
    assert benchmark.main(["--only", "zipf", "--runs", "1", "--words", "20000"]) == 1
    assert "WrongOutput: " in capsys.readouterr().err


@pytest.mark.slow
def test_a_failed_process_ends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(words: Path, counts: Path, *options: str) -> Job:
        return Job([[sys.executable, "-c", "raise SystemExit('gave up')"]], words, [counts])

    monkeypatch.setattr(throughput, "by_hand", failing)
    assert benchmark.main(["--only", "zipf", "--runs", "1", "--words", "20000"]) == 1
    assert "gave up" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("pipeline", ["wordcount.yaml", "ticks.yaml"])
def test_the_measured_pipelines_are_valid(pipeline: str) -> None:
    command: list[str | Path] = [ROO, "validate", ROOT / "benchmarks" / "jobs" / pipeline]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("option", [["--only", "zopf"], ["--runs", "0"], ["--words", "many"]])
def test_refuses_what_it_cannot_do(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        benchmark.main(option)
    assert ended.value.code == 2
    assert option[1] in capsys.readouterr().err


def test_ratios_of_medians_and_of_rounds() -> None:
    slow = Series("slow", "words_per_s", (10.0, 20.0, 30.0))
    fast = Series("fast", "words_per_s", (40.0, 30.0, 90.0))
    found = ratio("fast / slow", [fast], [slow], Reach(2.5))
    assert (found.of_medians, found.of_rounds) == (2.0, 3.0)
    assert found.reach is not None
    assert not found.reach.holds(found.of_medians)
    assert found.reach.holds(found.of_rounds)
