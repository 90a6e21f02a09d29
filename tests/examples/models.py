"""What each example pipeline must put out, computed from its input without Roo or the plugins.

`expected(name)` gives the lines of every sink. Their order is that of each key; lines of different
keys may come in any order, so `difference` compares the lines as a multiset and, key by key, their
order. `per_key` tells which key a line is of.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cache
from pathlib import Path
from string import ascii_lowercase
from typing import Any

ROOT = Path(__file__).parents[2]
DATA = ROOT / "pipelines" / "data"

Lines = list[str]
Outputs = dict[str, Lines]


def canonical(value: Any) -> str:
    """JSON in one spelling, so that equal objects are equal lines."""
    return json.dumps(value, sort_keys=True)


# Word counts


def words(text: str) -> Iterable[str]:
    """Letter by letter, where the plugin has a regular expression."""
    text = text.lower()
    word = ""
    for i, character in enumerate(text):
        inside = word and text[i + 1 : i + 2].isalnum()
        if character.isalnum() or (character in "'’" and inside):  # noqa: RUF001
            word += character
        elif word:
            yield word
            word = ""
    if word:
        yield word


def running_totals(keys: Iterable[str]) -> Lines:
    """`key => n` for every occurrence of a key, n being how many there have been."""
    seen: Counter[str] = Counter()
    lines = []
    for key in keys:
        seen[key] += 1
        lines.append(f"{key} => {seen[key]}")
    return lines


def wordcount() -> Outputs:
    return {"counts": running_totals(words((DATA / "bill_of_rights.txt").read_text()))}


def wordcount_letters() -> Outputs:
    first = (word[0] for word in words((DATA / "bill_of_rights.txt").read_text()))
    return {"counts": running_totals(letter for letter in first if letter in ascii_lowercase)}


def wordcount_sqlite() -> Outputs:
    return {"counts": [line.replace(" => ", "|") for line in wordcount()["counts"]]}


# Market spread: in whole numbers of 1/100 cent, where the plugin has Decimal


def units(price: str) -> int:
    """A price in 1/100 cents; the data has at most four decimal places."""
    whole, _, decimals = price.partition(".")
    return int(whole + decimals.ljust(4, "0"))


def rejects(bid: str, offer: str) -> bool:
    """(offer - bid) / ((bid + offer) / 2) >= 0.05, with the division multiplied away."""
    spread = units(offer) - units(bid)
    return spread >= 500 or 40 * spread >= units(bid) + units(offer)


def market_spread() -> Outputs:
    listed = set((DATA / "symbols.txt").read_text().split())
    last_quotes: dict[str, tuple[str, str]] = {}
    rejected: Lines = []
    unlisted: Lines = []
    for line in (DATA / "market_feed.jsonl").read_text().splitlines():
        message = json.loads(line)
        symbol = message["symbol"]
        if symbol not in listed:
            unlisted.append(canonical({"step": message["type"], "message": repr(message)}))
        elif message["type"] == "quote":
            last_quotes[symbol] = message["bid"], message["offer"]
        else:
            bid, offer = last_quotes.get(symbol, (None, None))
            if bid is None or offer is None or rejects(bid, offer):
                rejected.append(canonical({**message, "bid": bid, "offer": offer}))
    return {"rejected": rejected, "unlisted": unlisted}


# Transactional mail: the whole history of a customer at once, where the plugin has a state


def transactional_email() -> Outputs:
    histories: dict[str, list[dict[str, Any]]] = {}
    dead: Lines = []
    offset = 0
    for line in (DATA / "shop_events.jsonl").read_bytes().splitlines(keepends=True):
        try:
            event = json.loads(line)
        except ValueError:
            dead.append(canonical({"step": "events", "offset": offset}))
        else:
            if usable(event):
                histories.setdefault(event["customer"], []).append(event)
            else:
                dead.append(canonical({"step": "mails", "message": repr(event)}))
        offset += len(line)
    outbox = [canonical(mail) for history in histories.values() for mail in mails(history)]
    return {"outbox": outbox, "dead_letters": dead}


def usable(event: Any) -> bool:
    try:
        datetime.fromisoformat(event["time"])
        needs_item = {"view": 0, "add": 1, "remove": 1, "purchase": 0, "session_end": 0}
        return "customer" in event and needs_item[event["kind"]] <= ("item" in event)
    except (TypeError, KeyError, ValueError):
        return False


def basket(history: list[dict[str, Any]]) -> list[str]:
    """What lies in the basket after a history."""
    items: list[str] = []
    for event in history:
        if event["kind"] == "purchase":
            items = []
        elif event["kind"] == "add":
            items.append(event["item"])
        elif event["kind"] == "remove" and event["item"] in items:
            items.remove(event["item"])
    return items


def gap_is_long(history: list[dict[str, Any]], i: int) -> bool:
    """Whether half an hour or more lies between event i and the one before, with a full basket."""
    before, now = (datetime.fromisoformat(history[j]["time"]) for j in (i - 1, i))
    return (now - before).total_seconds() >= 1800 and basket(history[:i]) != []


def mails(history: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """The mails to one customer. Each is found by looking back, never by remembering."""
    for i, event in enumerate(history):
        head = {"to": event["customer"], "time": event["time"]}
        if i == 0:
            yield {**head, "mail": "welcome", "items": []}
        if event["kind"] == "purchase":
            yield {**head, "mail": "order_confirmation", "items": basket(history[:i])}
        elif i > 0 and gap_is_long(history, i):
            # Only the first long gap since something was last added.
            since = max(j for j in range(i) if history[j]["kind"] == "add")
            if not any(gap_is_long(history, j) for j in range(since + 1, i)):
                yield {**head, "mail": "abandoned_basket", "items": basket(history[:i])}


# Sequence detector


def sequence_detector() -> Outputs:
    lines = []
    for key in range(1000):
        for n in range(1, 101):
            ring = [max(0, n - 3), max(0, n - 2), max(0, n - 1), n]
            lines.append(f"key-{key}: {ring}")
    return {"updates": lines}


# All of them

MODELS: dict[str, Callable[[], Outputs]] = {
    "wordcount": wordcount,
    "wordcount_letters": wordcount_letters,
    "wordcount_sqlite": wordcount_sqlite,
    "market_spread": market_spread,
    "transactional_email": transactional_email,
    "sequence_detector": sequence_detector,
}

DEAD_LETTER_SINKS = ("unlisted", "dead_letters")


@cache
def expected(name: str) -> Outputs:
    """The lines of every sink of a pipeline, from its committed input."""
    return MODELS[name]()


def normal(sink: str, line: str) -> str:
    """A line that a sink wrote, as the model has it: JSON canonical, dead letters in two fields.

    A line that did not decode has no message yet, so its offset tells which it was.
    """
    if not line.startswith("{"):
        return line
    value = json.loads(line)
    if sink in DEAD_LETTER_SINKS:
        which = "offset" if value["step"] == value["source"] else "message"
        value = {name: value[name] for name in ("step", which)}
    return canonical(value)


def per_key(sink: str, line: str) -> str:
    """The key of a line in normal form; a dead letter stands for itself."""
    if sink in DEAD_LETTER_SINKS:
        return line
    if line.startswith("{"):
        value = json.loads(line)
        return str(value.get("symbol") or value["to"])
    return re.split(r" => |: |\|", line)[0]


def by_key(sink: str, lines: Iterable[str]) -> dict[str, Lines]:
    """The lines of each key, in order."""
    found: dict[str, Lines] = {}
    for line in lines:
        found.setdefault(per_key(sink, line), []).append(line)
    return found


def difference(name: str, sink: str, lines: Iterable[str]) -> str:
    """How the lines a sink wrote differ from the model's; "" where they do not."""
    actual = [normal(sink, line.rstrip("\n")) for line in lines]
    model = expected(name)[sink]
    missing = list((Counter(model) - Counter(actual)).elements())
    extra = list((Counter(actual) - Counter(model)).elements())
    if missing or extra:
        return f"{sink}: {len(missing)} missing {missing[:5]}, {len(extra)} extra {extra[:5]}"
    ours, theirs = by_key(sink, actual), by_key(sink, model)
    for key, right in theirs.items():
        if ours[key] != right:
            return f"{sink}: key {key} is out of order: {ours[key][:8]}, not {right[:8]}"
    return ""
