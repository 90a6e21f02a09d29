"""The splits of a worker: where one stands goes from reader to reader, whoever has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from roo import api
from roo.api import Split
from roo.core.position import START, Position
from roo.plan.build import make
from roo.runtime.failures import RunFailure
from roo.runtime.readers import Readers
from roo.spec.load import load

PIPELINE = """
version: 1
name: p
sources: {rows: {type: file, path: "*.csv", codec: csv}}
states: {s: {factory: "builtins:list"}}
steps: [{name: keep, type: stateful, partition: "builtins:str", state: s, call: "builtins:print"}]
sinks: {out: {type: "null"}}
"""


class Rows:
    """Two files of rows, read by workers of their own in turn."""

    def __init__(self, folder: Path) -> None:
        (folder / "p.yaml").write_text(PIPELINE)
        self.plan = make(load(str(folder / "p.yaml")), {"out": False})
        self.files = [folder / "a.csv", folder / "b.csv"]
        self.splits = {
            index: ("rows", Split(str(file), {"path": str(file)}, 8))
            for index, file in enumerate(self.files)
        }
        for file in self.files:
            file.write_text("n\n1\n2\n")
        self.said: list[str] = []
        self.context = api.Context("p", "", 0, 2, self.said.append)

    def readers(self, **stood: Position) -> Readers:
        """Of a worker. stood: where its splits stand: split0, split1."""
        return Readers(self.plan, self.splits, {int(k[-1]): at for k, at in stood.items()})


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    return Rows(tmp_path)


def messages(readers: Readers, split: int) -> list[Any]:
    found = []
    while split not in readers.ended:
        read = readers.read(split)
        assert read is not None
        found += read.messages
    return found


def test_a_split_that_is_given_away_goes_on_where_it_stood(rows: Rows) -> None:
    """With what its decoder has learnt, and not where its new reader once found it."""
    one, two = rows.readers(), rows.readers(split0=START)
    one.open((0, 1), rows.context)
    two.open((0,), rows.context)
    assert two.positions()[0].offset is None
    first = one.read(0)
    assert first is not None
    stands = one.positions()
    assert (stands[0].offset, stands[1].offset) == (6, None)
    assert stands[0].memory["decoder"] == {"columns": ["n"]}
    one.give([0])
    assert list(one.positions()) == [1]
    two.give([0])
    rows.files[0].write_text("n\n1\n2\n3\n")
    two.take({0: stands[0]}, rows.context)
    assert two.positions() == {0: stands[0]}
    assert messages(two, 0) == [{"n": "3"}]
    for readers in (one, two):
        readers.close()


def test_a_reader_is_told_what_the_one_before_remembered(rows: Rows) -> None:
    readers = rows.readers()
    readers.open((0,), rows.context)
    assert readers.read(0) is not None
    stands = readers.positions()
    readers.close()
    rows.files[0].write_text("n\n7\n8\n")
    with pytest.raises(RunFailure, match="its content is another"):
        rows.readers(split0=stands[0]).open((0,), rows.context)


def test_what_has_ended_is_not_needed_any_more(rows: Rows) -> None:
    readers = rows.readers()
    readers.open((0, 1), rows.context)
    assert len(messages(readers, 0)) == 2
    stands = readers.positions()
    assert stands[0].ended
    readers.close()
    rows.files[0].unlink()
    again = rows.readers(split0=stands[0], split1=stands[1])
    again.open((0, 1), rows.context)
    assert "read to its end" in rows.said[0]
    assert messages(again, 0) == []
    assert again.positions() == stands
    assert again.done_bytes[0] == (8, 8)
    again.close()
    rows.files[1].unlink()
    with pytest.raises(RunFailure, match="there is no file"):
        rows.readers(split1=stands[1]).open((1,), rows.context)


def test_what_ended_and_has_grown_since_is_read_on(rows: Rows) -> None:
    readers = rows.readers()
    readers.open((0,), rows.context)
    messages(readers, 0)
    stands = readers.positions()
    with rows.files[0].open("a") as file:
        file.write("3\n")
    again = rows.readers(split0=stands[0])
    again.open((0,), rows.context)
    assert messages(again, 0) == [{"n": "3"}]


def test_where_a_split_ended_is_noted_at_its_end(rows: Rows) -> None:
    """What becomes of its file after that is nobody's business."""
    readers = rows.readers()
    readers.open((0,), rows.context)
    messages(readers, 0)
    rows.files[0].write_text("")
    assert readers.positions()[0].ended
    readers.close()


class Odd(api.Reader):
    def memory(self) -> Any:
        return {"a", "set"}


class OddSource(api.Source):
    def open(self, *_: Any) -> api.Reader:
        return Odd()


def test_the_memory_of_a_plugin_is_plain_data(rows: Rows, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        PIPELINE.replace('type: file, path: "*.csv", codec: csv',
                         'type: plugin, class: "tests.runtime.test_readers:OddSource"')
    )  # fmt: skip
    plan = make(load(str(tmp_path / "p.yaml")), {"out": False})
    readers = Readers(plan, {0: ("rows", Split("0"))}, {})
    readers.open((0,), rows.context)
    with pytest.raises(RunFailure, match="`memory` returns is no plain data"):
        readers.positions()
