"""The manifest: the file that makes a checkpoint real, and all that is needed to go on from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xxhash import xxh3_64_hexdigest

from roo.checkpoint.blocks import Damaged, FileInfo
from roo.core.table import Table

VERSION = 2


class OtherFormat(Damaged):
    """A manifest that another release of Roo has written. It is whole: it can't be read by this."""


@dataclass(frozen=True)
class SplitPosition:
    """Where a split of a source stood. offset: None before its first message. ended: read out."""

    source: str
    name: str
    options: Mapping[str, Any]
    size_bytes: int | None
    offset: int | None
    ended: bool


@dataclass(frozen=True)
class Chain:
    """The snapshot files of one state from one worker, oldest first: a full one and its deltas.

    intervals: what that worker owned at the cut, as (from, to) with `to` exclusive. keys,
    keys_hash: how many keys it had then, which are those in the files, and the sum of their hashes
    modulo 2^64 (`core.table.hash_of`).
    """

    state: str
    worker: int
    intervals: tuple[tuple[int, int], ...]
    files: tuple[FileInfo, ...]
    keys: int
    keys_hash: int


@dataclass(frozen=True)
class Manifest:
    """One checkpoint.

    checkpoint: its number; each is greater than those before. shape: the parts of the pipeline
    that stored data depend on, by path; fingerprint: their digest. sinks: what each open writer
    noted (`api.Sink.prepare`), by sink and worker. by_pickle: classes whose states are pickled.
    finished: the run had read everything.
    """

    checkpoint: int
    pipeline: str
    fingerprint: str
    shape: Mapping[str, Any]
    written_at: str
    workers: int
    table: Table
    splits: tuple[SplitPosition, ...]
    chains: tuple[Chain, ...]
    state_versions: Mapping[str, int]
    sinks: Mapping[str, Mapping[str, Any]]
    keys: Mapping[str, int] = field(default_factory=dict)
    by_pickle: tuple[str, ...] = ()
    finished: bool = False

    @property
    def files(self) -> list[FileInfo]:
        """Every file this checkpoint needs."""
        return [file for chain in self.chains for file in chain.files]

    @property
    def at_start(self) -> bool:
        """Whether it was written before the first message: it has nothing but sinks' positions."""
        return self.checkpoint == 0

    @property
    def size_bytes(self) -> int:
        """What its files take together."""
        return sum(file.size_bytes for file in self.files)


def to_json(manifest: Manifest) -> str:
    """As text, with a checksum of itself at the end. Places on the ring are hexadecimal."""
    data = {"version": VERSION, **asdict(manifest)}
    data["table"]["bounds"] = [f"{bound:016x}" for bound in manifest.table.bounds]
    for chain in data["chains"]:
        chain["intervals"] = [[f"{a:016x}", f"{b:016x}"] for a, b in chain["intervals"]]
        chain["keys_hash"] = f"{chain['keys_hash']:016x}"
    body = json.dumps(data, indent=1, ensure_ascii=False)
    return json.dumps({**json.loads(body), "checksum": _checksum(body)}, indent=1) + "\n"


def from_json(path: Path, text: str) -> Manifest:
    """The manifest again. Raises Damaged, OtherFormat."""
    try:
        data = json.loads(text)
        if not isinstance(data, dict):
            raise TypeError(data)
        checksum, version = data.pop("checksum"), data.pop("version")
        whole = json.dumps({"version": version, **data}, indent=1, ensure_ascii=False)
        if checksum != _checksum(whole):  # the same in every format, so that it can be told apart
            raise Damaged(path, "not as it was written (its checksum differs)")
        if version != VERSION:
            raise OtherFormat(path, f"format {version}, and this Roo reads format {VERSION}")
        table = data.pop("table")
        bounds = tuple(int(bound, 16) for bound in table["bounds"])
        return Manifest(
            **{
                **data,
                "table": Table(bounds, tuple(table["owners"]), table["version"]),
                "splits": tuple(SplitPosition(**split) for split in data["splits"]),
                "chains": tuple(map(_chain, data["chains"])),
                "by_pickle": tuple(data["by_pickle"]),
            }
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(path, "cut short, or not a manifest") from error


def _chain(data: dict[str, Any]) -> Chain:
    intervals = tuple((int(a, 16), int(b, 16)) for a, b in data["intervals"])
    files = tuple(FileInfo(**file) for file in data["files"])
    return Chain(
        data["state"], data["worker"], intervals, files, data["keys"], int(data["keys_hash"], 16)
    )


def _checksum(text: str) -> str:
    return xxh3_64_hexdigest(text.encode())
