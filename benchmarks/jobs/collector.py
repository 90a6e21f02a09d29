"""Takes what the latency pipeline sends over TCP, checks it, and prints how long it took.

While messages arrive it only notes the time of each read; everything else is done at the end.

    python -m benchmarks.jobs.collector MESSAGES WARM_UP_MESSAGES [FILE]

Prints its port; `complete` when MESSAGES have come; and, when all connections have closed, the
percentiles as JSON. FILE: for every message a line `KEY DUE_NS ARRIVED_NS`. Exit 1 with the reason
if a message is lost, doubled or out of order.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

from benchmarks.verify import WrongOutput

READ_BYTES = 256 * 1024
SILENCE_S = 30.0
PERCENTILES = {"p50": 0.5, "p99": 0.99, "p999": 0.999}

Arrivals = dict[int, list[tuple[int, bytes]]]
"""By connection: (monotonic ns, bytes) of each read."""


def collect(server: socket.socket, messages: int) -> Arrivals:
    """Read every connection to its end; says `complete` on stdout at the last message due.

    Raises WrongOutput when nothing comes for 30 s.
    """
    arrivals: Arrivals = defaultdict(list)
    received = 0
    with selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        while received < messages or len(selector.get_map()) > 1:
            if not (all_ready := selector.select(SILENCE_S)):
                raise WrongOutput(f"{received} of {messages} messages, then none for {SILENCE_S} s")
            for ready, _ in all_ready:
                if ready.fileobj is server:
                    selector.register(server.accept()[0], selectors.EVENT_READ)
                    continue
                client = ready.fileobj
                assert isinstance(client, socket.socket)
                data = client.recv(READ_BYTES)
                arrivals[ready.fd].append((time.monotonic_ns(), data))
                if not data:
                    selector.unregister(client)
                    client.close()
                before, received = received, received + data.count(b"\n")
                if before < messages <= received:
                    print("complete", flush=True)
    return arrivals


def lines(arrivals: Arrivals) -> list[tuple[int, str]]:
    """Every line with the time its end arrived, in this order."""
    return sorted(_by_connection(arrivals), key=itemgetter(0))


def _by_connection(arrivals: Arrivals) -> Iterator[tuple[int, str]]:
    for reads in arrivals.values():
        rest = b""
        for at_ns, data in reads:
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield at_ns, line.decode()


def latencies_ms(
    arrivals: Arrivals, messages: int, warm_up: int
) -> tuple[list[float], list[float]]:
    """Latency of every message after the warm-up: since it was due, and since it was sent.

    Raises WrongOutput unless each message came once and each key's messages came in order,
    numbered from 1.
    """
    since_due, since_sent = [], []
    last_of_key: dict[str, tuple[int, int]] = {}
    seen = bytearray(messages)
    for at_ns, line in lines(arrivals):
        key, number, due_ns, sent_ns, place = line.split(" ")
        index = int(number)
        last_index, last_place = last_of_key.get(key, (-1, 0))
        if index <= last_index or int(place) != last_place + 1:
            raise WrongOutput(f"`{line}` follows number {last_index}, place {last_place} of {key}")
        last_of_key[key] = index, int(place)
        seen[index] = 1
        if index >= warm_up:
            since_due.append((at_ns - int(due_ns)) / 1e6)
            since_sent.append((at_ns - int(sent_ns)) / 1e6)
    if (lost := seen.count(0)) > 0:
        raise WrongOutput(f"{lost} of {messages} messages never came")
    return sorted(since_due), sorted(since_sent)


def write(arrivals: Arrivals, path: str) -> None:
    """One line for each message."""
    with Path(path).open("w") as out:
        for at_ns, line in lines(arrivals):
            key, _, due_ns, _ = line.split(" ", 3)
            out.write(f"{key} {due_ns} {at_ns}\n")


def main() -> None:
    """See the module."""
    messages, warm_up = map(int, sys.argv[1:3])
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            print(server.getsockname()[1], flush=True)
            arrivals = collect(server, messages)
        since_due, since_sent = latencies_ms(arrivals, messages, warm_up)
        for path in sys.argv[3:]:
            write(arrivals, path)
    except (WrongOutput, ValueError, IndexError) as error:
        sys.exit(f"wrong output: {error}")
    result = {}
    for name, part in PERCENTILES.items():
        result[f"{name}_ms"] = since_due[int(part * len(since_due))]
        result[f"{name}_since_sent_ms"] = since_sent[int(part * len(since_sent))]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
