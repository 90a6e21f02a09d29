"""The cluster key: who has it may join a run, and nobody else gets a byte of it.

One CURVE key pair (Curve25519, CurveZMQ RFC 26) in a file. Every listening socket proves that it
has the pair, and asks the same of whoever connects: without it there is no connection.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

import zmq

from roo.api import ConnectorError

HANDSHAKE_MS = 5_000
"""How long a connection may take to prove itself before it is closed."""


class Key(NamedTuple):
    """A key pair, as Z85 text. path: where it came from."""

    public: bytes
    secret: bytes
    path: str


def make_key(path: Path) -> None:
    """Write a new key to a file that only this user can read. Raises ConnectorError."""
    import json  # here, as runs on one machine have no key and start quickly

    public, secret = zmq.curve_keypair()
    text = json.dumps({
        "what": "Roo cluster key: whoever has it can join the cluster's runs",
        "public": public.decode(),
        "secret": secret.decode(),
    }, indent=1)  # fmt: skip
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text + "\n")
    except FileExistsError:
        what = f"{path} is there already"
        raise ConnectorError(what, "remove it, or name another file", environment=True) from None
    except OSError as error:
        what = f"can't write {path}: {os.strerror(error.errno or 0).lower()}"
        raise ConnectorError(what, "name another file", environment=True) from error


def read_key(path: str) -> Key:
    """The key in a file. Raises ConnectorError: not there, not a key, or others can read it."""
    import json

    try:
        mode = Path(path).stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            what = f"others can read the key in {path}"
            raise ConnectorError(what, f"chmod 600 {path}", environment=True)
        facts = json.loads(Path(path).read_text(encoding="utf-8"))
        key = Key(facts["public"].encode(), facts["secret"].encode(), str(Path(path).absolute()))
        if zmq.curve_public(key.secret) != key.public:
            raise ValueError("the halves don't belong together")
    except OSError as error:
        what = f"can't read the key in {path}: {os.strerror(error.errno or 0).lower()}"
        hint = "`roo key new FILE` makes one"
        raise ConnectorError(what, hint, environment=True) from error
    except (ValueError, KeyError, TypeError, AttributeError, zmq.ZMQError) as error:
        what = f"there is no cluster key in {path}"
        hint = "`roo key new FILE` makes one"
        raise ConnectorError(what, hint, environment=True) from error
    return key


class _OnlyThis:
    """Lets in whoever proves to have the key."""

    def __init__(self, key: Key) -> None:
        self._key = key

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether a public key is ours; that its owner has the secret too is proven by then."""
        return key == self._key.public


def guard(context: zmq.Context[Any], key: Key) -> Any:
    """Check everybody who connects to the context's CURVE servers. Before these bind. The result
    is to be kept for as long as they listen, and stopped.
    """
    from zmq.auth.thread import ThreadAuthenticator

    guardian = ThreadAuthenticator(context)
    guardian.start()
    guardian.configure_curve_callback("*", _OnlyThis(key))
    return guardian


def as_server(socket: zmq.Socket[Any], key: Key) -> None:
    """What binds with this asks for the key."""
    socket.curve_server = True
    socket.curve_secretkey = key.secret
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)


def as_client(socket: zmq.Socket[Any], key: Key) -> None:
    """What connects with this has the key, and wants to see it."""
    socket.curve_serverkey = key.public
    socket.curve_publickey = key.public
    socket.curve_secretkey = key.secret
