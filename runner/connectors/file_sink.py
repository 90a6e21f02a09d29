"""`type: file`: writes batches to a file, unbuffered."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from roo import disk
from roo.api import ConnectorError, Context, Sink
from roo.connectors.file_writer import MEND_HINT, Writer
from roo.connectors.writing import write_all

if TYPE_CHECKING:
    from roo.connectors.file_committed import Committed

WORKER = "{worker}"

_HINTS = {
    errno.ENOENT: "its folder is gone: let nothing else touch it while a run writes to it",
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
    Exactly once: after a crash the file is as the checkpoint found it. While a run writes to it the
    file is the run's: where somebody else removes, replaces, cuts or writes it, the run fails. (A
    pipe or device is best effort: what its reader has not read in time is gone with the pipe.)
    """

    delivery = "best effort"

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._path = str(options["path"])
        self._committed = self.commits = options.get("visibility", "immediate") == "committed"
        self.single_writer = WORKER not in self._path
        self.rolls_back = self._may_be_plain()
        self._output: Output | None = None

    def _may_be_plain(self) -> bool:
        try:
            return stat.S_ISREG(disk.stat(self._path).st_mode)
        except FileNotFoundError:
            return True
        except OSError:  # what may not be looked at is no error here, `check` says it
            return True

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
        with self._errors():
            disk.makedirs(Path(self._path).parent, exist_ok=True)
            if not self._may_be_plain():
                if self._committed and not Path(self._path).is_dir():
                    raise _no_file(self._path)
                self._output = Stream(self._path, self.header)
                return
            append = self.options.get("mode", "overwrite") == "append"
            output: Direct | Committed
            if self._committed:
                from roo.connectors.file_committed import Committed

                output = Committed(self._path, self.header, context, append=append)
            else:
                output = Direct(self._path, self.header, context, append=append)
            if not context.resumes:
                output.begin()
            self._output = output

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
        with self._errors():
            self._opened.sync()

    def commit(self, noted: Any) -> None:
        with self._errors():
            self._opened.commit(noted)

    def rollback(self, noted: Any) -> None:
        with self._errors():
            self._opened.rollback(noted)

    def close(self) -> None:
        output, self._output = self._output, None
        if output is None:
            return
        with self._errors():
            try:
                output.finish()
            finally:
                output.let_go()

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
    """How an open file is written; the methods are those of `Sink`, and raise OSError. finish: all
    was written, and is there and durable. let_go: of the descriptors.
    """

    def write(self, data: Any) -> None: ...
    def flush(self) -> None: ...
    def prepare(self) -> Any: ...
    def sync(self) -> None: ...
    def commit(self, noted: Any) -> None: ...
    def rollback(self, noted: Any) -> None: ...
    def finish(self) -> None: ...
    def let_go(self) -> None: ...


class Stream:
    """A pipe or device: what it is given is gone."""

    def __init__(self, path: str, header: bytes) -> None:
        self._path = path
        self._fd = disk.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self.write(header)

    def write(self, data: Any) -> None:
        write_all(self._fd, data)

    def flush(self) -> None:
        """Nothing is held back."""

    def prepare(self) -> Any:
        return None

    def sync(self) -> None:
        """There is nothing to sync."""

    def commit(self, noted: Any) -> None:
        """Everything is where it belongs already."""

    def rollback(self, noted: Any) -> None:
        if noted is not None:
            what = f"{self._path} is no plain file any more, as it was at the checkpoint"
            raise ConnectorError(what, "put the file back, or start over with --fresh")

    def finish(self) -> None:
        """Everything is where it belongs already."""

    def let_go(self) -> None:
        disk.close(self._fd)


class Direct(Writer):
    """`visibility: immediate`: what is written is in the file, and cut off again after a crash."""

    flags = os.O_APPEND  # into a file that somebody has cut it leaves no gap: that would look whole

    def write(self, data: Any) -> None:
        disk.write_all(self._fd, data)
        self._written.add(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def prepare(self) -> Any:
        self._look()
        return self.note()

    def _look(self) -> None:
        written = self._written
        self.look(written.size_bytes)
        start = written.size_bytes - len(written.tail)
        if disk.pread_all(self._fd, len(written.tail), start) != written.tail:
            what = f"{self._said} does not end with what this run has written"
            raise ConnectorError(f"{what}: something else writes", MEND_HINT)

    def sync(self) -> None:
        disk.fsync(self._fd)
        self.sync_names()

    def commit(self, noted: Any) -> None:
        """Everything is where it belongs already."""

    def rollback(self, noted: Any) -> None:
        there = self.find()
        if noted is not None:
            self.check(noted, there, self.read)
        self.take_over(noted["size_bytes"] if noted is not None else 0)

    def finish(self) -> None:
        self._look()
        self.sync()


def _need_write(path: Path) -> None:
    if not os.access(path, os.W_OK):
        read_only = os.statvfs(path).f_flag & os.ST_RDONLY
        number = errno.EROFS if read_only else errno.EACCES
        raise OSError(number, os.strerror(number))


def _no_file(path: str) -> ConnectorError:
    what = f"{path} is no plain file, so it can't keep back what is not committed"
    return ConnectorError(what, "name a file, or leave `visibility` out")
