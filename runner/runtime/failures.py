"""What happens to a message that fails: the run stops, or it is skipped, or set aside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from roo.api import Failure
from roo.core.batch import Origin
from roo.plan.model import Plan
from roo.runtime.loops import Code, Where
from roo.spec.model import ErrorsSpec

MESSAGE_CHARACTERS_MAX = 200


NOT_PUT_TOGETHER = (
    "pickle can take its class apart, but not put it together: "
    "see its `__init__` and `__reduce__`, or"
)
"""The beginning of a hint; then what to do instead."""


class RunFailure(BaseException):
    """The run must stop. error: what the summary and the screen will say.

    Not an Exception: the `except Exception` around the next message must not catch it.
    """

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error.get("what"))
        self.error = error


class BadKey(TypeError):
    """A partition function returned something that is not a key."""


class UnknownKey(LookupError):
    """A key outside the list, where `unknown: reject` wants none."""


class Unsendable(TypeError):
    """A message that can't leave its worker."""


class PoisonMessage(RuntimeError):
    """A message that has ended its worker, twice in a row."""


class Failures:
    """Applies the error policies of one worker.

    at: the origin of the batch being run and how to find a message's own offset in it; set before
    every batch. set_aside: gives a dead letter to a sink. counts: failures per part so far.
    """

    def __init__(
        self, plan: Plan, worker: int, code: Code, set_aside: Callable[[str, Any], None]
    ) -> None:
        self.plan = plan
        self.worker = worker
        self.code = code
        self.set_aside = set_aside
        self.counts: dict[str, int] = {}
        self.skipped = 0
        self.dead_letters = 0
        self.origin = Origin(-1, -1, 0, 0)
        self.split_names: list[str] = []
        self.locate: Callable[[int], int] | None = None
        parts: list[Any] = [*plan.spec.sources, *plan.spec.steps, *plan.spec.sinks]
        self._policies: dict[str, ErrorsSpec] = {part.name: part.errors for part in parts}

    def in_code(self, error: Exception) -> None:
        """A generated function caught `error`: find out which message, step and function."""
        traceback = error.__traceback__
        assert traceback is not None
        where = self.code.where.get(traceback.tb_lineno)
        names = traceback.tb_frame.f_locals
        if where is None:  # an append to a lane or a sink's list: out of memory, at most
            raise error
        facts = _culprit(where, names)
        if "rest" in names and self.locate:
            total = names["messages"].__len__()
            facts["offset"] = self.locate(total - names["rest"].__length_hint__() - 1)
        self.handle(where.part, error, _kind(where), facts, users_frames(traceback))

    def handle(
        self,
        part: str,
        error: Exception,
        kind: str,
        facts: dict[str, Any],
        traceback: TracebackType | None = None,
    ) -> None:
        """Apply the policy of `part` to one failed message. Raises RunFailure for `fail`."""
        self.counts[part] = self.counts.get(part, 0) + 1
        policy = self._policies[part].policy
        sink = self.plan.dead_letters.get(part)
        report = self._report(part, error, kind, facts, traceback)
        if policy == "fail" or (policy == "dead_letter" and sink is None):
            raise RunFailure(report)
        if policy == "skip":
            self.skipped += 1
            return
        assert sink is not None
        self.dead_letters += 1
        self.set_aside(sink, dead_letter(self.plan.spec.name, report))

    def undecodable(self, source: str, failure: Failure) -> None:
        """Bytes that are no message. Raises RunFailure where the policy is `fail`."""
        codec = self.plan.source(source).codec
        facts = {
            "function": codec.function or f"codec {codec.kind}",
            "message": plain(failure.frame),
            "offset": failure.offset,
        }
        # A codec of Roo's own has no frames of the user's.
        frames = users_frames(failure.error.__traceback__) if codec.function else None
        self.handle(source, failure.error, "decode", facts, frames)

    def unknown_key(self, step: str, key: Any, message: Any) -> None:
        """Set a message with a key outside the list aside (`unknown: dead_letter`)."""
        self.dead_letters += 1
        facts = {"step": step, "key": plain(key), "message": plain(message)}
        error = UnknownKey(f"key {shorten(key)} is not in the list of keys")
        report = self._report(step, error, "state", facts, None)
        self.set_aside(self.plan.dead_letters[step], dead_letter(self.plan.spec.name, report))

    def _report(
        self,
        part: str,
        error: Exception,
        kind: str,
        facts: dict[str, Any],
        traceback: TracebackType | None,
    ) -> dict[str, Any]:
        report: dict[str, Any] = {"kind": kind, "step": part, "what": say(error)}
        report.update(facts)
        if self.origin.source >= 0:
            report["source"] = self.plan.spec.sources[self.origin.source].name
            report["split"] = self.split_names[self.origin.split]
            if "offset" not in report:
                report["offset"], report["offset_end"] = self.origin.start, self.origin.end
        report["worker"] = self.worker
        report["hint"] = hint(error, str(facts.get("function", "")))
        text = render(traceback)
        if text:
            report["traceback"] = text
        return report


