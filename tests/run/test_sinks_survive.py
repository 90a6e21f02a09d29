"""Sinks that publish: a table, and a file that shows only what is committed; both `kill -9`."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from collections import defaultdict
from pathlib import Path
from shutil import copy
from zlib import crc32

import pytest

from tests.run.harness import alive, children, run, start, summary, until, write

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
MESSAGES = 200_000
KEYS = 997
PLUGIN = f"""
import os, time
from dataclasses import dataclass

@dataclass
class Seen:
    count: int = 0

def key(number): return str(number % {KEYS})

def count(number, state):
    # A run waits for its test: slowly until the file is there, then as fast as it can.
    if number % 100 == 0 and not os.path.exists("go"):
        time.sleep(0.002)
    state.count += 1
    return (number % {KEYS}, state.count, number)
"""
DIES_AS_IT_APPENDS = """
import signal
from pathlib import Path
from roo import disk

whole = disk.pwrite

def half(fd, data, place):
    # Once: half of what is to be written, and kill -9.
    if not os.readlink(f"/proc/self/fd/{fd}").endswith("out.txt"):
        return whole(fd, data, place)
    try:
        facts = Path("die").read_text()
        os.unlink("die")
    except FileNotFoundError:
        return whole(fd, data, place)
    whole(fd, data[: len(data) // 2], place)
    if facts == "all":
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)

disk.pwrite = half
"""
PIPELINE = """
sources: {numbers: {type: file, path: in.txt, codec: json}}
states: {seen: {factory: "plug:Seen"}}
steps:
  - {name: count, type: stateful, partition: "plug:key", state: seen, call: "plug:count"}
checkpoint: {every: 50ms}
sinks:
"""
TABLE = """  out:
    type: plugin
    class: "sqlite_sink:SqliteSink"
    with: {path: out.sqlite, table: seen, columns: [key, count, number]}
"""
FILE = "  out: {type: file, path: out.txt, codec: json, visibility: committed}\n"

Row = tuple[int, int, int]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in.txt").write_text("".join(f"{n}\n" for n in range(MESSAGES)))
    copy(ROOT / "plugins" / "sqlite_sink.py", tmp_path)
    write(tmp_path, PIPELINE + FILE, PLUGIN)
    return tmp_path


def check(rows: list[Row]) -> None:
    """The rows of each key are exactly the model's, in order; keys may interleave."""
    found: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[0]].append(row)
    for key in range(KEYS):
        numbers = range(key, MESSAGES, KEYS)
        assert found.pop(key) == [(key, i, number) for i, number in enumerate(numbers, 1)]
    assert not found


def table(folder: Path, name: str = "seen") -> list[Row]:
    with sqlite3.connect(folder / "out.sqlite") as db:
        return db.execute(f"SELECT key, count, number FROM {name}").fetchall()


def lines(folder: Path, name: str = "out.txt") -> list[Row]:
    found = (json.loads(line) for line in (folder / name).read_text().splitlines())
    return [(key, count, number) for key, count, number in found]


def side_files(folder: Path) -> list[str]:
    return [path.name for path in folder.glob(".out*.pending-*")]


def checkpoints(folder: Path) -> int:
    """The number of the newest checkpoint."""
    found = [int(m.stem[-8:]) for m in (folder / ".roo" / "p").glob("manifest-*.json")]
    return max(found, default=0)


def go(folder: Path, workers: int, *more: str) -> subprocess.Popen[bytes]:
    return start(folder, "run", "p.yaml", "--workers", str(workers), "--status", "plain", *more)


def hurry(folder: Path) -> None:
    """From now on runs go as fast as they can."""
    (folder / "go").touch()


def finish(process: subprocess.Popen[bytes]) -> str:
    _, said = process.communicate(timeout=180)
    assert process.returncode == 0, said.decode()
    return said.decode()


def writer(process: subprocess.Popen[bytes], file: Path) -> int:
    """The worker that has a file open."""
    for pid in children(process.pid):
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if fd.readlink() == file:
                    return pid
            except OSError:
                continue  # closed meanwhile
    raise AssertionError(f"nobody has {file} open")


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """The coordinator; its workers go with it."""
    workers = children(process.pid)
    process.kill()
    process.communicate()
    until(lambda: not any(map(alive, workers)), "the workers to be gone")


