"""PipelineSpec + resolved plugins -> Plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from roo.plan.model import Exchange, Plan, Stage
from roo.plan.resolve import BadReference, Shape, inspect_call, resolve
from roo.spec.findings import Finding
from roo.spec.model import Path, PipelineSpec, Places


@dataclass(frozen=True)
class _Use:
    """One code reference of the file, where it stands, and how it will be called."""

    reference: str
    path: Path
    shape: Shape


def _uses(spec: PipelineSpec) -> Iterable[_Use]:
    for source in spec.sources:
        yield from _codec_use(source.codec.function, ("sources", source.name, "decode"), "frame")
        at: Path = ("sources", source.name)
        given = tuple(source.options.get("with") or ())
        if source.options.get("call"):
            shape = Shape((), given, "a generator", many=True)
            yield _Use(source.options["call"], (*at, "call"), shape)
        if source.options.get("class"):
            yield _Use(source.options["class"], (*at, "class"), Shape(("options",), (), "a Source"))
    for state in spec.states:
        at = ("states", state.name)
        yield _Use(state.factory, (*at, "factory"), Shape((), (), "a state", may_take_key=True))
        if state.migrate:
            migrates = Shape(("fields", "version"), (), "`migrate`")
            yield _Use(state.migrate, (*at, "migrate"), migrates)
        if state.keys and state.keys.call:
            yield _Use(state.keys.call, (*at, "keys", "call"), Shape((), (), "the keys", many=True))
    for index, step in enumerate(spec.steps):
        at = ("steps", index)
        stateful = step.type == "stateful"
        takes = ("message", "state") if stateful else ("message",)
        many = step.many or step.type == "flat_map"
        shape = Shape(takes, tuple(step.parameters), f"a {step.type} step", stateful, many)
        yield _Use(step.call, (*at, "call"), shape)
        if step.partition:
            yield _Use(step.partition, (*at, "partition"), Shape(("message",), (), "the key"))
    for sink in spec.sinks:
        yield from _codec_use(sink.codec.function, ("sinks", sink.name, "encode"), "message")
        if sink.options.get("class"):
            at = ("sinks", sink.name, "class")
            yield _Use(sink.options["class"], at, Shape(("options",), (), "a Sink"))


def _codec_use(function: str | None, path: Path, takes: str) -> Iterable[_Use]:
    if function:
        yield _Use(function, path, Shape((takes,), (), f"`{path[-1]}`"))


def check(spec: PipelineSpec) -> list[Finding]:
    """Findings for every code reference that does not import, is not callable or does not fit."""
    findings = []
    for use in _uses(spec):
        try:
            inspect_call(resolve(use.reference), use.reference, use.shape)
        except BadReference as bad:
            findings.append(spec.places.finding(use.path, bad.code, bad.what, bad.hint))
    return sorted(findings)


def make(spec: PipelineSpec, single_writer: Mapping[str, bool]) -> Plan:
    """The Plan of a spec in which `check` found nothing.

    single_writer: for each sink, whether one worker writes for all. Raises BadReference.
    """
    takes_key = frozenset(
        use.reference
        for use in _uses(spec)
        if use.shape.may_take_key and inspect_call(resolve(use.reference), use.reference, use.shape)
    )
    graph = _Graph(spec, single_writer)
    stages, stage_of = graph.stages()
    bare = replace(spec, tests=(), places=Places(spec.file))
    plan = Plan(bare, stages, (), graph.readers, stage_of, graph.dead_letters, takes_key)
    pairs = sorted({pair for stage in stages for pair in _crossings(plan, stage)})
    exchanges = tuple(Exchange(i, a, b) for i, (a, b) in enumerate(pairs))
    return replace(plan, exchanges=exchanges)


def _crossings(plan: Plan, stage: Stage) -> Iterable[tuple[int, int]]:
    """(from, to) for every way out of a stage: steps with a key, single writers, dead letters."""
    for part in plan.parts(stage.index):
        ways_out = [*plan.readers.get(part, ())]
        if part in plan.dead_letters:
            ways_out.append(plan.dead_letters[part])
        for name in ways_out:
            if name in plan.stage_of:
                yield stage.index, plan.stage_of[name]


class _Graph:
    """Who reads whom, and how many exchanges deep each part lies."""

    def __init__(self, spec: PipelineSpec, single_writer: Mapping[str, bool]) -> None:
        self.spec = spec
        self.single_writer = single_writer
        readers: dict[str, list[str]] = {}
        parts: list[Any] = [*spec.steps, *spec.sinks]
        for part in parts:
            for name in part.inputs:
                readers.setdefault(name, []).append(part.name)
        self.readers = {name: tuple(names) for name, names in readers.items()}
        self.dead_letters = self._dead_letters()
        self._depths: dict[str, int] = {}

    def _dead_letters(self) -> dict[str, str]:
        parts: list[Any] = [*self.spec.sources, *self.spec.steps, *self.spec.sinks]
        wanted = {p.name: p.errors.sink for p in parts if p.errors.policy == "dead_letter"}
        for step in self.spec.steps:
            # `unknown: dead_letter` needs a way out of the step even where its errors fail the run.
            state = next((s for s in self.spec.states if s.name == step.state), None)
            if state and state.unknown == "dead_letter":
                wanted.setdefault(step.name, step.errors.sink or self.spec.errors.sink)
        targets = set(wanted.values())
        # A dead-letter sink that fails must fail the run: it has nowhere to send its own failures.
        return {name: sink for name, sink in wanted.items() if sink and name not in targets}

    def _depth(self, name: str) -> int:
        """The most exchanges on any way from a source to this part."""
        if name not in self._depths:
            parts: list[Any] = [*self.spec.steps, *self.spec.sinks]
            part = next((p for p in parts if p.name == name), None)
            before = [] if part is None else [*part.inputs]
            before += [other for other, sink in self.dead_letters.items() if sink == name]
            deepest = max((self._depth(other) for other in before), default=0)
            self._depths[name] = deepest + self._is_entry(name)
        return self._depths[name]

    def _is_entry(self, name: str) -> bool:
        """Whether messages reach this part through an exchange."""
        stateful = any(s.name == name and s.type == "stateful" for s in self.spec.steps)
        return stateful or self.single_writer.get(name, False)

    def stages(self) -> tuple[tuple[Stage, ...], dict[str, int]]:
        """Stage 0 and then, by depth and the order of the file, one per state or sink."""
        groups: dict[tuple[int, str, str], list[str]] = {}
        for step in self.spec.steps:
            if step.type == "stateful":
                group = (self._depth(step.name), "state", step.state or "")
                groups.setdefault(group, []).append(step.name)
        for sink in self.spec.sinks:
            if self.single_writer.get(sink.name, False):
                groups[self._depth(sink.name), "sink", sink.name] = [sink.name]
        ordered = sorted(groups.items(), key=lambda item: item[0][0])
        stages = [Stage(0, tuple(source.name for source in self.spec.sources))]
        stages += [Stage(i, tuple(names)) for i, (_, names) in enumerate(ordered, start=1)]
        return tuple(stages), {name: s.index for s in stages[1:] for name in s.entries}
