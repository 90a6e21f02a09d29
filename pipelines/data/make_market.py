"""Makes the data of market_spread.yaml: symbols.txt and market_feed.jsonl.

    python pipelines/data/make_market.py --seed 1 --messages 20000 --symbols 3000

The same arguments make the same bytes. Amounts are whole numbers of 1/100 cent until they are
written, so no price is ever rounded. The feed has what the rules turn on: spreads of exactly five
cents, spreads of exactly five per cent, orders before the first quote, symbols on no list.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

DOLLAR = 10_000  # units of 1/100 cent
CENT = 100
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
UNLISTED = ["NEW.A", "NEW.B", "NEW.C", "NEW.D", "NEW.E"]


def below(random: Random, n: int) -> int:
    """An integer from 0 to n - 1. Only `Random.random` stays the same in every Python release."""
    return int(random.random() * n)


def make_symbols(random: Random, n: int) -> list[str]:
    """n different symbols of two to four letters, sorted."""
    symbols: set[str] = set()
    while len(symbols) < n:
        length = 2 + below(random, 3)
        symbols.add("".join(LETTERS[below(random, 26)] for _ in range(length)))
    return sorted(symbols)


def dollars(units: int) -> str:
    """1/100 cents as a decimal string: cents, or all four places where they are needed."""
    whole, rest = divmod(units, DOLLAR)
    return f"{whole}.{rest:04d}" if rest % CENT else f"{whole}.{rest // CENT:02d}"


def make_quote(random: Random, price: int) -> tuple[int, int]:
    """(bid, offer) near a price, in 1/100 cents; about one in four is too wide."""
    if price >= DOLLAR:
        bid = price - price % CENT
        return bid, bid + CENT * (1 + below(random, 4) + 2 * (random.random() < 0.25))
    if random.random() < 0.1:  # 2 in 40: exactly five per cent of the mid price
        return 39 * (price // 40), 41 * (price // 40)
    half = price * (1 + below(random, 32)) // 1000
    return price - half, price + half


def make_feed(random: Random, symbols: list[str], n: int) -> Iterator[dict[str, object]]:
    """n quotes and orders in time order. A few symbols are busy, most are quiet."""
    prices: dict[str, int] = {}
    time_ms = 0
    for number in range(n):
        time_ms += below(random, 20)
        # The square of a uniform number is small more often than not.
        symbol = symbols[int(random.random() ** 2 * len(symbols))]
        if random.random() < 0.001:
            symbol = UNLISTED[below(random, len(UNLISTED))]
        if symbol not in prices:
            cheap = random.random() < 0.15
            prices[symbol] = 2_000 + below(random, 7_000) if cheap else below(random, 200 * DOLLAR)
            prices[symbol] = max(prices[symbol], 2_000)
        if random.random() < 0.6:
            prices[symbol] += prices[symbol] * (below(random, 21) - 10) // 1000
            bid, offer = make_quote(random, prices[symbol])
            yield {
                "type": "quote",
                "time_ms": time_ms,
                "symbol": symbol,
                "bid": dollars(bid),
                "offer": dollars(offer),
            }
        else:
            yield {
                "type": "order",
                "time_ms": time_ms,
                "symbol": symbol,
                "order": number,
                "side": ("buy", "sell")[below(random, 2)],
                "quantity": 100 * (1 + below(random, 50)),
            }


def make(folder: Path, seed: int, messages: int, symbols: int) -> None:
    """Write symbols.txt and market_feed.jsonl into a folder."""
    random = Random(seed)
    names = make_symbols(random, symbols)
    (folder / "symbols.txt").write_text("".join(f"{name}\n" for name in names))
    # Shuffled by drawing, so that the busy symbols are not those that begin with A.
    busy_first = [names.pop(below(random, len(names))) for _ in range(len(names))]
    with (folder / "market_feed.jsonl").open("w") as file:
        for message in make_feed(random, busy_first, messages):
            file.write(json.dumps(message, separators=(",", ":")) + "\n")


def main() -> None:
    """Read the arguments and make the files."""
    parser = argparse.ArgumentParser(description="Make the data of market_spread.yaml.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--symbols", type=int, default=3_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder")
    args = parser.parse_args()
    make(args.out, args.seed, args.messages, args.symbols)


if __name__ == "__main__":
    main()
