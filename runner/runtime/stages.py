"""Runs the generated functions over batches, and collects what they made."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from xxhash import xxh3_64_digest

from roo.core.placement import Placement
from roo.plan.model import Plan
from roo.plan.resolve import resolve
from roo.runtime.failures import (
    BadKey,
    Failures,
    RunFailure,
    UnknownKey,
    Unsendable,
    plain,
    shorten,
)
from roo.runtime.hot_keys import HotKeys
from roo.runtime.keyed_states import KeyedStates
from roo.runtime.lanes import Lanes
from roo.runtime.loops import Code, generate, identifier
from roo.runtime.payload import ATOMS, Keyed, copied
from roo.spec.model import SinkSpec, StateSpec

NO_LIMIT = sys.maxsize


class Made(NamedTuple):
    """What a stage made for one receiver: keyed messages, or items for a sink."""

    exchange: int
    receiver: int
    to_stage: int
    payload: Keyed | list[Any]


class Stages:
    """Every stage of a plan on one worker, with the states it owns.

    place: who owns what, for each stage, as they turn over one by one. keyed: state name -> its
    states. state_at: the state that a stage works on. keys_at_once: how many keys of a batch run at
    once at most; between_parts: called where a batch had more. items: sink name -> what was emitted
    and not yet taken, still messages (or what `encode` returned).
    """

    def __init__(self, plan: Plan, worker: int, place: Placement) -> None:
        self.plan = plan
        self.worker = worker
        self.place = [place] * len(plan.stages)
        self.code = generate(plan)
        self.failures = Failures(plan, worker, self.code, self._set_aside)
        self.keyed = {s.name: KeyedStates(s.name) for s in plan.spec.states}
        self.keys_at_once = NO_LIMIT
        self.between_parts: Callable[[], None] = lambda: None
        self.state_at = {
            s.index: step.state
            for s in plan.stages
            if (step := plan.step(s.entries[0])) is not None and step.state is not None
        }
        self.counts = [0] * len(self.code.counters)
        self.messages_in: dict[str, int] = {s.name: 0 for s in plan.spec.steps}
        self.dropped = 0
        self.items: dict[str, list[Any]] = {s.name: [] for s in plan.spec.sinks}
        self.hot_keys = HotKeys()
        self._known: dict[str, frozenset[Any]] = {}
        self._lanes: dict[int, Lanes] = {}
        self._names = self._all_names()
        self._out_of = [
            [(e, self._sink_of(e.to_stage)) for e in plan.exchanges if e.from_stage == s.index]
            for s in plan.stages
        ]

    # Running

    def run_source(self, source: str, messages: list[Any]) -> None:
        """Stage 0 over what was read of a source."""
        self._aimed(0)[source](messages)

    def run_keyed(self, stage: int, payload: Keyed) -> None:
        """A stage of stateful steps over a batch."""
        self.hot_keys.see(self.state_at[stage], payload.keys)
        at_once = self.keys_at_once
        if len(payload.keys) <= at_once:
            self._run_keyed(stage, payload)
            return
        for start in range(0, len(payload.keys), at_once):
            if start:
                self.between_parts()
            part = (items[start : start + at_once] for items in payload)
            self._run_keyed(stage, Keyed(*part))

    def _run_keyed(self, stage: int, payload: Keyed) -> None:
        keys, messages, entries = payload
        steps = self.plan.stages[stage].entries
        functions = self._aimed(stage)
        self.keyed[self.state_at[stage]].touch(keys)
        if len(steps) == 1:
            self.messages_in[steps[0]] += len(keys)
            functions[stage](keys, messages)
            return
        for index, step in enumerate(steps):
            self.messages_in[step] += entries.count(index)
        functions[stage](keys, messages, entries)

    def take(self, stage: int) -> Iterator[Made]:
        """What the stage has made since it was last asked. The lists of a keyed payload are the
        lanes themselves: they are emptied as soon as the next one is asked for.
        """
        for exchange, sink in self._out_of[stage]:
            if sink is None:
                for owner, lane in self._lanes[exchange.to_stage].filled():
                    yield Made(exchange.index, owner, exchange.to_stage, Keyed(*lane))
                    for items in lane:
                        items.clear()
            elif self.items[sink]:
                home = self.place[stage].homes[sink]
                items = self.take_items(sink)
                yield Made(exchange.index, home, exchange.to_stage, items)

    def _aimed(self, stage: int) -> Mapping[str | int, Callable[..., None]]:
        """The generated functions for the owners that a stage's messages go to now."""
        place = self.place[stage]
        for exchange, sink in self._out_of[stage]:
            if sink is None:
                self._lanes[exchange.to_stage].aim(place)
        return self._functions_alone if len(place.workers) == 1 else self._functions

    def take_items(self, sink: str) -> list[Any]:
        """What was emitted to a sink since it was last asked."""
        items = self.items[sink].copy()
        self.items[sink].clear()
        return items

    def sendable(self, made: Made) -> Keyed:
        """The messages of a keyed batch that can be sent; the others have failed."""
        assert isinstance(made.payload, Keyed)
        keys, messages, entries = made.payload
        steps = self.plan.stages[made.to_stage].entries
        good: list[int] = []
        for i, message in enumerate(messages):
            try:
                pickle.loads(pickle.dumps(message, 5))
                good.append(i)
            except Exception as error:
                step = steps[entries[i] if entries else 0]
                what = f"a message of type {_type_name(message)} can't be sent to step {step}"
                facts = {"key": plain(keys[i]), "message": plain(message)}
                self.failures.handle(step, Unsendable(f"{what}: {error}"), "send", facts)
        return Keyed(
            [keys[i] for i in good],
            [messages[i] for i in good],
            [entries[i] for i in good] if entries else [],
        )

    # Counting

    def step_counts(self) -> dict[str, tuple[int, int]]:
        """(messages in, messages out) per step so far, on this worker."""
        counted = dict(zip(self.code.counters, self.counts, strict=True))
        return {
            step.name: (
                counted.get(step.name, self.messages_in[step.name]),
                counted.get(f"{step.name}/out", -1),
            )
            for step in self.plan.spec.steps
        }

    # Keys

    def preload(self, state: StateSpec, keys: Iterable[Any], *, create_states: bool = True) -> None:
        """Create the states of the listed keys that this worker owns. Raises RunFailure.

        create_states: False for a worker that joins: they are created already, and come by a move.
        """
        if not create_states and state.unknown == "create":
            return
        create = self._creator(state)
        known = []
        for key in keys:
            self._check_key(key, f"the keys of state {state.name}")
            if state.unknown != "create":
                known.append(key)
            if not create_states or key in self.keyed[state.name].objects:
                continue
            if self.place[0].table.owner_of(key) != self.worker:
                continue
            try:
                create(key)
            except Exception as error:
                raise RunFailure(
                    {
                        "kind": "state",
                        "step": state.name,
                        "function": state.factory,
                        "key": shorten(key),
                        "what": f"{type(error).__name__}: {error}",
                        "hint": "mend the factory; it is called once for each key",
                    }
                ) from error
        self._known[state.name] = frozenset(known)

    def _creator(self, spec: StateSpec) -> Callable[[Any], Any]:
        """A function that makes, keeps and returns the state of a new key."""
        factory = resolve(spec.factory)
        takes_key = spec.factory in self.plan.takes_key
        keep = self.keyed[spec.name].create

        def create(key: Any) -> Any:
            state = factory(key=key) if takes_key else factory()
            if state is None:
                raise TypeError(f"{spec.factory} returned None; a factory returns the new state")
            keep(key, state)
            return state

        return create

    def _admitter(self, spec: StateSpec) -> Callable[[Any, str, Any], Any]:
        """What the hot path calls for a key with no state: create one, or refuse (None)."""
        create = self._creator(spec)
        failures = self.failures

        def admit(key: Any, step: str, message: Any) -> Any:
            # A listed key that is not here yet was created on another owner: never with one table.
            if spec.unknown == "create" or key in self._known[spec.name]:
                return create(key)
            if spec.unknown == "reject":
                raise UnknownKey(f"key {shorten(key)} is not in the keys of state {spec.name}")
            if spec.unknown == "drop":
                self.dropped += 1
            else:
                failures.unknown_key(step, key, message)
            return None

        return admit

    # Building

    @cached_property
    def _functions(self) -> dict[str | int, Callable[..., None]]:
        return self._loaded(self.code)

    @cached_property
    def _functions_alone(self) -> dict[str | int, Callable[..., None]]:
        return self._loaded(generate(self.plan, alone=True))

    def _loaded(self, code: Code) -> dict[str | int, Callable[..., None]]:
        """Compile generated source. What fails there is found by its line, in either version."""
        names = self._names.copy()
        exec(compile(code.source, f"<roo {self.plan.spec.name}>", "exec"), names)
        return {entry: names[name] for entry, name in code.functions.items()}

    def _all_names(self) -> dict[str, Any]:
        """Everything that generated source names."""
        names: dict[str, Any] = {
            "digest": xxh3_64_digest,
            "failed": self.failures.in_code,
            "atoms": ATOMS,
            "copied": copied,
            "counts": self.counts,
        }
        for step in self.plan.spec.steps:
            name = identifier(step.name)
            names[f"call_{name}"] = resolve(step.call)
            for keyword, value in step.parameters.items():
                names[f"with_{name}_{keyword}"] = value
            if step.partition:
                names[f"key_{name}"] = resolve(step.partition)
        for state in self.plan.spec.states:
            names[f"state_of_{identifier(state.name)}"] = self.keyed[state.name].objects.get
            names[f"create_{identifier(state.name)}"] = self._admitter(state)
        for sink in self.plan.spec.sinks:
            names[f"emit_{identifier(sink.name)}"] = self.items[sink.name].append
            if sink.codec.function:
                names[f"encode_{identifier(sink.name)}"] = resolve(sink.codec.function)
        for stage in self.plan.stages[1:]:
            if self._sink_of(stage.index) is None:
                names |= self._lane_names(stage.index)
        return names

    def _lane_names(self, stage: int) -> Mapping[str, Any]:
        """`lanes_N`, by the first byte of a hash, and `lane_N(key)`, exact and for any key."""
        several = len(self.plan.stages[stage].entries) > 1
        lanes = self._lanes[stage] = Lanes(several=several, check=self._check_message_key)
        return {f"lanes_{stage}": lanes.by_byte, f"lane_{stage}": lanes.of}

    def _check_message_key(self, key: Any) -> None:
        self._check_key(key, "the partition function")

    def _check_key(self, key: Any, giver: str) -> None:
        if not isinstance(key, (str, bytes)):
            raise BadKey(f"{giver} gave {shorten(key)} ({type(key).__name__}), not a key")

    def _sink_of(self, stage: int) -> str | None:
        """The sink that a stage writes; None for a stage of steps."""
        spec: SinkSpec | None = self.plan.sink(self.plan.stages[stage].entries[0])
        return spec.name if spec else None

    def _set_aside(self, sink: str, letter: dict[str, Any]) -> None:
        spec = self.plan.sink(sink)
        assert spec is not None
        if spec.codec.kind in ("lines", "function", "bytes"):
            import json

            text = json.dumps(letter, ensure_ascii=False)
            self.items[sink].append(text.encode() if spec.codec.kind == "bytes" else text)
        else:
            self.items[sink].append(letter)


def _type_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
