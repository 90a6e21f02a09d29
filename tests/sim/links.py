"""What Roo uses of ZeroMQ, over simulated links.

A link is one direction of one connection. What is sent arrives in order, each frame after a delay
of its own. Between two machines it can be cut: then nothing arrives until it heals. Whoever
connects is connected again when another process binds the same address; what was on its way to the
one before is lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from math import inf
from random import Random
from typing import Any
from urllib.parse import urlsplit

import zmq

from tests.sim.processes import Process, Scheduler, Thread

FIRST_PORT = 40_000

Frames = list[bytes]


class Link:
    """One direction of a connection. ends: the machines that it leads from and to."""

    def __init__(self, network: Network, ends: tuple[str, str], dice: Random) -> None:
        self.ends = ends
        self._network = network
        self._dice = dice
        self._on_the_way: deque[tuple[Socket, Frames]] = deque()
        self._last_s = 0.0
        self._stuck = 0

    def send(self, receiver: Socket, frames: Frames) -> None:
        """It arrives some time."""
        scheduler = self._network.scheduler
        delay_s = self._dice.random() ** 4 * self._network.delay_s
        self._last_s = max(self._last_s, scheduler.now_s + delay_s)
        self._on_the_way.append((receiver, frames))
        scheduler.at(self._last_s, self._arrive)

    def _arrive(self) -> None:
        if not self._on_the_way:
            return
        if self._stuck or self.ends in self._network.cut:
            self._stuck += 1
            return
        receiver, frames = self._on_the_way.popleft()
        receiver.take(frames)

    def heal(self) -> None:
        """What could not arrive does now."""
        stuck, self._stuck = self._stuck, 0
        for _ in range(stuck):
            self._arrive()

    def lose(self, *, all_of_it: bool) -> None:
        """Its sender has gone: what it had handed over comes, of the rest nothing."""
        kept = 0 if all_of_it else self._dice.randint(0, len(self._on_the_way))
        while len(self._on_the_way) > kept:
            self._on_the_way.pop()


class Connection:
    """From a socket that connects to the one that is bound; None: nobody is, and what is sent
    waits.
    """

    def __init__(self, network: Network, client: Socket, address: str) -> None:
        self.client = client
        self.server: Socket | None = None
        self.address = address
        self._network = network
        self._waiting: list[Frames] = []
        self.there: Link | None = None
        self.back: Link | None = None

    def attach(self, server: Socket) -> None:
        """Somebody is bound."""
        self.server = server
        here, there = self.client.process.machine, server.process.machine
        self.there = self._network.link(self.client, (here, there))
        self.back = self._network.link(server, (there, here))
        server.connections[self.client.name] = self
        waiting, self._waiting = self._waiting, []
        for frames in waiting:
            self.send(frames)

    def detach(self, *, keeps: bool) -> None:
        """Nobody is bound any more. keeps: its last words still come."""
        if self.there is not None:
            self.there.lose(all_of_it=True)
        if self.back is not None and not keeps:
            self.back.lose(all_of_it=False)
        self.server = None

    def send(self, frames: Frames) -> None:
        """To whom it connects to."""
        if self.server is None:
            self._waiting.append(frames)
            return
        assert self.there is not None
        self.there.send(self.server, [self.client.name, *frames])

    def answer(self, frames: Frames) -> None:
        """Back to who connected."""
        assert self.back is not None
        self.back.send(self.client, frames)

    def close(self, *, keeps: bool) -> None:
        """The client has gone. keeps: its last words still come."""
        if self.there is not None and not keeps:
            self.there.lose(all_of_it=False)
        if self.server is not None:
            self.server.connections.pop(self.client.name, None)


class Network:
    """All sockets. cut: pairs of machines between which nothing arrives, each one way."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.delay_s = 0.002
        self.cut: set[tuple[str, str]] = set()
        self.bound: dict[str, Socket] = {}
        self._waiting: list[Connection] = []
        self._links: list[Link] = []
        self._port = FIRST_PORT
        self._count = 0

    def link(self, sender: Socket, ends: tuple[str, str]) -> Link:
        """A new one."""
        link = Link(self, ends, sender.process.dice)
        if ends[0] != ends[1]:
            self._links.append(link)
        return link

    def heal(self, ends: tuple[str, str]) -> None:
        """A cut is over."""
        self.cut.discard(ends)
        for link in self._links:
            if link.ends == ends:
                link.heal()

    def name(self) -> bytes:
        """An identity for a socket that gives itself none."""
        self._count += 1
        return b"%05d" % self._count

    def port(self) -> int:
        """A free one."""
        self._port += 1
        return self._port

    def bind(self, socket: Socket, address: str) -> None:
        """A socket is found there from now on."""
        if address in self.bound:
            raise zmq.ZMQError(zmq.EADDRINUSE)
        self.bound[address] = socket
        for connection in [c for c in self._waiting if c.address == address]:
            self._waiting.remove(connection)
            connection.attach(socket)

    def connect(self, connection: Connection) -> None:
        """At once, or when somebody binds its address."""
        server = self.bound.get(connection.address)
        if server is not None:
            connection.attach(server)
        else:
            self._waiting.append(connection)

    def close(self, socket: Socket) -> None:
        """A socket has gone, by itself or with its process."""
        for address in [a for a, bound in self.bound.items() if bound is socket]:
            del self.bound[address]
        for connection in socket.connections.values():
            connection.detach(keeps=socket.process.is_alive)
            self._waiting.append(connection)
        for connection in socket.outgoing:
            connection.close(keeps=socket.process.is_alive)
        self._waiting = [c for c in self._waiting if c.client is not socket]


