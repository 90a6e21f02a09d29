"""Bytewax 0.21.1 in a virtual environment of its own, made at the first use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.processes import Command, free_port
from benchmarks.settings import CACHE

REQUIREMENT = "bytewax==0.21.1"

APART_S = 0.05
"""Between Bytewax's processes: the second sleeps for a whole second when it finds that the first
does not listen yet, which started together they lose half of the time. This spares it that.
"""


def bytewax_wordcount(source: Path, counts: Path, processes: int) -> list[Command]:
    """The commands of a word count, one per process; process i writes COUNTS.i.

    Raises subprocess.CalledProcessError when the environment can't be made.
    """
    flow = f"benchmarks.jobs.bytewax_wordcount:flow({str(source)!r}, {str(counts)!r}, {processes})"
    command: list[str | Path] = [_interpreter(), "-m", "bytewax.run", flow]
    if processes == 1:
        return [command]
    addresses = ";".join(f"127.0.0.1:{free_port()}" for _ in range(processes))
    return [[*command, "-i", str(index), "-a", addresses] for index in range(processes)]


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
