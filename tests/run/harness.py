"""Runs `roo` for real, in a folder with a pipeline and its plugin."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROO = [sys.executable, "-m", "roo"]
DEADLINE_S = 180.0

PLUGIN = """
import os, sys, time

class Total:
    n = 0

def split(line): return line.split()
def itself(message): return message
def first(message): return str(message[0])
def mod(message): return str(message % 7)
def number(message): return message
def not_a_key(message): return message
def lazy(message): return lambda: message
def boom(message):
    if message == "bad": raise ValueError("this one is bad")
    return message
def stuck(message):
    if message == 50: time.sleep(1000)
    return message
def leave(message): sys.exit(3)
def loud(message):
    print("printed by a plugin")
    return message
def count(message, state):
    state.n += 1
    return f"{message} {state.n}"
class Born:
    def __init__(self, key):
        with open("born.txt", "a") as log: log.write(f"{key}\\n")
        self.n = 0
"""


def write(folder: Path, pipeline: str, plugin: str = PLUGIN) -> Path:
    """The files of one run."""
    (folder / "plug.py").write_text(plugin)
    file = folder / "p.yaml"
    file.write_text("version: 1\n" + pipeline)
    return file


def run(
    folder: Path, *words: str, stdin: str | bytes = b"", humble: bool = False, **environ: str
) -> Any:
    """`roo WORDS…` in a folder, to its end. Its result has text in stdout and stderr.

    humble: modes of files hold even where the tests are run by root.
    """
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [*ROO, *words], cwd=folder, input=data, capture_output=True, timeout=DEADLINE_S,
        env={**os.environ, **environ}, preexec_fn=_obey_modes if humble else None,
    )  # fmt: skip
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def _obey_modes() -> None:
    """Give up root's power to pass over the modes of files, if this is root."""
    if os.geteuid() == 0:
        drop, override, read_search = 24, 1, 2  # PR_CAPBSET_DROP, CAP_DAC_*
        for capability in (override, read_search):
            if ctypes.CDLL(None, use_errno=True).prctl(drop, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "can't give a capability up")


def summary(done: Any) -> dict[str, Any]:
    """What --json printed."""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


started: list[subprocess.Popen[bytes]] = []
"""What `start` has started: `conftest` ends what a failed test has left running."""


def start(folder: Path, *words: str, **more: Any) -> subprocess.Popen[bytes]:
    """`roo WORDS…` in a folder, running. It hears Ctrl-C, also where the tests run in the
    background of a shell, which makes all that it starts there deaf to that.
    """
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [*ROO, *words], cwd=folder, **{"stderr": subprocess.PIPE, **more}
        )
        started.append(process)
        return process
    finally:
        signal.signal(signal.SIGINT, ours)


def until(condition: Callable[[], Any], what: str, deadline_s: float = 120.0) -> Any:
    """Wait until the condition holds; its value."""
    end_s = time.monotonic() + deadline_s
    while time.monotonic() < end_s:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {deadline_s} s in vain for {what}")


def children(pid: int) -> list[int]:
    """The worker processes of a run."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


def alive(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def here() -> dict[str, str]:
    """The environment in which a run in any folder can import `tests.run.functions`."""
    return {"PYTHONPATH": str(Path(__file__).parents[2])}


def locally(folder: Path, pipeline: str, feed: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Run a pipeline in this process, item by item; the items of each sink, before encoding."""
    from roo.cli.common import load_checked, plan_of
    from roo.runtime.local import LocalRun

    local = LocalRun(plan_of(load_checked(str(write(folder, pipeline)), [])))
    for source, items in feed.items():
        for item in items:
            local.feed(source, item)
    return {name: [output.item for output in outputs] for name, outputs in local.outputs.items()}
