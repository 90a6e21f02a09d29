"""HOST:PORT, as the tcp source and sink take it."""

from __future__ import annotations

import socket
from typing import Any

from roo.api import ConnectorError


def resolve(address: str, *, passive: bool) -> tuple[int, Any]:
    """(family, socket address) of HOST:PORT or [HOST]:PORT. Raises ConnectorError."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not port.isdecimal() or int(port) > 65_535:
        raise ConnectorError(f"'{address}' has no port from 0 to 65535", "write HOST:PORT")
    flags = socket.AI_PASSIVE if passive else 0
    try:
        found = socket.getaddrinfo(host or None, int(port), type=socket.SOCK_STREAM, flags=flags)
    except OSError as error:
        what = f"there is no host '{host}': {error.strerror or error}"
        raise ConnectorError(what, "check the address", environment=True) from error
    return found[0][0], found[0][4]


def show(where: Any) -> str:
    """A socket address as HOST:PORT."""
    host, port = where[0], where[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
