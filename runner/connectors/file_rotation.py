"""Where a followed file has gone: under another name in its folder, as rotation leaves it."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from roo import disk
from roo.api import ConnectorError
from roo.connectors.file_known import (
    SAMPLE_BYTES,
    Known,
    OpenFile,
    digest,
    is_regular,
    open_if_there,
    stat_of,
)
from roo.connectors.file_packed import unpacked
from roo.connectors.file_reading import PACKED

TELLING_BYTES = 256
"""Of which less was read is not known by its content alone: others may begin with the same header.
"""

NUMBER_MAX_DIGITS = 4
"""A number with more digits in the name of a rotated file is a date or a time."""

Turn = tuple[int, ...]
"""Of names that rotation gives, the later one's is greater: (0, -number) or (1, year, month...)."""


def find(path: Path, known: Known) -> OpenFile:
    """The file that was read as `path`, whatever its name is now. Raises ConnectorError where it is
    gone or was cut, OSError.
    """
    places = _places(path)
    same = [place for place, facts in places if known.has_place_of(facts)]
    copies = [place for place, _ in places if place not in same]
    file = _first(same if known.bytes < TELLING_BYTES else same + copies, known)
    if file is None:
        raise _gone(path, known, places)
    return file


def find_copy(path: Path, known: Known) -> OpenFile | None:
    """A copy of a file, made before it was cut. Raises OSError."""
    if known.bytes < TELLING_BYTES:
        return None
    return _first([place for place, facts in _places(path) if not known.has_place_of(facts)], known)


def next_after(path: Path, file: OpenFile, known: Known) -> OpenFile | None:
    """The file that came after one which had the name `path`: one that has been rotated since, or
    the present one; None: there is none yet. Raises ConnectorError for one that is packed, OSError.
    """
    present = stat_of(path)
    if present is None:
        return None
    here = _Rotated(file.facts.st_mtime_ns, None, path)
    others = []
    for place, facts in _places(path):
        turn = turn_of(path.name, place.name)
        if os.path.samestat(facts, file.facts):
            here = here._replace(turn=turn)
        elif turn is not None and not os.path.samestat(facts, present):
            others.append(_Rotated(facts.st_mtime_ns, turn, place))
    for rotated in sorted(others):
        place = rotated.place
        if not rotated.came_after(here) or _is_copy(place, known):
            continue
        if place.suffix in PACKED:
            what = f"{path} was rotated twice, and what came between is packed as {place.name}"
            raise ConnectorError(what, _unpack(place))
        return OpenFile(place)
    return open_if_there(path)


def without_rotated(paths: list[Path]) -> list[Path]:
    """Some files without those that rotation has made of another one of them: what is left of them
    is read as the rest of that.
    """
    known = defaultdict(list)
    for path in paths:
        for begins in {path.name, path.stem}:
            known[path.parent / begins].append(path.name)

    def is_rotated(path: Path) -> bool:
        cuts = re.finditer(r"[.\-_](?=\d)", path.name)
        begins = [path.parent / path.name[: cut.start()] for cut in cuts if cut.start()]
        return any(turn_of(name, path.name) is not None for b in begins for name in known[b])

    return [path for path in paths if not is_rotated(path)]


class _Rotated(NamedTuple):
    """What has been rotated, in the order in which it was written. turn: None where its name does
    not tell.
    """

    mtime_ns: int
    turn: Turn | None
    place: Path

    def came_after(self, other: _Rotated) -> bool:
        """By their names, if they are of one kind: what is being packed is newer than it was."""
        if self.turn and other.turn and self.turn[0] == other.turn[0]:
            return self.turn > other.turn
        return self.mtime_ns > other.mtime_ns


def turn_of(name: str, rotated: str) -> Turn | None:
    """When a name was given by rotation; None: it gives no such name to the file `name`.

    It is known by a number or a date behind the name, or before its suffix: app.log.1,
    app.log-20261127, app-2026-11-27.log, app.log.2.gz.
    """
    stem, suffix = Path(name).stem, Path(name).suffix
    number = r"[.\-_](\d[\d.\-_:T]*)"
    packed = "|".join(map(re.escape, PACKED))
    names = rf"{re.escape(name)}{number}|{re.escape(stem)}{number}{re.escape(suffix)}"
    found = re.fullmatch(rf"(?:{names})(?:{packed})?", rotated)
    if found is None:
        return None
    numbers = re.findall(r"\d+", found[1] or found[2])
    if len(numbers) == 1 and len(numbers[0]) <= NUMBER_MAX_DIGITS:
        return 0, -int(numbers[0])
    return 1, *map(int, numbers)


def _places(path: Path) -> list[tuple[Path, os.stat_result]]:
    """The path, if it is there, and the other files of its folder, by name."""
    names = sorted(disk.listdir(path.parent))
    names.sort(key=path.name.__ne__)
    found = [(path.parent / name, stat_of(path.parent / name)) for name in names]
    return [(place, facts) for place, facts in found if facts is not None and is_regular(facts)]


def _gone(path: Path, known: Known, places: list[tuple[Path, os.stat_result]]) -> ConnectorError:
    what = f"the file that had been read up to byte {known.bytes} as {path} is not there any more"
    for place, _ in places:
        if place.suffix in PACKED and _begins(_unpacked_beginning(place), known):
            return ConnectorError(f"{what}, but packed as {place.name}", _unpack(place))
    return ConnectorError(
        f"{what} (it was removed, cut or written anew): what came after that is lost",
        "put it back beside the other one, by any name, or start over with --fresh",
    )


def _first(places: list[Path], known: Known) -> OpenFile | None:
    """The first of some files that is the one that was read, or a copy of it."""
    for place in places:
        try:
            file = OpenFile(place)
        except (FileNotFoundError, PermissionError):
            continue
        if not known.difference(file):
            return file
        file.close()
    return None


def _is_copy(place: Path, known: Known) -> bool:
    """Whether a file is a copy, packed or not, of one that has been read to its end."""
    if place.suffix in PACKED:
        begins = _unpacked_beginning(place)
        return _begins(begins, known) and len(begins) <= known.bytes
    file = OpenFile(place)
    try:
        return file.facts.st_size == known.bytes and not known.difference(file)
    finally:
        file.close()


def _unpacked_beginning(place: Path) -> bytes:
    file = OpenFile(place)
    try:
        content = unpacked(BufferedReader(file), PACKED[place.suffix])
        return content.read(SAMPLE_BYTES)[:SAMPLE_BYTES]
    except Exception:
        return b""  # not packed, or not yet whole: each library has errors of its own
    finally:
        file.close()


def _begins(content: bytes, known: Known) -> bool:
    """Whether a file of which something was read begins like this."""
    head_bytes = min(known.bytes, SAMPLE_BYTES)
    return 0 < head_bytes <= len(content) and digest(content[:head_bytes]) == known.head


def _unpack(place: Path) -> str:
    return f"unpack {place.name} where it is, or start over with --fresh"
