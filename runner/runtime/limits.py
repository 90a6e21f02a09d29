"""`max_errors` and `max_ratio`: how many messages may fail before the run does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roo.plan.model import Plan
from roo.spec.model import ErrorsSpec

RATIO_AFTER_MESSAGES = 1_000
"""While the run goes on, a ratio means nothing before this many messages. At the end it does."""


def groups(plan: Plan) -> list[tuple[ErrorsSpec, tuple[str, ...]]]:
    """Parts whose failures count together: all under the pipeline's `errors`, each other alone."""
    parts: list[Any] = [*plan.spec.sources, *plan.spec.steps, *plan.spec.sinks]
    shared = tuple(p.name for p in parts if p.errors == plan.spec.errors)
    own = [(p.errors, (p.name,)) for p in parts if p.errors != plan.spec.errors]
    return [(plan.spec.errors, shared), *own]


def exceeded(
    plan: Plan, errors: Mapping[str, int], messages_read: int, *, ended: bool
) -> dict[str, Any] | None:
    """The error that ends the run, when more failed than may; None: go on."""
    for limit, names in groups(plan):
        failed = sum(errors.get(name, 0) for name in names)
        where = "the pipeline" if len(names) > 1 else names[0]
        if limit.max_errors is not None and failed > limit.max_errors:
            what = f"{failed:,} messages failed; max_errors of {where} is {limit.max_errors:,}"
        elif (
            limit.max_ratio is not None
            and (ended or messages_read >= RATIO_AFTER_MESSAGES)
            and failed > limit.max_ratio * messages_read
        ):
            what = (f"{failed:,} of {messages_read:,} messages failed; max_ratio of {where} is "
                    f"{limit.max_ratio}")  # fmt: skip
        else:
            continue
        return {"kind": "limit", "what": what, "hint": "look at what fails, or raise the limit"}
    return None
