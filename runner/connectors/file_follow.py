"""Following a file that grows, like `tail -F`."""

from __future__ import annotations

from pathlib import Path

from roo import clock
from roo.api import Codec, Context, Read
from roo.connectors.file_known import Known, OpenFile, Trail, open_if_there, stat_of
from roo.connectors.file_reading import FileReader, failed, shorter
from roo.connectors.file_rotation import find, find_copy, next_after

FOLLOW_EVERY_MS = 20.0


class FollowReader(FileReader):
    """Waits for more, and goes through rotation, truncation and a file not yet there.

    Offsets are places in the file that `memory` names, which is not always the one that has the
    path now: one that gave way to another is read to its end first, and what came between the two
    after it. What is left of a file that is left, or was cut, counts as its last line.

    _trail: of what was given to the decoder of the file. _idle: nothing was there at the last look.
    _next: the file to go on with, once the last line has been given out.
    """

    def __init__(
        self, path: Path, offset: int | None, codec: Codec, context: Context, rotate_wait_s: float
    ) -> None:
        """rotate_wait_s: so long nothing must have come to a file before it is left for another."""
        super().__init__(codec)
        self._path = path
        self._log = context.log
        self._rotate_wait_s = rotate_wait_s
        self._file: OpenFile | None = None
        self._next: OpenFile | None = None
        self._idle = False
        self._quiet_since_s: float | None = None
        memory = context.memory
        try:
            if (known := Known.of(memory)) is not None:
                self._go_on_with(find(path, known), offset or 0, memory["decoder"])
            elif (file := open_if_there(path)) is not None:
                self._go_on_with(file, offset or 0, None)
        except OSError as error:
            raise failed(path, error) from error

    def read(self) -> Read | None:
        try:
            return self._read()
        except OSError as error:
            raise failed(self._path, error) from error

    def _read(self) -> Read | None:
        if self._next is not None:
            return self._turn_to_next()
        if self._file is None:
            file = open_if_there(self._path)
            if file is None:
                return None
            self._go_on_with(file, 0, None)
        assert self._file is not None
        data = self._file.read(self.batch_bytes)
        # Looked at after the read: what was cut before it may have grown beyond this place again.
        if (data or self._idle) and (difference := self._trail.known().difference(self._file)):
            self._file.seek(self._fed)
            return self._was_cut(difference)
        self._idle = not data
        if not data:
            return self._leave() if self._is_over() else None
        self._quiet_since_s = None
        self._trail.add(data)
        return self._decode(data, len(data), end=False)

    def _go_on_with(self, file: OpenFile, offset: int, learnt: object) -> None:
        """Read a file from an offset on. learnt: by the decoder that got there."""
        size_bytes = file.facts.st_size
        if size_bytes < offset:
            raise shorter(file.path, size_bytes, offset)
        if self._file is not None:
            self._file.close()
        self._file = file
        self._trail = Trail(file, offset)
        self._idle, self._quiet_since_s = False, None
        file.seek(offset)
        self._begin(offset, learnt)

    def _is_over(self) -> bool:
        """Whether the path names another file, and nothing has come to this one for a while: who
        writes it may not have heard of the other one yet.
        """
        assert self._file is not None
        there, here = stat_of(self._path), self._file.facts
        if there is None or (there.st_ino, there.st_dev) == (here.st_ino, here.st_dev):
            return False  # moved away, and nothing new yet: more may come to the old one
        now_s = clock.monotonic_s()
        if self._quiet_since_s is None:  # something may have come before we looked at the name
            self._quiet_since_s = now_s
            return False
        return now_s - self._quiet_since_s >= self._rotate_wait_s

    def _leave(self) -> Read | None:
        """Done with this file: its last line, if that lacked a newline. The next begins at 0."""
        assert self._file is not None
        self._next = next_after(self._path, self._file, self._trail.known())
        return self._last_line() if self._next is not None else None

    def _last_line(self) -> Read:
        read = self._decode(b"", 0, end=True)
        read.end = False
        return read if read.messages or read.failures else self._turn_to_next()

    def _turn_to_next(self) -> Read:
        """A read of nothing, at the beginning of another file."""
        assert self._next is not None
        file, self._next = self._next, None
        self._go_on_with(file, 0, None)
        return Read([], 0, 0)

    def _was_cut(self, difference: str) -> Read | None:
        """The file holds another content than what was read of it. Where a copy was made before
        (logrotate's `copytruncate`), its rest is read from there.
        """
        assert self._file is not None
        known = self._trail.known()
        copy = find_copy(self._path, known)
        if copy is None:
            self._next = open_if_there(self._path)
            if self._next is None:
                return None
            self._log(f"{self._path} {difference}; it is read from its beginning, and what was "
                      "written to it just before that may be missing")  # fmt: skip
            return self._last_line()
        self._file.close()
        self._file = copy
        copy.seek(self._fed)
        self._trail = Trail(copy, self._fed)
        self._idle = False
        return None

    def _known(self) -> Known | None:
        return self._trail.known() if self._file is not None else None

    def ready_in_ms(self) -> float:
        return FOLLOW_EVERY_MS

    def close(self) -> None:
        for file in (self._file, self._next):
            if file is not None:
                file.close()
