"""What a schema can't see: names that lead nowhere, cycles, parts that nothing reads.

Works on the plain data, and on files that the schema has objected to as well, so that one run of
`roo validate` tells everything.
"""

from __future__ import annotations

from typing import Any

from roo.spec import ends
from roo.spec.model import Path
from roo.spec.parts import Part, Parts, dead_letter_sinks, named_sinks
from roo.spec.text import Document
from roo.spec.words import did_you_mean


def check(document: Document, parts: Parts) -> None:
    """Add a finding for everything that does not fit together."""
    _names(document, parts)
    _inputs(document, parts)
    _cycles(document, parts)
    _unread(document, parts)
    _states(document, parts)
    _dead_letters(document, parts)
    ends.check(document, parts)
    _tests(document, parts)
    _autoscale(document)


def _autoscale(document: Document) -> None:
    path = ("cluster", "autoscale")
    given: Any = document.data
    for name in path:
        given = given.get(name) if isinstance(given, dict) else None
    if not isinstance(given, dict):
        return
    least: Any = given.get("min")
    most: Any = given.get("max")
    low, high = given.get("shrink_below", 0.3), given.get("grow_above", 0.8)
    if not all(isinstance(number, (int, float)) for number in (least, most, low, high)):
        return  # the schema has said so
    if least > most:
        what = f"at least {least} workers, and at most {most}"
        document.find((*path, "max"), "autoscale-bounds", what, "let `max` be `min` or more")
    if low >= high:
        what = f"it would shrink below {low:g} and grow above {high:g}: for ever to and fro"
        hint = "let `shrink_below` be less than `grow_above`"
        at = "shrink_below" if "shrink_below" in given else "grow_above"
        document.find((*path, at), "autoscale-swings", what, hint)


def _names(document: Document, parts: Parts) -> None:
    seen: dict[str, Part] = {}
    for part in parts.all():
        path = (*part.path, "name") if part.kind == "step" else part.path
        if part.name in seen:
            first = seen[part.name]
            line = document.place(first.path, key=first.kind != "step")[0]
            what = f"the name '{part.name}' is taken by the {first.kind} in line {line}"
            hint = "give one another name"
            document.find(path, "duplicate-name", what, hint, key=part.kind != "step")
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
    from graphlib import CycleError, TopologicalSorter

    inputs = {step.name: step.inputs for step in parts.steps}
    if len(inputs) < len(parts.steps):
        return  # two steps of one name, a finding already: who reads whom is a guess
    try:
        TopologicalSorter(inputs).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        first = next(step for step in parts.steps if step.name in circle)
        what = f"steps read each other in a circle: {' -> '.join(circle)}"
        document.find((*first.path, "from"), "cycle", what,
                      "messages must flow one way; change a `from`")  # fmt: skip


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
    # Named by a step whose type is misspelt, a state is not the mistake.
    used = {step.data["state"] for step in parts.steps if isinstance(step.data.get("state"), str)}
    for step in parts.steps:
        if step.data.get("type") != "stateful":
            continue
        for needed, hint in (
            (
                "partition",
                "the function that returns a message's key: `partition: module:function`",
            ),
            ("state", f"the state it keeps per key: `state: {known[0] if known else 'name'}`"),
        ):
            if needed not in step.data:
                what = f"the stateful step {step.name} has no {needed}"
                document.find(step.path, f"no-{needed}", what, f"add {hint}")
        state = step.data.get("state")
        if isinstance(state, str) and state not in known:
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
    for path, sink in named_sinks(document, parts):
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
