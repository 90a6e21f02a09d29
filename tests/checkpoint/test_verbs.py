"""The verbs that read checkpoints, while a run goes on writing and removing them."""

from __future__ import annotations

from pathlib import Path

import pytest

from roo.checkpoint.folder import Folder
from roo.cli.main import _run
from roo.cli.stored import manifest_of
from tests.checkpoint.test_folder import chain, manifest, snapshot


def kept(folder: Folder, number: int) -> None:
    """A checkpoint with a state of one key, and nothing before it."""
    file = snapshot(folder.path, f"c{number:08}-w0-s.snap", {"a": number})
    folder.commit(manifest(number, chains=(chain((file,), ["a"]),)))
    folder.prune(1)


def test_what_is_removed_while_it_is_looked_for_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Folder(tmp_path)
    kept(folder, 1)
    read = Folder.read

    def goes_on(self: Folder, number: int) -> object:
        if number == 1:
            monkeypatch.setattr(Folder, "read", read)
            kept(folder, 2)
        return read(self, number)

    monkeypatch.setattr(Folder, "read", goes_on)
    assert manifest_of(folder, None).checkpoint == 2
    assert capsys.readouterr().err == ""


def test_what_is_removed_while_it_is_read_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Folder(tmp_path)
    kept(folder, 1)
    verify = Folder.verify

    def goes_on(self: Folder, whole: object) -> None:
        verify(self, whole)  # type: ignore[arg-type]
        kept(folder, 2)

    monkeypatch.setattr(Folder, "verify", goes_on)
    assert _run(["state", "export", str(tmp_path), "s"]) == 1
    said = capsys.readouterr().err
    assert f"checkpoint 1 in {tmp_path} was removed while it was read; try again" in said
