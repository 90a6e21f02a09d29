"""What comes from outside the file: `${V}` in its strings, and `--set path=value`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from roo.spec.findings import Finding
from roo.spec.model import Path
from roo.spec.parts import CODE
from roo.spec.schema import unquoted
from roo.spec.text import Document, parse
from roo.spec.words import did_you_mean

_REFERENCE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?:(:-|:\?)([^}]*))?\}|\$\{")
_NAMES = {"name", "type", "from", "state", "sink"}
_NAMED = ("sources", "states", "steps", "sinks")


def substitute(document: Document, environ: Mapping[str, str]) -> None:
    """Put the environment into the string leaves: `${V}`, `${V:-default}`, `${V:?message}`.

    Never into keys, names, code references or tests. A leaf that is one reference and nothing else
    is typed afterwards as YAML would type it, where a number, true or false may stand, so
    `workers: "${N:-2}"` is a number. `$${` stands for `${`.
    """

    def replace(value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {key: replace(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [replace(item, (*path, i)) for i, item in enumerate(value)]
        if isinstance(value, str) and "${" in value and not _fixed(_option(path)):
            return _expand(document, value, path, environ)
        return value

    if isinstance(document.data, dict):
        document.data = {
            key: value if key == "tests" else replace(value, (key,))
            for key, value in document.data.items()
        }


def _option(path: Path) -> Path:
    """The path within a source, state, step or sink; of anything else, the path."""
    return path[2:] if path[0] in _NAMED else path


def _fixed(option: Path) -> bool:
    return option[:1] != ("with",) and not {*CODE, *_NAMES}.isdisjoint(option)


def _unquoted(option: Path) -> bool:
    return option[:1] == ("with",) or not unquoted().isdisjoint(option[-1:])


def _expand(document: Document, text: str, path: Path, environ: Mapping[str, str]) -> Any:
    def one(match: re.Match[str]) -> str:
        name, how, rest = match[1], match[2], match[3]
        if match[0] == "$${":
            return "${"
        if name is None:
            what = f"'{text}' holds a ${{ that is no variable"
            document.find(path, "bad-variable", what, "write ${V}, ${V:-default} or ${V:?message}, "
                          "or $${ for a plain ${")  # fmt: skip
            return match[0]
        if environ.get(name) or (name in environ and how is None):
            return environ[name]
        if how == ":-":
            return rest
        what = f"the environment has no {name}"
        if how == ":?":
            what = f"{what}: {rest}"
        document.find(path, "no-variable", what, f"set {name}, or write ${{{name}:-default}}")
        return match[0]

    result = _REFERENCE.sub(one, text)
    whole = _REFERENCE.fullmatch(text)
    return _typed(result) if whole and whole[1] and _unquoted(_option(path)) else result


def _typed(text: str) -> Any:
    """A number, true, false — or the text itself. (YAML's `yes`, dates and null stay text.)"""
    value = _value(text)
    return value if isinstance(value, (bool, int, float)) else text


def _value(text: str) -> Any:
    """What YAML reads; what it can't read is the text itself."""
    document = Document("")
    parse(text, document)
    return text if document.findings else document.data


def override(document: Document, overrides: list[str]) -> None:
    """Apply `--set path=value`: dots between names, steps by name or index, the value as YAML.

    Where only text may stand, the value is text: `--set sources.lines.path=2026`.
    """
    for text in overrides:
        path_text, equals, value_text = text.partition("=")
        names = path_text.split(".")
        if not equals or not all(names):
            _bad(document, text, "it must read path=value", "e.g. --set cluster.workers=3")
            continue
        _set(document, text, names, value_text)


def _set(document: Document, text: str, names: list[str], value_text: str) -> None:
    here = document.data
    path: Path = ()
    for depth, name in enumerate(names):
        last = depth == len(names) - 1
        if isinstance(here, list):
            index = _index(here, name)
            if index is None:
                known = [str(i["name"]) for i in here if isinstance(i, dict) and "name" in i]
                _bad(document, text, f"there is no '{name}'", did_you_mean(name, known))
                return
            path = (*path, index)
            if last:
                here[index] = _given(value_text, path)
                document.options[path] = text
                return
            here = here[index]
            continue
        if not isinstance(here, dict):
            _bad(document, text, f"'{names[depth - 1]}' has no options", "see the file")
            return
        if depth == 1 and names[0] in _NAMED and name not in here:
            hint = did_you_mean(name, list(here))
            _bad(document, text, f"{names[0]} has no '{name}'", hint)
            return
        path = (*path, name)
        if last:
            here[name] = _given(value_text, path)
            document.options[path] = text
            return
        if name not in here:
            document.options[path] = text
        here = here.setdefault(name, {})


def _given(text: str, path: Path) -> Any:
    value = _value(text) if text else ""
    if isinstance(value, (bool, int, float)) and path[0] != "tests":
        return value if _unquoted(_option(path)) else text
    return value


def _index(items: list[Any], name: str) -> int | None:
    for index, item in enumerate(items):
        if isinstance(item, dict) and item.get("name") == name:
            return index
    return int(name) if name.isdecimal() and int(name) < len(items) else None


def _bad(document: Document, text: str, what: str, hint: str) -> None:
    document.findings.append(Finding(document.file, 1, 1, "bad-set", f"--set {text}: {what}", hint))
