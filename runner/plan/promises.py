"""What each way from a source to a sink promises when processes are killed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from roo.plan.model import Plan


class Promise(NamedTuple):
    """What holds on the ways from one source to one sink, `kill -9` or not.

    state: exactly once | at most once | none (no state on the way) | lost in a crash.
    output: exactly once | at least once | at most once | lost in a crash.
    """

    source: str
    sink: str
    state: str
    output: str


def promises(
    plan: Plan, rewindable: Mapping[str, bool], rolls_back: Mapping[str, bool], *, kept: bool
) -> list[Promise]:
    """One for each source and each sink that it leads to, in the order of the file.

    rewindable: by source; rolls_back: by sink (`api.Sink.rolls_back`). kept: whether there are
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
                             rewinds=rewindable[source.name], rolls_back=rolls_back[sink.name])
                )  # fmt: skip
    return found


def say(promise: Promise) -> str:
    """A promise in one line."""
    state = "" if promise.state == "none" else f"state {promise.state}, "
    return f"{promise.source} -> {promise.sink}: {state}output {promise.output}"


def _promise(
    source: str, sink: str, *, kept: bool, keeps_state: bool, rewinds: bool, rolls_back: bool
) -> Promise:
    if not kept:
        return Promise(source, sink, "lost in a crash" if keeps_state else "none",
                       "lost in a crash")  # fmt: skip
    # What was read since the last checkpoint is read again, or gone.
    state = "exactly once" if rewinds else "at most once"
    again = "exactly once" if rolls_back else "at least once"
    output = again if rewinds else "at most once"
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
