"""`type: tcp`: connects and sends; each worker has a connection of its own."""

from __future__ import annotations

import errno
import select
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
CLOSE_S = 1.0
HEARD_BYTES = 1 << 16


class TcpSink(Sink):
    """Options: address (HOST:PORT), retry_for_s (60).

    Best effort: when a connection breaks, the batch that was being sent is sent again from its
    first message over the next one; what the broken one had taken of earlier batches, and its peer
    had not read, is lost with it: nobody acknowledges anything here. A peer that closes its side is
    taken to be gone; what it says is not listened to. One that does not read holds the run up for
    as long as its connection lives.
    """

    single_writer = False
    delivery = "best effort"

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._address = str(options["address"])
        self._retry_for_s = float(options.get("retry_for_s", 60.0))
        self._connection: socket.socket | None = None
        self._heard = False

    def check(self) -> None:
        """The address has a host and a port."""
        resolve(self._address, passive=False)

    def open(self, context: Context) -> None:
        self._log = context.log
        self._deliver(b"")

    def write(self, data: Any) -> None:
        self._deliver(data)

    def _deliver(self, data: bytes) -> None:
        """Try until all is sent, with waits that double; give up retry_for_s after a failure."""
        deadline_s: float | None = None
        wait_s = FIRST_WAIT_S
        while True:
            was_connected = self._connection is not None
            try:
                self._attempt(data)
                break
            except (OSError, ConnectorError) as error:
                said = getattr(error, "strerror", None) or str(error)
                self._drop()
            now_s = time.monotonic()
            if deadline_s is None:
                deadline_s = now_s + self._retry_for_s
                what = "lost" if was_connected else "can't connect to"
                self._log(f"{what} {self._address}: {said}; trying for {self._retry_for_s:g} s")
            if now_s >= deadline_s:
                hint = f"start what listens there (tried for {self._retry_for_s:g} s)"
                what = f"can't send to {self._address}: {said}"
                raise ConnectorError(what, hint, environment=True)
            time.sleep(min(wait_s, deadline_s - now_s))
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)
        if deadline_s is not None:
            self._log(f"connected to {self._address}")

    def _attempt(self, data: bytes) -> None:
        """Connect if need be, and send everything. Raises OSError."""
        if self._connection is None:
            self._connection = self._connect()
            self._send(self._connection, self.header)
        elif self._hangs_up(self._connection):
            # Its system would still take one batch, for nobody.
            raise ConnectionResetError(errno.ECONNRESET, "closed by the other end")
        self._send(self._connection, data)

    def _connect(self) -> socket.socket:
        family, where = resolve(self._address, passive=False)
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(CONNECT_S)
            connection.connect(where)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
        except BaseException:
            connection.close()
            raise
        return connection

    def _send(self, connection: socket.socket, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[connection.send(view) :]
            except BlockingIOError:
                wait_writable(connection.fileno())

    def _hangs_up(self, connection: socket.socket) -> bool:
        """Whether the peer has closed its side. What it has said meanwhile is dropped."""
        try:
            heard = connection.recv(HEARD_BYTES)
        except BlockingIOError:
            return False
        self._heard = self._heard or bool(heard)
        return not heard

    def close(self) -> None:
        """Everything written reaches a peer that goes on reading."""
        if self._connection is None:
            return
        try:
            self._connection.shutdown(socket.SHUT_WR)
            if self._heard or not self._silent(self._connection):
                self._hear_out(self._connection)
        except OSError:
            pass  # the peer is gone: it was told all there was
        self._drop()

    def _silent(self, connection: socket.socket) -> bool:
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        return not poll.poll(0)

    def _hear_out(self, connection: socket.socket) -> None:
        """Listen to a peer that talks until it ends: closing on unread words would cut off what
        is still on its way to it.
        """
        connection.settimeout(CLOSE_S)
        deadline_s = time.monotonic() + CLOSE_S
        while time.monotonic() < deadline_s and connection.recv(HEARD_BYTES):
            pass

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._heard = False
