"""Commands run from outside: spawn to exit timed, failures loud, memory summed over the tree."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.settings import ROOT

Command = Sequence[str | Path]

DEADLINE_S = 3600.0
ROO = Path(sys.executable).with_name("roo")


class CommandFailed(Exception):
    """A candidate ended with an exit code other than 0, or did not do what was waited for."""


@dataclass(frozen=True)
class Keep:
    """Where a run keeps checkpoints, and the time from the end of one to the start of the next."""

    folder: Path
    every_ms: int


def roo(
    pipeline: str,
    workers: int,
    *,
    keep: Keep | None = None,
    status: str = "none",
    **settings: object,
) -> list[str | Path]:
    """The command that runs `benchmarks/jobs/PIPELINE.yaml`, without checkpoints unless `keep`.

    settings: a path in the file with __ for its dots, and the value: `sources__lines__path=p`.
    """
    file = ROOT / "benchmarks" / "jobs" / f"{pipeline}.yaml"
    command: list[str | Path] = [ROO, "run", file, "--workers", str(workers), "--status", status]
    if keep is None:
        command.append("--no-checkpoint")  # neither does the hand-written loop keep any
    else:
        settings["checkpoint__dir"] = keep.folder
        settings["checkpoint__every"] = f"{keep.every_ms}ms"
    for path, value in settings.items():
        command += ["--set", f"{path.replace('__', '.')}={value}"]
    return command


def python(module: str, *arguments: object) -> list[str | Path]:
    """The command that runs a module with the interpreter that runs the benchmark."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def timed(*commands: Command, apart_s: float = 0.0) -> float:
    """Start all commands, wait for the end of all; seconds from the first spawn to the last exit.

    apart_s: how long to wait before each further command. Raises CommandFailed.
    """
    started_s = time.perf_counter()
    processes = [_spawn(commands[0])]
    for command in commands[1:]:
        time.sleep(apart_s)
        processes.append(_spawn(command))
    try:
        said = [process.communicate(timeout=DEADLINE_S) for process in processes]
        elapsed_s = time.perf_counter() - started_s
    finally:
        for process in processes:
            process.kill()
    for process, (output, errors) in zip(processes, said, strict=True):
        _check(process, output, errors)
    return elapsed_s


@contextmanager
def running(command: Command) -> Iterator[subprocess.Popen[str]]:
    """A process that is held while the block runs, and killed if the block leaves it alive."""
    process = _spawn(command)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def finish(process: subprocess.Popen[str]) -> str:
    """Close its stdin, wait for its end; what it printed. Raises CommandFailed."""
    output, errors = process.communicate(timeout=DEADLINE_S)
    _check(process, output, errors)
    return output


def next_line(process: subprocess.Popen[str]) -> str:
    """The next line that the process prints. Raises CommandFailed when it ends instead."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        finish(process)
        raise CommandFailed(f"ended before it was ready: {_text(process)}")
    return line.rstrip("\n")


def wait_until(
    done: Callable[[], bool],
    process: subprocess.Popen[str],
    *,
    look_every_s: float = 0.02,
    within_s: float = DEADLINE_S,
) -> None:
    """Poll until `done`. Raises CommandFailed when the process ends first, or at a deadline."""
    deadline_s = time.monotonic() + within_s
    while not done():
        if process.poll() is not None:
            finish(process)
            raise CommandFailed(f"ended before its work was done: {_text(process)}")
        if time.monotonic() > deadline_s:
            raise CommandFailed(f"not done after {within_s:.0f} s: {_text(process)}")
        time.sleep(look_every_s)


def children(root: int) -> list[int]:
    """The processes that a process has started and that are alive, oldest first."""
    alive = (pid for pid, parent in _parents().items() if parent == root and is_alive(pid))
    return sorted(alive)


def is_alive(pid: int) -> bool:
    """Whether a process is there, and no corpse that nobody has buried yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def memory_bytes(root: int) -> int:
    """What the process and all below it hold: their proportional set sizes, summed."""
    tree, parents = {root}, _parents()
    while grown := {pid for pid, parent in parents.items() if parent in tree} - tree:
        tree |= grown
    return sum(map(_pss_bytes, tree))


def settled_memory_bytes(root: int) -> int:
    """The same, once two looks half a second apart differ by less than 0.1 %."""
    before = 0
    while abs((now := memory_bytes(root)) - before) > now / 1000:
        before = now
        time.sleep(0.5)
    return now


def free_port() -> int:
    """A TCP port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _spawn(command: Command) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def _text(process: subprocess.Popen[str]) -> str:
    """The command, as typed."""
    return shlex.join(map(str, process.args))  # type: ignore[arg-type]


def _check(process: subprocess.Popen[str], output: str, errors: str) -> None:
    if process.returncode != 0:
        said = (errors.strip() or output.strip())[-2000:]
        raise CommandFailed(f"exit {process.returncode}: {_text(process)}\n{said}")


def _parents() -> dict[int, int]:
    """The parent of every process on the machine."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    return parents


def _pss_bytes(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 1024 * int(rollup.partition("\nPss:")[2].split()[0])
