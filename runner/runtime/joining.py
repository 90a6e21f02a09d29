"""`roo join`: one machine's side of a run that has its coordinator elsewhere.

hello -> welcome -> (the same code? the same checkpoint folder?) -> join -> spawn … -> end

The process starts workers when it is told to, says when one has exited, and ends them when the
coordinator gives no sign of life.
"""

from __future__ import annotations

import json
import os
import pickle
import platform
import secrets
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import zmq

import roo
from roo import disk
from roo.api import ConnectorError
from roo.runtime.digests import differences, digests
from roo.runtime.hosts import (
    TOKEN,
    HostEnd,
    HostExited,
    HostHello,
    HostJoin,
    HostKill,
    HostLeave,
    HostNews,
    HostPing,
    HostSpawn,
    HostWelcome,
)
from roo.runtime.key import Key, as_client
from roo.runtime.process import Workers
from roo.runtime.transport import open_socket

ANSWER_WITHIN_S = 10.0
LOOK_EVERY_MS = 200
GOODBYE_MS = 500


class Joining:
    """One stay. `stay` returns when the run needs this machine no more.

    say: shows a line. news: shows an answer of the run's door to what this machine asked for: to
    join, later to leave. advertise: the address at which others reach this machine; None: the one
    that leads to the coordinator. Raises ConnectorError for what stands in the way.
    """

    def __init__(
        self,
        address: str,
        workers: int,
        key: Key | None,
        advertise: str | None,
        say: Callable[[str], None],
        news: Callable[[dict[str, Any]], None],
    ) -> None:
        self._address = address
        self._count = workers
        self._key = key
        self._say = say
        self._news = news
        self._advertise = advertise or _way_to(address)
        self._timeout_s = ANSWER_WITHIN_S
        self._signals = 0

    def stay(self) -> None:
        """Until the run ends, or all workers here have left. Raises ConnectorError."""
        context: zmq.Context[Any] = zmq.Context()
        before = {n: signal.signal(n, self._signal) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._line = open_socket(context, zmq.DEALER)
            self._line.identity = f"host-{secrets.token_hex(6)}".encode()
            if self._key is not None:
                as_client(self._line, self._key)
            self._line.connect(self._address)
            self._get_in()
            environ = {"ROO_CONTROL": self._address, "ROO_PLACE": self._line.identity.decode(),
                       "ROO_BIND": "0.0.0.0"}  # fmt: skip
            if self._key is not None:
                environ["ROO_KEY_FILE"] = self._key.path
            with Workers(0, stdin_worker=None, hear_stderr=False, environ=environ) as workers:
                self._serve(workers)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            context.destroy(GOODBYE_MS)

    def _signal(self, number: int, frame: Any) -> None:
        self._signals += 1

    def _get_in(self) -> None:
        """Say hello, and compare what this machine has with what it has to have."""
        self._tell(HostHello(socket.gethostname(), roo.__version__, platform.python_version(),
                             self._advertise, self._count))  # fmt: skip
        welcome = self._hear(ANSWER_WITHIN_S)
        if welcome is None:
            what = f"nobody answers at {self._address}"
            hint = "is the run there, with --listen, and is the key its key?"
            raise ConnectorError(what, hint, environment=True)
        if isinstance(welcome, HostEnd):
            raise ConnectorError(welcome.why, "use the same versions", environment=True)
        assert isinstance(welcome, HostWelcome)
        different = differences(welcome.modules, digests(welcome.modules))
        if different:
            hint = "run `roo join` in a folder with the same plugins"
            raise ConnectorError("; ".join(different), hint, environment=True)
        if welcome.checkpoints is not None:
            _check_shared(welcome.checkpoints, welcome.token)
        self._timeout_s = welcome.timeout_s
        self._say(f"joining {welcome.pipeline} at {self._address} with {self._count} worker(s)")
        self._tell(HostJoin())

    def _serve(self, workers: Workers) -> None:
        heard_s, leaving = time.monotonic(), False
        while True:
            message = self._hear(LOOK_EVERY_MS / 1000)
            if message is not None:
                heard_s = time.monotonic()
            match message:
                case HostSpawn(numbers, attempt) if attempt != workers.attempt:
                    workers.respawn(numbers, attempt)
                case HostSpawn(numbers, attempt):
                    workers.spawn(numbers, attempt)
                case HostKill(None):
                    workers.kill()
                case HostKill(numbers):
                    for worker in numbers or ():
                        workers.dismiss(worker, kill=True)
                case HostEnd(""):
                    workers.wait()
                    return
                case HostEnd(why):
                    workers.kill()
                    raise ConnectorError(f"the run let this machine go: {why}", environment=True)
                case HostNews(answer):
                    self._news(json.loads(answer))
                case HostPing():
                    self._tell(HostPing())
            for worker, code in workers.exited():
                self._tell(HostExited(worker, workers.attempt, code))
                workers.dismiss(worker, kill=False)
            if self._signals and not leaving:
                leaving = True
                self._say("leaving: workers hand over what they have (again to end them at once)")
                self._tell(HostLeave())
            if self._signals > 1:
                workers.kill()
                for worker, code in workers.exited():
                    self._tell(HostExited(worker, workers.attempt, code))
                raise ConnectorError("stopped before its workers had left", environment=True)
            if time.monotonic() - heard_s > self._timeout_s:
                workers.kill()
                what = f"the run at {self._address} has given no sign for {self._timeout_s:g} s"
                raise ConnectorError(what, "join again when it is back", environment=True)

    def _tell(self, message: Any) -> None:
        self._line.send(pickle.dumps(message, 5))

    def _hear(self, within_s: float) -> Any | None:
        """The next message; None: none came. (Whoever sends it has proven to have the key.)"""
        return pickle.loads(self._line.recv()) if self._line.poll(int(within_s * 1000)) else None


def _way_to(address: str) -> str:
    """The address of this machine's end of the way to an address."""
    parts = urlsplit(address)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((parts.hostname, parts.port or 0))
            return str(probe.getsockname()[0])
    except (OSError, ValueError) as error:
        what = f"there is no way to {address}: {error}"
        raise ConnectorError(what, "write tcp://HOST:PORT", environment=True) from error


def _check_shared(folder: Path, token: str) -> None:
    """Whether this machine sees the coordinator's own checkpoint folder."""
    try:
        found = disk.read_file(folder / TOKEN).decode("ascii", "replace")
    except OSError:
        found = ""
    if found != token:
        what = f"the checkpoint folder {Path(os.getcwd()) / folder} is not the run's"  # noqa: PTH109
        hint = "put it on a file system that all machines share: `checkpoint.dir`"
        raise ConnectorError(what, hint, environment=True)
