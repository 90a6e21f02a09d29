"""`codec: csv`: a message is a row, as a dict of column name -> text."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from typing import Any

from roo.api import Codec, ConnectorError, Decoder, Encoder, Failure
from roo.connectors.codec_lines import BOM, TextDecoder
from roo.connectors.framing import NOTHING, Frames, LineFrames, frames_of, joiner


class CsvCodec(Codec):
    """Options: columns (names), header (bool), delimiter (one character), framing and its own.

    header: the first row holds the names; True by default where no columns are named. With both,
    a decoder passes over the first row and `columns` are the names. Writing needs columns.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        columns = options.get("columns")
        self._columns: list[str] | None = list(columns) if columns else None
        header = options.get("header")
        self._header: bool = self._columns is None if header is None else bool(header)
        if self._columns is None and not self._header:
            raise ConnectorError(
                "csv without a header has no names for its columns", "name them in `columns`"
            )
        self._delimiter: str = options.get("delimiter") or ","
        if len(self._delimiter) != 1 or self._delimiter in '"\r\n' or not self._delimiter.isascii():
            raise ConnectorError(
                f"csv can't be delimited by {self._delimiter!r}", "one ASCII character"
            )
        if self._columns:
            _unique(self._columns)
        self._options = options
        self._join = joiner(options)

    def decoder(self) -> Decoder:
        frames = frames_of(self._options)
        if isinstance(frames, LineFrames):
            frames = RowFrames(frames, self._delimiter)
        return CsvDecoder(frames, self._columns, self._header, self._delimiter)

    def encoder(self) -> Encoder:
        return CsvEncoder(self._named_columns(), self._delimiter, self._join)

    def header(self) -> bytes:
        columns = self._named_columns()
        if not self._header:
            return b""
        return CsvEncoder(columns, self._delimiter, self._join).encode([columns])

    def _named_columns(self) -> list[str]:
        if self._columns is None:
            raise ConnectorError(
                "writing csv needs to know the columns and their order", "name them in `columns`"
            )
        return self._columns


class RowFrames(Frames):
    """Lines put together again where a newline stands within quotes: one frame a row."""

    def __init__(self, lines: LineFrames, delimiter: str) -> None:
        super().__init__(lines.max_frame_bytes)
        self._lines = lines
        self._row: list[bytes] = []  # lines of a row whose quotes are still open
        d = re.escape(delimiter.encode())
        # A field is quoted only if it begins with a quote; elsewhere quotes are text.
        field = rb'(?:"(?:[^"]++|"")*+"[^%b]*+|[^"%b][^%b]*+|)' % (d, d, d)
        self._whole = re.compile(rb"(?:%b%b)*+%b" % (field, d, field)).fullmatch

    def feed(self, data: bytes) -> list[bytes]:
        if self._broken:
            raise self._broken
        try:
            lines = self._lines.feed(data)
        except ConnectorError:
            raise self._stop(self.clean) from None
        self.fed = self._lines.fed
        self.start = self.clean
        rows = []
        for line in lines:
            row = self._add(line)
            if row is not None:
                rows.append(row)
                self.clean += len(row) + 1
            if self._broken:
                break
        if self.fed - self.clean > self.max_frame_bytes and self._row and not self._broken:
            self._stop(self.clean)
        if self._broken:
            self._row.clear()
            if not rows:
                raise self._broken
        return rows

    def finish(self) -> bytes | None:
        if self._broken:
            raise self._broken
        self.start = self.clean
        rest = self._lines.finish()
        self.clean = self.fed
        if rest is not None:
            self._row.append(rest)
        elif self._row:
            self._row.append(b"")
        row = b"\n".join(self._row)
        self._row.clear()
        return row or None

    def _add(self, line: bytes) -> bytes | None:
        """The row that a line completes."""
        if not self._row:
            first = not self.clean and not self.goes_on
            if b'"' not in line or self._whole(line.removeprefix(BOM) if first else line):
                return line
            self._row.append(line)
            return None
        self._row.append(line)
        if b'"' not in line or not self._whole(b'"' + line):
            return None
        row = b"\n".join(self._row)
        self._row.clear()
        if len(row) > self.max_frame_bytes:
            self._stop(self.clean)
            return None
        return row


