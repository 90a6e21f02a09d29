"""Makes the data of transactional_email.yaml: shop_events.jsonl, some of it unreadable.

    python pipelines/data/make_shop_events.py --seed 1 --sessions 300

The same arguments make the same bytes. A session is one customer's visit: looks, fills a basket,
buys or goes away. Sessions overlap, so the file has the customers mixed, in time order.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
NAMES = ["ada", "alan", "barbara", "donald", "edsger", "frances", "grace", "john", "katherine"]
ITEMS = ["lamp", "teapot", "umbrella", "notebook", "scarf", "chess set", "telescope", "rug"]
UNREADABLE = ['{"customer": "ada1@example.org", "kind": "vi', "<html>504</html>", "\\x00", "[1, 2"]
UNUSABLE = [
    "42",
    '{"kind": "view", "time": "2026-03-02T09:00:00+00:00"}',
    '{"customer": "nobody@example.org", "kind": "juggle", "time": "2026-03-02T09:00:00+00:00"}',
    '{"customer": "late@example.org", "kind": "view", "time": "yesterday"}',
]


def below(random: Random, n: int) -> int:
    """An integer from 0 to n - 1. Only `Random.random` stays the same in every Python release."""
    return int(random.random() * n)


def session(random: Random, customer: str, start: datetime) -> list[dict[str, str]]:
    """The events of one visit, in time order."""
    time = start
    events: list[dict[str, str]] = []

    def say(kind: str, item: str = "") -> None:
        event = {"customer": customer, "kind": kind, "time": time.isoformat()}
        events.append({**event, "item": item} if item else event)

    basket: list[str] = []
    for _ in range(1 + below(random, 6)):
        choice = random.random()
        item = ITEMS[below(random, len(ITEMS))]
        if choice < 0.4:
            say("view")
        elif choice < 0.9 or not basket:
            say("add", item)
            basket.append(item)
        else:
            say("remove", basket.pop(below(random, len(basket))))
        # Mostly minutes; now and then somebody is called away for half an hour, to the second.
        time += timedelta(seconds=1800 if random.random() < 0.1 else below(random, 300))
    if basket and random.random() < 0.5:
        say("purchase")
        time += timedelta(seconds=below(random, 60))
    time += timedelta(minutes=30 if random.random() < 0.7 else below(random, 30))
    say("session_end")
    return events


def make(path: Path, seed: int, sessions: int) -> None:
    """Write the events of so many sessions as JSON Lines."""
    random = Random(seed)
    names = [f"{name}{n}@example.org" for name in NAMES for n in range(sessions // 20 + 1)]
    free_from: dict[str, datetime] = {}  # nobody is in the shop twice at one time
    events: list[dict[str, str]] = []
    for _ in range(sessions):
        customer = names[below(random, len(names))]
        start = START + timedelta(seconds=below(random, 8 * 3600))
        visit = session(random, customer, max(start, free_from.get(customer, start)))
        free_from[customer] = datetime.fromisoformat(visit[-1]["time"]) + timedelta(seconds=1)
        events += visit
    events.sort(key=lambda event: event["time"])  # stable: one visit's events keep their order
    lines = [json.dumps(event) for event in events]
    for line in UNREADABLE + UNUSABLE:
        lines.insert(below(random, len(lines)), line)
    path.write_text("".join(f"{line}\n" for line in lines))


def main() -> None:
    """Read the arguments and make the file."""
    parser = argparse.ArgumentParser(description="Make the data of transactional_email.yaml.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sessions", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder")
    args = parser.parse_args()
    make(args.out / "shop_events.jsonl", args.seed, args.sessions)


if __name__ == "__main__":
    main()
