"""The SQLite sink by itself: what it says, and whose rows it leaves alone."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from plugins.sqlite_sink import SqliteSink
from roo.api import ConnectorError, Context

HERE = Context("pipeline", "counts", 0, 1)


def made(file: Path, **options: Any) -> SqliteSink:
    return SqliteSink({"path": str(file), "table": "t", "columns": ["a", "b"], **options})


def write(sink: SqliteSink, *rows: tuple[Any, ...]) -> None:
    sink.open(HERE)
    sink.write(list(rows))
    sink.flush()
    sink.close()


@pytest.mark.parametrize("option", ["path", "table", "columns"])
def test_a_missing_option_is_found_before_the_run(tmp_path: Path, option: str) -> None:
    with pytest.raises(ConnectorError, match=f"given no {option}"):
        made(tmp_path / "x", **{option: ""}).check()
    made(tmp_path / "x").check()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(ConnectorError, match="is a folder"):
        made(tmp_path).check()


def test_any_name_will_do(tmp_path: Path) -> None:
    """Also one that is a word of SQL, or has quotes."""
    path = tmp_path / "new" / "x"
    write(made(path, table='it\'s a "table"', columns=["select", 'a"b']), (1, "x"))
    with sqlite3.connect(path) as db:
        assert db.execute('SELECT * FROM "it\'s a ""table""_safe"').fetchall() == [(1, "x")]


def test_tables_side_by_side(tmp_path: Path) -> None:
    """A run empties its own table, and no other."""
    path = tmp_path / "x"
    write(made(path), (1, 2))
    write(made(path, table="u"), (3, 4))
    write(made(path, table="u"), (5, 6))
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT a, b FROM t").fetchall() == [(1, 2)]
        assert db.execute("SELECT a, b FROM u").fetchall() == [(5, 6)]


@pytest.mark.parametrize("row", [(1,), (1, 2, 3), (1, ["x"])])
def test_a_row_that_does_not_fit_is_said(tmp_path: Path, row: tuple[Any, ...]) -> None:
    sink = made(tmp_path / "x")
    sink.open(HERE)
    with pytest.raises(ConnectorError, match="can't write"):
        sink.write([row])


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("no database at all" * 100)
    with pytest.raises(ConnectorError, match="not a database"):
        made(tmp_path / "x").open(HERE)
