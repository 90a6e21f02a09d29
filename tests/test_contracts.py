"""`roo.testing`: Roo's own connectors keep the rules, and whoever breaks one is told which."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from plugins.sqlite_sink import SqliteSink
from roo import connectors
from roo.api import Codec, ConnectorError, Context, Failure, Read, Reader, Sink, Source, Split
from roo.testing import check_sink, check_source, lives, sources

ROOT = Path(__file__).parents[1]
LINES = "".join(f"line {n}\n" for n in range(30_000))

# Roo's own


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("in") / "in.txt"
    file.write_text(LINES + "the last one, without newline")
    return file


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_header_is_not_forgotten(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"in.csv{suffix}"
    content = ("n,m\n" + "".join(f"{n},{n % 7}\n" for n in range(20_000))).encode()
    file.write_bytes(gzip.compress(content) if suffix else content)
    codec = connectors.codec("csv", None, {})
    for follow in (False, True)[: 1 if suffix else 2]:
        options = {"path": str(file), "follow": follow}
        check_source(
            lambda options=options: connectors.source("file", options),  # type: ignore[misc]
            codec=codec,
            messages=15_000 if follow else None,
        )


@pytest.mark.parametrize("options", [{}, {"splits": 3}])
def test_the_file_source(text: Path, options: dict[str, Any]) -> None:
    check_source(lambda: connectors.source("file", {"path": str(text), **options}))


def test_packed_files(text: Path, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.read_bytes()))
    check_source(lambda: connectors.source("file", {"path": f"{tmp_path}/*.gz"}))


def test_a_followed_file(text: Path) -> None:
    options = {"path": str(text), "follow": True}
    check_source(lambda: connectors.source("file", options), messages=20_000)


def test_other_codecs(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text("".join(f'{{"n": {n}}}\n' if n % 50 else "{no\n" for n in range(20_000)))
    codec = connectors.codec("json", None, {})
    check_source(lambda: connectors.source("file", {"path": str(file)}), codec=codec)


@pytest.mark.parametrize("options", [{"count": 3_500}, {"call": lambda: map(str, range(2_500))}])
def test_the_generate_source(options: dict[str, Any]) -> None:
    check_source(lambda: connectors.source("generate", options))


def test_the_generate_source_without_end() -> None:
    check_source(lambda: connectors.source("generate", {"rate": 2_000}), messages=200)


def read(file: Path) -> bytes:
    return file.read_bytes() if file.exists() else b""


def replace(folder: Path) -> None:
    """As an editor does."""
    out = folder / "sub" / "out"
    (folder / "new").write_bytes(out.read_bytes()[:-1] + b"!")
    (folder / "new").rename(out)


def link(folder: Path) -> None:
    (folder / "sub" / "out").unlink()
    (folder / "other").touch()
    (folder / "sub" / "out").symlink_to(folder / "other")


def append(folder: Path) -> None:
    with (folder / "sub" / "out").open("ab") as out:
        out.write(b"foreign\n")


SPOILS = [
    lambda folder: (folder / "sub" / "out").unlink(),
    replace,
    link,
    append,
    lambda folder: os.truncate(folder / "sub" / "out", 0),
    lambda folder: (folder / "sub").rename(folder / "elsewhere"),
]


@pytest.mark.parametrize(("mode", "header"), [("overwrite", b"names\n"), ("append", b"")])
@pytest.mark.parametrize("visibility", ["immediate", "committed"])
def test_the_file_sink(visibility: str, mode: str, header: bytes) -> None:
    check_sink(
        lambda folder: connectors.sink(
            "file", {"path": str(folder / "sub" / "out"), "visibility": visibility, "mode": mode}
        ),
        lambda folder: read(folder / "sub" / "out"),
        header=header,
        shows_committed_only=visibility == "committed",
        fences=mode == "overwrite",
        spoils=SPOILS,
    )


def test_sinks_that_promise_less(tmp_path: Path) -> None:
    """Only what they promise is looked at."""
    with pytest.raises(AssertionError, match="NullSink: a run that nothing happens to"):
        check_sink(lambda folder: connectors.sink("null", {}), lambda folder: [],
                   batches=[[1], [2], [3]])  # fmt: skip


@pytest.mark.parametrize("table", ["counts", "counts_safe"])
def test_the_sqlite_sink(table: str) -> None:
    def content(folder: Path) -> list[Any]:
        with sqlite3.connect(folder / "out") as db:
            try:
                return db.execute(f"SELECT word, total FROM {table}").fetchall()
            except sqlite3.OperationalError:
                return []  # not made yet

    options = {"table": "counts", "columns": ["word", "total"]}
    check_sink(
        lambda folder: SqliteSink({"path": str(folder / "out"), **options}),
        content,
        batches=[[("a", 1)], [("b", 1), ("a", 2)], [("c", 1)]],
        shows_committed_only=table == "counts_safe",
    )


# Sources that break a rule


class Numbers(Source):
    """Ten numbers, three at a time, as it should be."""

    rewindable = True

    def open(self, split: Split, offset: int | None, codec: Codec, context: Context) -> Reader:
        return NumbersReader(offset or 0)


class NumbersReader(Reader):
    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.closed = False

    def messages(self, start: int, end: int) -> list[Any]:
        return list(range(start, end))

    def read(self) -> Read | None:
        start, self.offset = self.offset, min(self.offset + 3, 10)
        messages = self.messages(start, self.offset)
        return self.made(Read(messages, start, self.offset, end=self.offset == 10))

    def made(self, read: Read) -> Read | None:
        return read


def reading(**wrong: Any) -> type[Source]:
    """A source whose reader differs from `NumbersReader`."""
    reader = type("WrongReader", (NumbersReader,), wrong)

    class Wrong(Numbers):
        def open(self, split: Split, offset: int | None, codec: Codec, context: Context) -> Reader:
            made: Reader = reader(offset or 0)
            return made

    return Wrong


def splitting(*splits: Split) -> type[Source]:
    return type("Wrong", (Numbers,), {"splits": lambda self: list(splits)})


class Refuses(Numbers):
    def check(self) -> None:
        raise ConnectorError("it is not there")


class NeverTheSame(Numbers):
    def splits(self) -> list[Split]:
        return [Split(str(time.monotonic_ns()))]


class Deaf(Numbers):
    def open(self, split: Split, offset: int | None, codec: Codec, context: Context) -> Reader:
        return NumbersReader(0)


class OneTooFar(Numbers):
    def open(self, split: Split, offset: int | None, codec: Codec, context: Context) -> Reader:
        return NumbersReader(min(offset + 1, 10) if offset else 0)


def shifted(by: Callable[[int], int]) -> type[Source]:
    """A source whose offsets are other ones where it is opened at an offset."""

    class Shifted(Numbers):
        def open(self, split: Split, offset: int | None, codec: Codec, context: Context) -> Reader:
            class ShiftedReader(NumbersReader):
                def made(self, read: Read) -> Read | None:
                    more = by(offset) if offset else 0
                    return moved(read, start=read.start + more, offset=read.offset + more)

            return ShiftedReader(offset or 0)

    return Shifted


def moved(read: Read, **changes: Any) -> Read:
    for name, value in changes.items():
        setattr(read, name, value)
    return read


def stuck(self: Any) -> Read:
    threading.Event().wait()
    raise AssertionError


def without_end(self: Any, read: Read) -> Read | None:
    return moved(read, end=False) if read.messages else None


def goes_on(self: Any) -> Read:
    start, self.offset = self.offset, self.offset + 3
    return Read([1, 2, 3], start, self.offset, end=self.offset > 6)


def of_chance(self: Any, start: int, end: int) -> list[Any]:
    return [os.urandom(4) for _ in range(start, end)]


class Learns(Numbers):
    """Its first message tells how to read the others."""

    def open(self, split: Split, offset: int | None, codec: Codec, context: Context) -> Reader:
        return LearnsReader(offset or 0, context.memory)


class LearnsReader(NumbersReader):
    def __init__(self, offset: int, memory: Any) -> None:
        super().__init__(offset)
        self.learnt = memory

    def messages(self, start: int, end: int) -> list[Any]:
        self.learnt = self.learnt or {"first": start}
        return [number + self.learnt["first"] for number in range(start, end)]

    def memory(self) -> Any:
        return self.learnt


class Forgets(Learns):
    def open(self, split: Split, offset: int | None, codec: Codec, context: Context) -> Reader:
        return LearnsReader(offset or 0, None)


WRONG_SOURCES: dict[str, tuple[type[Source], str]] = {
    "refuses": (Refuses, "check() accepts what can be read"),
    "no split": (splitting(), "there is at least one split"),
    "one name for two": (splitting(Split("a"), Split("a")), "each has a name of its own"),
    "objects in options": (splitting(Split("a", {"at": Path("x")})), "are plain data"),
    "tuples in options": (splitting(Split("a", {"at": (1, 2)})), "are plain data"),
    "other splits each time": (NeverTheSame, "made again has the same splits"),
    "blocks": (reading(read=stuck), "nothing of a reader blocks"),
    "waits backwards": (
        reading(read=lambda self: None, ready_in_ms=lambda self: -1.0),
        "tell how to wait",
    ),
    "no descriptor": (reading(read=lambda self: None, fileno=lambda self: "x"), "tell how to wait"),
    "no end": (reading(made=without_end), "no end after 0.2 s and 10 messages"),
    "goes on after its end": (reading(read=goes_on), "after the end comes [1, 2, 3]"),
    "no offset": (reading(made=lambda s, r: moved(r, offset=None)), "offsets grow"),
    "offset stands": (reading(made=lambda s, r: moved(r, offset=r.start)), "with every message"),
    "offset goes back": (reading(made=lambda s, r: moved(r, start=0)), "offsets grow: a Read"),
    "failure out of place": (
        reading(made=lambda s, r: moved(r, failures=[Failure(9, b"", 0, ValueError())])),
        "Failure.index",
    ),
    "locates behind": (
        reading(made=lambda s, r: moved(r, locate=lambda i: r.offset)),
        "Read.locate gives places",
    ),
    "other messages each time": (reading(messages=of_chance), "from the start brings the same"),
    "deaf to offsets": (Deaf, "offsets grow: a Read"),
    "one too far": (OneTooFar, "gives exactly what comes after it"),
    "forgets what it has learnt": (Forgets, "gives exactly what comes after it"),
    "remembers a set": (reading(memory=lambda self: {1}), "what `memory` gives is plain data"),
    "remembers a tuple": (reading(memory=lambda self: (1,)), "what `memory` gives is plain data"),
    "counts anew": (shifted(lambda offset: -offset), "offsets grow: a Read"),
    "counts on": (shifted(lambda offset: 1), "offsets count from the beginning"),
}


def test_a_right_source_passes() -> None:
    check_source(lambda: Numbers({}))
    check_source(lambda: Learns({}))


@pytest.mark.parametrize("name", WRONG_SOURCES)
def test_a_wrong_source_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "WITHIN_S", 0.2)
    wrong, rule = WRONG_SOURCES[name]
    with pytest.raises(AssertionError) as caught:
        check_source(lambda: wrong({}), patience_s=0.3)
    told(caught.value, rule)


def told(error: AssertionError, rule: str) -> None:
    """Which rule, by what, what to do."""
    assert rule in str(error)
    assert re.fullmatch(r"\w+: .+\n  by: .+\n  do: .+", str(error), re.DOTALL)


def test_what_blocks_is_named() -> None:
    with pytest.raises(AssertionError, match=r"test_contracts.py:\d+: threading.Event\(\).wait"):
        check_source(lambda: reading(read=stuck)({}), patience_s=0.2)  # type: ignore[abstract]


def test_a_source_that_can_not_be_read_again_is_read_once() -> None:
    check_source(lambda: type("Once", (Deaf,), {"rewindable": False})({}))


# Sinks that break a rule


class AtOnce(Sink):
    """Writes at once and takes back, as it should be."""

    rolls_back = True
    name = "out"

    def open(self, context: Context) -> None:
        self.folder = Path(self.options["path"])
        self.fd = os.open(self.folder / self.name, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        if not context.resumes:
            self.rollback(None)

    def write(self, data: Any) -> None:
        os.write(self.fd, data)

    def prepare(self) -> Any:
        return {"size": os.fstat(self.fd).st_size}

    def rollback(self, noted: Any) -> None:
        os.ftruncate(self.fd, noted["size"] if noted else 0)

    def close(self) -> None:
        os.close(self.fd)


class Aside(AtOnce):
    """Keeps everything in `all`, and makes `out` of its committed part, as it should be."""

    name = "all"

    def commit(self, noted: Any) -> None:
        self.publish(noted["size"])

    def publish(self, size: int) -> None:
        (self.folder / "new").write_bytes(os.pread(self.fd, size, 0))
        (self.folder / "new").replace(self.folder / "out")

    def rollback(self, noted: Any) -> None:
        super().rollback(noted)
        self.publish(os.fstat(self.fd).st_size)

    def flush(self) -> None:
        self.commit(self.prepare())


def check(wrong: type[Sink]) -> None:
    check_sink(
        lambda folder: wrong({"path": str(folder)}),
        lambda folder: read(folder / "out"),
        shows_committed_only=issubclass(wrong, Aside),
        patience_s=2.0,
    )


class KeepsTheLast(Aside):
    """A buffer that nobody empties in time."""

    rest = b""

    def write(self, data: Any) -> None:
        os.write(self.fd, self.rest)
        self.rest = data


class CommitsTwice(Aside):
    done = 0

    def commit(self, noted: Any) -> None:
        with (self.folder / "out").open("ab") as out:
            out.write(os.pread(self.fd, noted["size"] - self.done, self.done))
        # Of a note that comes again, all is written again.
        self.done = noted["size"] if noted["size"] != self.done else 0
        if not self.done:
            with (self.folder / "out").open("ab") as out:
                out.write(os.pread(self.fd, noted["size"], 0))


class PublishesAll(Aside):
    """At commit also what came after the note."""

    def commit(self, noted: Any) -> None:
        self.publish(os.fstat(self.fd).st_size)


class NeverWithoutCheckpoints(Aside):
    def flush(self) -> None:
        pass


class Forgetful(AtOnce):
    def rollback(self, noted: Any) -> None:
        if noted is None:
            super().rollback(None)


class NothingForNone(AtOnce):
    def rollback(self, noted: Any) -> None:
        if noted is not None:
            super().rollback(noted)


class NothingForZero(AtOnce):
    def rollback(self, noted: Any) -> None:
        if not noted or noted["size"]:
            super().rollback(noted)


class NeedsItsCommit(Aside):
    """Goes back to what it has published."""

    def rollback(self, noted: Any) -> None:
        out = self.folder / "out"
        super().rollback({"size": out.stat().st_size} if noted else None)


class KeepsOnePart(Aside):
    """A second prepare lets go of what the first has noted and nobody has committed."""

    waiting = 0

    def prepare(self) -> Any:
        if self.waiting:
            os.ftruncate(self.fd, 0)
        noted = super().prepare()
        self.waiting = noted["size"]
        return noted

    def commit(self, noted: Any) -> None:
        super().commit(noted)
        self.waiting = 0


class GoesToTheLastPrepare(Aside):
    def prepare(self) -> Any:
        noted = super().prepare()
        (self.folder / "noted").write_text(str(noted["size"]))
        return noted

    def rollback(self, noted: Any) -> None:
        file = self.folder / "noted"
        last = int(file.read_text()) if noted and noted["size"] and file.exists() else 0
        super().rollback({"size": last})


class NothingNew(Aside):
    """Gives no note where nothing has been written since the last."""

    before = -1

    def prepare(self) -> Any:
        noted = super().prepare()
        same, self.before = self.before == noted["size"], noted["size"]
        return None if same else noted

    def commit(self, noted: Any) -> None:
        if noted:
            super().commit(noted)

    def flush(self) -> None:
        super().commit(super().prepare())


class OnlyOnce(Aside):
    """A note is good for one rollback."""

    def rollback(self, noted: Any) -> None:
        used = self.folder / f"used {noted and noted['size']}"
        if noted and noted["size"] and used.exists():
            self.publish(os.fstat(self.fd).st_size)
            return
        used.touch()
        super().rollback(noted)


class CountsFromNothing(Aside):
    """Its count of what it has written does not know what was there before a crash."""

    size = 0

    def write(self, data: Any) -> None:
        super().write(data)
        self.size += len(data)

    def prepare(self) -> Any:
        return {"size": self.size}


class AppendsAtCommit(Aside):
    """Notes down afterwards what it has done."""

    def commit(self, noted: Any) -> None:
        done = int(read(self.folder / "done") or 0)
        with (self.folder / "out").open("ab") as out:
            out.write(os.pread(self.fd, max(0, noted["size"] - done), done))
        (self.folder / "done").write_text(str(max(done, noted["size"])))

    def rollback(self, noted: Any) -> None:
        os.ftruncate(self.fd, noted["size"] if noted else 0)
        if noted:
            self.commit(noted)


class DropsBeforeItKeeps(Aside):
    """Killed between the two, there is neither."""

    def rollback(self, noted: Any) -> None:
        size = noted["size"] if noted else 0
        kept = os.pread(self.fd, size, 0)
        os.ftruncate(self.fd, 0)
        os.write(self.fd, kept)
        self.publish(len(kept))


class NotPlain(Aside):
    def prepare(self) -> Any:
        return (1, 2)


class OfOneThread(Aside):
    def open(self, context: Context) -> None:
        super().open(context)
        self.db = sqlite3.connect(":memory:")

    def sync(self) -> None:
        self.db.execute("SELECT 1")


class Waits(Aside):
    def commit(self, noted: Any) -> None:
        threading.Event().wait()


class ShowsAtOnce(Aside):
    name = "out"

    def publish(self, size: int) -> None:
        pass


class PublishesAtClose(Aside):
    def close(self) -> None:
        self.flush()


class ForgetsAtClose(Aside):
    """What was prepared goes with what was not."""

    def close(self) -> None:
        os.ftruncate(self.fd, len(read(self.folder / "out")))


class SaysNothingOfTheDisk(AtOnce):
    def sync(self) -> None:
        with suppress(OSError):
            os.fsync(self.fd)


WRONG_SINKS: dict[type[Sink], str] = {
    KeepsTheLast: "a run that nothing happens to",
    CommitsTwice: "commit may come twice",
    PublishesAll: "the output shows nothing that is not committed",
    NeverWithoutCheckpoints: "without checkpoints",
    Forgetful: "rollback undoes what was written after the note",
    NothingForNone: "rollback(None) undoes everything",
    NothingForZero: "noted before the first write",
    NeedsItsCommit: "if commit comes or not",
    KeepsOnePart: "a checkpoint that failed has no commit",
    GoesToTheLastPrepare: "what was prepared and not committed is undone",
    NothingNew: "two checkpoints with nothing between them",
    OnlyOnce: "rollback to one note can come several times",
    CountsFromNothing: "after rollback a sink goes on",
    AppendsAtCommit: "killed within commit",
    DropsBeforeItKeeps: "killed within rollback",
    NotPlain: "which JSON does not keep as it is",
    OfOneThread: "created in a thread",
    Waits: "it has not come back after 2 s",
    ShowsAtOnce: "the output shows nothing that is not committed",
    PublishesAtClose: "the output shows nothing that is not committed",
    ForgetsAtClose: "close keeps what a checkpoint may have",
    SaysNothingOfTheDisk: "a sync that fails says so",
}  # fmt: skip


@pytest.mark.parametrize("right", [AtOnce, Aside])
def test_a_right_sink_passes(right: type[Sink]) -> None:
    check(right)


@pytest.mark.parametrize("wrong", WRONG_SINKS, ids=lambda wrong: wrong.__name__)
def test_a_wrong_sink_is_caught(wrong: type[Sink]) -> None:
    with pytest.raises(AssertionError) as caught:
        check(wrong)
    assert any(rule in str(caught.value) for rule in WRONG_SINKS[wrong].split("|")), caught.value
    assert re.fullmatch(
        rf"{wrong.__name__}: .+\n  by: open; .+kill -9.*\n  so: .+\n  do: .+",
        str(caught.value),
        re.DOTALL,
    )


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        ({"fences": True}, "what an older writer does late goes nowhere"),
        ({"spoils": [lambda folder: (folder / "out").unlink()]}, "what others have done"),
    ],
)
def test_one_that_takes_its_output_for_its_own(more: dict[str, Any], rule: str) -> None:
    with pytest.raises(AssertionError, match=rule):
        check_sink(lambda folder: AtOnce({"path": str(folder)}),
                   lambda folder: read(folder / "out"), **more)  # fmt: skip


def test_a_sink_that_is_no_sink() -> None:
    wrong: Callable[[Path], Any] = lambda folder: object()  # noqa: E731
    with pytest.raises(AssertionError, match=r"is no roo\.api\.Sink"):
        check_sink(wrong, read)


def test_a_life_really_ends(tmp_path: Path) -> None:
    """What a buffer has kept is lost, as in a run."""

    class Buffered(Aside):
        def open(self, context: Context) -> None:
            self.file = (tmp_path / "buffered").open("wb")

        def write(self, data: Any) -> None:
            self.file.write(data)

    lived = lives.live(lambda: Buffered({}), b"", [b"kept"], [("open", False), ("write", 0)], {},
                       patience_s=5.0)  # fmt: skip
    assert not lived.error
    assert read(tmp_path / "buffered") == b""


# What docs/connectors.md shows


@pytest.fixture
def documented(tmp_path: Path) -> Path:
    """The page's files, and an input."""
    page = (ROOT / "docs" / "connectors.md").read_text()
    for name, kind in (
        ("my_connectors.py", "python"),
        ("copy.yaml", "yaml"),
        ("test_my_connectors.py", "python"),
    ):
        block = re.search(rf"`{name}`:\n\n```{kind}\n(.*?)```", page, re.DOTALL)
        assert block, f"the page shows no {name}"
        (tmp_path / name).write_text(block[1])
    with sqlite3.connect(tmp_path / "in.sqlite") as db:
        db.execute("CREATE TABLE words (word)")
        db.executemany("INSERT INTO words VALUES (?)", [(f"word {n}",) for n in range(2500)])
    return tmp_path


def test_the_page_s_tests_pass(documented: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=documented, capture_output=True, text=True, timeout=180)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--no-checkpoint"]])
def test_the_page_s_pipeline_runs(documented: Path, more: list[str]) -> None:
    shutil.rmtree(documented / "out", ignore_errors=True)
    command = [sys.executable, "-m", "roo", "run", "copy.yaml", "--workers", "2", *more]
    done = subprocess.run(command, cwd=documented, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    parts = sorted((documented / "out").iterdir())
    lines = [line for part in parts for line in part.read_text().splitlines()]
    assert lines == [f'"word {n}"' for n in range(2500)]


def test_the_page_s_message_is_what_is_said() -> None:
    page = (ROOT / "docs" / "connectors.md").read_text()
    with pytest.raises(AssertionError) as caught:
        check(Forgetful)
    for line in str(caught.value).splitlines():
        assert f"    {line}\n" in page


def test_the_page_names_its_checks() -> None:
    page = (ROOT / "docs" / "connectors.md").read_text()
    assert {check_source.__name__, check_sink.__name__} <= set(re.findall(r"`(\w+)\(", page))
