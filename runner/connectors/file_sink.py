"""`type: file`: writes batches to a file, unbuffered."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roo.api import ConnectorError, Context, Sink
from roo.connectors.writing import write_all

WORKER = "{worker}"
MODE = 0o666

_HINTS = {
    errno.ENOSPC: "the disk is full: free some space, or write elsewhere",
    errno.EDQUOT: "the quota is used up: free some space, or write elsewhere",
    errno.EACCES: "see the owner and mode of the file and its folder, or write elsewhere",
    errno.EPERM: "see the owner and mode of the file and its folder, or write elsewhere",
    errno.EROFS: "the file system is read-only: write elsewhere",
    errno.EISDIR: "name a file, not a folder",
    errno.ENOTDIR: "a part of this path is a file, not a folder: write elsewhere",
}


class FileSink(Sink):
    """Options: path; mode: overwrite (the default) or append.

    With `{worker}` in the path each worker writes a file of its own, else one writes for all.
    Exactly once: after a crash the file is cut back to where the checkpoint found it.
    """

    rolls_back = True

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._path = str(options["path"])
        self.single_writer = WORKER not in self._path
        self._fd = -1

    def check(self) -> None:
        """Whether the file could be opened, without making or changing anything."""
        path = Path(self._path.replace(WORKER, "0"))
        try:
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if path.exists():
                self._need_write(path)
                return
            folder = path.parent
            while not folder.exists() and folder != folder.parent:
                folder = folder.parent
            if not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            self._need_write(folder)
        except OSError as error:
            raise self._failed(error) from error

    def _need_write(self, path: Path) -> None:
        if not os.access(path, os.W_OK):
            read_only = os.statvfs(path).f_flag & os.ST_RDONLY
            number = errno.EROFS if read_only else errno.EACCES
            raise OSError(number, os.strerror(number))

    def open(self, context: Context) -> None:
        self._path = self._path.replace(WORKER, str(context.worker))
        append = self.options.get("mode", "overwrite") == "append"
        how = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_APPEND
        if not append and not context.resumes:
            how |= os.O_TRUNC
        try:
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, how, MODE)
            self._begin()
        except OSError as error:
            raise self._failed(error) from error

    def _begin(self) -> None:
        """A file that is empty begins with its header."""
        if self.header and not os.fstat(self._fd).st_size:
            write_all(self._fd, self.header)

    def _regular(self) -> bool:
        return stat.S_ISREG(os.fstat(self._fd).st_mode)

    def prepare(self) -> Any:
        return {"size_bytes": os.fstat(self._fd).st_size} if self._regular() else None

    def sync(self) -> None:
        if self._regular():
            os.fsync(self._fd)

    def rollback(self, noted: Any) -> None:
        if not self._regular():
            return  # a pipe or device: what is written is gone
        size_bytes = noted["size_bytes"] if noted else 0
        there = os.fstat(self._fd).st_size
        if there < size_bytes:
            what = f"{self._path} has {there} bytes, and had {size_bytes} at the checkpoint"
            raise ConnectorError(what, "put the file back, or start over with --fresh")
        try:
            os.ftruncate(self._fd, size_bytes)
            self._begin()
        except OSError as error:
            raise self._failed(error) from error

    def write(self, data: Any) -> None:
        try:
            write_all(self._fd, data)
        except BrokenPipeError:
            raise ConnectorError(
                f"nobody reads {self._path} any more", "start its reader"
            ) from None
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _failed(self, error: OSError) -> ConnectorError:
        what = f"can't write {self._path}: {os.strerror(error.errno or errno.EIO)}"
        return ConnectorError(what, _HINTS.get(error.errno or 0, "write elsewhere"))
