"""The door for plugin writers: `Source`, `Reader`, `Sink`, `Codec`, `Context`.

Roo's own connectors (`roo.connectors`) are written against this module and nothing else, so
whatever they can do, a plugin can do. Step functions need none of it: they are plain functions.

    class Ticks(Source):                      # type: plugin, class: "my_module:Ticks"
        def open(self, split, offset, codec, context):
            return TickReader()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

Delivery = Literal["at least once", "best effort"]

BATCH_BYTES = 64 * 1024
"""How much a reader takes at once under load. Small enough for a short queue, large enough that
the cost of a batch vanishes beside that of its messages."""


class ConnectorError(Exception):
    """Something outside Roo is wrong (a missing file, a port in use): a message and what to do.

    environment: True when the machine is to blame (port in use, nothing answers): exit code 3.
    """

    def __init__(self, message: str, hint: str = "", *, environment: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.environment = environment


@dataclass(frozen=True)
class Context:
    """What a connector may know of the run it is part of.

    worker: index of this worker, from 0. workers: how many there are.
    log: say one line to the user, shown among the run's events. resumes: the run goes on from a
    checkpoint, so a sink must not empty its output: `rollback` follows `open`. memory: of a reader,
    what `Reader.memory` gave at the offset that it is opened at; None: at the split's beginning.

    attempt: how many times the workers have been started in this run, from 1. predecessor_ended:
    whoever wrote this output before has been seen to end, and has failed no sync; else it may still
    be there, paused, and go on one day: what it writes then must go nowhere (and what it has
    written may not be on the disk, so a copy is made of it). machine: an id of this machine, the
    same for all runs on it.
    """

    pipeline: str
    name: str
    worker: int
    workers: int
    log: Callable[[str], None] = field(default=lambda line: None)
    resumes: bool = False
    memory: Any = None
    attempt: int = 1
    predecessor_ended: bool = True
    machine: str = ""


@dataclass(frozen=True)
class Split:
    """A part of a source that one worker reads: a file, a byte range, a listening port.

    name: what users are shown. options: plain data that tells the reader what to read.
    size_bytes: how much there is to read, for progress; None where nobody can know.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    size_bytes: int | None = None


@dataclass(frozen=True)
class Failure:
    """Bytes that did not decode. index: how many messages of the same read came before it."""

    index: int
    frame: bytes
    offset: int
    error: Exception


@dataclass
class Read:
    """What one call of `Reader.read` brought.

    start, offset: position before the first and after the last message (bytes for byte sources,
    messages for others); reading from `offset` again must bring the message after the last one.
    locate: offset of messages[index], worked out only when an error asks for it.
    """

    messages: list[Any]
    start: int
    offset: int
    failures: list[Failure] = field(default_factory=list)
    bytes_read: int = 0
    end: bool = False
    locate: Callable[[int], int] | None = None


