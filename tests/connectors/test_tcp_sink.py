"""Sending: whole batches over connections that come late, break, and stay away."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from roo import connectors
from roo.api import ConnectorError, Sink
from roo.connectors import tcp_sink
from tests.connectors.reading import DEADLINE_S, context, wait_until


class Peer:
    """What the sink sends to: accepts on demand, with deadlines."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(DEADLINE_S)
        self.address = "{}:{}".format(*self.server.getsockname())
        self._connections: list[socket.socket] = []

    def accept(self) -> socket.socket:
        connection, _ = self.server.accept()
        connection.settimeout(DEADLINE_S)
        self._connections.append(connection)
        return connection

    def close(self) -> None:
        for connection in (*self._connections, self.server):
            connection.close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_sink, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(tcp_sink, "LONGEST_WAIT_S", 0.01)


def sink_to(address: str, log: Callable[[str], None] = lambda line: None, **more: Any) -> Sink:
    """A sink for an address, not yet open."""
    sink = connectors.sink("tcp", {"address": address, "retry_for_s": 5.0, **more})
    sink.check()
    sink.open(context(log))
    return sink


def all_of(connection: socket.socket) -> bytes:
    """Everything up to the end of a connection."""
    parts = []
    while data := connection.recv(65536):
        parts.append(data)
    return b"".join(parts)


def in_background(call: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def reset(connection: socket.socket) -> None:
    """Close so that the other side is told at once."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_batches_arrive_whole_and_at_once(peer: Peer) -> None:
    sink = sink_to(peer.address)
    assert not sink.single_writer
    connection = peer.accept()
    sink.write(b"a\n")
    assert connection.recv(100) == b"a\n"
    big = bytes(range(256)) * 40_000
    writing = in_background(lambda: (sink.write(big), sink.close()))
    assert all_of(connection) == big
    writing.join(DEADLINE_S)
    assert not writing.is_alive()


def test_a_reader_that_stalls_loses_nothing(peer: Peer) -> None:
    sink = sink_to(peer.address)
    connection = peer.accept()
    batches = [b"%d" % i * 100_000 for i in range(100)]
    sent = 0

    def write_all() -> None:
        nonlocal sent
        for batch in batches:
            sink.write(batch)
            sent += 1
        sink.close()

    writing = in_background(write_all)
    wait_until(lambda: sent > 0)
    assert all_of(connection) == b"".join(batches)
    writing.join(DEADLINE_S)
    assert not writing.is_alive()


def test_a_peer_that_left_between_batches_is_noticed(peer: Peer) -> None:
    log: list[str] = []
    sink = sink_to(peer.address, log.append)
    first = peer.accept()
    sink.write(b"1\n")
    assert first.recv(100) == b"1\n"
    first.close()  # from here on its system would swallow one batch more
    sink.write(b"2\n")
    sink.write(b"3\n")
    sink.close()
    assert all_of(peer.accept()) == b"2\n3\n"
    lost, again = log
    assert lost == f"lost {peer.address}: closed by the other end; trying for 5 s"
    assert again == f"connected to {peer.address}"


def test_a_batch_under_way_is_sent_again_whole(peer: Peer) -> None:
    sink = sink_to(peer.address)
    first = peer.accept()
    batch = b"".join(b"line %d\n" % i for i in range(2_000_000))
    writing = in_background(lambda: (sink.write(batch), sink.close()))
    assert first.recv(1000) == batch[:1000]
    reset(first)
    assert all_of(peer.accept()) == batch
    writing.join(DEADLINE_S)


def test_every_connection_begins_with_the_header(peer: Peer) -> None:
    sink = connectors.sink("tcp", {"address": peer.address})
    sink.header = b"a,b\n"
    sink.open(context())
    first = peer.accept()
    sink.write(b"1,2\n")
    wait_until(lambda: len(first.recv(100, socket.MSG_PEEK)) == 8)
    assert first.recv(100) == b"a,b\n1,2\n"
    first.close()
    sink.write(b"3,4\n")
    sink.close()
    assert all_of(peer.accept()) == b"a,b\n3,4\n"


def test_it_waits_for_a_peer_that_starts_later() -> None:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    address = "{}:{}".format(*server.getsockname())
    log: list[str] = []
    opened: list[Sink] = []
    opening = in_background(lambda: opened.append(sink_to(address, log.append)))
    wait_until(lambda: bool(log))
    assert log[0].startswith(f"can't connect to {address}: Connection refused; trying for 5 s")
    server.listen()
    opening.join(DEADLINE_S)
    (sink,) = opened
    assert log[1:] == [f"connected to {address}"]
    sink.close()
    server.close()


def test_it_gives_up_after_retry_for() -> None:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))  # bound, and never listening
    address = "{}:{}".format(*server.getsockname())
    with pytest.raises(ConnectorError, match=f"can't send to {address}: Connection refused") as e:
        sink_to(address, retry_for_s=0.05)
    assert e.value.environment
    assert "tried for 0.05 s" in e.value.hint
    server.close()


def test_it_gives_up_on_a_peer_that_always_hangs_up(peer: Peer) -> None:
    def hang_up() -> None:
        try:
            while True:
                reset(peer.accept())
        except OSError:
            pass  # the test is over

    in_background(hang_up)
    sink = connectors.sink("tcp", {"address": peer.address, "retry_for_s": 0.2})
    sink.header = b"h" * 20_000_000
    with pytest.raises(ConnectorError, match=f"can't send to {peer.address}"):
        sink.open(context())


def test_a_peer_that_talks_gets_everything(peer: Peer) -> None:
    """To close on words that nobody hears resets the connection, and drops what is still to go."""
    peer.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    sink = sink_to(peer.address)
    connection = peer.accept()
    connection.sendall(b"welcome\n")
    batch = b"x" * 200_000  # more than the peer holds: most of it waits on this side
    sink.write(batch)
    closing = in_background(sink.close)
    assert connection.recv(1000, socket.MSG_WAITALL) == batch[:1000]
    connection.sendall(b"got some\n")
    assert all_of(connection) == batch[1000:]
    connection.close()
    closing.join(DEADLINE_S)
    assert not closing.is_alive()


def test_a_host_that_is_not_there_is_found_before_the_run() -> None:
    with pytest.raises(ConnectorError, match=r"there is no host 'nowhere\.invalid'") as caught:
        connectors.sink("tcp", {"address": "nowhere.invalid:80"}).check()
    assert caught.value.environment
