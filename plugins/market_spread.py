"""Market spread: quotes update the state of a symbol, orders on the same symbol read it.

Prices are decimal strings ("12.34") and become `Decimal`, never `float`: 1.13 - 1.08 is exactly the
limit of 0.05, and the same subtraction of floats is a little less than it.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

SPREAD_MAX = Decimal("0.05")
"""Dollars: an offer this far above the bid is too far."""

SPREAD_RATIO_MAX = Decimal("0.05")
"""The same as a part of the mid price, which is what counts for symbols below one dollar."""


@dataclass(slots=True)
class Market:
    """The state of one symbol. bid, offer: as last quoted, None before the first quote.

    rejecting: orders are turned down now.
    """

    bid: str | None = None
    offer: str | None = None
    rejecting: bool = True


def is_quote(message: dict[str, Any]) -> bool:
    """Keeps the quotes of the feed."""
    return bool(message["type"] == "quote")


def is_order(message: dict[str, Any]) -> bool:
    """Keeps the orders of the feed."""
    return bool(message["type"] == "order")


def symbol(message: dict[str, Any]) -> str:
    """The partition function of both streams, so that they meet in one state."""
    return str(message["symbol"])


def too_wide(bid: Decimal, offer: Decimal) -> bool:
    """Whether the spread reaches either limit; a spread that equals a limit does.

    Multiplies by the mid price where the rule divides by it: nothing is rounded that way, and a
    symbol quoted at zero is rejected instead of raising.
    """
    mid = (bid + offer) / 2
    spread = offer - bid
    return spread >= SPREAD_MAX or spread >= SPREAD_RATIO_MAX * mid


def quote(message: dict[str, Any], market: Market) -> None:
    """Note the new bid and offer of a symbol. No output: the orders are what reads the state.

    Raises decimal.InvalidOperation when a price is not a number.
    """
    bid, offer = message["bid"], message["offer"]
    market.rejecting = too_wide(Decimal(bid), Decimal(offer))
    market.bid, market.offer = bid, offer


def order(message: dict[str, Any], market: Market) -> dict[str, Any] | None:
    """An order on a rejecting symbol, with the bid and offer that it met; None for the others."""
    if not market.rejecting:
        return None
    return {**message, "bid": market.bid, "offer": market.offer}
