"""`type: tcp`: listens, and takes messages from any number of clients at once."""

from __future__ import annotations

import errno
import os
import selectors
import socket
from collections import deque
from collections.abc import Callable

from roo.api import (
    Codec,
    ConnectorError,
    Context,
    Decoder,
    Failure,
    Read,
    Reader,
    Source,
    Split,
)
from roo.connectors.addresses import resolve, show
from roo.connectors.framing import TornFrame

BACKLOG = 1024
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class TcpSource(Source):
    """Options: address (HOST:PORT). Not rewindable: what a client has sent is gone from there.

    A client's messages keep their order. One that breaks the framing is closed, with a line in the
    log, and harms nobody else.
    """

    def check(self) -> None:
        """The port is free. (Whoever takes it now makes the worker fail with the same words.)"""
        _listen(str(self.options["address"])).close()

    def splits(self) -> list[Split]:
        return [Split(str(self.options["address"]))]

    def open(self, split: Split, offset: int | None, codec: Codec, context: Context) -> Reader:
        return TcpReader(str(self.options["address"]), codec, context.log)


class _Client:
    """One connection and what it has sent so far."""

    def __init__(self, connection: socket.socket, name: str, decoder: Decoder) -> None:
        self.connection = connection
        self.name = name
        self.decoder = decoder


class TcpReader(Reader):
    """Reads whoever has sent something, in turn. Offsets count the bytes decoded so far."""

    def __init__(self, address: str, codec: Codec, log: Callable[[str], None]) -> None:
        self._codec = codec
        self._log = log
        self._offset = 0
        self._server = _listen(address)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)
        self._waiting: deque[_Client] = deque()
        self._clients: set[_Client] = set()
        self._full = False
        log(f"listening on {show(self._server.getsockname())}")

    def fileno(self) -> int | None:
        return self._selector.fileno()

    def read(self) -> Read | None:
        if not self._waiting:
            self._poll()
        if not self._waiting:
            return None
        start = self._offset
        messages: list[object] = []
        failures: list[Failure] = []
        taken = 0
        # Each client that has something gets one turn; the rest wait for the next read.
        for _ in range(len(self._waiting)):
            client = self._waiting.popleft()
            data = self._receive(client)
            if data is None:
                continue
            taken += len(data)
            self._decode(client, data, messages, failures)
            if taken >= self.batch_bytes:
                break
        self._offset += taken
        return Read(messages, start, self._offset, failures, taken)

    def _poll(self) -> None:
        for key, _ in self._selector.select(0):
            if key.fileobj is self._server:
                self._accept()
            else:
                self._waiting.append(key.data)

    def _accept(self) -> None:
        while True:
            try:
                connection, where = self._server.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_DESCRIPTORS:
                    self._pause(error)
                    return
                continue  # the client gave up before it was accepted
            connection.setblocking(False)
            client = _Client(connection, show(where), self._codec.decoder())
            self._clients.add(client)
            self._selector.register(connection, selectors.EVENT_READ, client)

    def _pause(self, error: OSError) -> None:
        """No more descriptors: newcomers wait in the backlog until a client leaves."""
        self._full = True
        self._selector.unregister(self._server)
        self._log(f"{len(self._clients)} clients, and no room for more: {error.strerror}")

    def _receive(self, client: _Client) -> bytes | None:
        """What a client has sent: b"" at its end, None when there is nothing after all."""
        try:
            return client.connection.recv(self.batch_bytes)
        except BlockingIOError:
            return None
        except OSError:  # a reset: whatever was whole has been taken
            return b""

    def _decode(
        self, client: _Client, data: bytes, messages: list[object], failures: list[Failure]
    ) -> None:
        try:
            found, failed = client.decoder.feed(data) if data else client.decoder.finish()
        except ConnectorError as error:
            self._leave(client, f"client {client.name} closed: {error.message}")
            return
        before = len(messages)
        messages += found
        for f in failed:
            if isinstance(f.error, TornFrame):  # a client that left too soon is no bad message
                self._log(f"client {client.name}: {f.error}")
            else:
                failures.append(Failure(before + f.index, f.frame, f.offset, f.error))
        if not data:
            self._leave(client, None)
        elif client.decoder.pending_bytes:
            self._close_if_broken(client)

    def _close_if_broken(self, client: _Client) -> None:
        """A decoder hands over the good frames before one too large; the next feed says so. Say it
        now: the client may never send again.
        """
        try:
            client.decoder.feed(b"")
        except ConnectorError as error:
            self._leave(client, f"client {client.name} closed: {error.message}")

    def _leave(self, client: _Client, reason: str | None) -> None:
        self._selector.unregister(client.connection)
        client.connection.close()
        self._clients.discard(client)
        if reason:
            self._log(reason)
        if self._full:
            self._full = False
            self._selector.register(self._server, selectors.EVENT_READ)

    def close(self) -> None:
        for client in self._clients:
            client.connection.close()
        self._server.close()
        self._selector.close()


def _listen(address: str) -> socket.socket:
    family, where = resolve(address, passive=True)
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind(where)
        server.listen(BACKLOG)
    except OSError as error:
        server.close()
        said = os.strerror(error.errno or 0)
        hint = "is another run listening there? end it, or take another port"
        if error.errno != errno.EADDRINUSE:
            hint = "take an address of this machine and a port above 1023"
        raise ConnectorError(
            f"can't listen on {address}: {said}", hint, environment=True
        ) from error
    server.setblocking(False)
    return server
