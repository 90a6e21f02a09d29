"""Can a worker on another machine be reached at all? Asked before anything depends on it.

A connection that is never made looks like a slow one: without this, a machine that names an address
which leads nowhere would hold the run up in its first barrier.
"""

from __future__ import annotations

import socket
import threading
from queue import Empty, SimpleQueue

WITHIN_S = 3.0


class Reach:
    """Tries addresses, each in a thread of its own: a connection may take its time to fail."""

    def __init__(self) -> None:
        self._answers: SimpleQueue[tuple[int, int, str]] = SimpleQueue()

    def ask(self, worker: int, attempt: int, host: str, port: int) -> None:
        """Try it; `answers` has what came of it within WITHIN_S and a little."""
        arguments = (worker, attempt, host, port)
        threading.Thread(target=self._try, args=arguments, name="reach", daemon=True).start()

    def answers(self) -> list[tuple[int, int, str]]:
        """(worker, attempt, why it cannot be reached, or "") of those that are done by now."""
        answers = []
        while True:
            try:
                answers.append(self._answers.get_nowait())
            except Empty:
                return answers

    def _try(self, worker: int, attempt: int, host: str, port: int) -> None:
        why = ""
        try:
            socket.create_connection((host, port), WITHIN_S).close()
        except OSError as error:
            what = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
            why = (
                f"can not be reached at {host}:{port} ({what.lower()}); see `roo join --advertise`"
            )
        self._answers.put((worker, attempt, why))
