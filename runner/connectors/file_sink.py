"""`type: file`: writes batches to a file, unbuffered."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

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
    """Options: path; mode: overwrite (the default) or append; visibility: immediate (the default)
    or committed.

    With `{worker}` in the path each worker writes a file of its own, else one writes for all.
    Exactly once: after a crash the file is as the checkpoint found it. (A pipe or device is not.)
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._path = str(options["path"])
        self._committed = options.get("visibility", "immediate") == "committed"
        self.single_writer = WORKER not in self._path
        # os.path: what may not be looked at is no error here, `check` says it.
        self.rolls_back = os.path.isfile(self._path) or not os.path.exists(self._path)  # noqa: PTH110, PTH113
        self._output: Output | None = None

    def check(self) -> None:
        """Whether the file could be opened, without making or changing anything."""
        path = Path(self._path.replace(WORKER, "0"))
        with self._errors():
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if path.exists():
                _need_write(path)
                if not self._committed:
                    return
                if not path.is_file():
                    raise _no_file(self._path)
            folder = path.parent
            while not folder.exists() and folder != folder.parent:
                folder = folder.parent
            if not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            _need_write(folder)

    def open(self, context: Context) -> None:
        self._path = self._path.replace(WORKER, str(context.worker))
        append = self.options.get("mode", "overwrite") == "append"
        how = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        if not append and not context.resumes:
            how |= os.O_TRUNC
        with self._errors():
            path = Path(self._path)
            path.parent.mkdir(parents=True, exist_ok=True)
            if not self._committed:
                fd = os.open(path, how | os.O_APPEND, MODE)
                self._output = Direct(path, fd, self.header)
                return
            from roo.connectors.file_committed import Committed

            if path.exists() and not (path.is_file() or path.is_dir()):
                raise _no_file(self._path)
            fd = os.open(path, how, MODE)
            self._output = Committed(path, fd, self.header, append=append, resumes=context.resumes)

    def write(self, data: Any) -> None:
        with self._errors():
            self._opened.write(data)

    def flush(self) -> None:
        with self._errors():
            self._opened.flush()

    def prepare(self) -> Any:
        with self._errors():
            return self._opened.prepare()

    def sync(self) -> None:
        self._opened.sync()

    def commit(self, noted: Any) -> None:
        with self._errors():
            self._opened.commit(noted)

    def rollback(self, noted: Any) -> None:
        with self._errors():
            self._opened.rollback(noted)

    def close(self) -> None:
        if self._output is not None:
            with self._errors():
                self._output.close()
            self._output = None

    @property
    def _opened(self) -> Output:
        assert self._output is not None
        return self._output

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """An OSError as what is said to the user."""
        try:
            yield
        except BrokenPipeError:
            what = f"nobody reads {self._path} any more"
            raise ConnectorError(what, "start its reader") from None
        except OSError as error:
            what = f"can't write {self._path}: {os.strerror(error.errno or errno.EIO)}"
            hint = _HINTS.get(error.errno or 0, "write elsewhere")
            raise ConnectorError(what, hint) from error


class Output(Protocol):
    """How an open file is written; the methods are those of `Sink`, and raise OSError."""

    def write(self, data: Any) -> None: ...
    def flush(self) -> None: ...
    def prepare(self) -> Any: ...
    def sync(self) -> None: ...
    def commit(self, noted: Any) -> None: ...
    def rollback(self, noted: Any) -> None: ...
    def close(self) -> None: ...


class Direct:
    """`visibility: immediate`. A pipe or device will do as well: what it is given is gone."""

    def __init__(self, path: Path, fd: int, header: bytes) -> None:
        self._path = path
        self._fd = fd
        self._header = header
        self._begin()

    def _begin(self) -> None:
        """A file that is empty begins with its header."""
        if self._header and not os.fstat(self._fd).st_size:
            write_all(self._fd, self._header)

    def _regular(self) -> bool:
        return stat.S_ISREG(os.fstat(self._fd).st_mode)

    def write(self, data: Any) -> None:
        write_all(self._fd, data)

    def flush(self) -> None:
        """Nothing is held back."""

    def prepare(self) -> Any:
        return {"size_bytes": os.fstat(self._fd).st_size} if self._regular() else None

    def sync(self) -> None:
        if self._regular():
            os.fsync(self._fd)

    def commit(self, noted: Any) -> None:
        """Everything is where it belongs already."""

    def rollback(self, noted: Any) -> None:
        if not self._regular():
            return
        size_bytes = noted["size_bytes"] if noted else 0
        there = os.fstat(self._fd).st_size
        if there < size_bytes:
            what = f"{self._path} has {there} bytes, and had {size_bytes} at the checkpoint"
            raise ConnectorError(what, "put the file back, or start over with --fresh")
        os.ftruncate(self._fd, size_bytes)
        self._begin()

    def close(self) -> None:
        os.close(self._fd)


def _need_write(path: Path) -> None:
    if not os.access(path, os.W_OK):
        read_only = os.statvfs(path).f_flag & os.ST_RDONLY
        number = errno.EROFS if read_only else errno.EACCES
        raise OSError(number, os.strerror(number))


def _no_file(path: str) -> ConnectorError:
    what = f"{path} is no plain file, so it can't keep back what is not committed"
    return ConnectorError(what, "name a file, or leave `visibility` out")
