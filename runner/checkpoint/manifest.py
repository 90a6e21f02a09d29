"""The manifest as a file: the file that makes a checkpoint real."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xxhash import xxh3_64_hexdigest

from roo.checkpoint.blocks import Damaged
from roo.core.checkpoints import Chain, FileInfo, Manifest, SplitPosition
from roo.core.table import Table

VERSION = 2


class OtherFormat(Damaged):
    """A manifest that another release of Roo has written. It is whole: it can't be read by this."""


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
                "left": tuple(data["left"]),
                "by_pickle": tuple(data["by_pickle"]),
            }
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(path, "cut short, or not a manifest") from error


def _chain(data: dict[str, Any]) -> Chain:
    return Chain(
        data["state"],
        data["worker"],
        tuple((int(a, 16), int(b, 16)) for a, b in data["intervals"]),
        tuple(FileInfo(**file) for file in data["files"]),
        data["keys"],
        int(data["keys_hash"], 16),
    )


def _checksum(text: str) -> str:
    return xxh3_64_hexdigest(text.encode())
