"""The directory of one pipeline's checkpoints: numbered manifests, snapshot files, locks.

Whether a checkpoint is there is a question to the disk, and this is where it is asked: by the start
of a run, and by a run whose workers have died (`recover`). Nothing but this removes a file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from pathlib import Path
from typing import NamedTuple

from roo import disk
from roo.api import ConnectorError
from roo.checkpoint.blocks import Damaged, check_file
from roo.checkpoint.manifest import OtherFormat, from_json, to_json
from roo.core.checkpoints import Manifest, garbage, to_keep

_MANIFEST = re.compile(r"manifest-(\d{8})\.json")
_SNAPSHOT = re.compile(r"c(\d{8})-.*\.snap")
MODE = 0o666

CLEARING = "clearing"
"""A file that is there while everything is forgotten: else states without a manifest are a loss."""


class NotCommitted(Exception):
    """A manifest could not be written, and is not there: why."""


class CommitUnknown(Exception):
    """A manifest may be durable or not: why nobody can tell."""


class Unreadable(Exception):
    """A file can't be read just now. That is no damage: it may well be whole."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{path}: {say(error)}")


class Found(NamedTuple):
    """What a run goes on from. manifest: None where there is none. damaged: what is wrong with
    newer ones. newest: the highest number that anything there has.
    """

    manifest: Manifest | None
    damaged: list[Damaged]
    newest: int