class CsvDecoder(TextDecoder):
    """Every value is text. A row with more or fewer fields than columns is a Failure."""

    def __init__(
        self, frames: Frames, columns: list[str] | None, header: bool, delimiter: str
    ) -> None:
        super().__init__(frames)
        self._columns = columns or []
        self._header = header
        self._delimiter = delimiter
        # One limit for the process; ours is already on the whole row.
        csv.field_size_limit(max(csv.field_size_limit(), frames.max_frame_bytes))

    @property
    def learns(self) -> bool:
        return self._header or super().learns

    def memory(self) -> Any:
        """The names of the columns; None in their place: the header is still to come."""
        return {"columns": None if self._header else self._columns} if self._begun else None

    def remember(self, memory: Any) -> None:
        super().remember(memory)
        if memory is not None and memory["columns"] is not None:
            self._header, self._columns = False, list(memory["columns"])

    def decode(self, frames: list[bytes]) -> tuple[list[Any], list[Failure]]:
        frames = self.without_mark(frames)
        if self._header:
            frames = self._after_header(frames)
        try:
            rows = self._rows([frame.decode() for frame in frames])
            width = len(self._columns)
            if len(rows) == len(frames) and all(len(row) == width for row in rows):
                self.locate_in(frames)
                return [dict(zip(self._columns, row, strict=True)) for row in rows], []
        except Exception:
            pass  # some row is bad: below, each by itself
        return super().decode(frames)

    def one(self, frame: bytes) -> Any:
        rows = self._rows([frame.decode()])
        row = rows[0] if rows else []
        if not row:
            return NOTHING
        if len(row) != len(self._columns):
            raise ValueError(f"{len(row)} fields for {len(self._columns)} columns")
        return dict(zip(self._columns, row, strict=True))

    def _rows(self, texts: list[str]) -> list[list[str]]:
        return list(csv.reader(texts, delimiter=self._delimiter, strict=True))

    def _after_header(self, frames: list[bytes]) -> list[bytes]:
        """What follows the first row that isn't blank, whose names are taken."""
        for i, frame in enumerate(frames):
            self.frames.start += len(frame) + self.frames.overhead_bytes
            if not frame.strip():
                continue
            self._header = False
            if not self._columns:
                try:
                    self._columns = self._rows([frame.decode()])[0]
                except (ValueError, csv.Error) as error:
                    raise ConnectorError(f"the csv header can't be read: {error}") from error
                _unique(self._columns)
            return frames[i + 1 :]
        return []


class CsvEncoder(Encoder):
    """Messages must be mappings that have every column (others are left out), or lists or tuples
    of as many values as there are columns. None is written as an empty field.
    """

    def __init__(
        self, columns: list[str], delimiter: str, join: Callable[[list[Any]], bytes]
    ) -> None:
        self._columns = columns
        self._join = join
        self._rows: list[str] = []
        # Writes a row at a time. The ending makes it quote what holds either character of it.
        self._writer = csv.writer(_Into(self._rows), delimiter=delimiter, lineterminator="\r\n")

    def encode(self, messages: list[Any]) -> bytes:
        self._rows.clear()
        self._writer.writerows(map(self._values, messages))
        return self._join([row[:-2] for row in self._rows])

    def _values(self, message: Any) -> Any:
        if isinstance(message, Mapping):
            try:
                return [message[column] for column in self._columns]
            except KeyError as error:
                raise ValueError(f"no value for the csv column {error.args[0]!r}") from None
        if not isinstance(message, list | tuple):
            name = type(message).__qualname__
            raise TypeError(f"codec csv writes messages of type dict, list or tuple, not {name}")
        if len(message) != len(self._columns):
            raise ValueError(f"{len(message)} values for {len(self._columns)} csv columns")
        return message


class _Into:
    """What csv.writer takes for a file: each row written is appended to a list."""

    def __init__(self, rows: list[str]) -> None:
        self.write = rows.append


def _unique(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConnectorError(
            f"two csv columns are called {twice[0]!r}", "a message needs a name for each"
        )
