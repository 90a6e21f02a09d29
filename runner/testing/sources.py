"""`check_source`: does a source keep the rules that recovery stands on?"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, NoReturn

from roo import connectors
from roo.api import Codec, ConnectorError, Context, Read, Reader, Source, Split
from roo.testing.rules import Aside, Late, broken, shown

WITHIN_S = 20.0
"""How long the whole of one split may take."""

OFFSETS_MAX = 40
LOCATED_MAX = 10
READS_AFTER_END = 3


def check_source(
    make: Callable[[], Source],
    *,
    codec: Codec | None = None,
    messages: int | None = None,
    patience_s: float = 1.0,
) -> None:
    """Read all splits of a source, then again from each offset. Raises AssertionError.

    make: a new source that reads the same input each time, which should take a few reads. codec:
    lines by default. messages: of each split only so many, for a source that never ends.
    patience_s: a call that takes longer blocks.
    """
    with Aside(patience_s) as aside:
        source = aside.call(make)
        assert isinstance(source, Source), f"{source!r} is no roo.api.Source"
        used = codec or connectors.codec("lines", None, {})
        _Check(make, source, used, messages, aside).run()


class _Check:
    """One check. source: the first that `make` has made."""

    def __init__(
        self,
        make: Callable[[], Source],
        source: Source,
        codec: Codec,
        messages: int | None,
        aside: Aside,
    ) -> None:
        self._make = make
        self._source = source
        self._codec = codec
        self._messages = messages
        self._aside = aside

    def run(self) -> None:
        """Everything."""
        try:
            self._aside.call(self._source.check)
        except ConnectorError as error:
            self._broken("check() accepts what can be read", f"it says: {error}",
                         "give `make` options of something that is there")  # fmt: skip
        splits = self._splits_of(self._source)
        again = self._splits_of(self._aside.call(self._make))
        if splits != again:
            self._broken(
                "a source that is made again has the same splits",
                f"the first has {shown(splits)}, the second {shown(again)}",
                "sort what a folder or a server lists; leave times and counters out of the options",
            )
        for split in splits:
            self._check_split(split)

    def _splits_of(self, source: Source) -> list[Split]:
        splits = list(self._aside.call(source.splits))
        names = [split.name for split in splits]
        if not splits or len(set(names)) < len(names):
            self._broken("there is at least one split, and each has a name of its own",
                         f"splits() gives {shown(names)}",
                         "name a split after what it reads")  # fmt: skip
        for split in splits:
            try:
                plain = json.loads(json.dumps(dict(split.options))) == dict(split.options)
            except (TypeError, ValueError):
                plain = False
            if not plain:
                self._broken("the options of a split are plain data: they are stored as JSON",
                             f"split {split.name} has {shown(split.options)}",
                             "use texts, numbers, lists, mappings; no tuples")  # fmt: skip
        return splits

    def _check_split(self, split: Split) -> None:
        reads, memories = self._reads(split, None, None, None)
        if not self._source.rewindable:
            return
        everything = _messages(reads)
        again = _messages(self._reads(split, None, None, len(everything))[0])
        self._same(split, "reading again from the start brings the same messages", "the start",
                   everything, again)  # fmt: skip
        step = -(-len(reads) // OFFSETS_MAX)
        for index in {*range(0, len(reads), step), len(reads) - 1}:
            offset = reads[index].offset
            rest = _messages(reads[index + 1 :])
            found, _ = self._reads(split, offset, memories[index], len(rest))
            self._same(split, "opened at an offset, a split gives exactly what comes after it",
                       f"offset {offset}", rest, _messages(found))  # fmt: skip
            if self._messages is None and found[-1].offset != reads[-1].offset:
                self._broken(
                    "offsets count from the beginning of the split, wherever it was opened",
                    f"split {split.name} ends at {reads[-1].offset}; opened at {offset}, it ends "
                    f"at {found[-1].offset}",
                    "begin to count at the offset that `open` is given",
                )

    def _same(
        self, split: Split, rule: str, where: str, expected: list[Any], found: list[Any]
    ) -> None:
        if self._messages is not None:
            found = found[: len(expected)]
        if expected == found:
            return
        pairs = enumerate(zip(expected, found, strict=False))
        index = next((i for i, (a, b) in pairs if a != b), min(len(expected), len(found)))
        first = shown(expected[index]) if index < len(expected) else "the end"
        second = shown(found[index]) if index < len(found) else "the end"
        self._broken(
            rule,
            f"split {split.name}, opened at {where}: message {index} should be {first} and is "
            f"{second}",
            "let Read.offset stand behind the last message given out, and begin there in `open`; "
            "let `memory` give what else is needed for that; or set rewindable = False",
        )

    def _reads(
        self, split: Split, offset: int | None, memory: Any, wanted: int | None
    ) -> tuple[list[Read], list[Any]]:
        """All reads to the end, or to as many messages as are wanted of a source that has none, and
        what the reader remembered after each. memory: what one remembered at the offset.
        """
        at = "its start" if offset is None else f"offset {offset}"
        who = f"split {split.name}, opened at {at}"
        context = Context("check", "source", 0, 1, memory=memory)
        source = self._aside.call(self._make)
        reader = self._call(
            f"open() of {who}", lambda: source.open(split, offset, self._codec, context)
        )
        reads: list[Read] = []
        memories: list[Any] = []
        before, count = offset or 0, 0
        if self._messages is not None:
            wanted = self._messages if wanted is None else wanted
        end_s = time.monotonic() + WITHIN_S
        while not (reads and reads[-1].end):
            if self._messages is not None and wanted is not None and count >= wanted:
                break
            if time.monotonic() > end_s:
                self._broken(
                    "Read.end says that nothing will ever follow",
                    f"{who}: no end after {WITHIN_S:g} s and {count} messages",
                    "set `end` in the last Read; for a source without end call check_source with "
                    "messages=…",
                )
            read = self._call(f"read() of {who}", reader.read)
            if read is None:
                self._wait(who, reader)
                continue
            self._look_at(who, before, read)
            before, count = read.offset, count + len(read.messages)
            reads.append(read)
            memories.append(self._memory(who, reader))
        if reads and reads[-1].end:
            self._look_behind_the_end(who, reader)
        self._call(f"close() of {who}", reader.close)
        return reads, memories

    def _memory(self, who: str, reader: Reader) -> Any:
        """What a reader remembers, as a checkpoint gives it back."""
        memory = self._call(f"memory() of {who}", reader.memory)
        try:
            stored = json.loads(json.dumps(memory))
        except (TypeError, ValueError):
            stored = None
        if stored != memory:
            self._broken("what `memory` gives is plain data: it is stored as JSON",
                         f"{who} gives {shown(memory)}",
                         "use texts, numbers, lists, mappings of texts; no tuples")  # fmt: skip
        return stored

    def _call(self, what: str, function: Callable[[], Any]) -> Any:
        try:
            return self._aside.call(function)
        except Late as late:
            self._broken("nothing of a reader blocks: the worker has other things to do",
                         f"{what} has not come back; it is at {late}",
                         "return None where nothing is there, and give a `fileno` to wait on, or "
                         "read on a thread of your own")  # fmt: skip

    def _wait(self, who: str, reader: Reader) -> None:
        """As long as it asks for, or not quite."""
        wait_ms = self._call(f"ready_in_ms() of {who}", reader.ready_in_ms)
        fileno = self._call(f"fileno() of {who}", reader.fileno)
        if not (fileno is None or isinstance(fileno, int)) or not wait_ms >= 0:
            self._broken("after None from read(), `fileno` or `ready_in_ms` tell how to wait",
                         f"{who}: fileno() gives {fileno!r}, ready_in_ms() gives {wait_ms!r}",
                         "give a descriptor or None, and milliseconds from 0 on")  # fmt: skip
        time.sleep(min(wait_ms, 20.0) / 1000)

    def _look_at(self, who: str, before: int, read: Read) -> None:
        """One Read, after one that ended at `before`."""
        said = f"start={read.start!r}, offset={read.offset!r}, {len(read.messages)} messages"
        whole = type(read.start) is int and type(read.offset) is int
        if not whole or not before <= read.start <= read.offset:
            self._broken("offsets grow: a Read starts where the last one ended, or behind",
                         f"{who}: after offset {before} comes {said}",
                         "count bytes or messages from the beginning of the split")  # fmt: skip
        if (read.messages or read.failures) and read.offset == read.start:
            self._broken("offsets grow with every message, else some would be read twice",
                         f"{who}: {said}",
                         "let `offset` stand behind the last message")  # fmt: skip
        if any(not 0 <= failure.index <= len(read.messages) for failure in read.failures):
            self._broken("Failure.index is how many messages of the same Read came before it",
                         f"{who}: {said}, failures at {[f.index for f in read.failures]}",
                         "count from the beginning of the Read")  # fmt: skip
        if read.locate is not None:
            step = -(-len(read.messages) // LOCATED_MAX) or 1  # each may take a while
            places = [read.locate(index) for index in range(0, len(read.messages), step)]
            if places != sorted(places) or any(
                not read.start <= place < read.offset for place in places
            ):
                self._broken("Read.locate gives places between start and offset, in order",
                             f"{who}: {said}, located at {shown(places)}",
                             "count as `start` and `offset` do, or leave `locate` out")  # fmt: skip

    def _look_behind_the_end(self, who: str, reader: Reader) -> None:
        for _ in range(READS_AFTER_END):
            try:
                read = self._call(f"read() of {who}, after its end,", reader.read)
            except AssertionError:
                raise
            except Exception:
                return  # nothing has come: Roo does not ask any more
            if read is not None and (read.messages or read.failures):
                self._broken("Read.end says that nothing will ever follow",
                             f"{who}: after the end comes {shown(read.messages)}",
                             "set `end` in the last Read only")  # fmt: skip

    def _broken(self, rule: str, by: str, do: str) -> NoReturn:
        raise broken(self._source, rule, by, do) from None


def _messages(reads: list[Read]) -> list[Any]:
    return [message for read in reads for message in read.messages]
