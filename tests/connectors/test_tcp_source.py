"""Listening: many clients at once, each with a stream of its own, none harmed by another."""

from __future__ import annotations

import errno
import select
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from roo import connectors
from roo.api import BATCH_BYTES, Codec, ConnectorError
from roo.connectors.addresses import resolve, show
from roo.connectors.tcp_source import TcpReader
from tests.connectors.reading import DEADLINE_S, LINES, context, read_until, wait_until

PREFIXED = connectors.codec(
    "bytes", None, {"framing": "length_prefix", "length_bytes": 2, "max_frame_bytes": 1000}
)


class Listening:
    """A source that listens on a free port, its log, and its clients."""

    def __init__(self, codec: Codec = LINES) -> None:
        self.log: list[str] = []
        source = connectors.source("tcp", {"address": "127.0.0.1:0"})
        source.check()
        (split,) = source.splits()
        reader = source.open(split, None, codec, context(self.log.append))
        assert isinstance(reader, TcpReader)
        self.reader = reader
        assert self.log[0].startswith("listening on 127.0.0.1:")
        self.address = self.log.pop().removeprefix("listening on ")
        self._clients: list[socket.socket] = []

    def client(self) -> socket.socket:
        host, port = self.address.split(":")
        client = socket.create_connection((host, int(port)), DEADLINE_S)
        self._clients.append(client)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.reader.close()


Listen = Callable[..., Listening]


@pytest.fixture
def listen() -> Iterator[Listen]:
    made: list[Listening] = []

    def make(codec: Codec = LINES) -> Listening:
        made.append(Listening(codec))
        return made[-1]

    yield make
    for listening in made:
        listening.close()


def some(count: int) -> Callable[[list[Any]], bool]:
    """Whether so many messages have come."""
    return lambda messages: len(messages) >= count


def test_each_client_has_a_stream_of_its_own(listen: Listen) -> None:
    server = listen()
    assert server.reader.read() is None
    one, two = server.client(), server.client()
    one.sendall(b"from o")
    two.sendall(b"from two\nand ")
    assert read_until(server.reader, some(1)) == ["from two"]
    one.sendall(b"ne\n")
    assert read_until(server.reader, some(1)) == ["from one"]
    two.sendall(b"more")
    two.close()  # its last line has no newline
    assert read_until(server.reader, some(1)) == ["and more"]
    one.sendall(b"still here\n")
    assert read_until(server.reader, some(1)) == ["still here"]
    assert server.log == []


def test_its_descriptor_is_readable_when_there_is_something(listen: Listen) -> None:
    server = listen()
    poll = select.poll()
    fd = server.reader.fileno()
    assert fd is not None
    poll.register(fd, select.POLLIN)
    assert poll.poll(0) == []
    client = server.client()
    assert poll.poll(DEADLINE_S * 1000)
    assert server.reader.read() is None  # accepted
    assert poll.poll(0) == []
    client.sendall(b"x\n")
    assert poll.poll(DEADLINE_S * 1000)
    assert read_until(server.reader, some(1)) == ["x"]
    assert server.reader.read() is None
    assert poll.poll(0) == []


def test_hundreds_of_clients(listen: Listen) -> None:
    server = listen()
    clients = [server.client() for _ in range(300)]
    for number, client in enumerate(clients):
        client.sendall(b"%d.1\n%d.2\n" % (number, number))
        client.close()
    messages = read_until(server.reader, some(600))
    assert sorted(messages) == sorted(f"{n}.{i}" for n in range(300) for i in (1, 2))
    for number in range(300):
        assert messages.index(f"{number}.1") < messages.index(f"{number}.2")


def test_a_client_that_floods_does_not_starve_the_others(listen: Listen) -> None:
    server = listen()
    flood, slow = server.client(), server.client()
    flood.setblocking(False)
    pending = memoryview(b"flood\n" * 1_000_000)

    def pour() -> None:
        nonlocal pending
        try:
            while pending:
                pending = pending[flood.send(pending) :]
        except BlockingIOError:
            pass

    pour()
    assert read_until(server.reader, some(1))[0] == "flood"
    slow.sendall(b"me too\n")
    server.reader.read()  # it may have been under way before the line arrived
    for _ in range(3):
        pour()
        read = server.reader.read()
        assert read is not None
        assert read.bytes_read <= 2 * BATCH_BYTES
        if "me too" in read.messages:
            return
    raise AssertionError("starved")