class Looks:
    """Looks at a file as it grows: afterwards each must turn out to have been true."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: dict[int, int] = {}

    def look(self) -> int:
        """Look once; how many bytes there are. They never become fewer."""
        data = self._path.read_bytes() if self._path.exists() else b""
        assert len(data) >= max(self._seen, default=0), "what was there has gone"
        self._seen[len(data)] = crc32(data)
        return len(data)

    def until_over(self, process: subprocess.Popen[bytes]) -> None:
        def over() -> bool:
            self.look()
            return process.poll() is not None

        until(over, "the run to end", deadline_s=60.0)

    def check(self) -> None:
        """Each look has shown a beginning of what the file holds in the end."""
        whole = self._path.read_bytes()
        between = [size for size in self._seen if 0 < size < len(whole)]
        assert between, "nobody has looked in time"
        assert all(crc32(whole[:size]) == seen for size, seen in self._seen.items())


# A table


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("victim", ["the writer", "another"])
def test_a_table_is_exactly_once(folder: Path, workers: int, victim: str) -> None:
    write(folder, PIPELINE + TABLE, PLUGIN)
    process = go(folder, workers)
    until(lambda: checkpoints(folder) >= 2, "two checkpoints")
    pid = writer(process, folder / "out.sqlite")
    others = [child for child in children(process.pid) if child != pid]
    os.kill(others[0] if victim == "another" and others else pid, signal.SIGKILL)
    hurry(folder)
    assert "all workers start again from checkpoint" in finish(process)
    check(table(folder))
    check(table(folder, "seen_safe"))


def test_a_table_goes_on_after_everything_was_killed(folder: Path) -> None:
    write(folder, PIPELINE + TABLE, PLUGIN)
    process = go(folder, 2)
    until(lambda: checkpoints(folder) >= 2, "two checkpoints")
    kill_all(process)
    safe = table(folder, "seen_safe")
    assert safe
    hurry(folder)
    assert "going on from checkpoint" in finish(go(folder, 3))
    check(table(folder))
    assert table(folder, "seen_safe")[: len(safe)] == safe
    finish(go(folder, 2))  # that was a finished run: this one begins with an empty table
    check(table(folder))


def test_a_table_of_another_database_is_missed(folder: Path) -> None:
    write(folder, PIPELINE + TABLE, PLUGIN)
    process = go(folder, 2)
    until(lambda: checkpoints(folder) >= 2, "two checkpoints")
    kill_all(process)
    for file in folder.glob("out.sqlite*"):
        file.unlink()
    done = run(folder, "run", "p.yaml")
    assert done.returncode == 1
    assert "out.sqlite knows checkpoints up to 0, and knew" in done.stderr


# A file that shows only what is committed


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("at", ["before any checkpoint", "after two"])
def test_a_committed_file_never_takes_back(folder: Path, workers: int, at: str) -> None:
    looks = Looks(folder / "out.txt")
    process = go(folder, workers)
    if at == "after two":
        until(lambda: looks.look() and checkpoints(folder) >= 2, at)
    else:
        until(lambda: side_files(folder), "something written")
    os.kill(writer(process, folder / "out.txt"), signal.SIGKILL)
    until(lambda: looks.look() and checkpoints(folder) >= 4, "more checkpoints")
    hurry(folder)
    looks.until_over(process)
    assert "all workers start again from" in finish(process)
    check(lines(folder))
    looks.check()
    assert side_files(folder) == []


@pytest.mark.parametrize("who", ["worker", "all"])
def test_killed_in_the_middle_of_appending(folder: Path, who: str) -> None:
    write(folder, PIPELINE + FILE, PLUGIN + DIES_AS_IT_APPENDS)
    looks = Looks(folder / "out.txt")
    process = go(folder, 2)
    until(looks.look, "a committed checkpoint")
    (folder / "die").write_text(who)
    until(lambda: not (folder / "die").exists(), "somebody to die")
    if who == "all":
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert looks.look()
        process = go(folder, 3)
    hurry(folder)
    looks.until_over(process)
    said = finish(process)
    assert ("start again from" if who == "worker" else "going on from") in said
    check(lines(folder))
    looks.check()
    assert side_files(folder) == []


def test_a_stop_commits_everything(folder: Path) -> None:
    process = go(folder, 2)
    until(lambda: checkpoints(folder) >= 1, "a checkpoint")
    process.send_signal(signal.SIGINT)
    finish(process)
    first = (folder / "out.txt").read_bytes()
    assert first.endswith(b"]\n")
    assert side_files(folder) == []
    hurry(folder)
    assert "going on from checkpoint" in finish(go(folder, 2))
    check(lines(folder))
    assert (folder / "out.txt").read_bytes().startswith(first)


def test_appended_to_what_was_there(folder: Path) -> None:
    (folder / "out.txt").write_text("before\n")
    process = go(folder, 2, "--set", "sinks.out.mode=append", "--set", "checkpoint.every=1h")
    until(lambda: side_files(folder), "something written")
    os.kill(children(process.pid)[0], signal.SIGKILL)
    hurry(folder)
    finish(process)
    text = (folder / "out.txt").read_text()
    assert text.startswith("before\n")
    (folder / "out.txt").write_text(text.removeprefix("before\n"))
    check(lines(folder))


def test_a_committed_file_for_each_worker(folder: Path) -> None:
    path = "sinks.out.path=out-{worker}.txt"
    process = go(folder, 3, "--set", path)
    until(lambda: checkpoints(folder) >= 2, "two checkpoints")
    kill_all(process)
    hurry(folder)
    finish(go(folder, 2, "--set", path))
    rows = [row for worker in range(3) for row in lines(folder, f"out-{worker}.txt")]
    assert len(rows) == MESSAGES
    check(sorted(rows))
    assert side_files(folder) == []


def test_without_checkpoints_it_appears_at_the_end(folder: Path) -> None:
    process = go(folder, 2, "--no-checkpoint")
    until(lambda: side_files(folder), "something written")
    assert (folder / "out.txt").read_bytes() == b""
    hurry(folder)
    finish(process)
    check(lines(folder))
    assert side_files(folder) == []


def test_a_committed_file_as_workers_come_and_go(folder: Path) -> None:
    looks = Looks(folder / "out.txt")
    process = go(folder, 2, "--set", "name=comes-and-goes")
    until(looks.look, "a committed checkpoint")
    for count in ("1", "3"):
        done = run(folder, "scale", "comes-and-goes", count)
        assert done.returncode == 0, done.stderr
        looks.look()
    hurry(folder)
    looks.until_over(process)
    finish(process)
    check(lines(folder))
    looks.check()
    assert side_files(folder) == []


@pytest.mark.parametrize("more", [[], ["--no-checkpoint"]])
def test_a_run_that_fails_publishes_nothing_more(folder: Path, more: list[str]) -> None:
    """Nor do its workers as they end: what was read since the last checkpoint is read again."""
    (folder / "in.txt").write_text("".join(f"{n}\n" for n in range(50_000)) + "null\n")
    hurry(folder)
    slow = ("--set", "checkpoint.every=1h", "--set", "sources.numbers.splits=1")
    done = run(folder, "run", "p.yaml", "--workers", "2", *(more or slow))
    assert done.returncode == 1
    assert "plug:key" in done.stderr
    assert (folder / "out.txt").read_bytes() == b""


# A file that others touch


@pytest.mark.parametrize("visibility", ["immediate", "committed"])
@pytest.mark.parametrize("more", [[], ["--no-checkpoint"]])
def test_a_file_that_is_removed_is_missed(folder: Path, visibility: str, more: list[str]) -> None:
    out = folder / "out.txt"
    process = go(folder, 2, "--set", f"sinks.out.visibility={visibility}", *more)
    # From the third on the first side files have gone, so the file can't be made anew of them.
    until(lambda: out.exists() and (more or checkpoints(folder) >= 3), "the run to have begun")
    out.unlink()
    hurry(folder)
    _, said = process.communicate(timeout=180)
    assert process.returncode == 1
    assert "out.txt was removed or renamed while this run wrote to it" in said.decode()
    if not more:
        again = run(folder, "run", "p.yaml", "--set", f"sinks.out.visibility={visibility}")
        assert again.returncode == 1
        assert "out.txt is not there: it has 0 bytes, and had" in again.stderr
    fresh = run(folder, "run", "p.yaml", "--fresh")
    assert fresh.returncode == 0, fresh.stderr
    check(lines(folder))


FULL = """
import errno
from roo import disk

