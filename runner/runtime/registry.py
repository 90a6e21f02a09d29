"""Finding the runs on this machine: each says in its private folder what it is."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from roo.runtime.run_folder import alive_folders
from roo.spec.words import did_you_mean

FILE = "run.json"
KEY = "cluster.key"
"""Made by a run that listens on the loopback interface and was given no key."""


class Run(NamedTuple):
    """A run on this machine. file: its pipeline's, as it was given. started_s: Unix time. listen:
    where other machines may join, as it was given; "" where they may not.
    """

    name: str
    pid: int
    file: str
    started_s: float
    listen: str
    folder: str


class NoSuchRun(LookupError):
    """There is no such run, or more than one: what to do."""


def register(folder: str, name: str, pid: int, file: str, listen: str) -> None:
    """Make a run findable for as long as its folder is there."""
    facts = {"name": name, "pid": pid, "file": file, "started_s": time.time(), "listen": listen}
    path = Path(folder) / FILE
    path.with_suffix(".tmp").write_text(json.dumps(facts), encoding="utf-8")
    path.with_suffix(".tmp").rename(path)


def runs() -> list[Run]:
    """All runs of this user on this machine, oldest first."""
    found = []
    for folder in alive_folders():
        try:
            facts = json.loads((folder / FILE).read_text(encoding="utf-8"))
            found.append(Run(**facts, folder=str(folder)))
        except (OSError, ValueError, TypeError):
            continue  # it is just starting, or just ending
    return sorted(found, key=lambda run: run.started_s)


def key_at(address: str) -> str | None:
    """The key file of a run of this user that listens at a loopback address and made itself a key;
    None: there is no such run.
    """
    port = urlsplit(address).port
    for run in runs():
        path = Path(run.folder) / KEY
        if run.listen and urlsplit(run.listen).port == port and path.exists():
            return str(path)
    return None


def find(name: str) -> Run:
    """The run with this pipeline name, or process id. Raises NoSuchRun."""
    there = runs()
    found = [run for run in there if name in (run.name, str(run.pid))]
    if len(found) == 1:
        return found[0]
    if found:
        pids = ", ".join(str(run.pid) for run in found)
        raise NoSuchRun(f"{len(found)} runs are called {name}; name one by its process: {pids}")
    if not there:
        raise NoSuchRun(f"there is no run called {name}, nor any other on this machine")
    names = sorted({run.name for run in there})
    raise NoSuchRun(f"there is no run called {name}; {did_you_mean(name, names)}")
