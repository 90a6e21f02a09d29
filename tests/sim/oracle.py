"""Looks at the files of a simulated cluster whenever they change, and says what is wrong.

It knows what the input is and nothing of how Roo works but this: what a manifest says, and how the
shipped `restore` reads it.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.sim.calls import SHARED
from tests.sim.filesystem import File, Inode
from tests.sim.input import counts_of, states_after
from tests.sim.job import Chain

if TYPE_CHECKING:
    from roo.core.checkpoints import Manifest
    from tests.sim.processes import Process
    from tests.sim.world import World

FOLDER = f"/{SHARED}/checkpoints"
_MANIFEST = re.compile(r"(?:.*/)?manifest-(\d+)\.json")


class Wrong(AssertionError):
    """The verdict."""


class Oracle:
    """Of one world. What it finds is raised by the world, outside of the process at fault."""

    OLD = b"old content\n"

    def __init__(self, world: World) -> None:
        self._world = world
        self._found: str | None = None
        self._manifests: dict[int, bytes] = {}
        self._read: dict[bytes, Manifest] = {}
        self._writers: dict[int, tuple[int, int]] = {}

    def found(self, what: str) -> None:
        """Something is wrong; the first thing counts."""
        self._found = self._found or what

    def raise_what_was_found(self) -> None:
        """Raises Wrong."""
        if self._world.scheduler.crashes:
            name, text = self._world.scheduler.crashes[0]
            self.found(f"{name} has crashed:\n{text}")
        if self._found is not None:
            raise Wrong(self._found)

    def first_outputs(self) -> list[str]:
        """The files that are there before the first run, where the mode is append."""
        return [f"{self.folders[0]}/{'out-0' if self._world.shape.each else 'out'}.txt"]

    @property
    def folders(self) -> list[str]:
        """Where outputs are: that of the coordinator's machine first."""
        if self._world.shape.local:
            return [f"/{machine}/out" for machine in self._world.machines]
        return [f"/{SHARED}/out"]

    def _outputs(self) -> list[str]:
        """The files that show something."""
        return [
            f"{folder}/{name}"
            for folder in self.folders
            for name in sorted(self._world.files.listdir(folder))
            if not name.startswith(".")
        ]

    # Looking

    def called(self, process: Process, name: str, arguments: tuple[Any, ...], made: Any) -> None:
        """A call has worked."""
        with self._outside():
            self._look(process, name, arguments)

    @contextmanager
    def _outside(self) -> Iterator[None]:
        """What the oracle reads is not read by the process that runs. Notes what is wrong."""
        scheduler = self._world.scheduler
        running, scheduler.current = scheduler.current, None
        try:
            yield
        except Wrong as wrong:
            self.found(str(wrong))
        finally:
            scheduler.current = running

    def _look(self, process: Process, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "replace" and _MANIFEST.fullmatch(arguments[1]):
            self._new_manifest(arguments[1])
        elif name == "unlink" and arguments[0].startswith(FOLDER):
            if _MANIFEST.fullmatch(arguments[0]):
                self._is_not_taken_back(_number(arguments[0]))
            self._all_is_there()
        elif name in ("write", "pwrite") and "/" in process.name:
            self._written(process, arguments[0])
        elif name in ("ftruncate", "replace") or (name == "open" and arguments[1] & os.O_TRUNC):
            self._outputs_hold()

    def manifests(self) -> dict[int, Manifest]:
        """Those that processes see, by number."""
        names = filter(_MANIFEST.fullmatch, self._world.files.listdir(FOLDER))
        return {_number(n): self._manifest(self._world.read(f"{FOLDER}/{n}")) for n in names}

    def _manifest(self, data: bytes) -> Manifest:
        """What a manifest says."""
        from roo.checkpoint.manifest import from_json

        if data not in self._read:
            self._read[data] = from_json(Path("manifest"), data.decode())
        return self._read[data]

    def _new_manifest(self, path: str) -> None:
        number, data = _number(path), self._world.read(path)
        if number in self._manifests and self._manifests[number] != data:
            raise Wrong(f"manifest {number} is written a second time, and differs")
        self._manifests[number] = data
        manifest = self.manifests()[number]
        self._is_whole(manifest)
        self._is_one_cut(manifest)

    def _is_not_taken_back(self, number: int) -> None:
        """What is removed is older than another one, or nothing can be done with it."""
        data, newer = self._manifests.pop(number, None), max(self.manifests(), default=-1)
        if data is None or newer > number:
            return
        manifest = self._manifest(data)
        with suppress(Wrong):
            self._is_whole(manifest)
            if not manifest.finished:
                self.found(f"checkpoint {number} is removed, and {newer} gone on from")

    def _all_is_there(self) -> None:
        """Nothing is removed that a manifest names."""
        for manifest in self.manifests().values():
            self._is_whole(manifest)

    def _is_whole(self, manifest: Manifest) -> None:
        names = set(self._world.files.listdir(FOLDER))
        for file in manifest.files:
            if file.name not in names:
                raise Wrong(f"checkpoint {manifest.checkpoint} lacks {file.name}")
            size = self._world.files.stat(f"{FOLDER}/{file.name}").st_size
            if size != file.size_bytes:
                raise Wrong(f"{file.name} of checkpoint {manifest.checkpoint} has {size} bytes")

    def _is_one_cut(self, manifest: Manifest) -> None:
        """States, offsets and outputs belong together."""
        number = manifest.checkpoint
        stored = self._restored(manifest, "chains")
        lines = [
            row
            for split in manifest.splits
            for row in self._world.input.read_by(split.options, split.offset, stored)
        ]
        expected = states_after(lines)
        if stored != expected:
            raise Wrong(f"checkpoint {number}: states {_difference(stored, expected)}")
        counts = counts_of(lines)
        if self._world.shape.two:
            groups = Counter({f"g{k[-1]}": 0 for k in counts})
            for key, count in counts.items():
                groups[f"g{key[-1]}"] += count
            kept = {key: state.n for key, state in self._restored(manifest, "groups").items()}
            if kept != dict(groups):
                raise Wrong(f"checkpoint {number}: groups {_difference(kept, dict(groups))}")
            counts = groups
        written = counts_of(self._outputs_at(manifest))
        if written != counts:
            raise Wrong(f"checkpoint {number}: outputs {_difference(dict(written), dict(counts))}")

    def _restored(self, manifest: Manifest, state: str) -> dict[str, Chain]:
        from roo.checkpoint.restore import restore

        found: dict[str, Chain] = {}
        for worker in sorted(set(manifest.table.owners)):
            mine = restore(Path(FOLDER), manifest, state, manifest.table, worker)
            if twice := set(mine) & set(found):
                raise Wrong(f"checkpoint {manifest.checkpoint} has {sorted(twice)} twice")
            found |= mine
        return found

    # Outputs

    def _outputs_at(self, manifest: Manifest) -> list[str]:
        """The lines that a checkpoint says are in the files. Raises Wrong where they are not."""
        rows: list[str] = []
        for noted in manifest.sinks.get("out", {}).values():
            if noted is None:
                continue
            path = noted["path"]
            if self._world.shape.local:
                path = f"/{noted['machine']}{path}"
            data = self._content(path, noted["inode"])
            size = noted["size_bytes"]
            if len(data) < size:
                what = f"{path} has {len(data)} bytes, checkpoint {manifest.checkpoint} has {size}"
                raise Wrong(what)
            rows += _rows(data[:size])
        return rows

    def _content(self, path: str, inode: int) -> bytes:
        """A file with what waits to be shown. inode: of the one that it was then."""
        try:
            data = self._world.read(path)
        except FileNotFoundError:
            data = b""
        if self._world.shape.committed:
            folder, name = path.rsplit("/", 1)
            prefix = f".{name}.pending-{inode}-"
            names = [n for n in self._world.files.listdir(folder) if n.startswith(prefix)]
            for name in sorted(names, key=lambda n: int(n.rsplit("-", 1)[1])):
                start = int(name.rsplit("-", 1)[1])
                part = self._world.read(f"{folder}/{name}")
                if start <= len(data):
                    data = data[:start] + part + data[start + len(part) :]
        return data

    def _outputs_hold(self) -> None:
        """Each file has at least what every checkpoint says."""
        for manifest in self.manifests().values():
            self._outputs_at(manifest)

    def _written(self, process: Process, descriptor: int) -> None:
        """Nothing comes from an older attempt once a newer one has the file."""
        inode = self._world.files.inode_of(descriptor)
        path = self._path_of(inode)
        if path is None:
            return
        if _MANIFEST.fullmatch(path):
            raise Wrong(f"{process.name} writes to {path}")
        if not path.startswith(FOLDER):
            attempt = process.run, int(process.name.rsplit(".", 1)[1])
            newest = self._writers.get(inode.number, (0, 0))
            if attempt < newest:
                raise Wrong(f"{process.name} writes to {path}, which attempt {newest} has by now")
            self._writers[inode.number] = attempt
            if self._world.shape.committed and "/." not in path:
                self._shows_what_is_kept(path)

    def _path_of(self, inode: Inode) -> str | None:
        """The name of an output or of something in the checkpoint folder."""
        for folder in (FOLDER, *self.folders):
            for name, there in self._world.files.folder(folder).seen.items():
                if there is inode:
                    return f"{folder}/{name}"
        return None

    def _shows_what_is_kept(self, path: str) -> None:
        """A committed file has no more than the newest durable checkpoint."""
        folder = self._world.files.folder(FOLDER)
        kept, name = 0, path.rsplit("/", 1)[1]
        writer = "single" if name == "out.txt" else name[4:-4]
        for entry, inode in folder.durable.items():
            if _MANIFEST.fullmatch(entry) and isinstance(inode, File):
                manifest = self._manifest(bytes(inode.seen))
                noted = manifest.sinks.get("out", {}).get(writer)
                kept = max(kept, noted["size_bytes"] if noted else 0)
        size = len(self._world.read(path))
        if size > kept:
            raise Wrong(f"{path} shows {size} bytes, and the newest checkpoint has {kept}")

    # Ends

    def durable(self) -> set[int]:
        """The checkpoints whose manifests a power failure can't take."""
        names = self._world.files.folder(FOLDER).durable
        return {_number(name) for name in names if _MANIFEST.fullmatch(name)}

    def power_failed(self, durable: set[int]) -> None:
        """What is there now counts. durable: the checkpoints that were; they need their files."""
        with self._outside():
            manifests = self.manifests()
            self._manifests = {
                number: self._world.read(f"{FOLDER}/manifest-{number:08}.json")
                for number in manifests
            }
            for number in durable & set(manifests):
                self._is_whole(manifests[number])

    @property
    def has_begun(self) -> bool:
        """Whether it is durable where reading began."""
        return bool(self.durable())

    def has_finished(self) -> bool:
        """Whether the next run would start anew, as this one has read everything."""
        manifests = self.manifests()
        return bool(manifests) and manifests[max(manifests)].finished

    def ended_well(self) -> None:
        """After exit 0 a power failure takes nothing of the newest checkpoint."""
        # Of the last one there may be two: that it had finished is no loss.
        newest = max((n for n, m in self.manifests().items() if not m.finished), default=-1)
        if newest < 0:
            return  # it was stopped before anything was read
        files, copy = self._world.files, deepcopy(self._world.files)
        copy.lose_power(self._world.dice)
        self._world.files = self._world.calls.system = copy
        try:
            with self._outside():
                after = self.manifests()
                if max(after) < newest:
                    raise Wrong(f"checkpoint {newest} is gone with the power after exit 0")
                self._is_whole(after[max(after)])
                self._is_one_cut(after[max(after)])
        finally:
            self._world.files = self._world.calls.system = files

    def is_all_there(self) -> bool:
        """Whether as much has come out as there is."""
        written = sum(self._world.read(path).count(b"\n") for path in self._outputs())
        return written - self._world.shape.append >= len(self._world.input.all_rows())

    def judge(self) -> None:
        """All output is there, once, in order. Raises Wrong."""
        files = []
        for path in self._outputs():
            data = self._world.read(path)
            if data and not data.endswith(b"\n"):
                raise Wrong(f"{path} ends within a line: {data[-40:]!r}")
            rows = data.decode().splitlines()
            if self._world.shape.append and path in self.first_outputs():
                if rows[:1] != ["old content"]:
                    raise Wrong(f"{path}: what was there before is gone")
                rows = rows[1:]
            files.append(rows)
        lines = self._world.input.all_rows()
        if self._world.shape.two:
            judge_chains([[row.split(" | ")[0] for row in file] for file in files], None)
            files = [[row.split(" | ")[1] for row in file] for file in files]
        judge_chains(files, states_after(lines))
        if (total := sum(map(len, files))) != len(lines):
            raise Wrong(f"{total} lines came of {len(lines)}")


def judge_chains(files: list[list[str]], due: dict[str, Chain] | None) -> None:
    """Per key 1 to n once each, each ring follows from the one before. due: how it has to end,
    where that does not depend on an order. Raises Wrong.
    """
    rows: dict[str, dict[int, list[str]]] = {}
    for file in files:
        newest: dict[str, int] = {}
        for row in file:
            key, n, *ring = row.split(" ")
            if int(n) in rows.setdefault(key, {}):
                raise Wrong(f"{key} came to {n} twice: {row}")
            if int(n) <= newest.get(key, 0):
                raise Wrong(f"{key} went back from {newest[key]} to {n}")
            newest[key] = int(n)
            rows[key][int(n)] = ring
    for key, mine in rows.items():
        ring = ["-"] * 4
        for n in range(1, len(mine) + 1):
            if n not in mine:
                raise Wrong(f"{key} lacks {n}, and has {len(mine)}")
            ring = [*ring[1:], mine[n][3]]
            if mine[n] != ring:
                raise Wrong(f"{key} at {n} has {mine[n]}, and {ring} was due")
    made = {key: Chain(len(mine), mine[len(mine)]) for key, mine in rows.items()}
    if due is not None and made != due:
        raise Wrong(f"the end: {_difference(made, due)}")


def _rows(data: bytes) -> list[str]:
    return [row for row in data.decode().splitlines() if row != "old content"]


def _number(path: str) -> int:
    match = _MANIFEST.fullmatch(path)
    assert match is not None
    return int(match[1])


def _difference(found: dict[str, Any], due: dict[str, Any]) -> str:
    parts = [
        f"{key}: {found.get(key, 'nothing')}, not {due.get(key, 'nothing')}"
        for key in sorted({*found, *due})
        if found.get(key) != due.get(key)
    ]
    return "; ".join(parts[:4])
