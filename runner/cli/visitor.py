"""At the door of a run: asking, and waiting no longer than it makes sense."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zmq

from roo.runtime.key import Key, as_client
from roo.runtime.registry import find

ANSWER_WITHIN_S = 5.0


class NoAnswer(Exception):
    """The run does not answer, or is gone."""


class Visitor:
    """A line to the door of one run: a context manager. Raises NoSuchRun.

    name: of a run on this machine, or the address that one elsewhere listens at, with its key.
    """

    def __init__(self, name: str, key: Key | None = None) -> None:
        self.name = name
        self._key = key
        away = name.startswith("tcp://")
        self._address = name if away else f"ipc://{Path(find(name).folder) / 'door'}"

    def __enter__(self) -> Visitor:
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.identity = b"visitor-" + secrets.token_hex(6).encode()
        if self._key is not None and self._address.startswith("tcp://"):
            as_client(self._socket, self._key)
        self._socket.connect(self._address)
        return self

    def __exit__(self, *_: object) -> None:
        self._context.destroy(0)

    def ask(self, command: str, **facts: Any) -> Iterator[dict[str, Any]]:
        """The answers to a request, up to the last one. Raises NoAnswer.

        While something is under way the run says so four times a second, so silence means that it
        is stuck or gone.
        """
        self._socket.send(json.dumps({"command": command, **facts}).encode())
        while True:
            if not self._socket.poll(int(ANSWER_WITHIN_S * 1000)):
                what = f"run {self.name} has given no sign for {ANSWER_WITHIN_S:g} s"
                if self.name.startswith("tcp://"):
                    what += "; is it there, with --listen, and is the key its key?"
                raise NoAnswer(what)
            answer = json.loads(self._socket.recv())
            yield answer
            if answer.get("done"):
                return

    def ask_once(self, command: str, **facts: Any) -> dict[str, Any]:
        """The only answer to a request. Raises NoAnswer."""
        return list(self.ask(command, **facts))[-1]
