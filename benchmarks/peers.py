"""Bytewax 0.21.1 in a virtual environment of its own, made at the first use."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from benchmarks.processes import Command, free_port
from benchmarks.settings import CACHE

REQUIREMENT = "bytewax==0.21.1"

FRONTIERS = "SELECT worker_frontier FROM fronts"
FIRST_EPOCHS = "SELECT min(snap_epoch) FROM snaps WHERE step_id LIKE '%.count.%' GROUP BY state_key"

APART_S = 0.05
"""Between Bytewax's processes: the second sleeps for a whole second when it finds that the first
does not listen yet, which started together they lose half of the time. This spares it that.
"""


EPOCH_S = 1
"""The time between Bytewax's snapshots: it takes whole seconds."""


def bytewax_wordcount(
    source: Path, counts: Path, processes: int, flow: str, recovery: Path | None, parts: int
) -> list[Command]:
    """The commands of a word count, one per process; part i goes to COUNTS.i.

    flow: the function that makes it. recovery: a folder made by `new_recovery`; a run that was
    killed goes on from there. Raises subprocess.CalledProcessError when the environment can't be
    made.
    """
    arguments = f"{str(source)!r}, {str(counts)!r}, {parts}"
    command: list[str | Path] = [_interpreter(), "-m", "bytewax.run"]
    command.append(f"benchmarks.jobs.bytewax_wordcount:{flow}({arguments})")
    if recovery is not None:
        command += ["-r", recovery, "-s", str(EPOCH_S), "-b", "0"]
    if processes == 1:
        return [command]
    addresses = ";".join(f"127.0.0.1:{free_port()}" for _ in range(processes))
    return [[*command, "-i", str(index), "-a", addresses] for index in range(processes)]


def new_recovery(folder: Path, parts: int) -> None:
    """A folder for snapshots, in as many parts. Raises subprocess.CalledProcessError."""
    folder.mkdir()
    command: list[str | Path] = [_interpreter(), "-m", "bytewax.recovery", folder, str(parts)]
    subprocess.run(command, check=True)


def stored_keys(folder: Path) -> int:
    """How many keys of the word count are in snapshots that a new run would go on from.

    Raises sqlite3.OperationalError when Bytewax is just at something that keeps others out.
    """
    frontiers, epochs_of = [], []
    for part in folder.glob("part-*.sqlite3"):
        with closing(sqlite3.connect(f"file:{part}?mode=ro", uri=True)) as database:
            frontiers += [epoch for (epoch,) in database.execute(FRONTIERS)]
            epochs_of += database.execute(FIRST_EPOCHS).fetchall()
    resume_epoch = min(frontiers, default=0)
    return sum(epoch < resume_epoch for (epoch,) in epochs_of)


def _interpreter() -> Path:
    """The environment's interpreter; the environment is made when it is not there."""
    environment = CACHE / "bytewax-venv"
    interpreter = environment / "bin" / "python"
    ready = environment / "ready"
    if not ready.exists():
        print(f"making {environment} with {REQUIREMENT}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
        install: list[str | Path] = [interpreter, "-m", "pip", "install", "--quiet", REQUIREMENT]
        subprocess.run(install, check=True)
        ready.touch()
    return interpreter
