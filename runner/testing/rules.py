"""What both checks need: how a broken rule is said, and calls that may never come back."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from traceback import extract_stack
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")
SHOWN_CHARACTERS = 300
STDLIB = sysconfig.get_path("stdlib")


def broken(who: object, rule: str, by: str, do: str) -> AssertionError:
    """A rule that a connector (an object of its class) breaks: by what, and what to do."""
    return AssertionError(f"{type(who).__name__}: {rule}\n  by: {by}\n  do: {do}")


def shown(value: Any) -> str:
    """A value for a line of text."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def is_pythons(file: str) -> bool:
    """Whether a file is part of Python."""
    return file.startswith("<") or (file.startswith(STDLIB) and "site-packages" not in file)


class Late(Exception):
    """A call has not come back: where it is."""


class Aside:
    """Calls functions one after the other on a thread of its own: a context manager.

    A thread that is stuck is left to itself.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._calls: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self._results: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._thread = Thread(target=self._work, daemon=True)

    def __enter__(self) -> Aside:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._calls.put(None)

    def call(self, function: Callable[[], T]) -> T:
        """What it returns. Raises what it raises, and Late."""
        self._calls.put(function)
        try:
            result, error = self._results.get(timeout=self._patience_s)
        except Empty:
            frame = sys._current_frames()[self._thread.ident or 0]
            stack = extract_stack(frame)
            where = next((f for f in reversed(stack) if not is_pythons(f.filename)), stack[-1])
            raise Late(f"{where.filename}:{where.lineno}: {where.line}") from None
        if error is not None:
            raise error
        value: T = result
        return value

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                self._results.put((call(), None))
            except BaseException as error:
                self._results.put((None, error))
