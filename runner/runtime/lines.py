"""The coordinator's end of all lines: from workers here, and from other machines."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from typing import Any, NamedTuple

import zmq

from roo.api import ConnectorError
from roo.runtime.key import Key, as_server, guard
from roo.runtime.transport import ipc, open_socket, readable

_REFUSED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


class Peer(NamedTuple):
    """Whoever is at the other end. line: which socket."""

    line: int
    identity: bytes


class Lines:
    """listen: tcp://HOST:PORT for other machines; None: there are none. Raises ConnectorError.

    port: where it listens. sockets: to be polled.
    """

    def __init__(
        self, context: zmq.Context[Any], folder: str, listen: str | None, key: Key | None
    ) -> None:
        here = open_socket(context, zmq.ROUTER)
        here.bind(ipc(folder, "control"))
        self._lines = [here]
        self.sockets: list[zmq.Socket[Any]] = [here]
        self.endpoint = ""
        self._refused = 0
        self._guardian: Any = None
        if listen is None:
            return
        _allow_many_files()
        away = open_socket(context, zmq.ROUTER)
        if key is not None:
            self._guardian = guard(context, key)
            as_server(away, key)
        self._monitor = away.get_monitor_socket(_REFUSED)
        try:
            away.bind(listen)
        except zmq.ZMQError as error:
            what = f"can't listen at {listen}: {os.strerror(error.errno or 0).lower()}"
            raise ConnectorError(what, "free the port or name another", environment=True) from error
        self.endpoint = away.getsockopt_string(zmq.LAST_ENDPOINT)
        self._lines.append(away)
        self.sockets += [away, self._monitor]

    def receive(self) -> Iterator[tuple[Peer, bytes]]:
        """What has come in by now."""
        for number, line in enumerate(self._lines):
            while readable(line):
                identity, *frames = line.recv_multipart()
                if len(frames) == 1:
                    yield Peer(number, identity), frames[0]

    def send(self, peer: Peer, packed: bytes) -> None:
        """Never blocks; to one that is gone it goes nowhere."""
        self._lines[peer.line].send_multipart([peer.identity, packed])

    def refused(self) -> int:
        """How many connections have been refused for want of the key since this was last asked."""
        count = 0
        if len(self._lines) > 1:
            while self._monitor.poll(0):
                self._monitor.recv_multipart()
                count += 1
        return count

    def close(self, linger_ms: int) -> None:
        """Close, giving last words so long. May be called again."""
        for line in self._lines:
            line.close(linger_ms)
        if self._guardian is not None:
            self._guardian.stop()  # before its context ends: it would never notice
            self._guardian = None


def _allow_many_files() -> None:
    """Each connection is a file: as many as this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
