"""`module:function` -> the function, and whether it can be called the way Roo will call it."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

IMPORT_DEADLINE_S = float(os.environ.get("ROO_IMPORT_DEADLINE_S", "30"))
"""How long a plugin module may take to import, in seconds."""

NAMES_SAID = 8
"""How many names a finding lists."""


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

    makes: what it is called for, in the words of the finding. many: it may give many things, so it
    may be a generator.
    """

    positional: tuple[str, ...]
    keywords: tuple[str, ...]
    makes: str
    may_take_key: bool = False
    many: bool = False

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
                _near_module(error.name)
                or f"modules are looked for in {sys.path[0] or 'this folder'} and the environment; "
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
            within = getattr(found, "__qualname__", "")
            raise BadReference(
                "no-function",
                f"{f'{module_name}:{within}' if within else module_name} has no '{attribute}'",
                _did_you_mean(attribute, _functions(found)),
            ) from None
    if not callable(found):
        kind = type(found).__name__
        raise BadReference("not-callable", f"'{reference}' is not a function but a value ({kind})",
                           "name a function or a class")  # fmt: skip
    return found  # type: ignore[no-any-return]


def _failed_import(module_name: str, error: BaseException) -> BadReference:
    if isinstance(error, SyntaxError):
        where = f" ({error.filename}:{error.lineno})"
        what = f"{type(error).__name__}: {error.msg}"
    else:
        where = raised_at(error)
        what = f"{type(error).__name__}: {error}"
    what = what.splitlines()[0]
    return BadReference("bad-import", f"importing {module_name} raised {what}{where}",
                        f"`python -c 'import {module_name}'` shows it whole")  # fmt: skip


def raised_at(error: BaseException) -> str:
    """Where the user's code raised an error, as " (file:line)"; "" if it did not."""
    where = ""
    traceback = error.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if "importlib" not in file and file != __file__:
            where = f" ({file}:{traceback.tb_lineno})"
        traceback = traceback.tb_next
    return where


def problem(reference: str) -> tuple[str, str, str] | None:
    """(code, what, hint) of the finding about a reference that does not import; None if it does."""
    try:
        resolve(reference)
    except BadReference as bad:
        return bad.code, bad.what, bad.hint
    return None


def _functions(found: Any) -> list[str]:
    """The names in a module or class that can be called."""
    return [n for n in dir(found) if not n.startswith("_") and callable(getattr(found, n, None))]


def _did_you_mean(word: str, known: list[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    more = ", …" if len(known) > NAMES_SAID else ""
    return f"it has {', '.join(known[:NAMES_SAID])}{more}" if known else "it has no functions"


def _near_module(name: str) -> str:
    """The module beside a misspelt one that was meant, as a hint; "" if there is none."""
    from difflib import get_close_matches

    package, _, last = name.rpartition(".")
    folders = getattr(sys.modules.get(package), "__path__", ()) if package else sys.path[:1]
    known = []
    for folder in folders:
        with suppress(OSError):
            inside = Path(folder).iterdir()
            known += [p.stem for p in inside if p.suffix == ".py" or p.is_dir()]
    close = get_close_matches(last, known, n=1)
    return f"did you mean '{f'{package}.' if package else ''}{close[0]}'?" if close else ""


def inspect_call(function: Callable[..., Any], reference: str, shape: Shape) -> bool:
    """Whether the function has a parameter named `key` (and may be given one).

    Raises BadReference when it cannot be called with the shape.
    """
    import inspect
    from keyword import iskeyword

    for name in shape.keywords:
        if not name.isidentifier() or iskeyword(name):
            what = f"`with` has '{name}', which can't be the name of a parameter of '{reference}'"
            hint = "a name is letters, digits and _, and no word of Python's own"
            raise BadReference("wrong-parameters", what, hint)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins have none
        return False
    _need_plain(function, reference, shape)
    takes_key = shape.may_take_key and _names_key(signature.parameters.values())
    if takes_key and "key" in shape.keywords:
        what = f"`with` has 'key', but {shape.makes} gives '{reference}' the message's key as `key`"
        raise BadReference("wrong-parameters", what, "call the parameter something else")
    keywords = dict.fromkeys((*shape.keywords, *(("key",) if takes_key else ())))
    try:
        signature.bind(*shape.positional, **keywords)
    except TypeError as error:
        name = getattr(function, "__name__", reference)
        raise BadReference(
            "wrong-parameters",
            f"'{reference}' is {name}{signature}{_where(function)}, but as {shape.makes} it is "
            f"called with {shape}: {error}",
            f"give it the parameters {shape}",
        ) from None
    return takes_key


def _need_plain(function: Callable[..., Any], reference: str, shape: Shape) -> None:
    """Raise BadReference for a function that gives a coroutine or generator in place of a value."""
    from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction

    if iscoroutinefunction(function) or isasyncgenfunction(function):
        what = f"'{reference}' is an async function{_where(function)}, which Roo can't wait for"
        raise BadReference("wrong-kind", what, "write a plain `def`")
    if isgeneratorfunction(function) and not shape.many:
        what = f"'{reference}' yields{_where(function)}, but as {shape.makes} it gives one thing"
        hint = "return it; many come from `type: flat_map`, or `many: true` of a stateful step"
        raise BadReference("wrong-kind", what, hint)


def _where(function: Callable[..., Any]) -> str:
    code = getattr(function, "__code__", None)
    return f" ({code.co_filename}:{code.co_firstlineno})" if code else ""


def _names_key(parameters: Any) -> bool:
    """`key` is asked for by name; the first parameter may be called `key` and mean the message."""
    return any(p.name == "key" and p.kind is not p.VAR_KEYWORD for p in parameters)
