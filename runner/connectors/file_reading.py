"""What all readers of files share: chunks through a decoder, clean offsets, places of messages."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from roo.api import Codec, ConnectorError, Read, Reader


class FileReader(Reader):
    """A reader of one file.

    _fed: offset in the (unpacked) file after the last byte given to the decoder.
    """

    def __init__(self, codec: Codec, offset: int) -> None:
        self._codec = codec
        self._decoder = codec.decoder()
        self._base = self._fed = offset

    def _decode(self, data: bytes, bytes_read: int, *, end: bool) -> Read:
        start = self._fed - self._decoder.pending_bytes
        pending = self._decoder.pending_bytes
        messages, failures = self._decoder.feed(data) if data else ([], [])
        self._fed += len(data)
        if end:
            more, torn = self._decoder.finish()
            failures += [replace(f, index=f.index + len(messages)) for f in torn]
            messages = messages + more
        failures = [replace(f, offset=f.offset + self._base) for f in failures]
        offset = self._fed - self._decoder.pending_bytes
        return Read(messages, start, offset, failures, bytes_read, end,
                    _locator(data, start, pending))  # fmt: skip


def _locator(data: bytes, start: int, pending: int) -> Callable[[int], int]:
    """Where messages[i] begins: after the i-th newline since `start` (blank lines not skipped)."""

    def locate(index: int) -> int:
        if not index:
            return start
        place = -1
        for _ in range(index):
            place = data.find(b"\n", place + 1)
            if place < 0:
                return start
        return start + pending + place + 1

    return locate


def failed(path: Path, error: Exception) -> ConnectorError:
    """What happened to a file, said to the user."""
    if isinstance(error, FileNotFoundError):
        hint = "check the path; it starts from the folder you are in"
        return ConnectorError(f"there is no file {path}", hint)
    if isinstance(error, PermissionError):
        return ConnectorError(f"{path} may not be read", "see its owner and mode")
    if isinstance(error, IsADirectoryError):
        return ConnectorError(f"{path} is a folder", "name a file")
    said = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return ConnectorError(f"can't read {path}: {said or type(error).__name__}", "is it whole?")
