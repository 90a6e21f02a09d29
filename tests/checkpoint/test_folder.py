"""Snapshot files, manifests and their folder; and what becomes of them when they are damaged."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from roo import disk
from roo.api import ConnectorError
from roo.checkpoint.blocks import BlockWriter, Damaged, Group, check_file, read_blocks
from roo.checkpoint.encoding import StateEncoder
from roo.checkpoint.export import as_json, stored_state, stored_states
from roo.checkpoint.folder import CommitUnknown, Folder, NotCommitted, Unreadable
from roo.checkpoint.manifest import OtherFormat, from_json, to_json
from roo.checkpoint.restore import restore
from roo.core.checkpoints import Chain, FileInfo, Manifest, SplitPosition
from roo.core.table import RING, Table, hash_of
from roo.items import pack_keys

SCHEMA = json.loads(Path("schemas/checkpoint.schema.json").read_text())


def snapshot(folder: Path, name: str, states: dict[Any, Any], block: int = 3) -> FileInfo:
    writer = BlockWriter(folder / name)
    keys = list(states)
    for start in range(0, len(keys), block):
        some = keys[start : start + block]
        encoded = StateEncoder().encode([states[key] for key in some])
        writer.add([Group(pack_keys(some), encoded, len(some), ahead=False)])
    return writer.finish()


def chain(
    files: tuple[FileInfo, ...],
    keys: Collection[str],
    worker: int = 0,
    intervals: tuple[tuple[int, int], ...] = ((0, RING),),
) -> Chain:
    """The files of a state "s" that have these keys."""
    return Chain("s", worker, intervals, files, len(keys), hash_of(keys))


def manifest(number: int = 1, table: Table | None = None, **more: Any) -> Manifest:
    facts: dict[str, Any] = {
        "pipeline": "p",
        "fingerprint": "0" * 32,
        "shape": {"sources.a.type": "file"},
        "written_at": "2026-11-23T10:00:00+00:00",
        "workers": 2,
        "table": table or Table.equal(2),
        "splits": (SplitPosition("a", "in.txt", {"path": "in.txt"}, 100, 7, False),),
        "chains": (),
        "state_versions": {"s": 1},
        "sinks": {"out": {"single": {"size_bytes": 3}}},
    }
    return Manifest(number, **(facts | more))


def stored(folder: Path, number: int, table: Table, history: list[dict[str, Any]]) -> Manifest:
    """A checkpoint of a history: each worker's chain has one file for each step of it."""
    chains = []
    for worker in range(max(table.owners) + 1):
        files = tuple(
            snapshot(folder, f"c{number}-{step}-w{worker}.snap",
                     {k: v for k, v in states.items() if table.owner_of(k) == worker})
            for step, states in enumerate(history)
        )  # fmt: skip
        intervals = tuple((a, b) for a, b, _ in table.intervals(worker))
        mine = {k for states in history for k in states if table.owner_of(k) == worker}
        chains.append(chain(files, mine, worker, intervals))
    return manifest(number, table, chains=tuple(chains))


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    whole = stored(tmp_path, 3, Table.equal(3), [{"a": 1, "b": (2,)}])
    text = to_json(whole)
    assert from_json(tmp_path, text) == whole
    Draft7Validator.check_schema(SCHEMA)
    assert list(Draft7Validator(SCHEMA).iter_errors(json.loads(text))) == []


@given(st.data())
def test_a_manifest_that_was_touched_is_refused(data: st.DataObject) -> None:
    text = to_json(manifest())
    at = data.draw(st.integers(0, len(text) - 3))
    other = data.draw(st.sampled_from('0z }"'))
    for broken in (text[:at], text[:at] + other + text[at + 1 :]):
        try:
            again = from_json(Path("m"), broken)
        except Damaged:
            continue
        assert again == manifest()  # white space, at most