def _culprit(where: Where, names: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that a line of generated code knows. names: its locals."""
    facts: dict[str, Any] = {
        "step": where.part,
        "function": where.function,
        "message": plain(names.get(where.variable)),
    }
    if where.keyed or where.role == "factory":
        facts["key"] = plain(names.get("key"))
    return facts


def _kind(where: Where) -> str:
    if where.role == "factory":
        return "state"
    return "sink" if where.role == "encode" else "step"


def unexpected(error: BaseException, code: Code) -> dict[str, Any]:
    """What no policy covers, as the error of a run: `sys.exit` in a plugin, or a bug in Roo."""
    report: dict[str, Any] = {"kind": "worker", "what": say(error)}
    traceback = error.__traceback__
    while traceback is not None and not _is_generated(traceback):
        traceback = traceback.tb_next
    if traceback is not None and (where := code.where.get(traceback.tb_lineno)):
        report |= {"kind": _kind(where), **_culprit(where, traceback.tb_frame.f_locals)}
    report["traceback"] = render(users_frames(error.__traceback__))
    report["hint"] = "a plugin must not end the process" if isinstance(error, SystemExit) else ""
    return report


def hint(error: Exception, function: str) -> str:
    """What to do next about a message that failed. function: "module:function" or "codec json"."""
    if isinstance(error, BadKey):
        return "a key is str or bytes: return str(...) from the partition function"
    if isinstance(error, UnknownKey):
        return "add it to the state's `keys`, or set `unknown: create`, `drop` or `dead_letter`"
    if isinstance(error, Unsendable):
        return "send plain data: define the class at the top of a module, or send its fields"
    codec = function.startswith("codec ")
    begin = f"see whether {function} fits what it is given" if codec else "mend the function"
    return f"{begin}, or set `errors: {{policy: skip}}` or `dead_letter` to go on without it"


def dead_letter(pipeline: str, report: dict[str, Any]) -> dict[str, Any]:
    """What a dead-letter sink is given: the failure as plain data."""
    names = ("step", "function", "key", "message", "source", "split", "offset", "offset_end")
    letter: dict[str, Any] = {"pipeline": pipeline, "error": report["what"]}
    letter.update((name, report[name]) for name in names if name in report)
    return letter


def say(error: BaseException) -> str:
    """An error in one line: its type and its text; Roo's own errors speak for themselves."""
    try:
        text = " ".join(str(error).split())
    except Exception as failed:  # a user's __str__ may fail as well
        text = f"its text can't be had, as that raised {type(failed).__name__}"
    if isinstance(error, (BadKey, UnknownKey, Unsendable, PoisonMessage)):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def shorten(value: Any) -> str:
    """A value on one line of at most MESSAGE_CHARACTERS_MAX characters."""
    if isinstance(value, (str, bytes)) and len(value) > MESSAGE_CHARACTERS_MAX:
        text = repr(value[:MESSAGE_CHARACTERS_MAX])
    else:
        try:
            text = repr(value)
        except Exception as error:  # a user's __repr__ may fail as well
            text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    text = " ".join(text.split())
    return text if len(text) <= MESSAGE_CHARACTERS_MAX else text[: MESSAGE_CHARACTERS_MAX - 1] + "…"


def plain(value: Any) -> str:
    """A key or message for people and dead letters: text as it is, anything else as its repr."""
    if isinstance(value, bytes):
        value = value[: MESSAGE_CHARACTERS_MAX + 1].decode("utf-8", "backslashreplace")
    if not isinstance(value, str):
        return shorten(value)
    text = value[: MESSAGE_CHARACTERS_MAX + 1]
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text if len(text) <= MESSAGE_CHARACTERS_MAX else text[: MESSAGE_CHARACTERS_MAX - 1] + "…"


def render(traceback: TracebackType | None) -> str:
    """The frames from the user's function down, as Python prints them."""
    if traceback is None:
        return ""
    from traceback import format_tb

    return "".join(format_tb(traceback)).rstrip()


def users_frames(traceback: TracebackType | None) -> TracebackType | None:
    """The frames below Roo's own and the generated code: the user's."""
    while traceback is not None and _is_roo(traceback):
        traceback = traceback.tb_next
    return traceback


def _is_generated(traceback: TracebackType) -> bool:
    return traceback.tb_frame.f_code.co_filename.startswith("<roo ")


def _is_roo(traceback: TracebackType) -> bool:
    name = str(traceback.tb_frame.f_globals.get("__name__", ""))
    # The worker's own module runs as __main__.
    return _is_generated(traceback) or name.startswith("roo.") or name == "__main__"
