"""The keys that a state is given before the first message."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from roo.api import ConnectorError
from roo.plan.resolve import resolve
from roo.runtime.failures import RunFailure, render, say, shorten
from roo.spec.model import KeysSpec


def keys_of(state: str, spec: KeysSpec) -> Sequence[Any]:
    """The keys from a list, a plugin function or a text file. Raises RunFailure."""
    if spec.values is not None:
        return spec.values
    if spec.call:
        return _called(state, spec.call)
    return _read(state, spec.file or "")


def check_keys(spec: KeysSpec) -> None:
    """Raise ConnectorError for a file of keys that can't be read, before any worker starts."""
    if spec.file:
        try:
            with Path(spec.file).open("rb"):
                pass
        except OSError as error:
            what = f"can't read the keys from {spec.file}: {os.strerror(error.errno or 0)}"
            hint = "check the path; it starts from the folder you are in"
            raise ConnectorError(what, hint) from error


def _called(state: str, reference: str) -> list[Any]:
    try:
        keys = list(resolve(reference)())
    except Exception as error:
        frames = error.__traceback__.tb_next if error.__traceback__ else None
        raise _failure(
            state,
            say(error),
            "`keys.call` names a function that returns the keys",
            function=reference,
            traceback=render(frames),
        ) from error
    for key in keys:
        if not isinstance(key, (str, bytes)):
            what = f"it returned {shorten(key)} ({type(key).__name__}), not a key"
            raise _failure(state, what, "a key is str or bytes", function=reference)
    return keys


def _read(state: str, path: str) -> list[str]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        what = f"can't read the keys from {path}: {say(error)}"
        raise _failure(state, what, "`keys.file` is a text file with one key a line") from error
    return [line for line in text.split("\n") if line]


def _failure(state: str, what: str, hint: str, **more: str) -> RunFailure:
    return RunFailure({"kind": "state", "step": state, "what": what, "hint": hint, **more})