@given(
    st.lists(
        st.dictionaries(st.text(max_size=3), st.integers(), max_size=12), min_size=1, max_size=4
    ),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_whoever_owns_a_key_now_finds_its_newest_state(
    tmp_path_factory: pytest.TempPathFactory, history: list[dict[str, int]], before: int, after: int
) -> None:
    folder = tmp_path_factory.mktemp("c")
    whole = stored(folder, 1, Table.equal(before), history)
    newest = {key: value for states in history for key, value in states.items()}
    table = Table.equal(after)
    found = [restore(folder, whole, "s", table, worker) for worker in range(after)]
    for worker, states in enumerate(found):
        assert states == {k: v for k, v in newest.items() if table.owner_of(k) == worker}
    exported = list(stored_states(folder, whole, "s"))
    assert len(exported) == len(newest)
    assert dict(exported) == newest
    for key, value in newest.items():
        assert stored_state(folder, whole, "s", key) == value
    with pytest.raises(KeyError):
        stored_state(folder, whole, "s", "none of these")


@given(st.data())
def test_a_snapshot_that_was_touched_is_found_out(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("c")
    info = snapshot(folder, "a.snap", {f"key {n}": "value " * 50 for n in range(9)})
    check_file(folder, info)
    path = folder / "a.snap"
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    torn = data.draw(st.booleans())
    path.write_bytes(whole[:at] if torn else whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(Damaged, match=r"a\.snap"):
        check_file(folder, info)


def test_reading_a_damaged_block_says_where(tmp_path: Path) -> None:
    snapshot(tmp_path, "a.snap", {"a": 1, "b": 2}, block=1)
    path = tmp_path / "a.snap"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(Damaged, match="the block at byte"):
        list(read_blocks(path))
    path.write_bytes(whole[:-1])
    with pytest.raises(Damaged, match="cut short at byte"):
        list(read_blocks(path))
    path.write_bytes(b"something else")
    with pytest.raises(Damaged, match="not a snapshot file"):
        list(read_blocks(path))


def test_large_blocks_are_compressed(tmp_path: Path) -> None:
    info = snapshot(tmp_path, "a.snap", {f"key {n}": "the same words" for n in range(2000)}, 500)
    assert info.size_bytes < 20_000
    assert info.keys == 2000


def named(barrier: int, worker: int = 0) -> str:
    return f"c{barrier:08}-run1-w{worker}-s.snap"


def committed(folder: Folder, *numbers: int) -> None:
    """A base in the first one, a delta in each that follows."""
    files: tuple[FileInfo, ...] = ()
    for number in numbers:
        files = (*files, snapshot(folder.path, named(number), {"a": number}))
        folder.commit(manifest(number, chains=(chain(files, ["a"]),)))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_only_the_newest_are_kept_and_what_they_need(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    committed(folder, 1, 2, 3)
    for number in (4, 5):
        full = (snapshot(tmp_path, named(number), {"a": number}),)
        folder.commit(manifest(number, chains=(chain(full, ["a"]),)))
    (tmp_path / named(5, 7)).touch()
    (tmp_path / named(6, 7)).touch()
    (tmp_path / "notes.txt").touch()
    removed = folder.prune(2, open_barrier=6)
    assert removed == [
        *(f"manifest-{n:08}.json" for n in (1, 2, 3)),
        *map(named, (1, 2, 3)),
        named(5, 7),
    ]
    assert folder.numbers() == [5, 4]
    assert {"notes.txt", named(6, 7)} <= set(names(tmp_path))
    assert folder.prune(2) == [named(6, 7)]
    folder.clear()
    assert names(tmp_path) == ["notes.txt"]


def test_an_unreadable_manifest_stops_all_deleting(tmp_path: Path) -> None:
    """It may need any of the files."""
    folder = Folder(tmp_path)
    committed(folder, 1, 2, 3)
    folder.manifest_path(1).write_text("{")
    (tmp_path / named(1, 7)).touch()
    before = names(tmp_path)
    with pytest.raises(Damaged, match="manifest-00000001"):
        folder.prune(1)
    assert names(tmp_path) == before


def test_manifests_go_durably_before_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path)
    for number in (1, 2):
        files = (snapshot(tmp_path, named(number), {"a": number}),)
        folder.commit(manifest(number, chains=(chain(files, ["a"]),)))
    calls: list[str] = []
    unlink, fsync = disk.unlink, disk.fsync
    monkeypatch.setattr(disk, "unlink", lambda path: (calls.append(Path(path).name), unlink(path)))
    monkeypatch.setattr(disk, "fsync", lambda fd: (calls.append("fsync"), fsync(fd)))
    folder.prune(1)
    assert calls == ["manifest-00000001.json", "fsync", named(1)]


def test_a_manifest_is_never_written_twice(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.commit(manifest(1))
    before = folder.manifest_path(1).read_bytes()
    with pytest.raises(NotCommitted, match="is there already"):
        folder.commit(manifest(1, workers=3))
    assert folder.manifest_path(1).read_bytes() == before


@pytest.mark.parametrize(
    ("call", "outcome", "is_there"),
    [
        ("open", NotCommitted, False),
        ("write", NotCommitted, False),
        ("fsync", NotCommitted, False),
        ("replace", CommitUnknown, False),
        ("sync_folder", CommitUnknown, True),
    ],
)
def test_a_commit_has_three_outcomes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, outcome: Any, is_there: bool
) -> None:
    """Before the rename it has not happened; from there on nobody can tell."""
    folder = Folder(tmp_path)
    folder.commit(manifest(1))

    def fails(*arguments: Any) -> Any:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch, pytest.raises(outcome, match="input/output error"):
        patch.setattr(disk, call, fails)
        folder.commit(manifest(2))
    assert folder.numbers() == ([2, 1] if is_there else [1])
    if outcome is NotCommitted:
        assert not list(tmp_path.glob("*.tmp"))
        folder.commit(manifest(2))


def test_a_link_in_the_place_of_a_manifest_is_not_followed(tmp_path: Path) -> None:
    """The folder may be somebody else's work."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = Folder(tmp_path / "c")
    folder.path.mkdir()
    folder.manifest_path(1).with_suffix(".tmp").symlink_to(victim)
    folder.commit(manifest(1))
    assert victim.read_text() == "precious"
    assert folder.read(1) == manifest(1)


def test_the_newest_intact_is_found(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for number in (1, 2, 3):
        files = (snapshot(tmp_path, named(number), {"a": number}),)
        folder.commit(manifest(number, chains=(chain(files, ["a"]),)))
    (tmp_path / named(3)).write_bytes(b"")
    folder.manifest_path(2).write_text("{")
    (tmp_path / named(9)).touch()
    found = folder.find()
    assert found.manifest is not None
    assert found.manifest.checkpoint == 1
    assert found.newest == 9
    assert [d.path.name for d in found.damaged] == [named(3), "manifest-00000002.json"]


def test_what_can_not_be_read_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To fall back to an older checkpoint would undo what this one holds."""
    folder = Folder(tmp_path)
    committed(folder, 1, 2)

    def fails(fd: int, size: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(disk, "read", fails)
    with pytest.raises(Unreadable, match=r"manifest-00000002\.json: input/output error"):
        folder.find()


def test_a_manifest_of_another_release_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not passed over: an older checkpoint would undo what it holds."""
    folder = Folder(tmp_path)
    folder.commit(manifest(1))
    monkeypatch.setattr("roo.checkpoint.manifest.VERSION", 3)
    folder.commit(manifest(2))
    monkeypatch.undo()
    with pytest.raises(OtherFormat, match="format 3, and this Roo reads format 2"):
        folder.find()


@pytest.mark.parametrize("text", ["", "null", "3", "[]", '"x"', "{}", "[" * 100_000])
def test_what_is_no_manifest_is_damaged(text: str) -> None:
    with pytest.raises(Damaged, match="not a manifest"):
        from_json(Path("m"), text)


def test_what_is_newer_than_what_is_gone_on_from_goes(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    committed(folder, 1, 2, 3)
    folder.manifest_path(4).with_suffix(".tmp").touch()
    folder.go_on_from(1)
    folder.prune(1)
    assert names(tmp_path) == [named(1), "manifest-00000001.json"]


@pytest.mark.parametrize("removed", range(5))
def test_a_finished_run_is_one_however_much_of_it_is_forgotten(
    tmp_path: Path, removed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path)
    for number in (1, 2):
        files = (snapshot(tmp_path, named(number), {"a": number}),)
        folder.commit(manifest(number, chains=(chain(files, ["a"]),), finished=number == 2))
    left = [None] * removed
    unlink = disk.unlink

    def cut_short(path: Path) -> None:
        if not left:
            raise OSError(5, "killed")
        left.pop()
        unlink(path)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="killed"):
        patch.setattr(disk, "unlink", cut_short)
        folder.clear()
    # Of states without a manifest the next run would say that they have lost it.
    assert folder.is_half_cleared
    folder.clear()
    assert not folder.is_half_cleared
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_read_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(disk, "listdir", denied)
    with pytest.raises(Unreadable, match="permission denied"):
        Folder(tmp_path).find()


def test_a_folder_is_locked_once(tmp_path: Path) -> None:
    one, two = Folder(tmp_path / "deep" / "er"), Folder(tmp_path / "deep" / "er")
    one.lock()
    with pytest.raises(ConnectorError, match="runs on the checkpoints in"):
        two.lock()
    one.unlock()
    two.lock()
    two.unlock()


def test_a_folder_is_locked_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("roo.disk.pwrite", full)
    folder = Folder(tmp_path)
    folder.lock()
    with pytest.raises(ConnectorError, match="another process runs on the checkpoints"):
        Folder(tmp_path).lock()
    folder.unlock()


def test_a_folder_that_cannot_be_made_is_an_environment_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConnectorError, match="can't keep checkpoints in") as error:
        Folder(tmp_path / "file" / "c").lock()
    assert error.value.environment


def test_values_as_json() -> None:
    value = {"a": (1, {2}), 3: b"\xff", "b": None, "c": 1.5, "d": Path("x")}
    expected = {"a": [1, [2]], "3": "/w==", "b": None, "c": 1.5, "d": "x"}
    assert as_json(value) == expected
