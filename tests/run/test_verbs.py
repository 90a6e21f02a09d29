"""The verbs that look at a live run and change it, every option, as they are typed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from roo.cli.visitor import NoAnswer
from roo.runtime.registry import NoSuchRun
from tests.run.harness import DEADLINE_S, run, start, until
from tests.run.live import DETECTOR, DETECTOR_PIPELINE, Live, check_detector

pytestmark = pytest.mark.slow


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with Live(tmp_path, DETECTOR_PIPELINE, DETECTOR, "--workers", "2") as live:
        until(lambda: len(live.status()["workers"]) == 2, "both workers to report")
        yield live
        if live.process.poll() is None:
            live.process.send_signal(signal.SIGKILL)


def test_ps_lists_it(live: Live) -> None:
    text = run(live.folder, "ps").stdout
    assert re.search(rf"^{live.name} +{live.process.pid} +\S+ +.*p\.yaml$", text, re.M), text
    rows = [json.loads(line) for line in run(live.folder, "ps", "--json").stdout.splitlines()]
    [mine] = [row for row in rows if row["name"] == live.name]
    assert mine["pid"] == live.process.pid


def test_status_by_name_and_by_process(live: Live) -> None:
    for name in (live.name, str(live.process.pid)):
        done = run(live.folder, "status", name)
        assert (done.returncode, done.stderr) == (0, "")
        assert live.name in done.stdout
        assert "detect" in done.stdout
    facts = json.loads(run(live.folder, "status", live.name, "--json").stdout)
    assert facts["placement"]["workers"] == [0, 1]
    assert {row["worker"] for row in facts["workers"]} == {0, 1}


def test_top_shows_a_line_after_the_other_and_ends_with_the_run(live: Live) -> None:
    watch = start(live.folder, "top", live.name, stdout=subprocess.PIPE)
    try:
        assert watch.stdout is not None
        first, second = watch.stdout.readline().decode(), watch.stdout.readline().decode()
        assert "read" in first
        assert "read" in second
        assert run(live.folder, "stop", live.name).returncode == 0
        _, said = watch.communicate(timeout=DEADLINE_S)
    finally:
        watch.kill()
    assert watch.returncode == 0
    assert f"{live.name} has ended" in said.decode()


def test_a_plan_changes_nothing(live: Live) -> None:
    for words in (("scale", live.name, "+2"), ("leave", live.name, "0"), ("scale", live.name, "1")):
        done = run(live.folder, *words, "--dry-run")
        assert done.returncode == 0, done.stderr
        assert re.search(r"\d+ intervals and about \d+ keys move", done.stdout), done.stdout
    plan = json.loads(run(live.folder, "scale", live.name, "4", "--dry-run", "--json").stdout)
    assert [row["worker"] for row in plan["workers"]] == [0, 1, 2, 3]
    assert all(row["share_after"] == pytest.approx(0.25) for row in plan["workers"])
    assert live.workers() == [0, 1]


def test_scale_leave_and_rebalance_say_what_moved(live: Live) -> None:
    moved = r"moved \d+ interval\(s\), [\d,]+ keys \([\d.]+ MB\) in [\d.]+ s; longest pause \d+ ms"
    done = run(live.folder, "scale", live.name, "+1")
    assert done.returncode == 0, done.stderr
    assert re.search(r"moving \d+ interval\(s\), about [\d,]+ keys", done.stderr)
    assert re.search(moved, done.stderr), done.stderr
    assert done.stdout == ""
    done = run(live.folder, "leave", live.name, "0", "--json")
    answer = json.loads(done.stdout)
    assert answer["why_not"] == ""
    assert answer["keys_moved"] > 0 < answer["intervals_moved"]
    assert live.workers() == [1, 2]
    done = run(live.folder, "rebalance", live.name, "--weight", "1=3", "--by", "weight")
    assert re.search(moved, done.stderr), done.stderr
    shares = json.loads(
        run(live.folder, "scale", live.name, "2", "--dry-run", "--json").stdout
    )["workers"]  # fmt: skip
    assert [row["share_before"] for row in shares] == [pytest.approx(0.75), pytest.approx(0.25)]
    done = run(live.folder, "rebalance", live.name, "--by", "load")
    assert done.returncode == 0 or "no load to go by" in done.stderr, done.stderr
    done = run(live.folder, "scale", live.name, "2")
    assert "nothing to change" in done.stderr


# Workers (not the run, which looks at the plugin as well) take their time to start.
SLOW = """
import os, sys, time
while sys.argv[0].endswith("worker_main.py") and os.path.exists("slow"):
    time.sleep(0.01)
