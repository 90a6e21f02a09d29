"""The word count as commands, one way to do it per function, and how long a verified one takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import peers, processes
from benchmarks.jobs.gaps import FOLDER
from benchmarks.processes import Command, Keep, timed
from benchmarks.verify import check_counts_apart

HAND, HAND_GC_OFF = "hand-written loop", "hand-written loop, gc off"
ROO_1, ROO_2 = "Roo, 1 worker", "Roo, 2 workers"
BYTEWAX_1, BYTEWAX_2 = "Bytewax, 1 worker", "Bytewax, 2 processes"


@dataclass(frozen=True)
class Job:
    """A word count of `words`. commands: started one after the other, `apart_s` between them,
    to run side by side. counts: the files they write.
    """

    commands: Sequence[Command]
    words: Path
    counts: Sequence[Path]
    apart_s: float = 0.0


def by_hand(words: Path, counts: Path, *options: str) -> Job:
    """The hand-written loop. options: --gc-off, --hold."""
    command = processes.python("benchmarks.jobs.handwritten", words, counts, *options)
    return Job([command], words, [counts])


def by_roo(
    words: Path,
    counts: Path,
    workers: int,
    *,
    follow: bool = False,
    keep: Keep | None = None,
    status: str = "none",
    gaps: Path | None = None,
) -> Job:
    """Roo. Several workers read a split each, unless the file is followed: then one reads.

    keep: where checkpoints go, if it takes any. gaps: a folder for what `jobs.gaps` notes.
    """
    options: dict[str, Any] = {"sources__lines__path": words, "sinks__counts__path": counts}
    if follow:
        options["sources__lines__follow"] = "true"
    elif workers > 1:
        options["sources__lines__splits"] = workers
    if gaps is not None:
        options["steps__count__call"] = "benchmarks.jobs.gaps:count"
    command = processes.roo("wordcount", workers, keep=keep, status=status, **options)
    if gaps is not None:
        command = ["env", f"{FOLDER}={gaps}", *command]
    return Job([command], words, [counts])


def by_bytewax(
    words: Path,
    counts: Path,
    worker_processes: int,
    *,
    follow: bool = False,
    recovery: Path | None = None,
    parts: int | None = None,
) -> Job:
    """Bytewax, with one worker in each process. recovery: where it keeps snapshots, if it does.
    parts: of the output, where they are not as many as processes.

    follow: the file is read on and on until `WORDS.end` is there, and outputs are cut back to the
    snapshot that the run goes on from.
    """
    outputs = [
        counts.with_name(f"{counts.name}.{index}") for index in range(parts or worker_processes)
    ]
    flow = "followed" if follow else "flow"
    commands = peers.bytewax_wordcount(
        words, counts, worker_processes, flow, recovery, parts or worker_processes
    )
    return Job(commands, words, outputs, peers.APART_S)


def verified_seconds(job: Job) -> float:
    """Do the job, check its counts, remove them; how long the job took, from spawn to exit.

    The check and the removal stand outside the time taken, and the removal spares the next
    candidate the write-back of this one's pages. Raises WrongOutput, CommandFailed.
    """
    for path in job.counts:
        path.unlink(missing_ok=True)
    elapsed_s = timed(*job.commands, apart_s=job.apart_s)
    check_counts_apart(job.words, job.counts)
    for path in job.counts:
        path.unlink()
    return elapsed_s
