"""What a sink on a worker may still promise, and whose output goes back to a checkpoint."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roo import connectors, disk
from roo.api import Context, Sink
from roo.core.placement import Placement
from roo.core.table import Table
from roo.runtime.failures import RunFailure
from roo.runtime.latency import Histogram
from roo.runtime.outlets import Outlet
from roo.runtime.resume import is_to_roll_back
from roo.runtime.stages import Stages
from tests.checkpoint.test_folder import manifest
from tests.plan.test_plan import plan_of

PIPELINE = """
version: 1
sources: {lines: {type: stdin}}
sinks: {out: {type: file, path: %s}}
"""


def outlet(folder: Path) -> Outlet:
    """An open one, of a file `out`."""
    (folder / "p.yaml").write_text(PIPELINE % (folder / "out"))
    plan = plan_of(folder / "p.yaml")
    made = Outlet(
        plan.spec.sinks[0], Stages(plan, 0, Placement.fresh(1, (), ())).failures, Histogram(), 1
    )
    made.open(Context("p", "out", 0, 1))
    return made


PROMISES: dict[str, Callable[[Outlet], Any]] = {
    "prepare": lambda out: out.prepare(),
    "commit": lambda out: out.commit({}),
    "flush": lambda out: out.flush(),
    "close": lambda out: out.close(),
}


@pytest.mark.parametrize("promise", PROMISES)
def test_after_a_sync_that_failed_nothing_is_promised(
    tmp_path: Path, promise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = outlet(tmp_path)
    out.write(b"a\n", 1, 0)
    out.prepare()
    asked: list[int] = []

    def fail_once(fd: int) -> None:
        asked.append(fd)
        if len(asked) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(disk, "fsync", fail_once)
    for _ in range(2):
        with pytest.raises(Exception, match="Input/output error"):
            out.sync()
    out.write(b"b\n", 1, 0)
    with pytest.raises(RunFailure, match="Input/output error"):
        PROMISES[promise](out)
    assert len(asked) == 1


def test_stdout_that_is_a_file_is_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(disk, "fsync", synced.append)
    read_fd, write_fd = os.pipe()
    with tempfile.TemporaryFile() as file:
        for fd in (write_fd, file.fileno()):
            sink = connectors.sink("stdout", {"fd": fd})
            sink.open(Context("p", "out", 0, 1))
            sink.sync()
        assert synced == [file.fileno()]
    os.close(read_fd)
    os.close(write_fd)


class Undoes(Sink):
    rolls_back = True


class Commits(Undoes):
    commits = True


class Immediate(Undoes):
    commits = False


@pytest.mark.parametrize(
    ("kind", "gone", "expected"),
    [
        (Immediate, 1, True),  # it was there at the checkpoint
        (Immediate, 2, False),  # it had left by then
        (Immediate, 3, True),  # it was to join, and the change did not happen
        (Commits, 2, True),
        (Commits, 4, False),  # no checkpoint has known it
        (Sink, 1, False),
    ],
)
def test_whose_output_goes_back(kind: type[Sink], gone: int, expected: bool) -> None:
    noted = {str(worker): {} for worker in range(4)}
    kept = manifest(5, Table.equal(2), sinks={"out": noted}, left=(2,))
    assert is_to_roll_back(kept, "out", kind({}), gone) is expected
