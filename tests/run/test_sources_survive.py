"""What is read, over a kill, a stop, and what happens to the files meanwhile: exactly once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.run.harness import alive, children, start, until, write

pytestmark = pytest.mark.slow

PLUGIN = """
import os, time

class Seen:
    def __init__(self): self.n = 0

def key(row): return row["k"] if isinstance(row, dict) else row.split(",")[0]
def show(row, state):
    # A run waits for its test: slowly until the file is there, then as fast as it can.
    state.n += 1
    if state.n % 20 == 0 and not os.path.exists("go"):
        time.sleep(0.002)
    return f"{key(row)} {state.n} {row['n'] if isinstance(row, dict) else row.split(',')[1]}"
"""
PIPELINE = """
sources: {rows: {type: file, SOURCE}}
states: {seen: {factory: "plug:Seen"}}
steps: [{name: show, type: stateful, partition: "plug:key", state: seen, call: "plug:show"}]
sinks: {out: {type: file, path: out.txt}}
checkpoint: {every: EVERY}
"""
KEYS = 40


class Run:
    """A pipeline in a folder, and what it was given."""

    def __init__(self, folder: Path, source: str, every: str = "50ms") -> None:
        self.folder = folder
        self.given = 0
        write(folder, PIPELINE.replace("SOURCE", source).replace("EVERY", every), PLUGIN)

    def rows(self, count: int) -> str:
        """The next rows."""
        numbers = range(self.given, self.given + count)
        self.given += count
        return "".join(f"k{n % KEYS},{n}\n" for n in numbers)

    def start(self, *more: str) -> None:
        self.process = start(
            self.folder, "run", "p.yaml", "--workers", "2", "--status", "plain", *more
        )

    def lines(self) -> int:
        out = self.folder / "out.txt"
        return out.read_bytes().count(b"\n") if out.exists() else 0

    def has(self, lines: int) -> None:
        """Wait until so many lines are written, or the run has ended."""
        until(lambda: self.lines() >= lines or self.process.poll() is not None, f"{lines} lines")

    def checkpoints(self) -> int:
        found = (self.folder / ".roo" / "p").glob("manifest-*.json")
        return max((int(manifest.stem[-8:]) for manifest in found), default=0)

    def kill_a_worker(self) -> None:
        workers = children(self.process.pid)
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: not alive(workers[0]), "its end")

    def stop(self) -> str:
        """Ctrl-C, and all that was said."""
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def end(self, code: int = 0) -> str:
        """Its end by itself."""
        try:
            _, said = self.process.communicate(timeout=180)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        assert self.process.returncode == code, said.decode()
        return said.decode()

    def check(self) -> None:
        """Every row once, each key's in its order."""
        counts = dict.fromkeys((f"k{n}" for n in range(KEYS)), 0)
        for line in (self.folder / "out.txt").read_text().splitlines():
            key, count, number = line.split()
            assert int(count) == counts[key] + 1, line
            assert int(number) == int(key[1:]) + counts[key] * KEYS, line
            counts[key] += 1
        assert sum(counts.values()) == self.given


@pytest.mark.parametrize("codec", ["lines", "csv"])
@pytest.mark.parametrize("every", ["50ms", "1h"], ids=["checkpoints", "none yet"])
def test_a_followed_file_is_rotated_and_a_worker_dies(
    tmp_path: Path, codec: str, every: str
) -> None:
    run = Run(tmp_path, f"path: a.log, follow: true, rotate_wait: 50ms, codec: {codec}", every)
    header = "k,n\n" if codec == "csv" else ""
    log = tmp_path / "a.log"
    log.write_text(header + run.rows(3000))
    (tmp_path / "go").touch()
    run.start()
    run.has(3000)
    with log.open("a") as old:
        for number in (2, 1):
            old.write(run.rows(500))
            old.flush()
            log.rename(tmp_path / f"a.log.{number}")
            log.write_text(header + run.rows(500))
            if number == 2:  # the first one to be rotated is a.log.2 in the end
                old = log.open("a")
    run.kill_a_worker()
    with log.open("a") as file:
        file.write(run.rows(500))
    run.has(run.given)
    assert "all workers start again" in run.stop()
    run.check()


