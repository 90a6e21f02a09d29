"""The sinks of a worker: items -> bytes where they are made, bytes -> the sink where it is open."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from roo import api, clock, connectors
from roo.plan.resolve import resolve
from roo.runtime.failures import Failures, RunFailure, plain, render, say, shorten, users_frames
from roo.runtime.latency import Histogram
from roo.spec.model import CodecSpec, SinkSpec, SourceSpec


def make_sink(spec: SinkSpec, stdout_fd: int = 1) -> api.Sink:
    """The sink of a spec, not yet open. Raises ConnectorError.

    stdout_fd: where a stdout sink writes.
    """
    options = resolved(spec.options)
    if spec.type == "stdout":
        options["fd"] = stdout_fd
    return connectors.sink(spec.type, options)


def make_source(spec: SourceSpec) -> api.Source:
    """The source of a spec. Raises ConnectorError."""
    return connectors.source(spec.type, resolved(spec.options))


def make_codec(spec: CodecSpec) -> api.Codec:
    """The codec of a source or sink."""
    function = resolve(spec.function) if spec.function else None
    return connectors.codec(spec.kind, function, spec.options)


def resolved(options: Any) -> dict[str, Any]:
    """Options in which `call` and `class` are no longer names but what they name."""
    return {
        name: resolve(value) if name in ("call", "class") and value else value
        for name, value in options.items()
    }


class Outlet:
    """One sink on one worker. messages, bytes_written: so far, here.

    Encoding happens on the worker that made the messages, so that a single writer has nothing to
    do but write. latency: from the read of a batch to the end of its write.
    """

    def __init__(
        self, spec: SinkSpec, failures: Failures, latency: Histogram, stdout_fd: int
    ) -> None:
        self.spec = spec
        self.sink = make_sink(spec, stdout_fd)
        self.messages = 0
        self.bytes_written = 0
        self._failures = failures
        self._latency = latency
        self._open = False
        self._lost: Exception | None = None
        if self.sink.takes_bytes:
            codec = make_codec(spec.codec)
            self._header = codec.header()
            if spec.codec.kind == "function":
                self._join = connectors.joiner(spec.codec.options)
            else:
                self._join = codec.encoder().encode

    def open(self, context: api.Context) -> None:
        """Open the writer on this worker. Raises RunFailure."""
        if self.sink.takes_bytes and self._header:
            self.sink.header = self._header
        self._ask(partial(self.sink.open, context))
        self._open = True

    def encode(self, items: list[Any]) -> tuple[Any, int]:
        """What travels to the writer, bytes or the messages themselves, and how many there are."""
        if not self.sink.takes_bytes:
            return items, len(items)
        try:
            return self._join(items), len(items)
        except Exception:
            good = self._encode_each(items)
            return b"".join(good), len(good)

    def _encode_each(self, items: list[Any]) -> list[bytes]:
        """After a failure: one by one, so that one bad message costs nothing but itself.

        None from a function of the user's is no failure: nothing is written for that message.
        """
        function = self.spec.codec.function
        good = []
        for item in items:
            if item is None and function:
                continue
            try:
                good.append(self._join([item]))
            except Exception as error:
                facts = {
                    "function": function or f"codec {self.spec.codec.kind}",
                    "message": plain(item),
                }
                self._failures.handle(self.spec.name, error, "sink", facts)
        return good

    def write(self, data: Any, messages: int, read_ns: int) -> None:
        """Write a batch. Raises RunFailure; BrokenPipeError when nobody reads stdout any more."""
        self._ask(partial(self.sink.write, data), data)
        self.messages += messages
        if self.sink.takes_bytes:
            self.bytes_written += len(data)
        if read_ns:
            self._latency.add(clock.monotonic_ns() - read_ns, messages)

    def _plugin_failure(self, error: Exception, data: Any) -> RunFailure:
        return RunFailure(
            {
                "kind": "sink",
                "step": self.spec.name,
                "what": say(error),
                "message": None if data is None else shorten(data),
                "traceback": render(users_frames(error.__traceback__)),
                "hint": "a sink that fails stops the run: what it took can't be taken back",
            }
        )

    @property
    def is_open(self) -> bool:
        """Whether the writer is on this worker."""
        return self._open

    def flush(self) -> None:
        """Everything written is out of this process. Raises RunFailure."""
        if self._open:
            self._ask(self.sink.flush)

    def prepare(self) -> Any:
        """What the sink notes for a checkpoint. Raises RunFailure."""
        noted = self._ask(self.sink.prepare)
        if self.spec.type == "plugin":
            self._ask(partial(check_plain, noted, "what `prepare` returns"))
        return noted

    def sync(self) -> None:
        """What was prepared is durable when this returns. Called on another thread. Raises what the
        sink raises: then nobody knows what of it is on the disk, and a second try that succeeds
        would not tell. So this writer has nothing more to promise, and its next call but `write`
        raises RunFailure. (What is written meanwhile is cut off again by the next attempt.)
        """
        try:
            if self._lost is None:
                self.sink.sync()
        except Exception as error:
            self._lost = error
        if self._lost is not None:
            raise self._lost

    def commit(self, noted: Any) -> None:
        """A checkpoint is real. Raises RunFailure."""
        self._ask(partial(self.sink.commit, noted))

    def rollback(self, noted: Any) -> None:
        """Undo what was written after a checkpoint. Raises RunFailure."""
        self._ask(partial(self.sink.rollback, noted))

    def _ask(self, call: Callable[[], Any], data: Any = None) -> Any:
        """Call the sink. data: what it is given to write, which it takes whatever it has lost."""
        try:
            if self._lost is not None and data is None:
                raise self._lost
            return call()
        except api.ConnectorError as error:
            raise self._failed(error) from error
        except Exception as error:
            if isinstance(error, BrokenPipeError) and self.spec.type == "stdout":
                raise
            raise self._plugin_failure(error, data) from error

    def close(self) -> None:
        """Close the writer, if it is open here. Raises RunFailure."""
        if self._open:
            self._open = False
            self._ask(self.sink.close)

    def _failed(self, error: api.ConnectorError) -> RunFailure:
        return RunFailure(connector_failure("sink", self.spec.name, error))


def check_plain(value: Any, what: str) -> None:
    """Raise ConnectorError for what a checkpoint can't hold: it is JSON."""
    import json

    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:
        hint = "a checkpoint holds it as JSON: texts, numbers, lists and mappings of texts to them"
        raise api.ConnectorError(f"{what} is no plain data: {error}", hint) from error


def connector_failure(kind: str, name: str, error: api.ConnectorError) -> dict[str, Any]:
    """A ConnectorError as the error of a run."""
    return {
        "kind": kind,
        "step": name,
        "what": error.message,
        "hint": error.hint,
        "environment": error.environment,
    }
