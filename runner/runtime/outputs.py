"""What a stage made, as its receivers are sent it: encoded, packed, or as this worker's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roo.core.batch import Header, Output
from roo.plan.model import Plan
from roo.runtime.changing import Changing
from roo.runtime.failures import (
    NOT_PUT_TOGETHER,
    RunFailure,
    Unsendable,
    plain,
    render,
    say,
    users_frames,
)
from roo.runtime.outlets import Outlet
from roo.runtime.payload import Keyed, own
from roo.runtime.stages import Made, Stages
from roo.runtime.transport import frames_of


class Outputs:
    """One worker's. sink_at: stage -> the sink whose stage it is; these get encoded bytes, the
    others keys and messages.
    """

    def __init__(
        self,
        plan: Plan,
        worker: int,
        stages: Stages,
        outlets: Mapping[str, Outlet],
        sink_at: Mapping[int, str],
        changing: Changing,
    ) -> None:
        self._plan = plan
        self._worker = worker
        self._stages = stages
        self._outlets = outlets
        self._sink_at = sink_at
        self._changing = changing

    def of(self, stage: int, made: Made, parent: Header) -> Output | None:
        """What a receiver is sent; None: nothing is left of it. Raises RunFailure."""
        payload: Any = made.payload
        sink = self._sink_at.get(made.to_stage)
        move = self._changing.move
        if move is not None and sink is None and self._stages.place[stage] is move.after:
            move.routed(self._stages.state_at[made.to_stage], made.receiver, payload.keys)
        if sink is not None:
            payload, messages = self._outlets[sink].encode(payload)
            if not messages:
                return None
            if isinstance(payload, bytes):
                return Output(made.exchange, made.receiver, messages, len(payload), payload)
        try:
            carried = self._carry(payload, made.receiver)
        except Exception:  # something in it can't be pickled: all but that goes on
            payload = self._sendable(sink, payload) if sink else self._stages.sendable(made)
            if not (payload.keys if isinstance(payload, Keyed) else payload):
                return None
            try:
                carried = self._carry(payload, made.receiver)
            except Exception as error:
                raise unreadable(self._plan, made.to_stage, error) from error
        messages = len(payload.keys) if isinstance(payload, Keyed) else len(payload)
        if made.receiver == self._worker:
            cost = messages * max(32, parent.cost_bytes // max(parent.messages, 1))
        else:
            cost = sum(map(len, carried))
        return Output(made.exchange, made.receiver, messages, cost, carried)

    def _carry(self, payload: Keyed | list[Any], receiver: int) -> Any:
        """Messages as they will reach their receiver: as frames, or for this worker its own."""
        if receiver != self._worker:
            return frames_of(payload)
        if isinstance(payload, Keyed):
            return own(payload)
        return own(Keyed([], payload, [])).messages

    def _sendable(self, sink: str, messages: list[Any]) -> list[Any]:
        """Those that a sink can be sent; the others have failed."""
        good = []
        for message in messages:
            try:
                own(Keyed([], [message], []))
                good.append(message)
            except Exception as error:
                kind = f"{type(message).__module__}.{type(message).__qualname__}"
                what = f"a message of type {kind} can't be sent to sink {sink}"
                facts = {"message": plain(message)}
                self._stages.failures.handle(
                    sink, Unsendable(f"{what}: {say(error)}"), "send", facts
                )
        return good


def unreadable(plan: Plan, stage: int, error: Exception) -> RunFailure:
    """What was sent to a stage can't be made again from its bytes, and so nothing after it."""
    parts = " or ".join(plan.stages[stage].entries)
    return RunFailure(
        {
            "kind": "send",
            "step": parts,
            "what": f"a message sent to {parts} can't be made again there: {say(error)}",
            "traceback": render(users_frames(error.__traceback__)),
            "hint": f"{NOT_PUT_TOGETHER} send its fields",
        }
    )
