"""Expected and actual outputs of a sink: are they the same, and if not, what differs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import ndiff
from typing import Any, Protocol


class Output(Protocol):
    """One output: the key it was made under, the item, and its text as the sink writes it."""

    @property
    def key(self) -> Any: ...
    @property
    def item(self) -> Any: ...
    @property
    def text(self) -> str | None: ...


def compare(
    sink: str, expected: Sequence[Any], actual: Sequence[Output], order: str, *, partly: bool
) -> str:
    """ "" when the outputs are as expected, else a readable diff.

    An expected str stands for the text that the sink writes, anything else for the message. order:
    exact; any; per_key (outputs of one key come in the expected order, keys may interleave).
    partly: a mapping is compared in the fields that it names (dead letters).
    """
    want = [_show(item) for item in expected]
    got = [_as_expected(output, expected, partly) for output in actual]
    if order == "exact":
        same = want == got
    else:
        same = sorted(want) == sorted(got)
        if same and order == "per_key":
            return _order_problem(sink, want, got, [output.key for output in actual])
    if same:
        return ""
    if order != "exact":
        want, got = sorted(want), sorted(got)
    lines = [line for line in ndiff(want, got) if not line.startswith("?")]
    return "\n".join([f"sink {sink} (- expected, + actual):", *lines])


def _order_problem(sink: str, want: list[str], got: list[str], keys: list[Any]) -> str:
    """Whether, for each key, its outputs stand in `want` in the order they came.

    The expected list does not name keys, so the actual outputs tell which items are a key's; an
    item that two keys share is given to the key whose turn it is.
    """
    for key in dict.fromkeys(keys):
        mine = [item for item, k in zip(got, keys, strict=True) if k == key]
        place = 0
        for item in mine:
            try:
                place = want.index(item, place) + 1
            except ValueError:
                listed = [item for item in want if item in mine]
                return "\n".join(
                    [f"sink {sink}: outputs of key {key!r} are out of order", "  expected:"]
                    + [f"    {item}" for item in listed]
                    + ["  actual:", *(f"    {item}" for item in mine)]
                )
    return ""


def _as_expected(output: Output, expected: Sequence[Any], partly: bool) -> str:
    """An output in the form in which it was expected: as text, or as a message."""
    if output.text is not None and (output.text in expected or _all_text(expected)):
        return output.text
    message = output.item
    if isinstance(message, str):
        try:
            message = json.loads(message)
        except ValueError:
            return message if output.text is None else output.text
    if partly and isinstance(message, Mapping):
        for item in expected:
            if isinstance(item, Mapping) and _show({k: message.get(k) for k in item}) == _show(
                item
            ):
                return _show(item)
    return _show(message)


def _all_text(expected: Sequence[Any]) -> bool:
    return bool(expected) and all(isinstance(item, str) for item in expected)


def _show(item: Any) -> str:
    """An item as comparable text: str as it is, else canonical JSON (a tuple is a list there)."""
    if isinstance(item, str):
        return item
    try:
        return json.dumps(item, sort_keys=True, ensure_ascii=False)
    except TypeError:
        return repr(item)