whole = disk.pwrite

def full(fd, data, place):
    if os.readlink(f"/proc/self/fd/{fd}").endswith("out.txt") and os.path.exists("full"):
        raise OSError(errno.ENOSPC, "")
    return whole(fd, data, place)

disk.pwrite = full
"""


@pytest.mark.parametrize("every", ["50ms", "1h"])
def test_the_disk_is_full_at_a_commit(folder: Path, every: str) -> None:
    write(folder, PIPELINE.replace("50ms", every) + FILE, PLUGIN + FULL)
    (folder / "full").touch()
    if every == "1h":
        hurry(folder)
    done = run(folder, "run", "p.yaml", "--json")
    assert done.returncode == 1
    assert "can't write out.txt: No space left" in done.stderr
    assert summary(done)["outcome"] == "failed"
    (folder / "full").unlink()
    hurry(folder)
    assert "going on from checkpoint" in finish(go(folder, 2))
    check(lines(folder))


@pytest.mark.parametrize("who", ["worker", "all"])
def test_killed_in_the_last_commit(folder: Path, who: str) -> None:
    write(folder, PIPELINE.replace("50ms", "1h") + FILE, PLUGIN + DIES_AS_IT_APPENDS)
    (folder / "die").write_text(who)
    hurry(folder)
    process = go(folder, 2, "--set", "sinks.out.mode=append")
    if who == "all":
        process.communicate(timeout=180)
        assert process.returncode == -signal.SIGKILL
        process = go(folder, 2, "--set", "sinks.out.mode=append")
    finish(process)
    check(lines(folder))
    assert side_files(folder) == []
