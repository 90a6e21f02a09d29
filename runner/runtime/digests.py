"""Whether another machine has the same plugin code: digests of the modules that a plan uses."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from xxhash import xxh3_128_hexdigest

from roo.plan.model import Plan

_REFERENCE = re.compile(r"^([A-Za-z_][\w.]*):[A-Za-z_][\w.]*$")
ABSENT = "not there"


def modules_of(plan: Plan) -> list[str]:
    """The modules whose functions and classes a plan names, and those of this folder that have
    been imported with them, sorted.
    """
    found = {m[1] for text in _texts(plan.spec) if (m := _REFERENCE.match(text))}
    return sorted(name for name in sys.modules if name in found or _is_of_this_folder(name))


def _is_of_this_folder(module: str) -> bool:
    """Whether a module is the user's own: not Roo's, nor installed with Python."""
    file = getattr(sys.modules[module], "__file__", None)
    if not file or module.partition(".")[0] in ("roo", "__main__"):
        return False
    path = Path(file)
    installed = any(path.is_relative_to(base) for base in (sys.prefix, sys.base_prefix))
    return path.is_relative_to(Path.cwd()) and not installed


def digests(modules: Iterable[str]) -> dict[str, str]:
    """The digest of each module's file. Modules without one (built in) have none to differ."""
    return {name: digest for name in modules if (digest := _digest(name))}


def differences(theirs: dict[str, str], ours: dict[str, str]) -> list[str]:
    """What differs, a line each, both sides shown."""
    return [
        f"plugin module {name}: {theirs[name]} there, {ours.get(name, ABSENT)} here"
        for name in sorted(theirs)
        if theirs[name] != ours.get(name, ABSENT)
    ]


def _digest(module: str) -> str:
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return ABSENT
    if not spec.origin or not Path(spec.origin).is_file():
        return ""
    return xxh3_128_hexdigest(Path(spec.origin).read_bytes())


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from _texts(getattr(value, field.name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from _texts(item)
