"""The directory of one pipeline's checkpoints: numbered manifests, snapshot files, a lock."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from pathlib import Path

from roo.api import ConnectorError
from roo.checkpoint.blocks import Damaged, check_file
from roo.checkpoint.manifest import Manifest, OtherFormat, from_json, to_json

_MANIFEST = re.compile(r"manifest-(\d{8})\.json")


class Folder:
    """A checkpoint directory. Made, with its parents, when it is locked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1

    def lock(self) -> None:
        """Keep every other coordinator out until this process ends, by whatever means.

        Raises ConnectorError where another has it, or the directory can't be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            what = f"can't keep checkpoints in {self.path}: {os.strerror(error.errno or 0)}"
            hint = "set `checkpoint.dir` to a folder that can be written, or use --no-checkpoint"
            raise ConnectorError(what, hint, environment=True) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip()
            self.unlock()
            who = f"process {holder}" if holder else "another process"
            what = f"{who} runs on the checkpoints in {self.path}"
            hint = "stop it first, or give this run a `checkpoint.dir` of its own"
            raise ConnectorError(what, hint, environment=True) from error
        with contextlib.suppress(OSError):  # a full disk is found out where something depends on it
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def unlock(self) -> None:
        """Let go of the lock."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def numbers(self) -> list[int]:
        """The checkpoints there are manifests of, newest first. Raises Damaged."""
        found = (_MANIFEST.fullmatch(name) for name in self._names())
        return sorted((int(match[1]) for match in found if match), reverse=True)

    @property
    def holds_states(self) -> bool:
        """Whether there are snapshot files. Raises Damaged."""
        return any(name.endswith(".snap") for name in self._names())

    def _names(self) -> list[str]:
        """What is in it; nothing, where there is no such folder."""
        try:
            return sorted(os.listdir(self.path))  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise Damaged(self.path, os.strerror(error.errno or 0).lower()) from error

    def manifest_path(self, number: int) -> Path:
        """Where the manifest of a checkpoint is."""
        return self.path / f"manifest-{number:08}.json"

    def read(self, number: int) -> Manifest:
        """A manifest. Raises Damaged, OtherFormat."""
        path = self.manifest_path(number)
        try:
            return from_json(path, path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise Damaged(path, "not there") from error
        except (OSError, UnicodeDecodeError) as error:
            raise Damaged(path, "can't be read") from error

    def verify(self, manifest: Manifest) -> None:
        """Raises Damaged unless every file of a checkpoint is whole."""
        for file in manifest.files:
            check_file(self.path, file)

    def newest_intact(self) -> tuple[Manifest | None, list[Damaged]]:
        """The newest checkpoint that can be gone on from, and what is wrong with newer ones.

        Raises OtherFormat: one that this Roo can't read is no reason to take an older one.
        """
        damaged: list[Damaged] = []
        for number in self.numbers():
            try:
                manifest = self.read(number)
                self.verify(manifest)
                return manifest, damaged
            except OtherFormat:
                raise
            except Damaged as error:
                damaged.append(error)
        return None, damaged

    def commit(self, manifest: Manifest) -> None:
        """Make a checkpoint real: when this returns it outlives any crash. Raises OSError.

        The files that the manifest names must be durable already.
        """
        path = self.manifest_path(manifest.checkpoint)
        temporary = path.with_suffix(".tmp")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(to_json(manifest))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        self.sync()

    def sync(self) -> None:
        """Make the names in the directory durable."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @property
    def is_finished(self) -> bool:
        """Whether the newest checkpoint is the last one of a run that has read everything."""
        numbers = self.numbers()
        with contextlib.suppress(Damaged):
            return bool(numbers) and self.read(numbers[0]).finished
        return False

    def go_back_to(self, number: int) -> None:
        """Remove the checkpoints that are newer than one: it is gone on from, so they never were.

        Their files go at the next `prune`. Raises OSError.
        """
        for newer in self.numbers():
            if newer > number:
                self.manifest_path(newer).unlink()

    def prune(self, keep: int) -> list[str]:
        """Remove all but the newest `keep` checkpoints, and the files that none of these needs.

        Files of a checkpoint being written must not be there: call it after a commit. Returns the
        names of what was removed. A manifest that can't be read keeps nothing alive.
        """
        kept = self.numbers()[: max(keep, 1)]
        needed = {self.manifest_path(number).name for number in kept}
        for number in kept:
            with contextlib.suppress(Damaged):
                needed.update(file.name for file in self.read(number).files)
        return self._remove_all_but(needed)

    def clear(self) -> None:
        """Forget every checkpoint. Raises OSError.

        The newest manifest goes last: if this is cut short, a run that has finished still has.
        """
        self._remove_all_but({self.manifest_path(number).name for number in self.numbers()[:1]})
        self._remove_all_but(set())

    def _remove_all_but(self, needed: set[str]) -> list[str]:
        removed = []
        for name in self._names():
            ours = name.endswith((".snap", ".tmp")) or _MANIFEST.fullmatch(name)
            if ours and name not in needed:
                (self.path / name).unlink(missing_ok=True)
                removed.append(name)
        return removed
