"""What one worker sends in a move, as frames: chunks of states, questions, the ends."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from roo.checkpoint.encoding import StateEncoder, StateMismatch, decode
from roo.core.batch import Header, Kind, Origin
from roo.core.migration import Ask, Give, SayEnd, SayTaken
from roo.items import pack_items
from roo.runtime.failures import NOT_PUT_TOGETHER, RunFailure, say, shorten

Send = Callable[[int, Header, list[bytes]], None]
What = tuple[str, str]
"""("state" or "sink", name): what moves."""


class Parcels:
    """One worker's, in one change. whats: all that may move, in the same order on every worker."""

    def __init__(self, worker: int, whats: Sequence[What], version: int, send: Send) -> None:
        self._worker = worker
        self._whats = whats
        self._version = version
        self._send = send
        self._encoder = StateEncoder()

    def try_one(self, state: str, key: Any, value: Any) -> None:
        """Raise RunFailure if this state can't travel."""
        self._encoded(state, [key], [value])

    def give(self, state: str, give: Give, values: list[Any]) -> int:
        """Send a chunk; its bytes. Raises RunFailure for a state that can't travel."""
        frames = [pack_items(give.keys), self._encoded(state, give.keys, values)]
        if give.absent is not None:
            frames.append(pack_items(give.absent))
        self._tell(Kind.STATES, give.receiver, ("state", state), len(give.keys), frames)
        return len(frames[1])

    def end(self, state: str, end: SayEnd) -> None:
        """Send the number of keys that a receiver has been given, and the sum of their hashes."""
        self._tell(
            Kind.STATES_END, end.receiver, ("state", state), end.keys, [], number=end.keys_hash
        )

    def ask(self, state: str, ask: Ask) -> None:
        """Send a question. Its number is the receiver."""
        self._tell(
            Kind.STATES_WANTED, ask.donor, ("state", state), len(ask.keys),
            [pack_items(ask.keys)], number=ask.receiver,
        )  # fmt: skip

    def taken(self, state: str, taken: SayTaken) -> None:
        """Send how many chunks have been taken in."""
        self._tell(Kind.STATES_TAKEN, taken.donor, ("state", state), taken.chunks, [])

    def hand_over(self, sink: str, home: int, noted: Any) -> None:
        """Send the new home of a sink what its writer noted at last."""
        self._tell(Kind.STATES_END, home, ("sink", sink), 0, [pickle.dumps(noted, 5)])

    def _tell(
        self, kind: Kind, to: int, what: What, count: int, frames: list[bytes], number: int = 0
    ) -> None:
        header = Header(
            kind, self._worker, self._whats.index(what), number, self._version, 0, -1, 0, count,
            sum(map(len, frames)), Origin(-1, -1, 0, 0),
        )  # fmt: skip
        self._send(to, header, frames)

    def _encoded(self, state: str, keys: list[Any], values: list[Any]) -> bytes:
        try:
            return self._encoder.encode(values)
        except Exception as error:
            raise _unsendable(state, keys, values, error) from error


def unpack_states(state: str, frame: bytes) -> list[Any]:
    """The states of a chunk. Raises RunFailure for those that can't be made again."""
    try:
        return decode(frame)
    except StateMismatch as error:
        raise RunFailure({
            "kind": "state",
            "step": state,
            "what": f"a state that moves can't be made again: {say(error.__cause__ or error)}",
            "hint": f"{NOT_PUT_TOGETHER} keep plain data in it",
        }) from error  # fmt: skip


def _unsendable(
    state: str, keys: Iterable[Any], values: Iterable[Any], error: Exception
) -> RunFailure:
    """Which state can't travel."""
    facts: Mapping[str, Any] = {}
    for key, value in zip(keys, values, strict=True):
        try:
            pickle.dumps(value, 5)
        except Exception as found:
            kind = type(value)
            what = f"a state of type {kind.__module__}.{kind.__qualname__} can't move: {found}"
            facts = {"key": shorten(key), "what": what}
            break
    return RunFailure({
        "kind": "state",
        "step": state,
        "what": str(error),
        "hint": "keep plain data in states: no files, locks or lambdas",
        **facts,
    })  # fmt: skip
