"""What one worker sends of states in a change: slices, bounded in bytes and in number."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from roo.checkpoint.encoding import StateEncoder, StateMismatch, decode
from roo.core.batch import Header, Kind, Origin
from roo.items import pack_items, unpack_items
from roo.runtime.failures import NOT_PUT_TOGETHER, RunFailure, say, shorten

SLICE_KEYS = 128
SLICE_BYTES = 256 * 1024
"""A slice has so many keys at most, and fewer where states are so large that it would hold more
bytes than this, as far as the slices before it tell.
"""

SLICES_ON_THEIR_WAY = 8
GIVEN_BACK_AT_ONCE = 4
"""How many slices a receiver takes in before it says so: fewer frames, and none is waited for."""

ASKED_ON_THEIR_WAY = 64
"""So many slices more where messages are for them."""

Send = Callable[[int, Header, list[bytes]], None]
What = tuple[str, str]
"""("state" or "sink", name): what moves."""


class Parcels:
    """One worker's, in one change. whats: all that may move, in the same order on every worker.
    takers: who is given states. keys_at_once: in the next slice.
    """

    def __init__(
        self, worker: int, whats: Sequence[What], version: int, takers: Iterable[int], send: Send
    ) -> None:
        self.worker = worker
        self.takers = sorted(takers)
        self.keys_at_once = 1
        self._whats = whats
        self._version = version
        self._send = send
        self._encoder = StateEncoder()
        self._credit = Counter(dict.fromkeys(self.takers, SLICES_ON_THEIR_WAY))
        # giver -> slices to give back.
        self._taken = Counter[int]()

    @property
    def may_give(self) -> bool:
        """Whether no receiver has as much on its way as it may."""
        return all(self._credit[taker] > 0 for taker in self.takers)

    def may_answer(self, taker: int) -> bool:
        """The same where messages are for it."""
        return self._credit[taker] > -ASKED_ON_THEIR_WAY

    def give(
        self,
        kind: Kind,
        taker: int,
        state: str,
        keys: list[Any],
        values: list[Any],
        unknown: list[Any] | None = None,
    ) -> None:
        """A slice. unknown: those asked for that are not here; None where nobody asked.

        Raises RunFailure for a state that can't travel.
        """
        try:
            packed = self._encoder.encode(values)
        except Exception as error:
            raise _unsendable(state, keys, values, error) from error
        if keys:
            fit = SLICE_BYTES * len(keys) // len(packed)
            more = max(self.keys_at_once, 2 * len(keys))  # the next states may be larger
            self.keys_at_once = max(1, min(SLICE_KEYS, more, fit))
        self._credit[taker] -= 1
        frames = [pack_items(keys), packed, *([] if unknown is None else [pack_items(unknown)])]
        self.tell(kind, taker, ("state", state), len(keys), frames)

    def given_back(self, header: Header) -> None:
        """A receiver has taken slices in."""
        self._credit[header.sender] += header.messages

    def took(self, giver: int, what: What) -> None:
        """This worker has taken one in."""
        self._taken[giver] += 1
        if self._taken[giver] >= GIVEN_BACK_AT_ONCE:
            self.tell(Kind.STATES_TAKEN, giver, what, self._taken.pop(giver), [])

    def tell(
        self, kind: Kind, to: int, what: What, count: int, frames: list[bytes], number: int = 0
    ) -> None:
        """count: of keys; of slices where they are given back. number: as the kind has it."""
        header = Header(
            kind, self.worker, self._whats.index(what), number, self._version, 0, -1, 0, count,
            sum(map(len, frames)), Origin(-1, -1, 0, 0),
        )  # fmt: skip
        self._send(to, header, frames)


def unpack(state: str, frames: Sequence[bytes]) -> tuple[list[Any], list[Any]]:
    """(keys, states) of a slice. Raises RunFailure for states that can't be made again."""
    try:
        return unpack_items(frames[0]), decode(frames[1])
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
