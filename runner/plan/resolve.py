"""`module:function` -> the function, and whether it can be called the way Roo will call it."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from typing import Any

IMPORT_DEADLINE_S = float(os.environ.get("ROO_IMPORT_DEADLINE_S", "30"))
"""How long a plugin module may take to import, in seconds."""


class BadReference(Exception):
    """A code reference that cannot work. code: of the finding."""

    def __init__(self, code: str, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.hint = hint


@dataclass(frozen=True)
class Shape:
    """How Roo calls a function: positional parameters, keywords from `with:`, maybe `key`.

    makes: what it is called for, in the words of the finding.
    """

    positional: tuple[str, ...]
    keywords: tuple[str, ...]
    makes: str
    may_take_key: bool = False

    def __str__(self) -> str:
        return "(" + ", ".join((*self.positional, *(f"{k}=…" for k in self.keywords))) + ")"


class _TooLong(BaseException):
    """Not an Exception: the plugin's own `except` must not catch it."""


@contextmanager
def _deadline() -> Iterator[None]:
    """Give an import up after IMPORT_DEADLINE_S. Only the main thread can be interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def give_up(number: int, frame: Any) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, IMPORT_DEADLINE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@cache
def resolve(reference: str) -> Callable[..., Any]:
    """Import what `module:function` (or `module:Class.method`) names.

    The folder the run starts in must be on sys.path. What a plugin prints at import goes to
    stderr: stdout is for data. Raises BadReference.
    """
    module_name, _, attributes = reference.partition(":")
    try:
        with redirect_stdout(sys.stderr), _deadline():
            found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and module_name.startswith(error.name):
            raise BadReference(
                "no-module",
                f"there is no module '{error.name}' (wanted by '{reference}')",
                f"modules are looked for in {sys.path[0] or 'this folder'} and the environment; "
                "start the run in the folder that holds the module",
            ) from None
        raise _failed_import(module_name, error) from error
    except _TooLong:
        what = f"importing {module_name} has not ended after {IMPORT_DEADLINE_S:g} s"
        hint = "do at the first call, not at import, what takes long or waits"
        raise BadReference("slow-import", what, hint) from None
    except (Exception, SystemExit) as error:
        raise _failed_import(module_name, error) from error
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            raise BadReference(
                "no-function",
                f"{module_name} has no '{attribute}'",
                _did_you_mean(attribute, [n for n in dir(found) if not n.startswith("_")]),
            ) from None
    if not callable(found):
        kind = type(found).__name__
        raise BadReference("not-callable", f"'{reference}' is not a function but a value ({kind})",
                           "name a function or a class")  # fmt: skip
    return found  # type: ignore[no-any-return]


def _failed_import(module_name: str, error: BaseException) -> BadReference:
    where = ""
    if isinstance(error, SyntaxError):
        where = f" ({error.filename}:{error.lineno})"
        what = f"{type(error).__name__}: {error.msg}"
    else:
        what = f"{type(error).__name__}: {error}"
        traceback = error.__traceback__
        while traceback is not None:
            file = traceback.tb_frame.f_code.co_filename
            if "importlib" not in file and file != __file__:
                where = f" ({file}:{traceback.tb_lineno})"
            traceback = traceback.tb_next
    what = what.splitlines()[0]
    return BadReference("bad-import", f"importing {module_name} raised {what}{where}",
                        f"`python -c 'import {module_name}'` shows it whole")  # fmt: skip


def _did_you_mean(word: str, known: list[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    return "it has " + ", ".join(known[:8]) if known else "the module is empty"


def inspect_call(function: Callable[..., Any], reference: str, shape: Shape) -> bool:
    """Whether the function has a parameter named `key` (and may be given one).

    Raises BadReference when it cannot be called with the shape.
    """
    import inspect

    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins have none
        return False
    takes_key = shape.may_take_key and _names_key(signature.parameters.values())
    keywords = dict.fromkeys((*shape.keywords, *(("key",) if takes_key else ())))
    try:
        signature.bind(*shape.positional, **keywords)
    except TypeError as error:
        code = getattr(function, "__code__", None)
        where = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
        raise BadReference(
            "wrong-parameters",
            f"'{reference}' is {function.__name__}{signature}{where}, but as {shape.makes} it is "
            f"called with {shape}: {error}",
            f"give it the parameters {shape}",
        ) from None
    return takes_key


def _names_key(parameters: Any) -> bool:
    """`key` is asked for by name; the first parameter may be called `key` and mean the message."""
    return any(p.name == "key" and p.kind is not p.VAR_KEYWORD for p in parameters)
