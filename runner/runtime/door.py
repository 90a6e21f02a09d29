"""The door of a run: where other processes ask how it goes, and for more or fewer workers.

Requests and answers are JSON objects, never pickles: whoever stands at the door is not a worker. A
request names a command; every answer repeats its number, and the last one has `done`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import zmq

from roo.core.changes import Asked, Refused
from roo.core.placement import Placement
from roo.core.run_events import ChangeBegun, ChangeOver, ChangeQueued
from roo.core.slicing import moved
from roo.core.table import RING
from roo.runtime.control import MovedIn
from roo.runtime.moved import facts_of_move
from roo.runtime.transport import open_socket, readable

if TYPE_CHECKING:
    from roo.runtime.coordinator import Coordinator

REQUEST_BYTES_MAX = 64 * 1024
Say = Callable[[bytes], None]


class Door:
    """Answers requests for a coordinator.

    A change is answered as it goes: queued, begun (with its plan), progress, over.
    """

    def __init__(self, context: zmq.Context[Any], address: str, run: Coordinator) -> None:
        self.socket = open_socket(context, zmq.ROUTER)
        self.socket.setsockopt(zmq.MAXMSGSIZE, REQUEST_BYTES_MAX)
        self.socket.bind(address)
        self._run = run
        self._number = 0
        self._askers: dict[int, Say] = {}
        self._under_way: tuple[int, float] | None = None

    def hear(self) -> None:
        """Take in what has been asked."""
        while readable(self.socket):
            identity, *frames = self.socket.recv_multipart()
            self.take(partial(self._send, identity), frames[0])

    def take(self, say: Say, packed: bytes) -> None:
        """One request, whichever way it came. say: sends an answer there."""
        try:
            request = json.loads(packed)
            answer = self._answer(say, request)
        except Refused as error:
            answer = {"done": True, "why_not": str(error)}
        except (
            LookupError,
            TypeError,
            AttributeError,
            ArithmeticError,
            ValueError,
            RecursionError,
        ):
            answer = {"done": True, "why_not": "this is not a request that this Roo knows"}
        if answer is not None:
            _tell(say, answer)

    def _send(self, identity: bytes, packed: bytes) -> None:
        self.socket.send_multipart([identity, packed])

    def _answer(self, say: Say, request: dict[str, Any]) -> dict[str, Any] | None:
        command = request["command"]
        if command == "status":
            return {"done": True, "status": self._run.status()}
        if command == "stop":
            now = bool(request.get("now"))
            if request.get("wait") and not now:
                self._number += 1
                self._askers[self._number] = say
            else:
                _tell(say, {"done": True})  # before: `now` ends this process
            self._run.stop(now=now)
            return None
        if command != "change":
            raise KeyError(command)
        self._number += 1
        weights = {int(w): int(n) for w, n in request.get("weights", {}).items()}
        if request.get("rebalance"):
            weights = {**self._run.weights_of_file(), **weights}
        if request.get("by_load"):
            weights = self._run.weights_by_load()
        to = request.get("to")
        asked = Asked(self._number, None if to is None else int(to), int(request.get("joins", 0)),
                      tuple(map(int, request.get("leaves", ()))), weights)  # fmt: skip
        if request.get("dry_run"):
            before, after = self._run.preview(asked)
            return {"done": True, **self.plan(before, after)}
        self._askers[self._number] = say
        self._run.change(asked)
        return None

    # Telling askers

    def follow(self, number: int, say: Say) -> None:
        """Whoever asked for a change by another way hears what becomes of it all the same."""
        self._askers[number] = say

    def tell(
        self, effect: ChangeBegun | ChangeQueued | ChangeOver, moves: Sequence[MovedIn]
    ) -> None:
        """What has become of a change."""
        asker = self._askers.get(effect.number)
        match effect:
            case ChangeBegun(number, before, after):
                self._under_way = (number, self._expected_keys(before, after))
                answer: dict[str, Any] = {"begun": True, **self.plan(before, after)}
            case ChangeQueued(_, ahead):
                answer = {"queued": True, "ahead": ahead}
            case ChangeOver(_, why_not):
                if self._under_way is not None and self._under_way[0] == effect.number:
                    self._under_way = None
                answer = {"done": True, "why_not": why_not, **facts_of_move(moves)}
                self._askers.pop(effect.number, None)
        if asker is not None:
            _tell(asker, answer)

    def tell_progress(self) -> None:
        """To everyone who waits: how far the change under way is, or that theirs still waits."""
        under_way, expected = self._under_way or (None, 0.0)
        for number, say in self._askers.items():
            if number != under_way:
                _tell(say, {"waiting": True})
                continue
            keys, size_bytes = self._run.moved_so_far
            of = max(round(expected), keys)
            doing = self._run.doing()
            _tell(say, {"progress": True, "keys": keys, "of": of, "bytes": size_bytes,
                        "doing": doing})  # fmt: skip

    def plan(self, before: Placement, after: Placement) -> dict[str, Any]:
        """Intervals, shares, keys and bytes of each worker, before and after; keys and bytes
        after it are estimates from the parts of the ring that move.
        """
        keys = self._run.keys_by_worker()
        bytes_per_key = self._run.state_bytes_per_key()
        coming = dict.fromkeys({*before.workers, *after.workers}, 0.0)
        for start, end, giver, taker in moved(before.table, after.table):
            part = keys.get(giver, 0) * (end - start) / RING / before.table.share(giver)
            coming[giver] -= part
            coming[taker] += part
        rows = [
            {
                "worker": worker,
                "share_before": before.table.share(worker),
                "share_after": after.table.share(worker),
                "intervals_before": len(before.table.intervals(worker)),
                "intervals_after": len(after.table.intervals(worker)),
                "keys_before": keys.get(worker, 0),
                "keys_after": round(keys.get(worker, 0) + coming[worker]),
                "bytes_before": _size(keys.get(worker, 0), bytes_per_key),
                "bytes_after": _size(keys.get(worker, 0) + coming[worker], bytes_per_key),
            }
            for worker in sorted(coming)
        ]
        return {
            "workers": rows,
            "intervals_moved": len(moved(before.table, after.table)),
            "keys_to_move": round(self._expected_keys(before, after)),
        }

    def _expected_keys(self, before: Placement, after: Placement) -> float:
        keys = self._run.keys_by_worker()
        return sum(
            keys.get(giver, 0) * (end - start) / RING / before.table.share(giver)
            for start, end, giver, _ in moved(before.table, after.table)
        )

    def close(self, linger_ms: int) -> None:
        """Those that still wait are told that the run is over."""
        for say in self._askers.values():
            _tell(say, {"done": True, "why_not": "the run has ended"})
        self.socket.close(linger_ms)


def _tell(say: Say, answer: dict[str, Any]) -> None:
    say(json.dumps(answer).encode())


def placed(place: Placement) -> dict[str, Any]:
    """A placement as JSON has it: places on the ring as hexadecimal text."""
    facts = asdict(place)
    facts["table"]["bounds"] = [f"{bound:016x}" for bound in place.table.bounds]
    facts["readers"] = {str(split): worker for split, worker in place.readers.items()}
    facts["weights"] = {str(worker): weight for worker, weight in place.weights.items()}
    return facts


def _size(keys: float, bytes_per_key: float | None) -> int | None:
    return None if bytes_per_key is None else round(keys * bytes_per_key)