class Socket:
    """A socket of a process: ROUTER, DEALER, PULL or PUSH."""

    linger = 0
    curve_server = False
    curve_secretkey = curve_publickey = curve_serverkey = b""

    def __init__(self, network: Network, process: Process, kind: int) -> None:
        self.process = process
        self.name = network.name()
        self.connections: dict[bytes, Connection] = {}
        self.outgoing: list[Connection] = []
        self.waits: dict[Thread, None] = {}
        self._network = network
        self._kind = kind
        self._inbox: deque[Frames] = deque()
        self._endpoint = ""
        self._is_closed = False
        process.at_end.append(partial(self._close))

    # Options

    def set_hwm(self, value: int) -> None:
        """Nothing is ever held back."""

    def setsockopt(self, option: int, value: Any) -> None:
        if option == zmq.IDENTITY:
            self.name = value

    def getsockopt(self, option: int) -> int:
        assert option == zmq.EVENTS
        self.process.enter()
        return zmq.POLLIN if self._inbox else 0

    def getsockopt_string(self, option: int) -> str:
        assert option == zmq.LAST_ENDPOINT
        return self._endpoint

    @property
    def identity(self) -> bytes:
        """By which a ROUTER knows it."""
        return self.name

    @identity.setter
    def identity(self, name: bytes) -> None:
        self.name = name

    # Connecting

    def bind(self, address: str) -> None:
        """Raises ZMQError where somebody else is bound."""
        self._endpoint = address
        self._network.bind(self, self._at(address, self.process.machine))

    def bind_to_random_port(self, address: str) -> int:
        port = self._network.port()
        self.bind(f"{address}:{port}")
        return port

    def connect(self, address: str) -> None:
        host = urlsplit(address).hostname or ""
        connection = Connection(self._network, self, self._at(address, host))
        self.outgoing.append(connection)
        self._network.connect(connection)

    def _at(self, address: str, machine: str) -> str:
        parts = urlsplit(address)
        return f"{machine}:{parts.port}" if parts.scheme == "tcp" else address

    def get_monitor_socket(self, events: int) -> Socket:
        """One that never has anything to say."""
        return Socket(self._network, self.process, zmq.PULL)

    # Messages

    def send(self, data: bytes) -> None:
        self.send_multipart([data])

    def send_multipart(self, frames: Sequence[Any]) -> None:
        self.process.enter()
        packed = [bytes(frame) for frame in frames]
        if self._kind == zmq.ROUTER:
            connection = self.connections.get(packed[0])
            if connection is not None:
                connection.answer(packed[1:])
            return
        for connection in self.outgoing:
            connection.send(packed)

    def take(self, frames: Frames) -> None:
        """Something arrives: whose it is first, which only a ROUTER shows."""
        if self._is_closed:
            return
        self._inbox.append(frames[1:] if self._kind == zmq.PULL else frames)
        for thread in self.waits:
            thread.wake()

    def recv_multipart(self) -> Frames:
        self.process.enter()
        self.poll()
        return self._inbox.popleft()

    def recv(self) -> bytes:
        return self.recv_multipart()[0]

    def poll(self, timeout: float | None = None) -> int:
        poller = Poller(self._network)
        poller.register(self, zmq.POLLIN)
        return len(poller.poll(timeout))

    @property
    def is_readable(self) -> bool:
        """Whether something has come."""
        return bool(self._inbox)

    def close(self, linger: int | None = None) -> None:
        if self.process.is_alive:
            self._close()

    def _close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._network.close(self)


class Context:
    """As `zmq.Context`, of one process."""

    def __init__(self, network: Network, process: Process) -> None:
        self._network = network
        self._process = process
        self._sockets: list[Socket] = []

    def socket(self, kind: int) -> Socket:
        made = Socket(self._network, self._process, kind)
        self._sockets.append(made)
        return made

    def destroy(self, linger: int | None = None) -> None:
        for socket in self._sockets:
            socket.close(linger)

    def term(self) -> None:
        """Nothing is left to be done."""


class Lifeline:
    """The end of a pipe that can be read when the process at the other end has gone."""

    def __init__(self, owner: Process) -> None:
        self._owner = owner
        self.waits: dict[Thread, None] = {}
        owner.at_end.append(self._wake)

    def _wake(self) -> None:
        for thread in self.waits:
            thread.wake()

    @property
    def is_readable(self) -> bool:
        """Whether its end has come."""
        return not self._owner.is_alive


class Poller:
    """As `zmq.Poller`. What is neither a socket of ours nor a lifeline never has anything."""

    lifelines: dict[int, Lifeline] = {}

    def __init__(self, network: Network) -> None:
        self._scheduler = network.scheduler
        self._polled: dict[Any, Socket | Lifeline] = {}

    def register(self, what: Any, flags: int = zmq.POLLIN) -> None:
        if isinstance(what, Socket):
            self._polled[what] = what
        elif what in self.lifelines:
            self._polled[what] = self.lifelines[what]

    def unregister(self, what: Any) -> None:
        self._polled.pop(what, None)

    def poll(self, timeout: float | None = None) -> list[tuple[Any, int]]:
        """What can be read, as soon as something can; or nothing, after so many ms."""
        scheduler = self._scheduler
        thread = scheduler.current
        assert thread is not None
        thread.process.enter()
        endless = timeout is None or timeout < 0
        end_s = inf if timeout is None or endless else scheduler.now_s + timeout / 1000
        while True:
            ready = [(what, zmq.POLLIN) for what, end in self._polled.items() if end.is_readable]
            if ready or scheduler.now_s >= end_s:
                return ready
            for end in self._polled.values():
                end.waits[thread] = None
            thread.wait(end_s)
            for end in self._polled.values():
                end.waits.pop(thread, None)
