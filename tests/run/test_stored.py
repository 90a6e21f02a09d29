"""The verbs that read checkpoints, and states that meet newer code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.run.harness import ROO, alive, children, run, start, until, write
from tests.run.test_survive import MESSAGES, check, checkpoints, finish, go
from tests.run.test_survive import folder as folder  # the fixture

pytestmark = pytest.mark.slow

PLUGIN = """
from dataclasses import dataclass

@dataclass
class Total:
    n: int = 0
    words: tuple = ()

def word(message): return message
def count(message, state):
    state.n += 1
    state.words = (*state.words, message)
    return f"{message} {state.n}"
"""
PIPELINE = """
sources: {lines: {type: file, path: in.txt, follow: true}}
states: {totals: {factory: "plug:Total"}}
steps: [{name: count, type: stateful, partition: "plug:word", state: totals, call: "plug:count"}]
sinks: {out: {type: file, path: out.txt}}
"""


@pytest.fixture(name="stopped")
def _stopped(tmp_path: Path) -> Path:
    """A run over `a b a` that was stopped, and would go on."""
    write(tmp_path, PIPELINE, PLUGIN)
    (tmp_path / "in.txt").write_text("a\nb\na\n")
    go_on(tmp_path, 3)
    return tmp_path


def go_on(folder: Path, lines: int, *more: str) -> str:
    """Run until so many lines are written, and stop."""
    process = start(folder, "run", "p.yaml", "--workers", "2", "--status", "plain", *more)
    out = folder / "out.txt"
    try:
        until(
            lambda: (
                process.poll() is not None
                or (out.exists() and out.read_text().count("\n") == lines)
            ),
            f"{lines} lines",
        )
    finally:
        process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=180)
    return said.decode()


def test_list_and_show_and_verify(stopped: Path) -> None:
    listed = run(stopped, "checkpoint", "list", "p")
    assert "2 keys" in listed.stdout
    first, row = json.loads(run(stopped, "checkpoint", "list", "p", "--json").stdout)
    assert (first["checkpoint"], first["keys"]) == (0, 0)  # before the first message
    assert row["keys"] == 2
    assert row["finished"] is False
    shown = run(stopped, "checkpoint", "show", ".roo/p").stdout
    for fact in ("source lines, in.txt: offset 6", "state totals, version 1: 2 keys",
                 'sink out: {"size_bytes": 12, '):  # fmt: skip
        assert fact in shown
    number = str(row["checkpoint"])
    whole = run(stopped, "checkpoint", "show", "p", "--checkpoint", number, "--json").stdout
    assert json.loads(whole)["splits"][0]["offset"] == 6
    assert run(stopped, "checkpoint", "verify", "p").returncode == 0
    next((stopped / ".roo" / "p").glob("*.snap")).write_bytes(b"")
    damaged = run(stopped, "checkpoint", "verify", "p", "--json")
    assert damaged.returncode == 1
    assert "0 bytes long, and should be" in json.loads(damaged.stdout)[-1]["what"]


def test_prune_keeps_the_newest(stopped: Path) -> None:
    (stopped / ".roo" / "p" / "c00000000-r1-w0-left.snap").touch()
    done = run(stopped, "checkpoint", "prune", "p", "--keep", "1")
    assert done.stdout == "removed 2 files; kept 1 checkpoints\n"  # with that of the start
    assert run(stopped, "checkpoint", "prune", "p", "--keep", "0").returncode == 2


def test_prune_keeps_what_is_whole(stopped: Path) -> None:
    folder = stopped / ".roo" / "p"
    [newest] = folder.glob("manifest-*[1-9].json")
    (folder / "manifest-00000099.json").write_text("{")
    done = run(stopped, "checkpoint", "prune", "p")
    assert "damaged: .roo/p/manifest-00000099.json" in done.stderr
    assert list(folder.glob("manifest-*")) == [newest]
    newest.write_text("{")
    done = run(stopped, "checkpoint", "prune", "p")
    assert done.returncode == 1
    assert "no checkpoint in .roo/p is whole" in done.stderr
    assert newest.exists()


def test_states_are_read_without_the_plugins(stopped: Path) -> None:
    (stopped / "plug.py").unlink()
    assert json.loads(run(stopped, "state", "get", "p", "totals", "a").stdout) == {
        "n": 2,
        "words": ["a", "a"],
    }
    exported = run(stopped, "state", "export", "p", "totals").stdout.splitlines()
    assert sorted(json.loads(line)["key"] for line in exported) == ["a", "b"]
    table = run(stopped, "state", "export", "p", "totals", "--format", "csv").stdout.splitlines()
    assert table[0] == "key,n,words"
    assert sorted(table[1:]) == ['a,2,"[""a"", ""a""]"', 'b,1,"[""b""]"']


def test_what_is_not_there_is_said(stopped: Path) -> None:
    for words, code, said in [
        (("state", "get", "p", "totals", "c"), 1, "state totals has no key 'c'"),
        (("state", "get", "p", "total", "a"), 2, "no state is called total; there is totals"),
        (("state", "export", "q", "totals"), 3, "there are no checkpoints in .roo/q"),
        (("checkpoint", "show", "p", "--checkpoint", "99"), 2, "there is no checkpoint 99"),
        (("checkpoint", "lst", "p"), 2, "invalid choice"),
    ]:
        done = run(stopped, *words)
        assert done.returncode == code
        assert said in done.stderr


def test_a_field_added_with_a_default_is_no_trouble(stopped: Path) -> None:
    plugin = (
        (stopped / "plug.py").read_text().replace("n: int = 0", "n: int = 0\n    more: str = '!'")
    )
    (stopped / "plug.py").write_text(plugin.replace("{state.n}", "{state.n}{state.more}"))
    with (stopped / "in.txt").open("a") as lines:
        lines.write("a\n")
    assert "going on from checkpoint" in go_on(stopped, 4)
    assert (stopped / "out.txt").read_text().splitlines()[-1] == "a 3!"


def test_a_real_change_of_shape_is_migrated(stopped: Path) -> None:
    (stopped / "plug.py").write_text("""
