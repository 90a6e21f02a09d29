"""Sends messages over TCP at a steady rate, in steps of one millisecond.

A message is `KEY NUMBER DUE_NS SENT_NS`: when its step was due by the clock and when it was sent.
The two part when the feeder is held up, be it by a receiver that does not read or by the machine.

    python -m benchmarks.jobs.feeder PORT MESSAGES_PER_S SECONDS [KEYS]
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from itertools import count, islice
from math import gcd

STEP_NS = 1_000_000
KEYS = 1000
CONNECT_DEADLINE_S = 10.0


def names(keys: int) -> Iterator[str]:
    """All keys over and over, scattered."""
    step = round(keys * 0.618) or 1
    while gcd(step, keys) != 1:
        step += 1
    return (f"k{index * step % keys}" for index in count())


def feed(out: socket.socket, rate_per_s: int, seconds: int, keys: int) -> list[int]:
    """Send `rate_per_s * seconds` messages; how late each step was, in ns."""
    steps_per_s = 1_000_000_000 // STEP_NS
    messages_a_step = rate_per_s // steps_per_s
    all_keys = names(keys)
    late_ns = []
    start_ns = time.monotonic_ns() + STEP_NS
    for step in range(seconds * steps_per_s):
        due_ns = start_ns + step * STEP_NS
        if (left_ns := due_ns - time.monotonic_ns()) > 0:
            time.sleep(left_ns / 1e9)
        numbers = range(step * messages_a_step, (step + 1) * messages_a_step)
        sent_ns = time.monotonic_ns()
        stamps = f"{due_ns} {sent_ns}\n"
        step_keys = islice(all_keys, messages_a_step)
        lines = [f"{key} {n} {stamps}" for key, n in zip(step_keys, numbers, strict=True)]
        out.sendall("".join(lines).encode())
        late_ns.append(sent_ns - due_ns)
    return late_ns


def connect(port: int) -> socket.socket:
    """A connection to whoever listens there, or soon will. Raises ConnectionRefusedError."""
    deadline_s = time.monotonic() + CONNECT_DEADLINE_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.02)


def main() -> None:
    """Feed, then print how late the steps were as JSON."""
    port, rate_per_s, seconds, *keys = map(int, sys.argv[1:])
    with connect(port) as out:
        out.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        late_ns = sorted(feed(out, rate_per_s, seconds, *keys or [KEYS]))
    late_ms = {"p99": late_ns[len(late_ns) * 99 // 100] / 1e6, "max": late_ns[-1] / 1e6}
    print(json.dumps({f"feeder_late_{name}_ms": value for name, value in late_ms.items()}))


if __name__ == "__main__":
    main()
