"""`python -m tests.sim.mutants [NAME ...]`: do the tests see faults that are put into Roo?

A mutant is one change of a line or two. Roo is copied and changed; then the fast tests of that file
run, and if they see nothing it is simulated until something is found wrong, or there are no more
seeds. `--simulate` leaves the fast tests out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Mutant(NamedTuple):
    """In a file of `runner/`, `old` becomes `new`, all occurrences of it; and so in others, where a
    second rule would make the first one's loss good.
    """

    name: str
    file: str
    old: str
    new: str
    also: tuple[tuple[str, str, str], ...] = ()


SMALL = (
    ("--small", "single"),
    ("--small", "keys at rest"),
    ("--small", "away each"),
    ("--small", "each committed", "--every", "3"),
)
"""What is tried after the seeds."""

TESTS = {
    "core/checkpoints.py": ("tests/core/test_checkpoints.py", "tests/runtime/test_commits.py"),
    "core/coordinator.py": ("tests/core/test_transcripts.py", "tests/core/test_coordinator.py"),
    "core/fencing.py": ("tests/core/test_fencing.py",),
    "core/worker.py": ("tests/core/test_worker.py",),
    "checkpoint/blocks.py": ("tests/checkpoint/test_folder.py", "tests/runtime/test_snapshots.py"),
    "checkpoint/folder.py": ("tests/checkpoint/test_folder.py", "tests/runtime/test_commits.py"),
    "checkpoint/restore.py": (
        "tests/checkpoint/test_hostile.py",
        "tests/runtime/test_snapshots_world.py",
    ),
    "connectors/file_committed.py": (
        "tests/connectors/test_file_committed.py",
        "tests/connectors/test_file_writer.py",
    ),
    "connectors/file_known.py": (
        "tests/connectors/test_file_source.py",
        "tests/connectors/test_file_follow.py",
    ),
    "connectors/file_reading.py": (
        "tests/connectors/test_file_source.py",
        "tests/connectors/test_file_follow.py",
    ),
    "connectors/file_source.py": ("tests/connectors/test_file_source.py",),
    "connectors/file_writer.py": (
        "tests/connectors/test_file_writer.py",
        "tests/connectors/test_outputs.py",
    ),
    "runtime/commits.py": ("tests/runtime/test_commits.py",),
    "runtime/coordinator.py": ("tests/runtime/test_who_is_heard.py",),
    "runtime/coordinator_main.py": ("tests/runtime/test_who_is_heard.py",),
    "runtime/cut.py": ("tests/runtime/test_who_is_heard.py",),
    "runtime/hosts.py": ("tests/runtime/test_hosts_told.py",),
    "runtime/keyed_states.py": ("tests/runtime/test_snapshots.py", "tests/runtime/test_moving.py"),
    "runtime/outlets.py": ("tests/runtime/test_outlets.py",),
    "runtime/presence.py": ("tests/runtime/test_who_is_heard.py",),
    "runtime/readers.py": ("tests/runtime/test_readers.py",),
    "runtime/snapshots.py": (
        "tests/runtime/test_snapshots.py",
        "tests/runtime/test_snapshots_world.py",
    ),
    "runtime/watchdog.py": ("tests/runtime/test_who_is_heard.py",),
    "runtime/worker.py": ("tests/runtime/test_who_is_heard.py",),
}
"""The fast tests of a file: what is tried first."""

FSYNC_OF_FOLDER = (
    "checkpoint/folder.py",
    "            raise CommitUnknown(say(error)) from error",
    "            raise NotCommitted(say(error)) from error",
)
FROM_MEMORY = (
    "runtime/commits.py",
    "        self.latest = found.manifest\n        return found",
    "        return found._replace(manifest=self.latest)",
)

MUTANTS = (
    Mutant("parts go into an older manifest", "core/checkpoints.py",
           "if by not in known.get(sink, {})}", "if True}"),
    Mutant("parts are kept after a failure", "runtime/commits.py",
           "        self.parts: dict[int, Part] = {}\n",
           "        self.parts = _Gathering.__dict__.get('kept') or {}\n"
           "        _Gathering.kept = self.parts\n"),
    Mutant("parts of an older attempt count", "runtime/commits.py",
           "(attempt, part.barrier) == (", "(gathering.attempt, part.barrier) == ("),
    Mutant("files of an open barrier are pruned", "core/checkpoints.py",
           "if name not in named and (open_barrier is None or barrier < open_barrier)",
           "if name not in named"),
    Mutant("an error of the folder's sync fails the commit", *FSYNC_OF_FOLDER),
    Mutant("a restart goes on from memory", *FROM_MEMORY),
    Mutant("new keys are not in the book", "runtime/snapshots.py",
           "        self.keys.add(keys)\n", "        pass\n"),
    Mutant("of a key that is there twice the last counts", "checkpoint/restore.py",
           "        if replaces:\n", "        if True:\n"),
    Mutant("counts are not compared", "checkpoint/restore.py",
           '    """Raises Damaged unless these are the keys of a chain."""',
           '    """Nothing is compared."""\n    return'),
    Mutant("what a decoder has learnt is not kept", "connectors/file_reading.py",
           '"decoder": self._decoder.memory()', '"decoder": None'),
    Mutant("a source's identity is not compared", "connectors/file_known.py",
           "        if difference := self.difference(file):", "        if difference := '':"),
    Mutant("an output's identity is not compared", "connectors/file_writer.py",
           "        if not same(there, mine):", "        if False:"),
    Mutant("the machine is not compared", "connectors/file_writer.py",
           '        if noted["machine"] != self._context.machine and', "        if False and"),
    Mutant("an outlet syncs again", "runtime/outlets.py",
           "            self._lost = error\n", "            self.sink.sync()\n"),
    Mutant("a machine that was given up is not told", "runtime/hosts.py",
           "            case HostPing() if host is None:", "            case HostPing() if False:"),
    Mutant("a lease never ends", "core/fencing.py",
           "return now_ms - self._heard_ms > self._half_ms", "return False"),
    Mutant("a manifest is written again", "checkpoint/folder.py",
           "            if manifest.checkpoint in self.numbers():\n", "            if False:\n"),
    Mutant("prune before the commit", "runtime/commits.py",
           "        self.folder.commit(manifest)\n",
           "        self.folder.prune(1)\n        self.folder.commit(manifest)\n"),
    Mutant("an error of prune fails the commit", "runtime/commits.py",
           "            return say(error)\n        except (Damaged",
           "            raise NotCommitted(say(error)) from error\n        except (Damaged"),
    Mutant("an error of the folder's fsync fails the commit, a restart from memory",
           *FSYNC_OF_FOLDER, (FROM_MEMORY,)),
    Mutant("newer manifests stay", "checkpoint/folder.py",
           "if newer > number])", "if newer > number + 1_000])"),
    Mutant("files are removed before their manifest", "checkpoint/folder.py",
           "        removed = self._remove([number for number in manifests if number not in kept])\n",
           "        for name in garbage(self._snapshots(), [manifests[n] for n in kept],\n"
           "                            open_barrier=open_barrier):\n"
           "            disk.unlink(self.path / name)\n"
           "        removed = self._remove([number for number in manifests if number not in kept])\n"),
    Mutant("a removed manifest is not synced before its files go", "checkpoint/folder.py",
           "        if removed:\n            self.sync()", "        if False:\n            self.sync()"),
    Mutant("an unreadable manifest frees files", "checkpoint/folder.py",
           "manifests = {number: self.read(number) for number in self.numbers()}",
           "manifests = {}\n        for number in self.numbers():\n"
           "            with contextlib.suppress(Exception):\n"
           "                manifests[number] = self.read(number)"),
    Mutant("a read error is damage", "checkpoint/folder.py",
           "            raise Unreadable(path, error) from error",
           "            raise Damaged(path, say(error)) from error"),
    Mutant("touched keys are forgotten after a failed checkpoint", "runtime/snapshots.py",
           "        if not kept:\n            self.touched.everything()",
           "        if not kept:\n            pass"),
    Mutant("a chain goes on over a move", "runtime/snapshots.py",
           "        if checkpoint.moves:\n            one.touched.everything()",
           "        if False:\n            one.touched.everything()",
           (("runtime/snapshots.py", "        self.keys.remove(keys)\n        self.touched.everything()",
             "        self.keys.remove(keys)"),)),
    Mutant("a key that changes is stored as it is later", "runtime/snapshots.py",
           "            self._encode(self, waiting.touching(keys), True)",
           "            waiting.touching(keys)"),
    Mutant("sinks are handed over on a failed checkpoint", "runtime/worker.py",
           "            if message.kept:\n                self.changing.hand_over_sinks",
           "            if True:\n                self.changing.hand_over_sinks"),
    Mutant("sinks commit a failed checkpoint", "runtime/cut.py",
           "        if kept:\n            for", "        if True:\n            for"),
    Mutant("close publishes", "connectors/file_committed.py",
           "        self.look(self._end)\n        self.sync()\n        self._remove(self._copied)",
           "        self.commit(self.prepare())\n        self.sync()\n"
           "        self._remove(self._copied)"),
    Mutant("a leaver's position is forgotten", "core/checkpoints.py",
           "return {s: {**before.sinks.get(s, {}), **noted.get(s, {})} for s in",
           "return {s: {**noted.get(s, {})} for s in"),
    Mutant("a move is kept without its checkpoint", "core/coordinator.py",
           '        return self._lost(f"the checkpoint of a change could not be written: {event.why}",'
           " -1)",
           "        change = self.change\n        assert change is not None\n"
           "        change.step = Step.MOVING\n"
           "        return [Announce(event.barrier, kept=False), ShareSplits(change.after),"
           " *self._settle()]"),
    Mutant("an older attempt is heard by the coordinator", "runtime/coordinator.py",
           "            if int(attempt) != self._core.attempt:", "            if False:"),
    Mutant("a worker of an older attempt is not told", "runtime/coordinator.py",
           "self._lines.send(peer, pickle.dumps(control.NotWanted(), 5))", "pass"),
    Mutant("an older attempt's batches are heard", "core/worker.py",
           "        if header.attempt != self.attempt:\n            return",
           "        if False:\n            return"),
    Mutant("no lease", "runtime/watchdog.py",
           "return self._lease is None or not self._lease.is_over(_now_ms())", "return True"),
    Mutant("a late writer's file is not taken away", "connectors/file_writer.py",
           "if self._fd >= 0 and not self._context.predecessor_ended:", "if False:"),
    Mutant("all are said to have ended", "runtime/presence.py",
           "> deadline_s:\n                    return False",
           "> deadline_s:\n                    return True"),
    Mutant("a failed fsync of a sink is tried again", "runtime/snapshots.py",
           "                sink.sync()\n            except Exception as error:\n"
           "                checkpoint.sink_error = checkpoint.sink_error or _said(error)",
           "                sink.sync()\n            except Exception:\n"
           "                sink.sync()"),
    Mutant("a failed fsync of a snapshot is tried again", "checkpoint/blocks.py",
           "        disk.fsync(self._fd)\n",
           "        try:\n            disk.fsync(self._fd)\n"
           "        except OSError:\n            disk.fsync(self._fd)\n"),
    Mutant("finished before the last sync", "core/coordinator.py",
           "        return self._close(event.barrier)\n\n    def _close",
           "        return [Finish(event.barrier + 1), *self._close(event.barrier)]\n\n    def _close"),
    Mutant("a killed worker counts as fine", "runtime/coordinator_main.py",
           "for worker, code in self._workers.exited() if code]",
           "for worker, code in self._workers.exited() if code > 0]"),
    Mutant("the rest of a file is not looked at", "connectors/file_writer.py",
           "        if not ends_so:", "        if False:"),
    Mutant("no fsync of a manifest", "checkpoint/folder.py",
           "                disk.fsync(fd)\n", "                pass\n"),
    Mutant("no fsync of the manifest's folder", "checkpoint/folder.py",
           "            disk.replace(temporary, path)\n            self.sync()",
           "            disk.replace(temporary, path)"),
    Mutant("no fsync of a snapshot", "checkpoint/blocks.py",
           "        disk.fsync(self._fd)\n", "        pass\n"),
    Mutant("no fsync of a sink's names", "connectors/file_writer.py",
           "        if self._names_durable:\n            return", "        if True:\n            return"),
    Mutant("sinks are not synced at a barrier", "runtime/snapshots.py",
           "        for sink in sinks:\n            try:", "        for sink in []:\n            try:"),
    Mutant("a byte range begins a line too late", "connectors/file_source.py",
           "place = start - 1", "place = start"),
    Mutant("files of gone workers are not rolled back", "runtime/worker.py",
           "            self._roll_back_the_gone(resume)", "            pass"),
    Mutant("no manifest before the first message", "runtime/commits.py",
           "            self._write(first_manifest(self._pipeline, place, number, opened, now))",
           "            self.latest = first_manifest(self._pipeline, place, number, opened, now)"),
    Mutant("a new writer's beginning is not noted", "runtime/commits.py",
           "            if manifest is not None:\n                self._write(manifest)",
           "            if False:\n                self._write(manifest)"),
    Mutant("a split given away begins anew", "runtime/coordinator.py",
           "positions = {split: self._positions[split] for split in sorted(new)}",
           "positions = {s: self._positions[s]._replace(offset=None) for s in new}"),
    Mutant("a worker outlives its coordinator", "runtime/watchdog.py",
           "            if poller.poll(REPORT_EVERY_MS):\n                os._exit(1)",
           "            if poller.poll(REPORT_EVERY_MS):\n                return"),
    Mutant("a key is given and kept", "runtime/keyed_states.py",
           "return list(map(self.objects.pop, keys))", "return list(map(self.objects.get, keys))"),
    Mutant("a table of before a change goes into its manifest", "core/checkpoints.py",
           "        table=after.table,\n", "        table=cut.table,\n"),
)  # fmt: skip


def main() -> int:
    """The exit code: 1 where one lives on."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.mutants")
    parser.add_argument("names", nargs="*", help="a part of the name of each that is wanted")
    parser.add_argument("--seeds", type=int, default=150)
    parser.add_argument("--simulate", action="store_true", help="leave the fast tests out")
    arguments = parser.parse_args()
    alive = []
    for mutant in MUTANTS:
        if arguments.names and not any(name in mutant.name for name in arguments.names):
            continue
        begun_s = time.monotonic()
        verdict = judge(mutant, arguments.seeds, simulate_only=arguments.simulate)
        print(f"{time.monotonic() - begun_s:6.1f} s  {mutant.name}: {verdict}", flush=True)
        if not verdict.startswith("dead"):
            alive.append(mutant.name)
    print(f"{len(alive)} live on: {', '.join(alive)}" if alive else "all are dead")
    return bool(alive)


