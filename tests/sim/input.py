"""What simulated clusters read, and what has to be known of it at any offset."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import TYPE_CHECKING, Any

from tests.sim.job import Chain

if TYPE_CHECKING:
    from tests.sim.filesystem import FileSystem

LINE_BYTES = 12
HEADER = b"key,id\n"
FOLDER = "shared/in"


class Input:
    """Lines "KEY ID". Each key is in one split, so what comes of it depends on no order.

    kind: "files" of a folder, "ranges" of one file, "csv" files with headers; "follow", files that
    grow and are rotated. follows: whether they do. rows: of each split, in order.
    """

    def __init__(self, kind: str, splits: int, keys: int, lines: int, dice: Random) -> None:
        self.kind = kind
        self.follows = kind.startswith("follow")
        self._has_header = kind.endswith("csv")
        self._count = splits
        if kind == "ranges":
            size = splits * lines * LINE_BYTES
            cuts = [size * i // splits for i in range(1, splits)]
            of = [bisect_right(cuts, n * LINE_BYTES) for n in range(splits * lines)]
        else:
            of = [split for split in range(splits) for _ in range(lines)]
        self.rows: list[list[str]] = [[] for _ in range(splits)]
        for number, split in enumerate(of):
            row = f"k{split}{dice.randrange(keys)} {number}"
            self.rows[split].append(row.ljust(LINE_BYTES - 1, "0"))

    def options(self) -> str:
        """Of the source, in the pipeline file."""
        codec = ", codec: csv" if self._has_header else ""
        if self.kind == "ranges":
            return f"path: {FOLDER}/in.txt, splits: {self._count}"
        if self.follows:
            return f"path: '{FOLDER}/*.log', follow: true{codec}"
        return f"path: {FOLDER}{codec}"

    def files(self) -> dict[str, bytes]:
        """Name -> content, as it is before the first run."""
        if self.follows:
            return {f"{split}.log": self.header for split in range(self._count)}
        if self.kind == "ranges":
            return {"in.txt": b"".join(map(self.line, self.all_rows()))}
        return {f"{s}.txt": self.header + b"".join(map(self.line, rows))
                for s, rows in enumerate(self.rows)}  # fmt: skip

    @property
    def header(self) -> bytes:
        """What each file begins with."""
        return HEADER if self._has_header else b""

    def line(self, row: str) -> bytes:
        """A row as it stands in a file."""
        return (row.replace(" ", ",") if self._has_header else row).encode() + b"\n"

    def read_by(
        self, options: Mapping[str, Any], offset: int | None, states: Mapping[str, Chain]
    ) -> list[str]:
        """The rows of a split up to an offset. Where that is a place in a file which has been
        rotated, the states say how many they are.
        """
        name = str(options["path"]).rsplit("/", 1)[-1]
        if offset is None:
            return []
        if self.follows:
            split = int(name.split(".")[0])
            mine = set(self.rows[split])
            keys = {row.split(" ")[0] for row in mine}
            return self.rows[split][: sum(state.n for k, state in states.items() if k in keys)]
        data = self.files()[name]
        start = options.get("start", 0)
        first = -(-start // LINE_BYTES) * LINE_BYTES + len(self.header)
        return [row.replace(",", " ") for row in data[first:offset].decode().splitlines()]

    def all_rows(self) -> list[str]:
        """Everything."""
        return [row for rows in self.rows for row in rows]


class Growing:
    """One followed file: rows come to it, and it is rotated now and then."""

    def __init__(self, files: FileSystem, given: Input, split: int) -> None:
        self._files = files
        self._input = given
        self._path = f"/{FOLDER}/{split}.log"
        self._rest = b"".join(map(given.line, given.rows[split]))
        self._rotated = 0

    @property
    def is_whole(self) -> bool:
        """Whether everything has come."""
        return not self._rest

    def grow(self, size_bytes: int) -> None:
        """Some more comes, which may end within a line."""
        self._append(self._path, self._take(size_bytes))

    def rotate(self, size_bytes: int) -> None:
        """The file gets another name, older ones theirs. Whoever writes it may notice late, but
        has written a whole line by then.
        """
        for number in range(self._rotated, 0, -1):
            self._files.replace(f"{self._path}.{number}", f"{self._path}.{number + 1}")
        self._rotated += 1
        self._files.replace(self._path, f"{self._path}.1")
        late = self._take(size_bytes)
        line, newline, self._rest = self._rest.partition(b"\n")
        self._append(f"{self._path}.1", late + line + newline)
        self._append(self._path, self._input.header)

    def _take(self, size_bytes: int) -> bytes:
        taken, self._rest = self._rest[:size_bytes], self._rest[size_bytes:]
        return taken

    def _append(self, path: str, data: bytes) -> None:
        append(self._files, path, data)


def append(files: FileSystem, path: str, data: bytes) -> None:
    """Somebody else writes to a file, and syncs all there is to sync."""
    descriptor = files.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    files.write(descriptor, data)
    files.fsync(descriptor)
    files.close(descriptor)
    folder = files.open(path.rsplit("/", 1)[0], os.O_RDONLY)
    files.fsync(folder)
    files.close(folder)


def states_after(lines: list[str]) -> dict[str, Chain]:
    """The first state of each key after these lines."""
    states: dict[str, Chain] = {}
    for row in lines:
        name, number = row.split(" ")
        states.setdefault(name, Chain()).step(number)
    return states


def counts_of(lines: list[str]) -> Counter[str]:
    """How many lines each key has, of input or of output."""
    return Counter(row.split(" ", 1)[0] for row in lines)
