"""`type: stdin`: one worker reads the standard input of `roo run`."""

from __future__ import annotations

import os
import select
import stat

from roo.api import Codec, ConnectorError, Context, Read, Reader, Source, Split

STDIN = 0


class StdinSource(Source):
    """Takes what is there: a pipe, a terminal, a file. A closed stdin has ended. Not rewindable."""

    def check(self) -> None:
        """A closed stdin becomes an empty one, before anything else is given its number."""
        try:
            os.fstat(STDIN)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)

    def splits(self) -> list[Split]:
        return [Split("stdin", {}, _size())]

    def open(self, split: Split, offset: int | None, codec: Codec, context: Context) -> Reader:
        return StdinReader(codec)


class StdinReader(Reader):
    """Reads descriptor 0 without ever waiting for it."""

    def __init__(self, codec: Codec) -> None:
        self._decoder = codec.decoder()
        self._fed = 0
        self._always_ready = _size() is not None

    def read(self) -> Read | None:
        try:
            if not self._always_ready and not select.select([STDIN], [], [], 0)[0]:
                return None
            data = os.read(STDIN, self.batch_bytes)
        except BlockingIOError:
            return None
        except OSError as error:
            raise ConnectorError(f"can't read stdin: {os.strerror(error.errno or 0)}") from error
        start = self._fed - self._decoder.pending_bytes
        messages, failures = self._decoder.feed(data) if data else self._decoder.finish()
        self._fed += len(data)
        offset = self._fed - self._decoder.pending_bytes
        return Read(messages, start, offset, failures, len(data), not data, self._decoder.locate)

    def fileno(self) -> int | None:
        return None if self._always_ready else STDIN


def _size() -> int | None:
    """How much there is to read where stdin is a file; None for a pipe or terminal."""
    try:
        status = os.fstat(STDIN)
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