class Reader:
    """Reads one split. Never blocks: the worker has other stages to run.

    skipped_bytes: how much of the split's size lies before the offset that it was opened at.
    batch_bytes: about how much the next `read` is to bring at most. The worker sets it before each
    read: less than `BATCH_BYTES` where a run begins, and where steps take long, so that a
    checkpoint or a stop does not wait for thousands of slow messages.
    """

    skipped_bytes: int = 0
    batch_bytes: int = BATCH_BYTES

    def read(self) -> Read | None:
        """The next messages (about `batch_bytes` of them at most), or None: nothing right now.

        `Read.end` says that nothing will ever follow. Raises ConnectorError when the source fails.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `read`")

    def memory(self) -> Any:
        """What is needed besides the offset of the last `Read` to go on from there, or to find that
        nobody can: which file it is, what a decoder has learnt. Plain data, for JSON.

        A reader that is opened at that offset finds it in `Context.memory`. It is asked for at each
        checkpoint, and must belong to that offset: whoever goes on to another file says so with a
        Read, of nothing if need be.
        """
        return None

    def fileno(self) -> int | None:
        """A descriptor that polls readable when `read` has something; None: ask `ready_in_ms`."""
        return None

    def ready_in_ms(self) -> float:
        """After None from `read`, with no descriptor: how long to wait before asking again."""
        return 10.0

    def close(self) -> None:
        """Let go of everything. Called once, also after an error."""


class Source:
    """A kind of input. Made in the coordinator (check, splits) and in each worker (open).

    rewindable: reading again from an earlier offset brings the same messages again.
    """

    rewindable: ClassVar[bool] = False

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options

    def check(self) -> None:
        """Raise ConnectorError for what can be seen to be wrong before any worker starts."""

    def splits(self) -> list[Split]:
        """The parts that can be read side by side. One by default."""
        return [Split("0")]

    def open(self, split: Split, offset: int | None, codec: Codec, context: Context) -> Reader:
        """A reader of the split from `offset` on (None: from its beginning)."""
        raise NotImplementedError(f"{type(self).__name__} has no method `open`")


class Sink:
    """A kind of output.

    takes_bytes: `write` is given encoded bytes (whole frames), else a list of messages.
    single_writer: one worker writes for all (a file); else every worker has a writer of its own.
    header: what belongs before everything else (a row of column names), set before `open`: a sink
    writes it when it begins an empty output.

    With checkpoints: `prepare` notes where the output stands, `sync` makes that durable, `commit`
    says that the checkpoint is real, and `rollback` after a crash undoes all that came later.
    Between prepare and commit more is written.

    rolls_back: whether `rollback` really undoes, so that Roo may promise exactly once. delivery:
    what Roo promises where it does not: "at least once", or "best effort" where what was written
    may be lost on its way. commits: whether `commit` does anything; where it does not, a writer
    that has left the run has nothing to do any more, and nobody is asked to roll it back.
    """

    rolls_back: bool = False
    delivery: Delivery = "at least once"
    commits: bool = True
    takes_bytes: ClassVar[bool] = True
    single_writer: bool = True
    header: bytes = b""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options

    def check(self) -> None:
        """Raise ConnectorError for what can be seen to be wrong before any worker starts."""

    def open(self, context: Context) -> None:
        """Called once in the worker that writes, before the first write."""

    def write(self, data: Any) -> None:
        """Take one batch: bytes, or a list of messages where takes_bytes is False. May block."""
        raise NotImplementedError(f"{type(self).__name__} has no method `write`")

    def flush(self) -> None:
        """Everything written so far is out of this process when this returns. Runs without
        checkpoints call it at their end: then all is there, committed or not.
        """

    def prepare(self) -> Any:
        """A checkpoint: flush, and return what `rollback` will need (plain data, for JSON).

        Raises ConnectorError where the output is no longer as this writer has left it.
        """
        self.flush()
        return None

    def sync(self) -> None:
        """Make all that was written before the last `prepare` durable. Called on another thread,
        while writing goes on. Raises ConnectorError or OSError where that fails. What was written
        may be gone then, whatever a second try would say: Roo has nothing more prepared, synced or
        committed by this writer, and the next attempt goes back to the checkpoint.
        """

    def commit(self, noted: Any) -> None:
        """The checkpoint for which `prepare` returned `noted` is real. May come twice."""

    def rollback(self, noted: Any) -> None:
        """Right after `open`: undo what was written after `noted`; None: everything of this run."""

    def close(self) -> None:
        """Let go of everything, after the last `commit` or `flush`, or in a run that fails. What
        waits for its commit is not published. Raises ConnectorError where what is there is not
        what was written, or can't be made durable.
        """


class Decoder:
    """Bytes of one stream in, messages out. Holds the rest of an unfinished frame.

    pending_bytes: how many bytes it holds, so that `fed - pending_bytes` is a clean offset.
    locate: offset in the stream of messages[index] of the last call, worked out when asked. It
    holds for that call also after later ones. None: nobody knows.
    """

    pending_bytes: int = 0
    locate: Callable[[int], int] | None = None

    def feed(self, data: bytes) -> tuple[list[Any], list[Failure]]:
        """Messages of all frames that `data` completes, and the frames that did not decode.

        Raises ConnectorError when the stream can't go on (a frame above max_frame).
        """
        raise NotImplementedError

    def finish(self) -> tuple[list[Any], list[Failure]]:
        """The stream has ended: whatever is left, as a last frame."""
        raise NotImplementedError

    @property
    def learns(self) -> bool:
        """Whether it has still to see how the stream begins (a row of column names), without which
        the rest can't be read.
        """
        return False

    def memory(self) -> Any:
        """What it has learnt from all frames so far, without an unfinished one: plain data, for
        JSON. None: nothing.
        """
        return None

    def remember(self, memory: Any) -> None:
        """Before anything is fed: what comes follows the frames that taught another one this."""


class Encoder:
    """Messages in, bytes of whole frames out."""

    def encode(self, messages: list[Any]) -> bytes:
        """One batch as bytes. Raises whatever the first message that can't be encoded raises."""
        raise NotImplementedError


class Codec:
    """How messages become bytes and back: made once for each source or sink that has bytes."""

    def decoder(self) -> Decoder:
        """A new decoder, for one stream from its beginning."""
        raise NotImplementedError

    def encoder(self) -> Encoder:
        """A new encoder, for one stream from its beginning."""
        raise NotImplementedError

    def header(self) -> bytes:
        """What belongs before all messages of one output; encoders never write it themselves."""
        return b""
