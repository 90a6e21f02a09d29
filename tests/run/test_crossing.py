"""Two things at once: where both alone are harmless, and the promise broke.

Runs have 20,000 keys, so that a move and a snapshot take many slices. The detector finds what is
lost, doubled, out of order or stale, whichever of both it was.
"""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.run.harness import children, until
from tests.run.killing import faulty, go, manifests, prepare
from tests.run.live import DETECTOR, DETECTOR_PIPELINE, Live, check_detector

pytestmark = pytest.mark.slow

MANY = DETECTOR.replace("KEYS = 997", "KEYS = 20_000")
OFTEN = DETECTOR_PIPELINE.replace("every: 1s", "every: 300ms")
SLOW_FSYNC = {"call": "fsync", "part": "w0-windows.snap", "host": 0, "how": "slow", "slow_s": 3}


def many(folder: Path, *words: str, pipeline: str = OFTEN, **more: Any) -> Live:
    return Live(folder, pipeline, MANY, *words, **more)


def finish(live: Live) -> None:
    """It still goes on, it ends well, and every line is right."""
    live.until_going()
    live.stop()
    assert check_detector(live.folder / "out.txt") > 0


def kill(live: Live, worker: int) -> None:
    os.kill(live.pid_of(worker), signal.SIGKILL)


def starts_again(live: Live, times: int) -> None:
    until(lambda: live.said().count("start again from") >= times, f"restart {times}")


def checkpoint_after(live: Live) -> None:
    """Until there is a newer one."""
    folder = live.folder / ".roo" / live.name
    newest = max(folder.glob("manifest-*.json"))
    until(lambda: max(folder.glob("manifest-*.json")) > newest, "a checkpoint")


@pytest.mark.parametrize("who", [0, 1, 2])
def test_a_change_and_a_death_some_checkpoints_later(tmp_path: Path, who: int) -> None:
    """Every key goes on from its own state, the moved ones too."""
    with many(tmp_path, "--workers", "2") as live:
        live.change(joins=1)
        for _ in range(3):
            checkpoint_after(live)
        kill(live, who)
        starts_again(live, 1)
        finish(live)


def test_a_worker_dies_while_all_start_again(tmp_path: Path) -> None:
    with many(tmp_path, "--workers", "3") as live:
        checkpoint_after(live)
        before = set(children(live.process.pid))
        kill(live, 0)
        new = until(lambda: set(children(live.process.pid)) - before, "new workers")
        os.kill(min(new), signal.SIGKILL)
        starts_again(live, 2)
        finish(live)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_join_while_a_disk_is_slow_and_a_death(tmp_path: Path, victim: int) -> None:
    """The checkpoint that was under way, and the change behind it, come to nothing or to an end."""
    environ = faulty({**SLOW_FSYNC, "nth": 2, "count": 1})
    with many(tmp_path, "--workers", "2", environ=environ) as live:
        live.until_said("fault: fsync")
        live.begin_change(joins=1)
        kill(live, victim)
        starts_again(live, 1)
        finish(live)


def test_the_checkpoint_of_a_change_fails_and_the_next_change_is_made(tmp_path: Path) -> None:
    """The change did not happen. What is refused is the snapshot of the only worker."""
    environ = faulty({"call": "open", "part": "w0-windows.snap", "host": 0, "errno": errno.ENOSPC,
                      "flag": "struck"})  # fmt: skip
    with many(tmp_path, "--workers", "1", environ=environ,
              pipeline=OFTEN.replace("every: 300ms", "every: 1h")) as live:  # fmt: skip
        answer = live.ask("change", joins=1)
        assert "could not be written" in answer["why_not"]
        assert live.workers() == [0]
        live.until_going()
        assert live.workers() == [0]
        finish(live)


def test_old_files_stay_and_workers_die_and_then_everything(tmp_path: Path) -> None:
    """A checkpoint is real from its rename on, whatever comes after."""
    environ = faulty({"call": "unlink", "part": ".snap", "host": "coordinator", "count": 10**6})
    pipeline = OFTEN.replace("every: 300ms", "every: 300ms, keep: 1")
    with many(tmp_path, "--workers", "2", environ=environ, pipeline=pipeline) as live:
        live.until_said("old checkpoints could not be removed")
        kill(live, 1)
        starts_again(live, 1)
        checkpoint_after(live)
        live.process.kill()
        live.process.communicate()
        live.start()
        finish(live)


@pytest.mark.parametrize("how", ["refuse", "after"])
@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_nobody_can_tell_whether_a_checkpoint_is_real(tmp_path: Path, call: str, how: str) -> None:
    """The run ends; the next one reads the disk and is right either way."""
    # Each manifest is synced itself, and then its folder.
    part, nth = ("manifest-", 3) if call == "replace" else (".roo/", 6)
    fault = {"call": call, "part": part, "host": "coordinator", "nth": nth, "how": how}
    with many(tmp_path, "--workers", "2", environ=faulty(fault)) as live:
        live.process.wait(timeout=180)
        assert live.process.returncode == 3, live.said()
        assert "nobody can tell whether checkpoint" in live.said()
        live._environ = None
        live.start()
        finish(live)


def test_a_sink_can_not_be_synced_once(tmp_path: Path) -> None:
    """Its writer ends: the kernel has dropped the pages, a second sync would work without them."""
    environ = faulty(*({"call": "fsync", "part": "/out.txt", "host": w, "nth": 2} for w in (0, 1)))
    with many(tmp_path, "--workers", "2", environ=environ) as live:
        live.until_said("could not make what it wrote durable")
        starts_again(live, 1)
        live.process.kill()
        live.process.communicate()
        live._environ = None
        live.start()
        finish(live)


def test_a_worker_is_paused_and_another_one_dies(tmp_path: Path) -> None:
    pipeline = OFTEN + "cluster: {timeout: 2s}\n"
    with many(tmp_path, "--workers", "3", pipeline=pipeline) as live:
        checkpoint_after(live)
        paused = live.pid_of(0)
        os.kill(paused, signal.SIGSTOP)
        kill(live, 1)
        starts_again(live, 1)
        finish(live)


def test_a_leaver_is_killed_and_then_everything(tmp_path: Path) -> None:
    """What it wrote up to its change is its own for ever, in a file of its own."""
    expected = prepare(tmp_path, "detector")
    text = (tmp_path / "p.yaml").read_text().replace("path: out.txt", 'path: "out-{worker}.txt"')
    (tmp_path / "p.yaml").write_text(text)
    process = go(tmp_path, 3, dict(os.environ))
    until(lambda: manifests(tmp_path) > 1, "two checkpoints")
    process.kill()
    process.communicate()
    (tmp_path / "died").touch()
    again = go(tmp_path, 2, dict(os.environ))
    _, said = again.communicate(timeout=180)
    assert again.returncode == 0, said.decode()
    files = [path.read_text().splitlines() for path in sorted(tmp_path.glob("out-*.txt"))]
    assert len(files) == 3
    found = Counter(line for lines in files for line in lines)
    assert found == Counter(line for lines in expected.values() for line in lines)
