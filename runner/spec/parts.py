"""The parts of a pipeline file, and what each reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from roo.spec.model import Path
from roo.spec.text import Document

CODE = frozenset(("call", "partition", "factory", "migrate", "decode", "encode", "class"))
"""Options that name code, as module:function."""


@dataclass
class Part:
    """A source, step or sink: where it stands, what it says, and what it reads."""

    kind: str
    name: str
    path: Path
    data: dict[str, Any]
    inputs: tuple[str, ...] = ()


@dataclass
class Parts:
    """Everything that has a name, in the file's order."""

    sources: list[Part] = field(default_factory=list)
    steps: list[Part] = field(default_factory=list)
    sinks: list[Part] = field(default_factory=list)
    states: list[Part] = field(default_factory=list)

    def all(self) -> Iterator[Part]:
        """Sources, steps and sinks."""
        yield from (*self.sources, *self.steps, *self.sinks)


def collect(document: Document) -> Parts:
    """The parts of a file, with their inputs resolved (`from`, or else what stands before)."""
    data = document.data if isinstance(document.data, dict) else {}
    parts = Parts(
        sources=_named(data, "sources"), sinks=_named(data, "sinks"), states=_named(data, "states")
    )
    steps = data.get("steps")
    for index, step in enumerate(steps if isinstance(steps, list) else []):
        if isinstance(step, dict):
            name = step.get("name")
            known = name if isinstance(name, str) else f"step {index + 1}"
            parts.steps.append(Part("step", known, ("steps", index), step))
    _resolve_inputs(document, data, parts)
    return parts


def code_references(parts: Parts) -> Iterator[tuple[Path, Any]]:
    """(path, what stands there) of every option that names code."""
    for part in (*parts.all(), *parts.states):
        keys = part.data.get("keys")
        for name in CODE & part.data.keys():
            yield (*part.path, name), part.data[name]
        if isinstance(keys, dict) and "call" in keys:
            yield (*part.path, "keys", "call"), keys["call"]


def dead_letter_sinks(document: Document, parts: Parts) -> set[str]:
    """Sinks named by some `errors`."""
    return {sink for _, sink in named_sinks(document, parts) if isinstance(sink, str)}


def _named(data: dict[str, Any], section: str) -> list[Part]:
    items = data.get(section)
    if not isinstance(items, dict):
        return []
    kind = section.removesuffix("s")
    # What is no mapping has a finding of its own, and still a name for others to use.
    return [
        Part(kind, name, (section, name), item if isinstance(item, dict) else {})
        for name, item in items.items()
    ]


def _resolve_inputs(document: Document, data: dict[str, Any], parts: Parts) -> None:
    source_names = list(data["sources"]) if isinstance(data.get("sources"), dict) else []
    only_source = (source_names[0],) if len(source_names) == 1 else ()
    before: tuple[str, ...] = only_source
    for step in parts.steps:
        step.inputs = _from(step, before)
        if not step.inputs and "from" not in step.data and len(source_names) > 1:
            what = f"step {step.name} does not say which source it reads"
            hint = f"add `from: {source_names[0]}`, or a list of several"
            document.find(step.path, "no-from", what, hint)
        before = (step.name,)
    aside = dead_letter_sinks(document, parts)
    for sink in parts.sinks:
        # A sink that takes dead letters reads steps only where it says so.
        sink.inputs = _from(sink, () if sink.name in aside else before)


def _from(part: Part, default: tuple[str, ...]) -> tuple[str, ...]:
    given = part.data.get("from")
    if given is None:
        return default
    names = given if isinstance(given, list) else [given]
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))


def named_sinks(document: Document, parts: Parts) -> Iterator[tuple[Path, Any]]:
    """(path, sink) of every `errors` that names a sink."""
    top = document.data.get("errors") if isinstance(document.data, dict) else None
    if isinstance(top, dict) and "sink" in top:
        yield ("errors", "sink"), top["sink"]
    for part in parts.all():
        errors = part.data.get("errors")
        if isinstance(errors, dict) and "sink" in errors:
            yield (*part.path, "errors", "sink"), errors["sink"]