class Folder:
    """A checkpoint directory. Made, with its parents, when it is locked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1

    # Who uses it

    def lock(self) -> None:
        """Keep every other coordinator out until this process ends, by whatever means.

        Raises ConnectorError where another has it, or the directory can't be written.
        """
        try:
            disk.makedirs(self.path, exist_ok=True)
            self._lock = disk.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
        except OSError as error:
            what = f"can't keep checkpoints in {self.path}: {os.strerror(error.errno or 0)}"
            hint = "set `checkpoint.dir` to a folder that can be written, or use --no-checkpoint"
            raise ConnectorError(what, hint, environment=True) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = disk.pread(self._lock, 32, 0).decode("ascii", "replace").strip()
            self.unlock()
            who = f"process {holder}" if holder else "another process"
            what = f"{who} runs on the checkpoints in {self.path}"
            hint = "stop it first, or give this run a `checkpoint.dir` of its own"
            raise ConnectorError(what, hint, environment=True) from error
        with contextlib.suppress(OSError):  # a full disk is found out where something depends on it
            disk.ftruncate(self._lock, 0)
            disk.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def unlock(self) -> None:
        """Let go of the lock."""
        if self._lock >= 0:
            disk.close(self._lock)
            self._lock = -1

    # What there is

    def numbers(self) -> list[int]:
        """The checkpoints there are manifests of, newest first. Raises Unreadable."""
        found = (_MANIFEST.fullmatch(name) for name in self._names())
        return sorted((int(match[1]) for match in found if match), reverse=True)

    @property
    def holds_states(self) -> bool:
        """Whether there are snapshot files. Raises Unreadable."""
        return bool(self._snapshots())

    def _names(self) -> list[str]:
        """What is in it; nothing, where there is no such folder."""
        try:
            return sorted(disk.listdir(self.path))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise Unreadable(self.path, error) from error

    def _snapshots(self) -> dict[str, int]:
        """Name -> barrier of every snapshot file there is."""
        found = ((name, _SNAPSHOT.fullmatch(name)) for name in self._names())
        return {name: int(match[1]) for name, match in found if match}

    def manifest_path(self, number: int) -> Path:
        """Where the manifest of a checkpoint is."""
        return self.path / f"manifest-{number:08}.json"

    def read(self, number: int) -> Manifest:
        """A manifest. Raises Damaged, OtherFormat, Unreadable."""
        path = self.manifest_path(number)
        try:
            return from_json(path, disk.read_file(path).decode())
        except FileNotFoundError as error:
            raise Damaged(path, "not there") from error
        except UnicodeDecodeError as error:
            raise Damaged(path, "cut short, or not a manifest") from error
        except OSError as error:
            raise Unreadable(path, error) from error

    def verify(self, manifest: Manifest) -> None:
        """Raises Damaged unless every file of a checkpoint is whole, Unreadable."""
        for file in manifest.files:
            try:
                check_file(self.path, file)
            except OSError as error:
                raise Unreadable(self.path / file.name, error) from error

    def newest_intact(self) -> tuple[Manifest | None, list[Damaged]]:
        """The newest checkpoint that can be gone on from, and what is wrong with newer ones.

        Raises OtherFormat and Unreadable: one that can't be read by this Roo, or not just now, is
        no reason to take an older one.
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

    @property
    def is_finished(self) -> bool:
        """Whether the newest checkpoint is the last one of a run that has read everything."""
        numbers = self.numbers()
        with contextlib.suppress(Damaged):
            return bool(numbers) and self.read(numbers[0]).finished
        return False

    @property
    def is_half_cleared(self) -> bool:
        """Whether somebody was killed who forgot every checkpoint."""
        return CLEARING in self._names()

    # Going on

    def find(self) -> Found:
        """The checkpoint to go on from, as whoever starts finds it: a run that has lost its workers
        too. Nothing is changed. Raises Unreadable, OtherFormat.
        """
        newest = max([*self.numbers(), *self._snapshots().values()], default=-1)
        return Found(*self.newest_intact(), newest)

    def go_on_from(self, number: int) -> None:
        """This checkpoint is gone on from, so newer ones never were: their manifests go. What is
        there is made durable: a commit that nobody knew the outcome of has one from here on.
        Raises Unreadable, OSError.
        """
        self._remove([newer for newer in self.numbers() if newer > number])
        for name in self._names():
            if name.endswith(".tmp"):  # of a run that was killed
                disk.unlink(self.path / name)
        self.sync()

    # Committing

    def commit(self, manifest: Manifest) -> None:
        """Make a checkpoint real: when this returns it outlives any crash.

        The files that the manifest names must be durable already. A manifest is written once: a
        number that is there already is an error. Raises NotCommitted, CommitUnknown.
        """
        path = self.manifest_path(manifest.checkpoint)
        temporary = path.with_suffix(".tmp")
        try:
            if manifest.checkpoint in self.numbers():
                raise NotCommitted(f"{path} is there already")
            with contextlib.suppress(FileNotFoundError):  # of a run that was killed
                disk.unlink(temporary)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            fd = disk.open(temporary, flags, MODE)
            try:
                disk.write_all(fd, to_json(manifest).encode())
                disk.fsync(fd)
            finally:
                disk.close(fd)
        except (OSError, Unreadable) as error:
            with contextlib.suppress(OSError):
                disk.unlink(temporary)
            raise NotCommitted(say(error)) from error
        try:
            disk.replace(temporary, path)
            self.sync()
        except OSError as error:
            raise CommitUnknown(say(error)) from error

    def sync(self) -> None:
        """Make the names in the directory durable. Raises OSError."""
        disk.sync_folder(self.path)

    # Removing

    def prune(self, keep: int, *, open_barrier: int | None = None) -> list[str]:
        """Remove all but the newest `keep` checkpoints, then the files that none of these needs.

        open_barrier: files of this barrier and of later ones stay. Returns the names of what was
        removed. A manifest that can't be read may need any file, so then nothing is removed.
        Raises Damaged, Unreadable, OSError.
        """
        manifests = {number: self.read(number) for number in self.numbers()}
        kept = to_keep(manifests, keep)
        removed = self._remove([number for number in manifests if number not in kept])
        if removed:
            self.sync()  # else a power failure could bring a manifest back without its files
        files = garbage(self._snapshots(), [manifests[n] for n in kept], open_barrier=open_barrier)
        for name in files:
            disk.unlink(self.path / name)
        return [*removed, *files]

    def clear(self) -> None:
        """Forget every checkpoint. Raises OSError, Unreadable.

        The newest manifest goes last of them: if this is cut short, a run that has finished still
        has. Files go when no manifest is left; whoever is killed before the last one is gone leaves
        a mark, so that the next run goes on with it.
        """
        with contextlib.suppress(OSError):  # on a full disk this is what makes room
            disk.write_file(self.path / CLEARING, b"")
            self.sync()
        for number in reversed(self.numbers()):
            self._remove([number])
        self.sync()
        for name in self._names():
            if name.endswith((".snap", ".tmp")):
                disk.unlink(self.path / name)
        with contextlib.suppress(FileNotFoundError):
            disk.unlink(self.path / CLEARING)

    def _remove(self, numbers: list[int]) -> list[str]:
        """Manifests, oldest first."""
        names = [self.manifest_path(number).name for number in sorted(numbers)]
        for name in names:
            disk.unlink(self.path / name)
        return names


def say(error: Exception) -> str:
    """An OSError in words."""
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number).lower() if number else str(error)
