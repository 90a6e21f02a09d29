"""Stages and exchanges: the step graph cut at each partition function.

    stage 0: every source, and the steps behind it that need no key
    stage n: stateful steps that share a state and a depth, or one sink that has a single writer

A stateless step runs in every stage that leads to it. Nothing here knows of processes or sockets:
the ZeroMQ engine is one executor of a Plan, `roo test` another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from xxhash import xxh3_128_hexdigest

from roo.spec.model import PipelineSpec, SinkSpec, SourceSpec, StateSpec, StepSpec

_MAY_CHANGE = frozenset({"rate", "retry_for_s", "rotate_wait_s", "with", "max_frame_bytes"})
"""Options of connectors and codecs that change how fast or how, not what."""


@dataclass(frozen=True)
class Stage:
    """entries: what a message enters this stage by: sources, stateful steps, or one sink."""

    index: int
    entries: tuple[str, ...]


@dataclass(frozen=True)
class Exchange:
    """The shuffle from one stage to a later one."""

    index: int
    from_stage: int
    to_stage: int


@dataclass(frozen=True)
class Plan:
    """All that an executor needs.

    spec: the pipeline, without tests and places. readers: for each source and step, the names
    that read it. stage_of: the stage of each stateful step and single-writer sink. dead_letters:
    where failures of each named part go, where they go to a sink. takes_key: code references that
    have a parameter `key`.
    """

    spec: PipelineSpec
    stages: tuple[Stage, ...]
    exchanges: tuple[Exchange, ...]
    readers: Mapping[str, tuple[str, ...]]
    stage_of: Mapping[str, int]
    dead_letters: Mapping[str, str]
    takes_key: frozenset[str]

    def source(self, name: str) -> SourceSpec:
        """The source with this name."""
        return next(s for s in self.spec.sources if s.name == name)

    def state(self, name: str) -> StateSpec:
        """The state with this name."""
        return next(s for s in self.spec.states if s.name == name)

    def step(self, name: str) -> StepSpec | None:
        """The step with this name; None where the name is a sink's or a source's."""
        return next((s for s in self.spec.steps if s.name == name), None)

    def sink(self, name: str) -> SinkSpec | None:
        """The sink with this name; None where the name is a step's or a source's."""
        return next((s for s in self.spec.sinks if s.name == name), None)

    @cached_property
    def shape(self) -> dict[str, str]:
        """What stored offsets, states and positions depend on: path in the file -> value.

        A checkpoint fits a pipeline of the same shape. Functions that steps and codecs call, error
        policies and the number of workers are not part of it: they may change between two runs.
        """
        found: dict[str, Any] = {}
        for source in self.spec.sources:
            at = f"sources.{source.name}"
            found[f"{at}.type"] = source.type
            found |= _options(at, source)
        for step in self.spec.steps:
            at = f"steps.{step.name}"
            found |= {f"{at}.type": step.type, f"{at}.from": ", ".join(step.inputs)}
            if step.state:
                found |= {f"{at}.state": step.state, f"{at}.partition": step.partition}
        for sink in self.spec.sinks:
            at = f"sinks.{sink.name}"
            found |= {f"{at}.type": sink.type, f"{at}.from": ", ".join(sink.inputs)}
            found |= _options(at, sink)
        return {path: str(value) for path, value in found.items()}

    @property
    def single_writers(self) -> tuple[str, ...]:
        """Sinks that only one worker writes: those with a stage of their own."""
        return tuple(sink.name for sink in self.spec.sinks if sink.name in self.stage_of)

    @property
    def fingerprint(self) -> str:
        """Changes when the shape does."""
        return xxh3_128_hexdigest(repr(sorted(self.shape.items())).encode())

    def parts(self, stage: int) -> list[str]:
        """Every source, step and sink that has code running in a stage, in the order it runs."""
        found: list[str] = []
        waiting = list(reversed(self.stages[stage].entries))
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            found.append(name)
            readers = self.readers.get(name, ())
            waiting.extend(r for r in reversed(readers) if r not in self.stage_of)
        return found


def _options(at: str, end: SourceSpec | SinkSpec) -> dict[str, Any]:
    """What a source or sink depends on, by path: its own options, its codec and the codec's."""
    given = {**end.options, **end.codec.options}
    found = {f"{at}.{name}": value for name, value in given.items() if name not in _MAY_CHANGE}
    return {**found, f"{at}.codec": end.codec.kind}
