"""What all readers of files share: chunks through a decoder, clean offsets, places of messages."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from roo.api import BATCH_BYTES, Codec, ConnectorError, Read, Reader
from roo.connectors.file_known import Known, OpenFile

PACKED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
"""How a file is packed, by the end of its name."""

Locate = Callable[[int], int]
"""Offset of messages[index], as `Decoder.locate` and `Read.locate`."""


class FileReader(Reader):
    """A reader of one file. It remembers which file that is, and what its decoder has learnt.

    _fed: offset in the (unpacked) file after the last byte given to the decoder.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._begin(0, None)

    def _begin(self, offset: int, learnt: Any) -> None:
        """What is fed next stands at an offset. learnt: the memory of a decoder that got there."""
        self._decoder = self._codec.decoder()
        if learnt is not None:
            self._decoder.remember(learnt)
        self._base = self._fed = offset

    def memory(self) -> Any:
        known = self._known()
        file = asdict(known) if known is not None else None
        return {"file": file, "decoder": self._decoder.memory()}

    def _known(self) -> Known | None:
        """The file, as far as it has been read; None: there is none, or it can't be known again.
        Raises ConnectorError for one that has become another.
        """
        raise NotImplementedError

    def _decode(self, data: bytes, bytes_read: int, *, end: bool) -> Read:
        decoder = self._decoder
        start = self._fed - decoder.pending_bytes
        messages, failures = decoder.feed(data) if data else ([], [])
        locate = _locator(decoder.locate, self._base)
        self._fed += len(data)
        if end:
            last, torn = decoder.finish()
            failures += [replace(f, index=f.index + len(messages)) for f in torn]
            if last:
                locate = _locator(decoder.locate, self._base, len(messages), locate)
                messages = messages + last
        failures = [replace(f, offset=f.offset + self._base) for f in failures]
        offset = self._fed - decoder.pending_bytes
        return Read(messages, start, offset, failures, bytes_read, end, locate)


def learn(file: OpenFile, codec: Codec) -> tuple[Any, int]:
    """What a decoder learns from the beginning of a file, and the offset after that: what stands
    before it is no message that begins elsewhere. Raises OSError, ConnectorError.
    """
    decoder, fed = codec.decoder(), 0
    while decoder.learns and (data := file.part(fed, fed + BATCH_BYTES)):
        for line in data.splitlines(keepends=True):
            decoder.feed(line)
            fed += len(line)
            if not decoder.learns:
                break
    return decoder.memory(), fed


def _locator(
    locate: Locate | None, base: int, count: int = 0, before: Locate | None = None
) -> Locate | None:
    """A decoder's `locate` for a decoder that began at `base`, with `count` messages before its
    own, which `before` locates.
    """
    if locate is None:
        return None

    def place(index: int) -> int:
        if index >= count or before is None:
            return base + locate(index - count)
        return before(index)

    return place


def shorter(path: Path, size_bytes: int, read_bytes: int) -> ConnectorError:
    """A file lacks what had been read of it: going on would silently leave its new lines out."""
    what = f"{path} has {size_bytes} bytes, and had been read up to byte {read_bytes}"
    return ConnectorError(what, "put the file back, or start over with --fresh")


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
