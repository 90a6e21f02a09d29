"""Notes of what a worker runs, and what follows from two of them."""

from __future__ import annotations

from pathlib import Path

from roo.core.batch import Origin
from roo.runtime.suspects import Message, Notebook, Suspects, read_note

ORIGIN = Origin(0, 3, 100, 200)


def died_at(path: Path, message: str | None) -> Message | None:
    notebook = Notebook(path)
    notebook.batch(1, ORIGIN)
    return notebook.message(1, ORIGIN, "k", message) if message else None


def test_a_note_outlives_its_writer(tmp_path: Path) -> None:
    assert read_note(tmp_path / "none") is None
    died_at(tmp_path / "n", None)
    note = read_note(tmp_path / "n")
    assert note is not None
    assert (note.stage, note.split, note.start, note.end, note.message) == (1, 3, 100, 200, None)
    assert read_note(tmp_path / "n") is None
    notebook = Notebook(tmp_path / "n")
    notebook.batch(1, ORIGIN)
    notebook.end()
    assert read_note(tmp_path / "n") is None


def test_a_message_is_poison_at_the_second_note_in_a_row(tmp_path: Path) -> None:
    suspects, path = Suspects(), tmp_path / "n"
    died_at(path, None)
    assert suspects.take(read_note(path)) is None
    assert suspects.suspicion.concerns(1, Origin(0, 3, 199, 300))
    assert not suspects.suspicion.concerns(1, Origin(0, 3, 200, 300))
    assert not suspects.suspicion.concerns(2, ORIGIN)
    died_at(path, "bad")
    assert suspects.take(read_note(path)) is None
    died_at(path, "other")
    assert suspects.take(read_note(path)) is None
    died_at(path, "bad")
    assert suspects.take(read_note(path)) is None
    known = died_at(path, "bad")
    assert suspects.take(read_note(path)) == known
    assert suspects.suspicion.poison == {known}
    suspects.committed({3: 199})
    assert suspects.suspicion.poison == {known}
    suspects.committed({3: 200})
    assert suspects.suspicion == Suspects().suspicion


def test_what_a_reader_has_left_behind_for_another_file_is_over(tmp_path: Path) -> None:
    suspects = Suspects()
    suspects.committed({3: 90})
    died_at(tmp_path / "n", None)
    suspects.take(read_note(tmp_path / "n"))
    suspects.committed({3: 95})
    assert suspects.suspicion.concerns(1, ORIGIN)
    suspects.committed({3: 20})
    assert not suspects.suspicion.concerns(1, ORIGIN)


def test_equal_messages_are_told_apart_by_their_turn(tmp_path: Path) -> None:
    notebook = Notebook(tmp_path / "n")
    first, second = (notebook.message(1, ORIGIN, "k", "same") for _ in range(2))
    assert first != second
    assert first == Notebook(tmp_path / "n").message(1, ORIGIN, "k", "same")
