"""The keys that a state is given before the first message."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from roo.plan.resolve import resolve
from roo.runtime.failures import RunFailure, render, say
from roo.spec.model import KeysSpec


def keys_of(state: str, spec: KeysSpec) -> Sequence[Any]:
    """The keys from a list, a plugin function or a text file. Raises RunFailure."""
    if spec.values is not None:
        return spec.values
    if spec.call:
        return _called(state, spec.call)
    return _read(state, spec.file or "")


def _called(state: str, reference: str) -> list[Any]:
    try:
        return list(resolve(reference)())
    except Exception as error:
        frames = error.__traceback__.tb_next if error.__traceback__ else None
        raise _failure(
            state,
            say(error),
            "`keys.call` names a function that returns the keys",
            function=reference,
            traceback=render(frames),
        ) from error


def _read(state: str, path: str) -> list[str]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = f"can't read the keys from {path}: {say(error)}"
        raise _failure(state, what, "`keys.file` is a text file with one key a line") from error
    return [line for line in text.splitlines() if line]


def _failure(state: str, what: str, hint: str, **more: str) -> RunFailure:
    return RunFailure({"kind": "state", "step": state, "what": what, "hint": hint, **more})
