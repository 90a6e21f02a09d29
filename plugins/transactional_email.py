"""Transactional mail: one state per customer, and nobody knew the customers beforehand.

The time is that of the events, not of the clock on the wall: a basket counts as abandoned when
the customer's next event, whatever it is but a purchase, comes half an hour or more after the one
before. The shop sends a `session_end` for everyone who stays away, so there always is a next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

ABANDONED_AFTER = timedelta(minutes=30)
KINDS = ("view", "add", "remove", "purchase", "session_end")


@dataclass(slots=True)
class Customer:
    """The state of one customer.

    last: time of the event before, None at first sight. basket: items, in the order they were
    added. reminded: this basket has had its mail already.
    """

    last: datetime | None = None
    basket: list[str] = field(default_factory=list)
    reminded: bool = False


def customer(event: dict[str, Any]) -> str:
    """The partition function. Raises KeyError where an event names no customer."""
    key: str = event["customer"]
    return key


def mails(event: dict[str, Any], state: Customer) -> Iterator[dict[str, Any]]:
    """The mails that one event gives rise to, often none: welcome, abandoned_basket,
    order_confirmation.

    Raises KeyError or ValueError, before anything has changed, for an event that can't be used.
    """
    kind, time, item = check(event)
    if state.last is None:
        yield mail(event, "welcome", [])
    elif (
        state.basket
        and kind != "purchase"
        and not state.reminded
        and time - state.last >= ABANDONED_AFTER
    ):
        state.reminded = True
        yield mail(event, "abandoned_basket", state.basket)
    state.last = time

    if kind == "add":
        state.basket.append(item)
        state.reminded = False
    elif kind == "remove" and item in state.basket:
        state.basket.remove(item)
    elif kind == "purchase":
        yield mail(event, "order_confirmation", state.basket)
        state.basket = []
        state.reminded = False


def check(event: dict[str, Any]) -> tuple[str, datetime, str]:
    """(kind, time, item) of an event; the item is "" for the kinds that have none."""
    kind = event["kind"]
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is none of {', '.join(KINDS)}")
    item = event["item"] if kind in ("add", "remove") else ""
    return kind, datetime.fromisoformat(event["time"]), item


def mail(event: dict[str, Any], kind: str, items: list[str]) -> dict[str, Any]:
    """What the mail server is asked to send."""
    return {"to": event["customer"], "mail": kind, "time": event["time"], "items": list(items)}
