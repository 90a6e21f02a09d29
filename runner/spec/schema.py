"""The JSON Schema of the pipeline file, and its errors in words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from math import isfinite
from typing import Any

from roo.spec.model import Path
from roo.spec.text import Document
from roo.spec.words import did_you_mean, kind_of, listed, short

_TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
}

_ENOUGH = {"no-variable", "yaml-word", "yaml-tag"}
_STATEFUL = ("partition", "state", "many")


@cache
def schema() -> Any:
    """The schema, as installed with the package."""
    file = resources.files("roo.schemas").joinpath("pipeline.schema.json")
    return json.loads(file.read_text(encoding="utf-8"))


def is_reference(value: Any) -> bool:
    """Whether a value has the form of a code reference, module:function."""
    form = schema()["definitions"]["reference"]["pattern"]
    return isinstance(value, str) and re.fullmatch(form, value) is not None


@cache
def unquoted() -> frozenset[str]:
    """The options that take a number, true or false, which YAML writes without quotes."""

    def walk(rule: Any) -> Iterator[str]:
        for name, option in rule.get("properties", {}).items():
            if _resolved(option).get("type") in ("integer", "number", "boolean"):
                yield name
            yield from walk(option)

    return frozenset(
        n for rule in (schema(), *schema()["definitions"].values()) for n in walk(rule)
    )


@cache
def _validator() -> Any:
    """Draft 7, strict where Python is lax: nothing follows `$`, no 2.0 for 2, no infinity."""
    from jsonschema import Draft7Validator, ValidationError
    from jsonschema.validators import extend

    def pattern(validator: Any, wanted: str, value: Any, rule: Any) -> Iterator[Any]:
        if isinstance(value, str) and not re.search(re.sub(r"\$$", r"\\Z", wanted), value):
            yield ValidationError(f"{value!r} does not match {wanted!r}")

    types = Draft7Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ).redefine(
        "number",
        lambda _, value: (
            isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
        ),
    )
    return extend(Draft7Validator, {"pattern": pattern}, type_checker=types)(schema())  # type: ignore[no-untyped-call]


def check(document: Document) -> None:
    """Add a finding for everything the schema objects to."""
    seen: set[tuple[Path, str, str]] = set()
    # What is wrong with a value already is enough; what the schema makes of it would mislead.
    known = {(f.line, f.column) for f in document.findings if f.code in _ENOUGH}
    for error in _validator().iter_errors(document.data):
        for path, code, what, hint, key in _said(document, error):
            if (path, code, what) not in seen and document.place(path, key=key) not in known:
                seen.add((path, code, what))
                document.find(path, code, what, hint, key=key)


def _said(document: Document, error: Any) -> list[tuple[Path, str, str, str, bool]]:
    """(path, code, what, hint, whether the key is to blame) for one error of the validator."""
    path: Path = tuple(error.absolute_path)
    where = _where(document, path)
    value, rule, wanted = error.instance, error.schema, error.validator_value
    if "propertyNames" in error.absolute_schema_path:
        what = f"'{short(value)}' can't be a name"
        hint = "begin with a letter; then letters, digits, - and _"
        return [((*path, value), "bad-name", what, hint, True)]
    match error.validator:
        case "additionalProperties":
            known = list(rule.get("properties", {}))
            extra = [name for name in value if name not in known]
            return [_unknown(path, where, name, known) for name in extra]
        case "required":
            missing = [name for name in wanted if name not in value]
            return [
                (
                    path,
                    "missing-option",
                    f"{where} needs '{name}'",
                    _or_misspelt(rule, value, name),
                    False,
                )
                for name in missing
            ]
        case "type":
            right = listed((_TYPES[t] for t in _list(wanted) if t != "null"), "or")
            what = f"{where} must be {right}, not {kind_of(value)}"
            quote = "string" in _list(wanted) and isinstance(value, (bool, int, float))
            hint = f"quote it: '{json.dumps(value)}'" if quote else _like(rule)
            return [(path, "wrong-type", what, hint, False)]
        case "enum" | "const":
            types = rule.get("type", [])
            if types and not any(_validator().is_type(value, t) for t in _list(types)):
                return []  # the wrong type is a finding of its own
            known = [str(v) for v in _list(wanted) if v is not None]
            what = f"{where} can't be {kind_of(value)}"
            return [(path, "unknown-value", what, _suggest(str(value), known), False)]
        case "pattern":
            what = f"{where}: '{short(value)}' is not {_form(rule)}"
            return [(path, "bad-value", what, _like(rule), False)]
        case "minimum" | "exclusiveMinimum" | "maximum":
            words = {"minimum": "at least", "exclusiveMinimum": "more than", "maximum": "at most"}
            what = f"{where} is {value}; it must be {words[error.validator]} {wanted}"
            return [(path, "out-of-range", what, _like(rule), False)]
        case "minProperties" | "minItems" | "minLength":
            return [(path, "empty", f"{where} is empty", _like(rule), False)]
        case "maxProperties":
            what = f"{where} takes one of {listed(rule.get('properties', {}), 'or')}"
            return [(path, "too-many", f"{what}, not {listed(value)}", "keep one of them", False)]
        case _:
            return [(path, "bad-value", f"{where} is not as it should be", _like(rule), False)]


def _or_misspelt(rule: Any, value: Any, name: str) -> str:
    """What to do about an option that is not there: perhaps it is, by another name."""
    from difflib import get_close_matches

    others = [str(key) for key in value if key not in rule.get("properties", {})]
    close = get_close_matches(name, others, n=1, cutoff=0.7)
    return f"is '{close[0]}' meant to be '{name}'?" if close else _example(rule, name)


def _unknown(
    path: Path, where: str, name: str, known: list[str]
) -> tuple[Path, str, str, str, bool]:
    at = (*path, name)
    if path[:1] == ("steps",) and len(path) == 2 and name in _STATEFUL:
        what = f"{where} is not stateful, so it has no {name}"
        return at, "not-stateful", what, "write `type: stateful`, or take it out", True
    what = f"{where} has no option '{short(name)}'"
    return at, "unknown-option", what, _suggest(name, known), True


def _form(rule: Any) -> str:
    """What a text with a pattern should be: `a code reference`, `a size`, `an address`."""
    forms = [d for d in schema()["definitions"].values() if d.get("pattern") == rule["pattern"]]
    title = str((forms or [rule])[0]["title"]).lower()
    return f"{'an' if title[0] in 'aeiou' else 'a'} {title}"


def _where(document: Document, path: Path) -> str:
    """A node as `--set` would call it: `steps.count.call`; the whole file is `the file`."""
    words = [str(part) for part in path]
    if path[:1] == ("steps",) and len(path) > 1:
        step = document.data["steps"][path[1]]
        name = step.get("name") if isinstance(step, dict) else None
        words[1] = name if isinstance(name, str) else words[1]
    return ".".join(words) or "the file"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _suggest(word: str, known: list[str]) -> str:
    hint = did_you_mean(word, known)
    return hint.replace("there is ", "it may be ", 1) if hint.startswith("there is") else hint


def _example(rule: Any, name: str) -> str:
    examples = _resolved(rule.get("properties", {}).get(name, {})).get("examples")
    if not examples:
        return f"add `{name}: …`"
    return f"e.g. `{name}: {_short(examples[0])}`"


def _like(rule: Any) -> str:
    examples = rule.get("examples")
    return f"e.g. {_short(examples[0])}" if examples else ""


def _resolved(rule: Any) -> Any:
    reference = rule.get("$ref", "")
    return schema()["definitions"][reference.rpartition("/")[2]] if reference else rule


def _short(example: Any) -> str:
    return short(example if isinstance(example, str) else json.dumps(example, ensure_ascii=False))
