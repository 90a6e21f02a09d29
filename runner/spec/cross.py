"""What a schema can't see: names that lead nowhere, cycles, parts that nothing reads.

Works on the plain data, and on files that the schema has objected to as well, so that one run of
`roo validate` tells everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from roo.spec.model import Path
from roo.spec.text import Document
from roo.spec.words import did_you_mean

BY_LINE = ("lines", "json", "bytes")
"""Codecs that can begin to read in the middle of a file, at the next line."""


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


def check(document: Document, parts: Parts) -> None:
    """Add a finding for everything that does not fit together."""
    _names(document, parts)
    _inputs(document, parts)
    _cycles(document, parts)
    _unread(document, parts)
    _states(document, parts)
    _dead_letters(document, parts)
    _sources(document, parts)
    _files(document, parts)
    _tests(document, parts)


def dead_letter_sinks(document: Document, parts: Parts) -> set[str]:
    """Sinks named by some `errors`."""
    return {sink for _, sink in _errors(document, parts) if isinstance(sink, str)}


def _named(data: dict[str, Any], section: str) -> list[Part]:
    items = data.get(section)
    if not isinstance(items, dict):
        return []
    kind = section.removesuffix("s")
    return [
        Part(kind, name, (section, name), item)
        for name, item in items.items()
        if isinstance(item, dict)
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


def _errors(document: Document, parts: Parts) -> Iterator[tuple[Path, Any]]:
    """(path, sink) of every `errors` that names a sink."""
    top = document.data.get("errors") if isinstance(document.data, dict) else None
    if isinstance(top, dict) and "sink" in top:
        yield ("errors", "sink"), top["sink"]
    for part in parts.all():
        errors = part.data.get("errors")
        if isinstance(errors, dict) and "sink" in errors:
            yield (*part.path, "errors", "sink"), errors["sink"]


def _names(document: Document, parts: Parts) -> None:
    seen: dict[str, Part] = {}
    for part in parts.all():
        path = (*part.path, "name") if part.kind == "step" else part.path
        if part.name in seen:
            first = seen[part.name]
            line = document.place(first.path, key=first.kind != "step")[0]
            what = f"the name '{part.name}' is taken by the {first.kind} in line {line}"
            document.find(path, "duplicate-name", what, "give one another name", key=True)
        seen.setdefault(part.name, part)


def _inputs(document: Document, parts: Parts) -> None:
    giving = [part.name for part in (*parts.sources, *parts.steps)]
    for part in (*parts.steps, *parts.sinks):
        given = part.data.get("from")
        if given == []:
            document.find((*part.path, "from"), "no-from", f"{part.kind} {part.name} reads nothing",
                          "name a source or a step")  # fmt: skip
        for index, name in enumerate(given if isinstance(given, list) else [given]):
            if not isinstance(name, str) or name in giving:
                continue
            path = (*part.path, "from", index) if isinstance(given, list) else (*part.path, "from")
            what = f"{part.kind} {part.name} reads '{name}', which is no source and no step"
            document.find(path, "unknown-name", what, did_you_mean(name, giving))


def _cycles(document: Document, parts: Parts) -> None:
    inputs = {step.name: step.inputs for step in parts.steps}
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return way[way.index(name) :]
        if name in done or name not in inputs:
            return []
        for before in inputs[name]:
            circle = walk(before, [*way, name])
            if circle:
                return circle
        done.add(name)
        return []

    for step in parts.steps:
        circle = walk(step.name, [])
        if circle:
            first = next(s for s in parts.steps if s.name in circle)
            way = " -> ".join([*reversed(circle), circle[-1]])
            document.find((*first.path, "from"), "cycle", f"steps read each other in a circle: {way}",
                          "messages must flow one way; change a `from`")  # fmt: skip
            return


def _unread(document: Document, parts: Parts) -> None:
    read = {name for part in (*parts.steps, *parts.sinks) for name in part.inputs}
    aside = dead_letter_sinks(document, parts)
    keepers = [step.data.get("state") for step in parts.steps]
    for part in (*parts.sources, *parts.steps):
        # A step that only feeds a state which another step keeps as well is read through it.
        shared = "state" in part.data and keepers.count(part.data["state"]) > 1
        if part.name not in read and not shared:
            what = f"nothing reads the {part.kind} {part.name}"
            hint = f"name it in the `from` of a step or sink: `from: {part.name}`, or take it out"
            document.find(part.path, "unread", what, hint, key=part.kind == "source")
    for sink in parts.sinks:
        if not sink.inputs and sink.name not in aside and "from" not in sink.data:
            what = f"nothing feeds the sink {sink.name}"
            hint = "name a step or a source in its `from`"
            document.find(sink.path, "unfed", what, hint, key=True)


def _states(document: Document, parts: Parts) -> None:
    known = [state.name for state in parts.states]
    used = set()
    for step in parts.steps:
        if step.data.get("type") != "stateful":
            continue
        for needed, hint in (
            ("partition", "the function that returns a message's key: `partition: module:function`"),
            ("state", f"the state it keeps per key: `state: {known[0] if known else 'name'}`"),
        ):
            if needed not in step.data:
                what = f"the stateful step {step.name} has no {needed}"
                document.find(step.path, f"no-{needed}", what, f"add {hint}")
        state = step.data.get("state")
        if isinstance(state, str):
            used.add(state)
            if state not in known:
                what = f"step {step.name} keeps the state '{state}', which `states` does not have"
                document.find((*step.path, "state"), "unknown-name", what,
                              did_you_mean(state, known))  # fmt: skip
    for state in parts.states:
        if state.name not in used:
            what = f"no step keeps the state {state.name}"
            hint = f"name it in a stateful step: `state: {state.name}`, or take it out"
            document.find(state.path, "unused-state", what, hint, key=True)
        if state.data.get("unknown", "create") != "create" and "keys" not in state.data:
            what = f"state {state.name} refuses keys outside a list, but has no `keys`"
            hint = "add `keys: {file: …}`, `{list: […]}` or `{call: …}`"
            document.find((*state.path, "unknown"), "no-keys", what, hint)


def _dead_letters(document: Document, parts: Parts) -> None:
    sinks = [sink.name for sink in parts.sinks]
    for path, sink in _errors(document, parts):
        if isinstance(sink, str) and sink not in sinks:
            what = f"dead letters go to '{sink}', which is no sink"
            document.find(path, "unknown-name", what, did_you_mean(sink, sinks))
    top = document.data.get("errors") if isinstance(document.data, dict) else None
    top = top if isinstance(top, dict) else {}
    places: list[tuple[Path, Any]] = [(("errors",), top)]
    places += [((*part.path, "errors"), part.data.get("errors")) for part in parts.all()]
    for path, errors in places:
        if not isinstance(errors, dict) or errors.get("policy") != "dead_letter":
            continue
        if "sink" not in errors and "sink" not in top:
            what = "dead letters need a sink to go to"
            document.find((*path, "policy"), "no-dead-letter-sink", what, "add `sink: name`")
    for state in parts.states:
        if state.data.get("unknown") != "dead_letter":
            continue
        for step in parts.steps:
            errors = step.data.get("errors")
            own = errors if isinstance(errors, dict) else {}
            if step.data.get("state") == state.name and "sink" not in own and "sink" not in top:
                what = (f"unknown keys of state {state.name} are dead letters, but step "
                        f"{step.name} has no sink for them")  # fmt: skip
                hint = "add `errors: {sink: name}` to the step or to the file"
                document.find((*state.path, "unknown"), "no-dead-letter-sink", what, hint)


def _sources(document: Document, parts: Parts) -> None:
    for part in (*parts.sources, *parts.sinks):
        function = "decode" if part.kind == "source" else "encode"
        if "codec" in part.data and function in part.data:
            what = f"{part.kind} {part.name} has both codec and {function}"
            document.find((*part.path, function), "codec-twice", what, "keep one of them")
        if "length_bytes" in part.data and part.data.get("framing") != "length_prefix":
            what = f"{part.kind} {part.name} has length_bytes but no lengths"
            document.find((*part.path, "length_bytes"), "no-lengths", what,
                          "add `framing: length_prefix`")  # fmt: skip
        if codec_kind(part.data) == "csv" and part.kind == "sink":
            codec = part.data.get("codec")
            if not isinstance(codec, dict) or "columns" not in codec:
                what = f"sink {part.name} writes csv, but does not say which columns"
                document.find((*part.path, "codec"), "no-columns", what,
                              "codec: {type: csv, columns: [a, b]}")  # fmt: skip
    for source in parts.sources:
        splits = source.data.get("splits", 1)
        if not isinstance(splits, int) or splits < 2:
            continue
        path = (*source.path, "splits")
        where = source.data.get("path")
        if source.data.get("follow") is True:
            document.find(path, "splits", f"source {source.name} can't be cut and followed",
                          "leave out `splits` or `follow`")  # fmt: skip
        if isinstance(where, str) and (any(c in where for c in "*?[") or where.endswith("/")):
            document.find(path, "splits", f"source {source.name} reads many files, each a split",
                          "leave out `splits`: it cuts one large file")  # fmt: skip
        kind = codec_kind(source.data)
        if kind not in (*BY_LINE, "function"):
            document.find(path, "splits", f"a {kind} file can't be cut: not every line starts a "
                          "message", f"leave out `splits`; it works with {', '.join(BY_LINE)}")  # fmt: skip
        packed = source.data.get("compression", "auto") in ("gzip", "zstd", "bz2")
        if packed or (isinstance(where, str) and where.endswith((".gz", ".zst", ".bz2"))):
            document.find(path, "splits", "a compressed file can't be cut",
                          "leave out `splits`, or unpack the file")  # fmt: skip


def codec_kind(data: dict[str, Any]) -> str:
    """The kind of codec that a source or sink asks for."""
    if "decode" in data or "encode" in data:
        return "function"
    codec = data.get("codec", "lines")
    kind = codec.get("type", "lines") if isinstance(codec, dict) else codec
    return kind if isinstance(kind, str) else "lines"


def _files(document: Document, parts: Parts) -> None:
    written: dict[str, Part] = {}
    read = {_normal(s.data.get("path")): s for s in parts.sources if s.data.get("type") == "file"}
    for sink in parts.sinks:
        if sink.data.get("type") != "file":
            continue
        path = _normal(sink.data.get("path"))
        if path is None:
            continue
        if path in written:
            what = f"sinks {written[path].name} and {sink.name} write the same file"
            document.find((*sink.path, "path"), "same-file", what, "give each a file of its own")
        written.setdefault(path, sink)
        if path in read:
            what = f"sink {sink.name} would write the file that source {read[path].name} reads"
            document.find((*sink.path, "path"), "same-file", what, "write another file")


def _normal(path: Any) -> str | None:
    if not isinstance(path, str):
        return None
    from os.path import normpath

    return normpath(path)


def _tests(document: Document, parts: Parts) -> None:
    tests = document.data.get("tests") if isinstance(document.data, dict) else None
    sections = (("input", [s.name for s in parts.sources], "source"),
                ("expect", [s.name for s in parts.sinks], "sink"))  # fmt: skip
    for index, test in enumerate(tests if isinstance(tests, list) else []):
        for section, known, kind in sections:
            given = test.get(section) if isinstance(test, dict) else None
            for name in given if isinstance(given, dict) else {}:
                if name not in known:
                    path = ("tests", index, section, name)
                    what = f"the test names '{name}', which is no {kind}"
                    document.find(path, "unknown-name", what, did_you_mean(name, known), key=True)
