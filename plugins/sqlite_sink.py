"""A sink of one's own: rows of an SQLite table, exactly once. Copy it, and adapt what is SQL.

    sinks:
      counts:
        type: plugin
        class: "plugins.sqlite_sink:SqliteSink"
        with: {path: out/counts.sqlite, table: counts, columns: [word, total]}

A message is a row: a value for each column, in their order. Every row says in which stretch between
two checkpoints it was written (`checkpoint`), so that those after one can be taken back. The table
roo_checkpoints, in the same database, says how far the table is written and how far it is safe;
the view `counts_safe` shows only what is, so nothing that it has shown ever goes away.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from roo.api import ConnectorError, Context, Sink

TABLES = """
CREATE TABLE IF NOT EXISTS roo_checkpoints (sink TEXT PRIMARY KEY, written INTEGER, safe INTEGER);
CREATE TABLE IF NOT EXISTS {table} ({columns}, checkpoint INTEGER);
CREATE INDEX IF NOT EXISTS {index} ON {table} (checkpoint);
CREATE VIEW IF NOT EXISTS {view} AS SELECT {columns} FROM {table}
    WHERE checkpoint <= (SELECT safe FROM roo_checkpoints WHERE sink = {sink});
"""


class SqliteSink(Sink):
    """Options: path of the database, table, columns. A run that starts anew empties the table.

    A transaction is open all the time, so the database should have no other writers: give each sink
    a file of its own. Readers are welcome.
    """

    takes_bytes = False  # `write` gets the messages themselves
    single_writer = True  # on one worker, whatever their number
    rolls_back = True  # so Roo promises exactly once

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._path = str(options.get("path", ""))
        self._name = str(options.get("table", ""))
        self._columns = [str(column) for column in options.get("columns", ())]
        self._table = _quoted(self._name)
        marks = ", ".join("?" * (len(self._columns) + 1))
        self._insert = f"INSERT INTO {self._table} VALUES ({marks})"
        self._db: sqlite3.Connection | None = None
        self._number = 1

    def check(self) -> None:
        """In the coordinator, before anything starts: nothing is made or changed here."""
        for option in ("path", "table", "columns"):
            if not self.options.get(option):
                what = f"the SQLite sink is given no {option}"
                raise ConnectorError(what, f"add `{option}` to its `with`")
        if Path(self._path).is_dir():
            raise ConnectorError(f"{self._path} is a folder", "name a file")

    def open(self, context: Context) -> None:
        """In the worker that writes. If the run goes on from a checkpoint, `rollback` follows."""
        with self._errors():
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
            self._db = db = sqlite3.connect(self._path, isolation_level=None)
            db.execute("PRAGMA journal_mode = WAL")  # readers don't wait for our long transaction
            db.execute("PRAGMA synchronous = FULL")  # what COMMIT has said holds without power too
            db.executescript(
                TABLES.format(
                    table=self._table,
                    columns=", ".join(map(_quoted, self._columns)),
                    index=_quoted(f"{self._name}_checkpoint"),
                    view=_quoted(f"{self._name}_safe"),
                    sink="'" + self._name.replace("'", "''") + "'",
                )
            )
            db.execute("BEGIN IMMEDIATE")
        if not context.resumes:
            self.rollback(None)

    def write(self, data: Any) -> None:
        """A batch of messages."""
        with self._errors():
            self._opened.executemany(self._insert, [(*row, self._number) for row in data])

    def prepare(self) -> Any:
        """What is written so far belongs to this checkpoint, what comes now to the next."""
        noted = {"checkpoint": self._number}
        with self._errors():
            self._store("UPDATE roo_checkpoints SET written = ? WHERE sink = ?",
                        (self._number, self._name))  # fmt: skip
        self._number += 1
        return noted

    def sync(self) -> None:
        """COMMIT has made it durable. (And this is another thread: no place for a connection.)"""

    def commit(self, noted: Any) -> None:
        """The checkpoint is real: its rows are never taken back. May come twice."""
        with self._errors():
            # Rows behind the checkpoint are stored along with it: they can still be told apart.
            self._store("UPDATE roo_checkpoints SET safe = max(safe, ?) WHERE sink = ?",
                        (noted["checkpoint"], self._name))  # fmt: skip

    def rollback(self, noted: Any) -> None:
        """After a crash: rows behind the checkpoint go. (Those without COMMIT have gone.)"""
        number = noted["checkpoint"] if noted else 0
        with self._errors():
            found = self._opened.execute(
                "SELECT written FROM roo_checkpoints WHERE sink = ?", (self._name,)
            )
            (written,) = found.fetchone() or (0,)
            if written < number:
                what = f"{self._path} knows checkpoints up to {written}, and knew {number}"
                raise ConnectorError(what, "put the database back, or start over with --fresh")
            self._opened.execute(f"DELETE FROM {self._table} WHERE checkpoint > ?", (number,))
            self._store("INSERT OR REPLACE INTO roo_checkpoints VALUES (?, ?, ?)",
                        (self._name, number, number))  # fmt: skip
        self._number = number + 1

    def flush(self) -> None:
        """In a run without checkpoints, at its end: everything is there and safe."""
        self.commit(self.prepare())

    def close(self) -> None:
        """After the last commit. In a run that fails nothing becomes safe here."""
        if self._db is not None:
            self._db.execute("ROLLBACK")
            self._db.close()
            self._db = None

    def _store(self, last: str, values: tuple[Any, ...]) -> None:
        """End the transaction with one more statement, and begin the next."""
        self._opened.execute(last, values)
        self._opened.execute("COMMIT")
        self._opened.execute("BEGIN IMMEDIATE")

    @property
    def _opened(self) -> sqlite3.Connection:
        assert self._db is not None
        return self._db

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What the database objects to, said to the user."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            what = f"can't write {self._path}: {error}"
            hint = "see that there is room, and that nothing else writes to it"
            raise ConnectorError(what, hint) from error


def _quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'