def test_a_followed_file_is_rotated_while_the_run_is_stopped(tmp_path: Path) -> None:
    run = Run(tmp_path, "path: a.log, follow: true, rotate_wait: 50ms")
    log = tmp_path / "a.log"
    log.write_text(run.rows(1000))
    (tmp_path / "go").touch()
    run.start()
    run.has(1000)
    run.stop()
    with log.open("a") as file:
        file.write(run.rows(100))
    log.rename(tmp_path / "a.log-20261127")
    log.write_text(run.rows(2000))
    run.start()
    run.has(run.given)
    run.stop()
    run.check()
    (tmp_path / "a.log-20261127").rename(tmp_path / "old")
    log.rename(tmp_path / "gone")
    (tmp_path / "gone").unlink()
    log.write_text(run.rows(5000))
    run.start()
    said = run.end(1)
    assert "is not there any more" in said
    assert "--fresh" in said


def test_a_file_of_a_followed_folder_is_rotated_and_has_no_successor_yet(tmp_path: Path) -> None:
    """What it is called now is no file of its own: it would be read a second time."""
    run = Run(tmp_path, "path: logs, follow: true, rotate_wait: 50ms")
    log = tmp_path / "logs" / "a.log"
    log.parent.mkdir()
    log.write_text(run.rows(1000))
    (tmp_path / "go").touch()
    run.start()
    run.has(1000)
    run.stop()
    with log.open("a") as file:
        file.write(run.rows(100))
    log.rename(log.with_name("a.log.1"))
    run.start()
    run.has(run.given)
    log.write_text(run.rows(100))
    run.has(run.given)
    run.stop()
    run.check()


@pytest.mark.parametrize("source", ["path: in", "path: in/0.csv"])
def test_rows_keep_the_names_of_the_header_after_a_kill(tmp_path: Path, source: str) -> None:
    run = Run(tmp_path, f"{source}, codec: csv")
    (tmp_path / "in").mkdir()
    for part in range(1 if source.endswith("csv") else 3):
        (tmp_path / "in" / f"{part}.csv").write_text("k,n\n" + run.rows(KEYS * 1500))
    run.start()
    until(lambda: run.checkpoints() >= 2 and run.lines(), "two checkpoints")
    run.kill_a_worker()
    (tmp_path / "go").touch()
    assert "all workers start again" in run.end()
    found = (tmp_path / "out.txt").read_text().splitlines()
    assert len(found) == len({line.split()[2] for line in found}) == run.given


@pytest.mark.parametrize("became", ["cut", "another"])
@pytest.mark.parametrize("after", ["a kill", "a stop"])
def test_a_file_that_became_another_ends_the_run(tmp_path: Path, became: str, after: str) -> None:
    run = Run(tmp_path, "path: in.txt, splits: 2")
    file = tmp_path / "in.txt"
    file.write_text(run.rows(60_000))
    run.start()
    until(lambda: run.checkpoints() >= 2 and run.lines(), "two checkpoints")
    if after == "a stop":
        run.stop()
    other = "" if became == "cut" else file.read_text().replace("k", "l")
    (tmp_path / "other").write_text(other)
    (tmp_path / "other").rename(file)
    if after == "a stop":
        run.start()
    else:
        run.kill_a_worker()
    said = run.end(1)
    assert f"in.txt {'has 0 bytes' if became == 'cut' else 'is not what had been read'}" in said
    assert "--fresh" in said


def test_a_file_that_was_read_to_its_end_may_go(tmp_path: Path) -> None:
    run = Run(tmp_path, "path: in")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text(run.rows(KEYS))
    (tmp_path / "in" / "b.txt").write_text(run.rows(KEYS * 3000))
    run.start()

    def has_ended() -> bool:
        manifest = tmp_path / ".roo" / "p" / f"manifest-{run.checkpoints():08}.json"
        return manifest.exists() and any(
            split["ended"] for split in json.loads(manifest.read_text())["splits"]
        )

    until(has_ended, "its end in a checkpoint")
    shutil.move(tmp_path / "in" / "a.txt", tmp_path / "archived.txt")
    run.kill_a_worker()
    (tmp_path / "go").touch()
    assert "read to its end" in run.end()
    assert run.lines() == run.given
