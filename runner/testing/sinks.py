"""`check_sink`: does a sink give back exactly what was committed, wherever it is killed?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, NoReturn

from roo.api import Sink
from roo.testing.lives import Call, Lived, live, say
from roo.testing.rules import broken, shown

BATCHES: Sequence[Any] = (b"one\n", b"two\nthree\n", b"four\n")
KILLS = 30
"""At how many lines within one call a sink is killed, about."""


class Life(NamedTuple):
    """What a sink lives through before it is killed. shows: how many batches the output has then;
    None: that is the sink's own affair, for Roo will take it back.
    committed: how many of them are committed.
    """

    calls: tuple[Call, ...]
    shows: int | None
    committed: int


class Story(NamedTuple):
    """Lives on the same output, one after the other. rule: what they show. do: what to look for."""

    rule: str
    do: str
    lives: tuple[Life, ...]


def check_sink(
    make: Callable[[Path], Sink],
    content: Callable[[Path], Any],
    *,
    batches: Sequence[Any] = BATCHES,
    header: bytes = b"",
    shows_committed_only: bool = False,
    spoils: Sequence[Callable[[Path], Any]] = (),
    fences: bool = False,
    patience_s: float = 10.0,
) -> None:
    """Let a sink live, and be killed, in the ways that Roo knows. Raises AssertionError.

    make: a new sink whose output is in a folder (new and empty for each try; where the output is no
    file, take the folder's name to name it). content: the output in a folder as it can be read
    from outside: bytes, or a list of messages where the sink takes messages. batches: three, for
    `write`. header: what it is given as such. shows_committed_only: the output never shows what is
    not committed. spoils: what others may do to the output in a folder, which the sink has to
    notice. fences: what a writer writes late, when another has gone on from the checkpoint, goes
    nowhere. patience_s: for one life.

    A sink whose `rolls_back` is False promises less: only runs without a crash are looked at.
    """
    assert len(batches) == 3, "check_sink needs three batches"
    _Check(
        make, content, batches, header, shows_committed_only, spoils, patience_s, fences=fences
    ).run()


OPEN, RESUME = ("open", False), ("open", True)
START, A, B = ("prepare", "start"), ("prepare", "a"), ("prepare", "b")
SYNC, CLOSE = ("sync", None), ("close", None)
W0, W1, W2 = ("write", 0), ("write", 1), ("write", 2)
COMMIT_A, COMMIT_B = ("commit", "a"), ("commit", "b")
BACK_A, BACK_B = ("rollback", "a"), ("rollback", "b")
FIRST = (OPEN, START, W0, A, SYNC, COMMIT_A)
"""One checkpoint behind the first batch, and nothing more."""

IN_ORDER = (
    Story(
        "a run that nothing happens to writes everything, once",
        "let `prepare` or `close` write out what `write` has kept",
        (Life((OPEN, START, W0, W1, A, SYNC, COMMIT_A, W2, B, SYNC, COMMIT_B, CLOSE), 3, 3),),
    ),
    Story(
        "more is written between prepare and commit, and commit may come twice",
        "let `commit` publish what belongs to its note, and do nothing the second time",
        (Life((OPEN, START, W0, A, W1, SYNC, COMMIT_A, COMMIT_A, W2, B, SYNC, COMMIT_B, COMMIT_B,
               CLOSE), 3, 3),),
    ),
    Story(
        "without checkpoints, everything is there when the run has ended",
        "let `flush` or `close` publish what waits for a commit",
        (Life((OPEN, W0, W1, ("flush", None), CLOSE), 2, 2),),
    ),
)  # fmt: skip
AFTER_CRASHES = (
    Story(
        "rollback undoes what was written after the note",
        "undo all that came after the `prepare` that gave the note, and nothing before it",
        (Life((OPEN, START, W0, A, W1, SYNC, COMMIT_A, W2), None, 1),
         Life((RESUME, BACK_A), 1, 1)),
    ),
    Story(
        "rollback(None) undoes everything of the run",
        "take None for: no checkpoint has known of this output",
        (Life((OPEN, START, W0), None, 0),
         Life((RESUME, ("rollback", None)), 0, 0)),
    ),
    Story(
        "rollback to what was noted before the first write undoes everything",
        "give a note for an output that is still empty, too",
        (Life((OPEN, START, W0), None, 0),
         Life((RESUME, ("rollback", "start")), 0, 0)),
    ),
    Story(
        "a note counts once its checkpoint is stored, if commit comes or not",
        "let `prepare` and `sync` store all that is needed, and `rollback` do what `commit` was to",
        (Life((OPEN, START, W0, A, SYNC, W1), None, 0),
         Life((RESUME, BACK_A), 1, 1)),
    ),
    Story(
        "a checkpoint that failed has no commit; the next one holds its part as well",
        "keep what was prepared until a later commit",
        (Life((OPEN, START, W0, A, SYNC, W1, B, SYNC, COMMIT_B, W2), None, 2),
         Life((RESUME, BACK_B), 2, 2)),
    ),
    Story(
        "what was prepared and not committed is undone",
        "let `rollback` go by the note it is given, not by the last `prepare`",
        (Life((*FIRST, W1, B, SYNC), None, 1),
         Life((RESUME, BACK_A), 1, 1)),
    ),
    Story(
        "two checkpoints with nothing between them are both good to go back to",
        "give the same note, or one that is as good",
        (Life((*FIRST, B, SYNC, COMMIT_B, W1), None, 1),
         Life((RESUME, BACK_B), 1, 1)),
    ),
    Story(
        "rollback to one note can come several times",
        "keep the note valid until a later one is committed",
        (Life((*FIRST, W1), None, 1),
         Life((RESUME, BACK_A, START, W2), None, 1),
         Life((RESUME, BACK_A), 1, 1),
         Life((RESUME, BACK_A, START, W1, W2, B, SYNC, W0), None, 1),
         Life((RESUME, BACK_A), 1, 1)),
    ),
    Story(
        "after rollback a sink goes on as if nothing had happened",
        "let `rollback` leave the sink where `open` and the writes before the note had left it",
        (Life((*FIRST, W2, W2), None, 1),
         Life((RESUME, BACK_A, START, W1, W2, B, SYNC, COMMIT_B, CLOSE), 3, 3)),
    ),
)  # fmt: skip
CLOSED = (
    Story(
        "close publishes nothing that no checkpoint has",
        "let `close` only let go: a run that fails calls it too",
        (Life((*FIRST, W1, CLOSE), None, 1),
         Life((RESUME, BACK_A), 1, 1)),
    ),
    Story(
        "close keeps what a checkpoint may have",
        "leave what was prepared where `rollback` finds it",
        (Life((OPEN, START, W0, A, SYNC, CLOSE), None, 0),
         Life((RESUME, BACK_A), 1, 1)),
    ),
    Story(
        "a sync that fails says so",
        "let `sync` raise what fsync raises",
        (Life((*FIRST, W1, B, ("unsynced", None)), None, 1),
         Life((RESUME, BACK_A), 1, 1)),
    ),
)  # fmt: skip
SUCCESSOR, ANEW, UNSEEN = ("successor", None), ("open unseen", False), ("open unseen", True)
FENCED = (
    Story(
        "what an older writer does late goes nowhere",
        "where `context.predecessor_ended` is False, go on in another file, table or transaction",
        (Life((*FIRST, W1, SUCCESSOR, UNSEEN, BACK_A, START, ("late", W2), W1, ("late", B),
               ("late", SYNC), ("late", COMMIT_B), W2, ("late", W0), B, SYNC, ("late", CLOSE),
               COMMIT_B), None, 3),
         Life((RESUME, BACK_B, CLOSE), 3, 3)),
    ),
    Story(
        "what an older writer does late goes nowhere, where a run starts anew",
        "where `context.predecessor_ended` is False, begin another file, table or transaction",
        (Life((*FIRST, W1, SUCCESSOR, ANEW, START, ("late", W2), W0, W1, ("late", B),
               ("late", SYNC), ("late", COMMIT_B), A, SYNC, COMMIT_A, ("late", W2), W2, B, SYNC,
               COMMIT_B, CLOSE), 3, 3),),
    ),
)  # fmt: skip
KILLED_IN = (
    Story("killed within write", "", (Life((*FIRST, W1), None, 1),)),
    Story("killed within prepare", "", (Life((*FIRST, W1, B), None, 1),)),
    Story("killed within commit", "", (Life((OPEN, START, W0, A, W1, SYNC, COMMIT_A), None, 1),)),
    Story("killed within rollback", "", (Life((*FIRST, W1), None, 1),
                                         Life((RESUME, BACK_A), None, 1))),
    Story("killed within close", "", (Life((*FIRST, CLOSE), None, 1),)),
)  # fmt: skip
KILLED_FENCING = (
    Story("killed within rollback", "", (Life((*FIRST, W1), None, 1),
                                         Life((UNSEEN, BACK_A), None, 1))),
)  # fmt: skip
OTHERS = ("others", None)
SPOILED = Story(
    "what others have done to the output is noticed",
    "raise ConnectorError where it is not as this sink has left it",
    (Life((*FIRST, W1, OTHERS, ("refused", B)), None, 1),
     Life((*FIRST, OTHERS, ("refused", CLOSE)), None, 1)),
)  # fmt: skip
"""One life or the other."""


class _Check:
    def __init__(
        self,
        make: Callable[[Path], Sink],
        content: Callable[[Path], Any],
        batches: Sequence[Any],
        header: bytes,
        committed_only: bool,
        spoils: Sequence[Callable[[Path], Any]],
        patience_s: float,
        *,
        fences: bool,
    ) -> None:
        self._make = make
        self._content = content
        self._batches = batches
        self._header = header
        self._committed_only = committed_only
        self._spoils = spoils
        self._patience_s = patience_s
        self._fences = fences
        with TemporaryDirectory() as folder:
            self._sink = make(Path(folder))  # to be asked what it is, never opened
        assert isinstance(self._sink, Sink), f"{self._sink!r} is no roo.api.Sink"

    def run(self) -> None:
        """Everything."""
        for story in IN_ORDER:
            self._tell(story)
        if not self._sink.rolls_back:
            return
        for story in (*AFTER_CRASHES, *CLOSED, *(FENCED if self._fences else ())):
            self._tell(story)
        for story in (*KILLED_IN, *(KILLED_FENCING if self._fences else ())):
            self._kill_within(story)
        for spoil in self._spoils:
            self._spoil(spoil)

    def _tell(self, story: Story) -> None:
        with TemporaryDirectory() as name:
            folder, noted, said = Path(name), dict[str, Any](), list[str]()
            for life in story.lives:
                lived = self._live(story, folder, life, noted, said)
                noted = lived.noted
                self._look(story, folder, life, said)

    def _spoil(self, spoil: Callable[[Path], Any]) -> None:
        """Let others at the output: while it is written, as it is closed, and after a crash."""
        for life in SPOILED.lives:
            with TemporaryDirectory() as name:
                self._live(SPOILED, Path(name), life, {}, [], spoil=spoil)
        back = Life((OTHERS, RESUME, ("refused", BACK_A)), 1, 1)
        with TemporaryDirectory() as name:
            folder, said = Path(name), list[str]()
            first = self._live(SPOILED, folder, Life(FIRST, None, 1), {}, said)
            lived = live(
                lambda: self._make(folder), self._header, self._batches, back.calls, first.noted,
                patience_s=self._patience_s, others=lambda: spoil(folder),
            )  # fmt: skip
            said += [say(call, first.noted) for call in back.calls]
            if lived.accepted:  # as good as new
                self._look(SPOILED, folder, back, said)
            elif lived.error:
                self._broken(SPOILED, said, f"{lived.call} fails: {lived.error}")

    def _kill_within(self, story: Story) -> None:
        """Kill it at line after line of the last call; then go back to the checkpoint."""
        rule = f"{story.rule}, a sink can be rolled back to the checkpoint"
        do = "do one step after the other, each of which can be done again or undone"
        story = Story(rule, do, story.lives)
        lines, line = 1, 1
        while line <= lines:
            with TemporaryDirectory() as name:
                folder, noted, said = Path(name), dict[str, Any](), list[str]()
                for life in story.lives:
                    at = line if life is story.lives[-1] else None
                    lived = self._live(story, folder, life, noted, said, at)
                    noted = lived.noted
                    self._look(story, folder, life, said)
                if line == 1:
                    lines = self._lines(story)
                back = Life((RESUME, BACK_A), 1, 1)
                self._live(story, folder, back, noted, said)
                self._look(story, folder, back, said)
            line += -(-lines // KILLS) or 1

    def _lines(self, story: Story) -> int:
        """How many lines the last call runs when nobody kills it."""
        with TemporaryDirectory() as name:
            noted, said = dict[str, Any](), list[str]()
            for life in story.lives:
                lived = self._live(story, Path(name), life, noted, said)
                noted = lived.noted
        return lived.lines

    def _live(
        self,
        story: Story,
        folder: Path,
        life: Life,
        noted: dict[str, Any],
        said: list[str],
        die_at_line: int | None = None,
        spoil: Callable[[Path], Any] = lambda folder: None,
    ) -> Lived:
        """One life; said: all that was done so far, in words. spoil: what others do to it."""
        lived = live(
            lambda: self._make(folder), self._header, self._batches, life.calls, noted,
            patience_s=self._patience_s, die_at_line=die_at_line, others=lambda: spoil(folder),
        )  # fmt: skip
        calls = [say(call, lived.noted) for call in life.calls]
        killed = "kill -9" if die_at_line is None else f"kill -9 at line {die_at_line} of that"
        said += [*calls, killed]
        if lived.accepted:
            self._broken(story, said, lived.error)
        if lived.error:
            rule = "what Roo calls, in the order in which it does, succeeds"
            self._broken(Story(rule, "see the traceback; Roo would end the run here", ()), said,
                         f"{lived.call} fails: {lived.error}")  # fmt: skip
        return lived

    def _look(self, story: Story, folder: Path, life: Life, said: list[str]) -> None:
        there = self._content(folder)
        if life.shows is not None:
            if there != self._first(life.shows):
                self._differs(story, said, there, life.shows)
        elif self._committed_only:
            # Killed within a commit, it may show a part of that; of anything else, nothing.
            most = self._first(life.committed)
            if there != most[: len(there)]:
                rule = "the output shows nothing that is not committed"
                do = "keep what is written aside until `commit`"
                self._differs(Story(rule, do, ()), said, there, life.committed)

    def _first(self, count: int) -> Any:
        """The first batches, as the output has them."""
        if self._sink.takes_bytes:
            return self._header + b"".join(self._batches[:count])
        return [message for batch in self._batches[:count] for message in batch]

    def _differs(self, story: Story, said: list[str], there: Any, count: int) -> NoReturn:
        self._broken(story, said, f"the output is {shown(there)}, and should be "
                                  f"{shown(self._first(count))}")  # fmt: skip

    def _broken(self, story: Story, said: list[str], what: str) -> NoReturn:
        raise broken(self._sink, story.rule, f"{'; '.join(said)}\n  so: {what}", story.do)
