"""ZeroMQ between processes: one control socket to the coordinator, data sockets between workers.

High-water marks are off everywhere: what may be in flight is bounded by credit, and a socket that
blocks (PUSH) or drops (ROUTER) at its mark would undo that.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import zmq

from roo.core.batch import Batch, Header, Kind, Origin
from roo.runtime.key import Key, as_client, as_server, guard
from roo.runtime.payload import Keyed, pack, unpack

_HEADER = struct.Struct("<BIIQIIqQIQiiqq")
CONNECT_RETRY_MS = 10


def ipc(folder: str, name: str) -> str:
    """The address of a socket in a run's private folder."""
    return f"ipc://{Path(folder) / name}"


def open_socket(context: zmq.Context[Any], kind: int) -> zmq.Socket[Any]:
    """A socket without high-water marks that is gone at once when closed."""
    socket: zmq.Socket[Any] = context.socket(kind)
    socket.set_hwm(0)
    socket.linger = 0
    socket.setsockopt(zmq.RECONNECT_IVL, CONNECT_RETRY_MS)
    return socket


def readable(socket: zmq.Socket[Any]) -> bool:
    """Whether something has come in: cheaper than trying to receive."""
    return bool(int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)


class Address(NamedTuple):
    """Where a worker's data socket is. place: the machine it runs on, "" being the coordinator's;
    within one place it is found in the run's folder. host: "" for the coordinator's machine, as
    whoever connects has come to know it.
    """

    place: str
    host: str
    port: int


class Site(NamedTuple):
    """Where a process of a run is. control: the coordinator's address. bind: the interface that
    data is taken in on from other machines, None where there are none.
    """

    folder: str
    control: str
    place: str = ""
    bind: str | None = None
    key: Key | None = None

    @property
    def is_away(self) -> bool:
        """Whether the coordinator is on another machine."""
        return self.control.startswith("tcp:")

    def data_at(self, worker: int, attempt: int) -> str:
        """The data socket of a worker in this very place."""
        return ipc(self.folder, f"data-{attempt}-{worker}")

    def way_to(self, worker: int, attempt: int, address: Address) -> str:
        """The data socket of any worker."""
        if address.place == self.place:
            return self.data_at(worker, attempt)
        return f"tcp://{address.host or urlsplit(self.control).hostname}:{address.port}"


class Control:
    """A worker's line to the coordinator. Messages are those of `roo.runtime.control`."""

    def __init__(self, context: zmq.Context[Any], site: Site, identity: str) -> None:
        self.socket = open_socket(context, zmq.DEALER)
        self.socket.setsockopt(zmq.IDENTITY, identity.encode())
        if site.key is not None and site.is_away:
            as_client(self.socket, site.key)
        address = site.control
        self.socket.connect(address)

    def send(self, message: Any) -> None:
        """Never blocks."""
        self.socket.send(pickle.dumps(message, 5))

    def receive(self) -> Any | None:
        """The next message, or None: nothing right now."""
        return pickle.loads(self.socket.recv()) if readable(self.socket) else None

    def close(self, linger_ms: int) -> None:
        """Close, giving what is still to be sent at most so long."""
        self.socket.close(linger_ms)


class Data:
    """The data sockets of one worker: batches, barriers and credit, to and from its peers."""

    def __init__(self, context: zmq.Context[Any], site: Site, worker: int, attempt: int) -> None:
        self._context = context
        self._site = site
        self._worker = worker
        self._attempt = attempt
        here = open_socket(context, zmq.PULL)
        here.bind(site.data_at(worker, attempt))
        self.sockets = [here]
        self.port = 0
        self._guardian: Any = None
        if site.bind is not None:
            away = open_socket(context, zmq.PULL)
            if site.key is not None:
                self._guardian = guard(context, site.key)
                as_server(away, site.key)
            self.port = away.bind_to_random_port(f"tcp://{site.bind}")
            self.sockets.append(away)
        self._peers: dict[int, zmq.Socket[Any]] = {}

    @property
    def has_come(self) -> bool:
        """Whether something has come in."""
        return any(map(readable, self.sockets))

    def connect(self, addresses: Mapping[int, Address]) -> None:
        """Connect to peers that are bound, by worker."""
        for peer, address in addresses.items():
            if peer != self._worker and peer not in self._peers:
                self._peers[peer] = open_socket(self._context, zmq.PUSH)
                if self._site.key is not None and address.place != self._site.place:
                    as_client(self._peers[peer], self._site.key)
                self._peers[peer].connect(self._site.way_to(peer, self._attempt, address))

    def forget(self, workers: Iterable[int]) -> None:
        """Peers that have left: nothing goes to them any more."""
        for worker in workers:
            peer = self._peers.pop(worker, None)
            if peer is not None:
                peer.close(0)

    def send(self, receiver: int, header: Header, frames: list[bytes]) -> None:
        """Never blocks."""
        packed = _HEADER.pack(*header[:-1], *header.origin)
        self._peers[receiver].send_multipart([packed, *frames])

    def receive(self) -> Iterator[tuple[Header, list[bytes]]]:
        """What has come in by now. What comes from another machine has no time of reading: clocks
        can't be compared.
        """
        for socket in self.sockets:
            while readable(socket):
                packed, *frames = socket.recv_multipart()
                fields: tuple[Any, ...] = _HEADER.unpack(packed)
                header = Header._make((Kind(fields[0]), *fields[1:-4], Origin(*fields[-4:])))
                if socket is not self.sockets[0]:
                    header = header._replace(read_ns=0)
                yield header, frames

    def close(self, linger_ms: int) -> None:
        """Close, giving what is still to be sent at most so long."""
        if self._guardian is not None:
            self._guardian.stop()  # before its context ends: it would never notice
        for socket in self.sockets:
            socket.close(0)
        for peer in self._peers.values():
            peer.close(linger_ms)


def frames_of(payload: Any) -> list[bytes]:
    """A batch's payload as frames: keyed messages, encoded bytes, or a list of messages."""
    if payload is None:
        return []
    if isinstance(payload, Keyed):
        return pack(payload)
    if isinstance(payload, bytes):
        return [b"b", payload]
    return [b"m", pickle.dumps(payload, 5)]


def payload_of(header: Header, frames: list[bytes], *, keyed: bool) -> Any:
    """The inverse of `frames_of`."""
    if header.kind is not Kind.BATCH:
        return None
    if keyed:
        return unpack(frames)
    return frames[1] if frames[0] == b"b" else pickle.loads(frames[1])


def batch_of(header: Header, frames: list[bytes], *, keyed: bool) -> Batch:
    """A received batch."""
    return Batch(header, payload_of(header, frames, keyed=keyed))