"""


def test_a_change_that_is_asked_for_while_the_run_starts(tmp_path: Path) -> None:
    (tmp_path / "slow").touch()
    live = Live(tmp_path, DETECTOR_PIPELINE, SLOW + DETECTOR, "--workers", "2")
    until(lambda: live.name in run(tmp_path, "ps").stdout, "it to be there")
    asking = start(tmp_path, "scale", live.name, "+1")
    assert asking.stderr is not None
    assert asking.stderr.readline() == b"waiting for all workers to be there\n"
    (tmp_path / "slow").unlink()
    with live:
        _, said = asking.communicate(timeout=DEADLINE_S)
        assert asking.returncode == 0, said
        assert live.workers() == [0, 1, 2]
        live.stop()
    check_detector(tmp_path / "out.txt")


def test_asking_without_waiting(live: Live) -> None:
    done = run(live.folder, "scale", live.name, "+1", "--no-wait")
    assert done.returncode == 0
    assert "moved" not in done.stderr
    until(lambda: live.workers() == [0, 1, 2], "the change to be made")
    done = run(live.folder, "stop", live.name, "--no-wait")
    assert (done.returncode, done.stderr) == (0, "")
    assert live.process.wait(DEADLINE_S) == 0


def test_stop_waits_for_the_end(live: Live) -> None:
    assert run(live.folder, "stop", live.name).returncode == 0
    assert live.process.wait(DEADLINE_S) == 0
    assert live.name not in run(live.folder, "ps").stdout
    with pytest.raises((NoAnswer, NoSuchRun)):
        live.ask("status")


def test_stop_now_is_like_a_second_interrupt(live: Live) -> None:
    assert run(live.folder, "stop", live.name, "--now").returncode == 0
    assert live.process.wait(DEADLINE_S) == 143


REFUSED = [
    (("scale", "NAME", "0"), 1, "at least one worker|no worker"),
    (("scale", "NAME", "-2"), 1, "at least one worker|no worker|last"),
    (("leave", "NAME", "0", "1"), 1, "last|no worker|at least one"),
    (("leave", "NAME", "9"), 1, "9"),
    (("rebalance", "NAME", "--weight", "9=2"), 1, "9"),
    (("scale", "NAME", "many"), 2, "'many' is not a number of workers, like 4, \\+1 or -2"),
    (("rebalance", "NAME", "--weight", "1"), 2, "'1' is not WORKER=N"),
    (("rebalance", "NAME", "--by", "luck"), 2, "luck"),
    (("leave", "NAME", "first"), 2, "first"),
]


def test_what_can_not_be_done_is_said(live: Live) -> None:
    for words, code, why in REFUSED:
        done = run(live.folder, *(live.name if word == "NAME" else word for word in words))
        assert done.returncode == code, (words, done.stderr)
        assert re.search(why, done.stderr), (words, done.stderr)
        assert "Traceback" not in done.stderr
    assert live.workers() == [0, 1]


@pytest.mark.parametrize("verb", ["status", "top", "stop", "scale", "leave", "rebalance"])
def test_a_run_that_is_not_there(tmp_path: Path, verb: str) -> None:
    more = ["1"] if verb in ("scale", "leave") else []
    done = run(tmp_path, verb, f"nobody-{os.getpid()}", *more)
    assert done.returncode == 3
    assert f"nobody-{os.getpid()}" in done.stderr
    assert "Traceback" not in done.stderr