def judge(mutant: Mutant, seeds: int, *, simulate_only: bool) -> str:
    """What became of it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "roo"
        shutil.copytree(ROOT / "runner", copy, ignore=shutil.ignore_patterns("__pycache__"))
        (copy / "schemas").symlink_to(ROOT / "schemas")
        for file, old, new in ((mutant.file, mutant.old, mutant.new), *mutant.also):
            text = (copy / file).read_text()
            if old not in text:
                return f"NOT THERE: {old!r}"
            (copy / file).write_text(text.replace(old, new))
        environ = {**os.environ, "PYTHONPATH": folder, "PYTHONHASHSEED": "0"}
        if not simulate_only and (tests := TESTS.get(mutant.file)):
            command = [sys.executable, "-m", "pytest", "-xq", "-m", "not slow", *tests]
            done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
            if done.returncode == 1:  # 2 and more: pytest itself did not get on
                return f"dead, {done.stdout.strip().splitlines()[-3][:120]}"
        for clusters in (("--seeds", "0", str(seeds)), *SMALL):
            command = [sys.executable, "-m", "tests.sim", "--first", *clusters]
            done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
            if done.returncode:
                said = done.stdout.strip().splitlines()
                return f"dead, {said[-1][:150]}" if said else f"BROKEN: {done.stderr[-300:]}"
    return "ALIVE"


if __name__ == "__main__":
    sys.exit(main())
