"""What checkpoints cost while nothing goes wrong: speed, stalls of a worker, bytes written."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path
from typing import NamedTuple

from benchmarks import peers, stored, words
from benchmarks.measure import Candidate, Figure, Reach, Sample, interleave, ratio
from benchmarks.processes import CommandFailed, Keep, finish, running, wait_until
from benchmarks.settings import CACHE, KEYS_MAX, Settings
from benchmarks.verify import check_counts_apart
from benchmarks.wordcount import BYTEWAX_2, ROO_2, by_bytewax, by_roo, verified_seconds
from roo.checkpoint.blocks import FileInfo
from roo.checkpoint.manifest import Manifest

SPEED, TAKEN = "words_per_s", "checkpoints"
LONGEST, LONGEST_CPU, LONG = "gap_max_ms", "gap_max_cpu_ms", "gaps_over_20_ms"
FULL, DELTA = "full_bytes", "delta_bytes"
STALL_MAX_MS = 20.0
CHANGED_PART = 0.01
ATTEMPTS = 5

SPEED_NOTE = (
    "Words a second from spawn to exit, every update verified, with checkpoints and without. "
    "The time from the end of one checkpoint to the start of the next is what is set."
)
STALLS_NOTE = (
    "The longest time in which a worker did not call the step's function, from its last new key "
    "to its last call, on whichever worker it was longest; how long its thread itself computed in "
    "any of them; and how many took over 20 ms. The run without checkpoints shows what reading, "
    "waiting for the other worker, the collector and the machine do by themselves."
)
BYTES_NOTE = (
    "Sizes from the manifests (and of these): the first checkpoint that has all keys, and what "
    "the next ones added when 1 % of the keys, scattered, had one message more."
)


class Gap(NamedTuple):
    """Between two calls on one worker. cpu_ms: how long the thread itself computed meanwhile."""

    length_ms: float
    cpu_ms: float


def checkpoint_speed(settings: Settings) -> list[Figure]:
    """With a checkpoint every second and without, where a second touches all keys, and where some.

    Bytewax, where asked for, does the first.
    """
    keys = min(KEYS_MAX, settings.words)
    evenly = words.uniform(CACHE, settings.words)
    by_zipf = words.every_key(CACHE, settings.words, keys, evenly=False)
    return [
        _speed(settings, "checkpoint-speed", "uniform over 1 M words", evenly, peers_too=True),
        _speed(settings, "checkpoint-speed-zipf", f"Zipf(1.1) over {keys:,} words", by_zipf),
    ]


def _speed(
    settings: Settings, name: str, drawn: str, source: Path, *, peers_too: bool = False
) -> Figure:
    counts, folder = settings.scratch / "counts.txt", settings.scratch / "speed"
    with_, without = names(ROO_2, settings.checkpoint_every_ms)
    peers_too = peers_too and settings.peers

    def roo_without() -> Sample:
        return {SPEED: settings.words / verified_seconds(by_roo(source, counts, 2))}

    def roo_with() -> Sample:
        keep = Keep(folder, settings.checkpoint_every_ms)
        speed = settings.words / verified_seconds(by_roo(source, counts, 2, keep=keep))
        sample = {SPEED: speed, TAKEN: float(stored.taken(folder))}
        shutil.rmtree(folder)
        return sample

    candidates = [Candidate(without, roo_without), Candidate(with_, roo_with)]
    bytewax_with, bytewax_without = names(BYTEWAX_2, peers.EPOCH_S * 1000)
    if peers_too:
        peer_words = settings.peer_words
        peer_source = words.uniform(CACHE, peer_words)

        def peer_without() -> Sample:
            return {SPEED: peer_words / verified_seconds(by_bytewax(peer_source, counts, 2))}

        def peer_with() -> Sample:
            peers.new_recovery(folder, 2)
            job = by_bytewax(peer_source, counts, 2, recovery=folder)
            speed = peer_words / verified_seconds(job)
            shutil.rmtree(folder)
            return {SPEED: speed}

        candidates.append(Candidate(bytewax_without, peer_without))
        candidates.append(Candidate(bytewax_with, peer_with))
    samples = interleave(name, candidates, settings.runs)
    speeds = samples.all(SPEED)
    ratios = [ratio(f"{with_} / without", [speeds[1]], [speeds[0]], Reach(0.95))]
    if peers_too:
        ratios.append(ratio(f"{bytewax_with} / without", [speeds[3]], [speeds[2]]))
    title = f"Speed with checkpoints, {drawn}, {settings.words:,} words"
    series = (*speeds, samples.series(with_, TAKEN))
    return Figure(name, title, SPEED_NOTE, series, tuple(ratios))


def checkpoint_stalls(settings: Settings) -> Figure:
    """The same work once all keys are there; its longest gap between two calls on one worker."""
    keys = min(KEYS_MAX, settings.words)
    source = words.every_key(CACHE, settings.words, keys)
    counts = settings.scratch / "counts.txt"
    folder, notes = settings.scratch / "stalls", settings.scratch / "gaps"
    with_, without = names(ROO_2, settings.checkpoint_every_ms)

    def candidate(name: str, keep: Keep | None) -> Candidate:
        def gaps_of_run() -> Sample:
            notes.mkdir()
            verified_seconds(by_roo(source, counts, 2, keep=keep, gaps=notes))
            noted = noted_gaps(notes)
            sample = {
                LONGEST: max((gap.length_ms for gap in noted), default=0.0),
                LONGEST_CPU: max((gap.cpu_ms for gap in noted), default=0.0),
                LONG: float(sum(gap.length_ms > STALL_MAX_MS for gap in noted)),
            }
            if keep is not None:
                sample[TAKEN] = float(stored.taken(folder))
                shutil.rmtree(folder)
            shutil.rmtree(notes)
            return sample

        return Candidate(name, gaps_of_run)

    keep = Keep(folder, settings.checkpoint_every_ms)
    candidates = [candidate(without, None), candidate(with_, keep)]
    samples = interleave("checkpoint-stalls", candidates, settings.runs)
    reaches = {with_: Reach(STALL_MAX_MS, at_least=False)}
    others = (one for metric in (LONGEST_CPU, LONG) for one in samples.all(metric))
    series = (*samples.all(LONGEST, reaches), *others, samples.series(with_, TAKEN))
    title = f"Longest gap between two calls of a worker at {keys:,} keys, {settings.words:,} words"
    return Figure("checkpoint-stalls", title, STALLS_NOTE, series)


def checkpoint_bytes(settings: Settings) -> Figure:
    """A full checkpoint, and one after 1 % of the keys have changed."""
    keys = min(KEYS_MAX, settings.words)
    firsts = words.every_key(CACHE, keys, keys)
    samples = interleave(
        "checkpoint-bytes",
        [Candidate(ROO_2, lambda: _bytes_written(settings, firsts, keys))],
        settings.runs,
    )
    full, delta = samples.series(ROO_2, FULL), samples.series(ROO_2, DELTA)
    share = ratio("1 % changed / full", [delta], [full], Reach(0.02, at_least=False))
    title = f"Bytes of a checkpoint at {keys:,} keys"
    return Figure("checkpoint-bytes", title, BYTES_NOTE, (full, delta), (share,))


def names(system: str, every_ms: int) -> tuple[str, str]:
    """How a candidate with checkpoints is called, and one without."""
    return f"{system}, every {every_ms / 1000:g} s", f"{system}, no checkpoint"


def noted_gaps(notes: Path) -> list[Gap]:
    """All gaps that workers noted after their last new key."""
    gaps: list[Gap] = []
    for file in notes.iterdir():
        lines = [line.split() for line in file.read_text().splitlines()]
        news = [index for index, (_, gap_ns, _) in enumerate(lines) if gap_ns == "0"]
        steady = lines[news[-1] + 1 :] if news else lines
        gaps += [Gap(int(gap_ns) / 1e6, int(cpu_ns) / 1e6) for _, gap_ns, cpu_ns in steady]
    return gaps


def _bytes_written(settings: Settings, firsts: Path, keys: int) -> Sample:
    """A followed file: every key once; when that is stored, some again, until it is measured.

    The first checkpoints store each key once, whether they are one or several, so together they
    are what a full one takes. After several the next may be a full one once more: then the same
    keys are changed again. Raises CommandFailed when no checkpoint holds just what has changed.
    """
    source, counts = settings.scratch / "followed.txt", settings.scratch / "counts.txt"
    folder = settings.scratch / "bytes"
    shutil.copyfile(firsts, source)
    picked = random.Random(words.SEED).sample(range(keys), max(1, round(keys * CHANGED_PART)))
    job = by_roo(source, counts, 2, follow=True, keep=Keep(folder, settings.checkpoint_every_ms))
    with running(job.commands[0]) as process:

        def added(before: frozenset[FileInfo]) -> tuple[Manifest, list[FileInfo]]:
            """The checkpoint that has read all there is, and its files but for those before."""
            all_bytes = source.stat().st_size
            wait_until(lambda: stored.read_bytes(folder) == all_bytes, process)
            manifest = stored.newest(folder)
            assert manifest is not None
            return manifest, [file for file in manifest.files if file not in before]

        manifest, files = added(frozenset())
        found = {_keys(files): stored.written_bytes(folder, manifest, files)}
        for _ in range(ATTEMPTS):
            with source.open("a") as more:
                more.write("".join(f"w{index}\n" for index in picked))
            manifest, files = added(frozenset(manifest.files))
            found[_keys(files)] = stored.written_bytes(folder, manifest, files)
            if len(picked) in found:
                break
        process.send_signal(signal.SIGTERM)
        finish(process)
    if keys not in found or len(picked) not in found:
        raise CommandFailed(f"no checkpoint stored just {len(picked)} keys: {sorted(found)}")
    check_counts_apart(source, job.counts)
    shutil.rmtree(folder)
    for path in (source, counts):
        path.unlink()
    return {FULL: float(found[keys]), DELTA: float(found[len(picked)])}


def _keys(files: list[FileInfo]) -> int:
    return sum(file.keys for file in files)
