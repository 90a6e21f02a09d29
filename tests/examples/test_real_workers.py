"""Every example in real processes: any number of workers gives what the model says."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from . import models

pytestmark = pytest.mark.slow

RUN_S_MAX = 60


def run(name: str, workers: int, *overrides: str) -> subprocess.CompletedProcess[str]:
    """`roo run` from the repository's root, with nothing of this environment in the file."""
    command = [sys.executable, "-m", "roo", "run", f"pipelines/{name}.yaml"]
    command += ["--workers", str(workers), "--status", "none"]
    for override in overrides:
        command += ["--set", override]
    environment = {k: v for k, v in os.environ.items() if k not in ("INPUT", "SYMBOLS")}
    environment["PYTHONPATH"] = str(Path(__file__).parent)  # for broken_numbers
    return subprocess.run(
        command,
        cwd=models.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
    )


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("name", models.MODELS)
def test_any_number_of_workers(name: str, workers: int, tmp_path: Path) -> None:
    sinks = {sink: tmp_path / sink for sink in models.expected(name)}
    option = "with.path" if name == "wordcount_sqlite" else "path"
    done = run(name, workers, *(f"sinks.{sink}.{option}={path}" for sink, path in sinks.items()))
    assert done.returncode == 0, done.stderr
    for sink, path in sinks.items():
        lines = rows(path) if option == "with.path" else path.read_text().splitlines()
        assert models.difference(name, sink, lines) == ""


def rows(database: Path) -> list[str]:
    """What the view shows, as `sqlite3` prints it."""
    with sqlite3.connect(database) as db:
        return [f"{word}|{total}" for word, total in db.execute("SELECT * FROM counts_safe")]


@pytest.mark.parametrize("fault", ["lost", "doubled"])
def test_the_detector_stops_the_run(fault: str, tmp_path: Path) -> None:
    done = run(
        "sequence_detector",
        2,
        f"sinks.updates.path={tmp_path / 'sequence.txt'}",
        f"sources.numbers.call=broken_numbers:{fault}",
    )
    assert done.returncode == 1, done.stderr
    assert "SequenceError" in done.stderr
    assert "detect" in done.stderr