@pytest.mark.parametrize("before", [b"", b"\0\1a"])
def test_a_frame_too_large_closes_its_client_and_no_other(listen: Listen, before: bytes) -> None:
    server = listen(PREFIXED)
    good, bad = server.client(), server.client()
    bad.sendall(before + b"\xff\xff and then it waits")
    good.sendall(b"\0\2ok")
    wanted = {b"ok"} | ({b"a"} if before else set())
    assert set(read_until(server.reader, lambda m: wanted <= set(m) and bool(server.log))) == wanted
    host, port = bad.getsockname()
    offset = len(before)
    assert server.log == [
        f"client {host}:{port} closed: the frame at byte {offset} is larger than max_frame "
        "(1000 bytes)"
    ]
    with pytest.raises((ConnectionResetError, AssertionError)):
        assert bad.recv(1)
    good.sendall(b"\0\5still")
    assert read_until(server.reader, some(1)) == [b"still"]


def test_a_line_without_end_closes_its_client(listen: Listen) -> None:
    server = listen(connectors.codec("lines", None, {"max_frame_bytes": 1000}))
    bad = server.client()
    bad.sendall(b"x" * 1001)
    read_until(server.reader, lambda messages: bool(server.log))
    assert "larger than max_frame (1000 bytes)" in server.log[0]


def test_a_client_that_leaves_within_a_frame_is_logged(listen: Listen) -> None:
    server = listen(PREFIXED)
    client = server.client()
    client.sendall(b"\0\1a\0\5not")
    client.close()
    failures: list[Any] = []

    def logged() -> bool:
        read = server.reader.read()
        failures.extend(read.failures if read else [])
        return bool(server.log)

    wait_until(logged)
    assert "the stream ended within a frame, after 5 bytes of it" in server.log[0]
    assert failures == []


def test_bytes_that_do_not_decode_are_failures_and_harm_nobody(listen: Listen) -> None:
    server = listen(connectors.codec("json", None, {}))
    client = server.client()
    client.sendall(b'1\nbad\n2\n"last')
    client.close()
    messages: list[Any] = []
    failures: list[Any] = []

    def done() -> bool:
        read = server.reader.read()
        if read is not None:
            failures.extend((len(messages) + f.index, f.frame, f.offset) for f in read.failures)
            messages.extend(read.messages)
        return len(failures) == 2

    wait_until(done)
    assert messages == [1, 2]
    assert failures == [(1, b"bad", 2), (2, b'"last', 8)]


def test_a_reset_takes_only_its_client_away(listen: Listen) -> None:
    server = listen()
    bad, good = server.client(), server.client()
    assert server.reader.read() is None
    bad.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    bad.close()
    good.sendall(b"x\n")
    assert read_until(server.reader, some(1)) == ["x"]


def test_a_port_in_use_is_the_machines_fault(listen: Listen) -> None:
    server = listen()
    source = connectors.source("tcp", {"address": server.address})
    for attempt in (source.check, lambda: source.open(source.splits()[0], None, LINES, context())):
        with pytest.raises(ConnectorError, match=f"can't listen on {server.address}") as caught:
            attempt()
        assert caught.value.environment
        assert "another run" in caught.value.hint


def test_the_port_is_free_at_once_for_the_next_run(listen: Listen) -> None:
    server = listen()
    client = server.client()
    client.sendall(b"x\n")
    read_until(server.reader, some(1))
    server.reader.close()  # this end closes first, so the port waits for stray packets
    source = connectors.source("tcp", {"address": server.address})
    source.check()
    source.open(source.splits()[0], None, LINES, context()).close()


def test_no_room_for_more_clients_is_survived(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = listen()
    first = server.client()
    assert server.reader.read() is None
    real = socket.socket.accept

    def full(self: socket.socket) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket.socket, "accept", full)
    second = server.client()
    second.sendall(b"second\n")
    wait_until(lambda: server.reader.read() is None and bool(server.log))
    assert server.log == ["1 clients, and no room for more: Too many open files"]
    monkeypatch.setattr(socket.socket, "accept", real)
    first.sendall(b"first\n")
    first.close()
    assert read_until(server.reader, some(2)) == ["first", "second"]


@pytest.mark.parametrize("address", ["localhost", "localhost:x", "localhost:70000", ":-1"])
def test_an_address_without_a_port_is_refused(address: str) -> None:
    with pytest.raises(ConnectorError, match="has no port from 0 to 65535") as caught:
        connectors.source("tcp", {"address": address}).check()
    assert not caught.value.environment


def test_addresses_are_shown_as_they_are_written() -> None:
    for address in ("127.0.0.1:80", "[::1]:80"):
        assert show(resolve(address, passive=True)[1]) == address
