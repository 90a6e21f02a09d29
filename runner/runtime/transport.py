"""ZeroMQ between processes: one control socket to the coordinator, data sockets between workers.

High-water marks are off everywhere: what may be in flight is bounded by credit, and a socket that
blocks (PUSH) or drops (ROUTER) at its mark would undo that.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import zmq

from roo.core.batch import Batch, Header, Kind, Origin
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


class Control:
    """A worker's line to the coordinator. Messages are those of `roo.runtime.control`."""

    def __init__(self, context: zmq.Context[Any], address: str, identity: str) -> None:
        self.socket = open_socket(context, zmq.DEALER)
        self.socket.setsockopt(zmq.IDENTITY, identity.encode())
        self.socket.connect(address)

    def send(self, message: Any) -> None:
        """Never blocks."""
        self.socket.send(pickle.dumps(message, 5))

    def receive(self) -> Any | None:
        """The next message, or None: nothing right now."""
        try:
            return pickle.loads(self.socket.recv(zmq.NOBLOCK))
        except zmq.Again:
            return None

    def close(self, linger_ms: int) -> None:
        """Close, giving what is still to be sent at most so long."""
        self.socket.close(linger_ms)


class Data:
    """The data sockets of one worker: batches, barriers and credit, to and from its peers."""

    def __init__(self, context: zmq.Context[Any], address: str, worker: int) -> None:
        self._context = context
        self._worker = worker
        self.socket = open_socket(context, zmq.PULL)
        self.socket.bind(address)
        self._peers: dict[int, zmq.Socket[Any]] = {}

    def connect(self, addresses: Mapping[int, str]) -> None:
        """Connect to peers that are bound, by worker."""
        for peer, address in addresses.items():
            if peer != self._worker and peer not in self._peers:
                self._peers[peer] = open_socket(self._context, zmq.PUSH)
                self._peers[peer].connect(address)

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
        """What has come in by now."""
        while readable(self.socket):
            packed, *frames = self.socket.recv_multipart()
            fields: tuple[Any, ...] = _HEADER.unpack(packed)
            header = Header._make((Kind(fields[0]), *fields[1:-4], Origin(*fields[-4:])))
            yield header, frames

    def close(self, linger_ms: int) -> None:
        """Close, giving what is still to be sent at most so long."""
        self.socket.close(0)
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
