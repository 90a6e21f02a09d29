"""What each way from a source to a sink promises when processes are killed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from roo.api import Sink
from roo.plan.model import Plan


class Promise(NamedTuple):
    """What holds on the ways from one source to one sink, `kill -9` or not.

    state: exactly once | at most once | none (no state on the way) | lost in a crash.
    output: exactly once | at least once | at most once | best effort (lost with a connection that
    breaks, for instance) | lost in a crash.
    """

    source: str
    sink: str
    state: str
    output: str


def promises(
    plan: Plan, rewindable: Mapping[str, bool], delivery: Mapping[str, str], *, kept: bool
) -> list[Promise]:
    """One for each source and each sink that it leads to, in the order of the file.

    rewindable: by source; delivery: by sink, as `delivery_of` gives it. kept: whether there are
    checkpoints.
    """
    found = []
    for source in plan.spec.sources:
        reached = _reached(plan, source.name)
        keeps = any(plan.step(name) and plan.stage_of.get(name) for name in reached)
        for sink in plan.spec.sinks:
            if sink.name in reached:
                found.append(
                    _promise(source.name, sink.name, kept=kept, keeps_state=keeps,
                             rewinds=rewindable[source.name], delivery=delivery[sink.name])
                )  # fmt: skip
    return found


def delivery_of(sink: Sink) -> str:
    """What a sink promises of what it is given: exactly once | at least once | best effort."""
    return "exactly once" if sink.rolls_back else sink.delivery


def say(promise: Promise) -> str:
    """A promise in one line."""
    state = "" if promise.state == "none" else f"state {promise.state}, "
    return f"{promise.source} -> {promise.sink}: {state}output {promise.output}"


def _promise(
    source: str, sink: str, *, kept: bool, keeps_state: bool, rewinds: bool, delivery: str
) -> Promise:
    if not kept:
        state = output = "lost in a crash"
    elif rewinds:
        state, output = "exactly once", delivery
    else:  # what was read since the last checkpoint is gone
        state = output = "at most once"
    if delivery == "best effort":  # whatever becomes of the run
        output = delivery
    return Promise(source, sink, state if keeps_state else "none", output)


def _reached(plan: Plan, source: str) -> set[str]:
    reached: set[str] = set()
    waiting = [source]
    while waiting:
        name = waiting.pop()
        ways = [*plan.readers.get(name, ())]
        if name in plan.dead_letters:
            ways.append(plan.dead_letters[name])
        waiting += [way for way in ways if way not in reached]
        reached.update(ways)
    return reached
