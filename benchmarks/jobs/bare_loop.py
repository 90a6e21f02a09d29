"""The latency pipeline with no framework: one process, one loop, TCP in and TCP out.

It calls the same plugin functions, once per message.

    python -m benchmarks.jobs.bare_loop LISTEN_PORT COLLECTOR_PORT
"""

from __future__ import annotations

import socket
import sys
from collections import defaultdict

from benchmarks.jobs.ticks import Seen, key, number

READ_BYTES = 64 * 1024


def main() -> None:
    """Serve one client to its end."""
    listen_port, collector_port = map(int, sys.argv[1:])
    seen: defaultdict[str, Seen] = defaultdict(Seen)
    rest = b""
    with socket.create_server(("127.0.0.1", listen_port)) as server:
        feed, _ = server.accept()
    with feed, socket.create_connection(("127.0.0.1", collector_port)) as collector:
        collector.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := feed.recv(READ_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            out = [number(message, seen[key(message)]) for message in map(bytes.decode, lines)]
            if out:
                out.append("")
                collector.sendall("\n".join(out).encode())


if __name__ == "__main__":
    main()
