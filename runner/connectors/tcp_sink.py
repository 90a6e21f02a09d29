"""`type: tcp`: connects and sends; each worker has a connection of its own."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Any

from roo.api import ConnectorError, Context, Sink
from roo.connectors.addresses import resolve
from roo.connectors.writing import wait_writable

FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 2.0
CONNECT_S = 5.0


class TcpSink(Sink):
    """Options: address (HOST:PORT), retry_for_s (60).

    At least once: when a connection breaks, the batch that was being sent is sent again from its
    first message over the next one; what the broken one had swallowed of earlier batches is lost
    with it. A peer that does not read holds the run up for as long as its connection lives.
    """

    single_writer = False

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._address = str(options["address"])
        self._retry_for_s = float(options.get("retry_for_s", 60.0))
        self._connection: socket.socket | None = None

    def check(self) -> None:
        """The address has a host and a port."""
        resolve(self._address, passive=False)

    def open(self, context: Context) -> None:
        self._log = context.log
        self._connect()

    def write(self, data: Any) -> None:
        while True:
            if self._connection is None:
                self._connect()
            try:
                self._send(data)
                return
            except OSError as error:
                self._log(f"lost {self._address}: {error.strerror or error}; connecting again")
                self.close()

    def _send(self, data: bytes) -> None:
        assert self._connection is not None
        view = memoryview(data)
        while view:
            try:
                view = view[self._connection.send(view) :]
            except BlockingIOError:
                wait_writable(self._connection.fileno())

    def _connect(self) -> None:
        """Try until it works, with waits that double; give up after retry_for_s."""
        deadline_s = time.monotonic() + self._retry_for_s
        wait_s = FIRST_WAIT_S
        while True:
            try:
                family, where = resolve(self._address, passive=False)
                connection = socket.socket(family, socket.SOCK_STREAM)
                connection.settimeout(CONNECT_S)
                connection.connect(where)
                break
            except OSError as error:
                connection.close()
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    what = f"can't connect to {self._address}: {error.strerror or error}"
                    hint = f"start what listens there (tried for {self._retry_for_s:g} s)"
                    raise ConnectorError(what, hint, environment=True) from error
                time.sleep(min(wait_s, left_s))
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        self._connection = connection
        if self.header:
            self._send(self.header)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