class Seen(list): pass
def upgrade(fields, version):
    assert version == 1
    return Seen(fields["words"])
def word(message): return message
def count(message, state):
    state.append(message)
    return f"{message} seen {len(state)}"
""")
    with (stopped / "in.txt").open("a") as lines:
        lines.write("a\n")
    change = ("--set", "states.totals.factory=plug:Seen", "--set", "states.totals.version=2")
    refused = go_on(stopped, 4, *change)
    assert "states.totals.version was 1 and is 2, and it has no `migrate`" in refused
    go_on(stopped, 4, *change, "--set", "states.totals.migrate=plug:upgrade")
    assert (stopped / "out.txt").read_text().splitlines()[-1] == "a seen 3"
    stored = run(stopped, "state", "get", "p", "totals", "a")
    assert json.loads(stored.stdout) == ["a", "a", "a"]


def test_a_class_that_is_gone_is_refused_with_what_to_do(stopped: Path) -> None:
    plugin = (stopped / "plug.py").read_text().replace("Total", "Sum")
    (stopped / "plug.py").write_text(plugin)
    said = go_on(stopped, 4, "--set", "states.totals.factory=plug:Sum")
    assert "stored states are of plug:Total, which is not there" in said
    assert "--fresh" in said
    assert "Traceback" not in said


ENDS = """
from pathlib import Path
from roo import api

class Out(api.Sink):
    def write(self, data): pass
    def prepare(self): return {"at": Path("x")}

class In(api.Source):
    rewindable = True
    def splits(self): return [api.Split("a", {"at": Path("x")})]
"""


def test_what_a_manifest_cannot_hold_is_said(stopped: Path) -> None:
    (stopped / "plug.py").write_text(PLUGIN + ENDS)
    out = '{type: plugin, class: "plug:Out"}'
    done = run(stopped, "run", "p.yaml", "--fresh", "--set", f"sinks.out={out}")
    assert done.returncode == 1
    assert "sink out failed: what `prepare` returns is no plain data" in done.stderr
    source = '{type: plugin, class: "plug:In"}'
    done = run(stopped, "run", "p.yaml", "--fresh", "--set", f"sources.lines={source}")
    assert done.returncode == 2
    assert "`options` of split a is no plain data" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_enough_is_no_error(stopped: Path) -> None:
    for words in (["checkpoint", "list", "p"], ["state", "export", "p", "totals"]):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run([*ROO, *words], cwd=stopped, stdout=write, stderr=subprocess.PIPE)
        os.close(write)
        assert (done.returncode, done.stderr) == (0, b"")


def test_a_worker_that_hangs_is_replaced(folder: Path) -> None:
    process = go(folder, 2, "--set", "cluster.timeout=1s")
    until(lambda: checkpoints(folder) >= 1, "a checkpoint")
    victim = children(process.pid)[0]
    os.kill(victim, signal.SIGSTOP)
    said = finish(process)
    assert "gave no sign of life for 1 s: all workers start again from checkpoint" in said
    assert not alive(victim)
    check(folder)


def test_a_checkpoint_folder_that_cannot_be_written_is_an_environment_error(folder: Path) -> None:
    (folder / "file").touch()
    done = run(folder, "run", "p.yaml", "--set", "checkpoint.dir=file/c")
    assert done.returncode == 3
    assert "can't keep checkpoints in file/c" in done.stderr
    (folder / "shut").mkdir(mode=0o555)
    done = run(folder, "run", "p.yaml", "--set", "checkpoint.dir=shut/c", humble=True)
    assert done.returncode == 3
    assert "Permission denied" in done.stderr


def test_a_folder_that_is_gone_for_a_while_costs_checkpoints_but_not_the_run(
    folder: Path,
) -> None:
    said = folder / "said.txt"
    with said.open("wb") as stderr:
        process = subprocess.Popen(
            [*ROO, "run", "p.yaml", "--set", "sources.numbers.follow=true", "--set",
             "sources.numbers.splits=1", "--set", "checkpoint.every=20ms"],
            cwd=folder, stderr=stderr,
        )  # fmt: skip
    until(lambda: checkpoints(folder) >= 1, "a checkpoint")
    place = folder / ".roo" / "p"
    aside = place.rename(folder / "aside")
    until(lambda: b"could not be written: " in said.read_bytes(), "a failed checkpoint")
    aside.rename(place)
    before = checkpoints(folder)
    until(lambda: checkpoints(folder) > before, "one that is written")
    until(lambda: (folder / "out.txt").read_text().count("\n") == MESSAGES, "all outputs")
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    check(folder)
