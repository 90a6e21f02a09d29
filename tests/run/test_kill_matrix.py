"""The kill matrix: every named point, worker and coordinator, any number before and after.

The word count goes through the whole product. The detector, which finds reordering as well, goes
through every point with every number of workers, and takes the other number for every second one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.run.killing import FLAG, check, go, kill_a_worker, prepare, trapped, until_dead

pytestmark = pytest.mark.slow

# The first manifest is that of the start, the next ones are checkpoints.
NTH = {"reading": 2, "mid-batch": 20_000, "snapshot": 3, "files are there": 2,
       "before the rename": 3, "after the rename": 3}  # fmt: skip
WORKER_POINTS = ("reading", "mid-batch", "snapshot", "files are there", "restore")
POINTS = (*WORKER_POINTS, "before the rename", "after the rename")
OTHER = {1: 2, 2: 3, 3: 1}


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("point", [*WORKER_POINTS, "after the rename"])
@pytest.mark.parametrize("job", ["word count", "detector"])
def test_a_worker_dies(tmp_path: Path, job: str, point: str, workers: int) -> None:
    expected = prepare(tmp_path, job)
    victim = workers - 1
    host = "coordinator" if "rename" in point else victim
    process = go(tmp_path, workers, trapped(point, host, victim, NTH.get(point, 1)))
    if point == "restore":
        kill_a_worker(tmp_path, process)
    _, said = process.communicate(timeout=180)
    assert process.returncode == 0, said.decode()
    assert (tmp_path / FLAG).exists(), said.decode()
    assert f"worker {victim} was killed by SIGKILL" in said.decode()
    check(tmp_path, expected)


CASES = [
    *(("word count", point, before, after) for point in POINTS for before in (1, 2, 3)
      for after in (before, OTHER[before])),
    *(("detector", point, before, OTHER[before] if (index + before) % 2 else before)
      for index, point in enumerate(POINTS) for before in (1, 2, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("job", "point", "before", "after"), CASES)
def test_the_coordinator_dies(
    tmp_path: Path, job: str, point: str, before: int, after: int
) -> None:
    expected = prepare(tmp_path, job)
    host = "coordinator" if "rename" in point else before - 1
    environ = trapped(point, host, "coordinator", NTH.get(point, 1))
    process = go(tmp_path, before, environ)
    if point == "restore":
        kill_a_worker(tmp_path, process)
    until_dead(process)
    assert (tmp_path / FLAG).exists()
    again = go(tmp_path, after, environ)
    _, said = again.communicate(timeout=180)
    assert again.returncode == 0, said.decode()
    check(tmp_path, expected)


@pytest.mark.parametrize("victim", ["donor", "receiver", "bystander", "coordinator"])
@pytest.mark.parametrize(
    "point", ["before the barrier", "state streams", "last slice", "before the rename"]
)
def test_somebody_dies_in_a_move(tmp_path: Path, point: str, victim: str) -> None:
    """Worker 0 leaves as worker 3 joins: 0 gives, 3 receives, 1 and 2 stand by."""
    from tests.run.live import DETECTOR, DETECTOR_PIPELINE, Live, check_detector

    victims = {"donor": 0, "receiver": 3, "bystander": 1, "coordinator": "coordinator"}
    host = 0 if point in ("state streams", "last slice") else "coordinator"
    pipeline = DETECTOR_PIPELINE.replace("every: 1s", "every: 1h")
    environ = trapped(point, host, victims[victim], 2 if "rename" in point else 1)
    with Live(tmp_path, pipeline, DETECTOR, "--workers", "3", environ=environ) as live:
        live.begin_change(joins=1, leaves=[0])
        if victim == "coordinator":
            until_dead(live.process)
            live.start()
        else:
            # The leaver may have handed everything over by then: its death is no loss any more.
            # One that is still to join is no loss either: the change is called off.
            live.until_said("start again from", "worker 0, which had left, was killed",
                            "no change of workers: worker 3 was killed by SIGKILL")  # fmt: skip
        assert (tmp_path / FLAG).exists()
        live.until_going()
        # Whatever became of the first one, the next is made.
        live.change(to=2)
        assert len(live.workers()) == 2
        live.stop()
    assert check_detector(tmp_path / "out.txt") > 0
