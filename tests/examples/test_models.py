"""The plugin functions in a plain loop, without Roo, give what the models say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from string import ascii_lowercase
from typing import Any

import pytest

from plugins import (
    market_spread,
    sequence_detector,
    transactional_email,
    wordcount,
    wordcount_letters,
)

from . import models


def run_wordcount() -> Iterator[tuple[str, str]]:
    totals: dict[str, wordcount.WordTotal] = {}
    for line in (models.DATA / "bill_of_rights.txt").read_text().splitlines():
        for message in wordcount.split(line):
            state = totals.setdefault(wordcount.word(message), wordcount.WordTotal())
            yield "counts", wordcount.format(wordcount.count(message, state))


def run_wordcount_letters() -> Iterator[tuple[str, str]]:
    totals = {key: wordcount_letters.LetterTotal() for key in ascii_lowercase}
    for line in (models.DATA / "bill_of_rights.txt").read_text().splitlines():
        for message in wordcount.split(line):
            key = wordcount_letters.letter(message)
            if key in totals:
                output = wordcount_letters.count(message, totals[key], key=key)
                yield "counts", wordcount.format(output)


def run_wordcount_sqlite() -> Iterator[tuple[str, str]]:
    """The rows as a table shows them; the sink has tests of its own."""
    for sink, line in run_wordcount():
        yield sink, line.replace(" => ", "|")


def run_market_spread() -> Iterator[tuple[str, str]]:
    symbols = (models.DATA / "symbols.txt").read_text().split()
    markets = {symbol: market_spread.Market() for symbol in symbols}
    for line in (models.DATA / "market_feed.jsonl").read_text().splitlines():
        message = json.loads(line)
        assert market_spread.is_quote(message) != market_spread.is_order(message)
        key = market_spread.symbol(message)
        step = "quote" if market_spread.is_quote(message) else "order"
        if key not in markets:
            letter = {"step": step, "source": "feed", "message": repr(message)}
            yield "unlisted", json.dumps(letter)
        elif step == "quote":
            market_spread.quote(message, markets[key])
        elif (output := market_spread.order(message, markets[key])) is not None:
            yield "rejected", json.dumps(output)


def run_transactional_email() -> Iterator[tuple[str, str]]:
    customers: dict[str, transactional_email.Customer] = {}
    offset = 0
    for line in (models.DATA / "shop_events.jsonl").read_bytes().splitlines(keepends=True):
        start, offset = offset, offset + len(line)
        try:
            event = json.loads(line)
        except ValueError:
            letter = {"step": "events", "source": "events", "offset": start}
            yield "dead_letters", json.dumps(letter)
            continue
        try:
            key = transactional_email.customer(event)
            state = customers.setdefault(key, transactional_email.Customer())
            outputs = list(transactional_email.mails(event, state))
        except (KeyError, TypeError, ValueError):
            letter = {"step": "mails", "source": "events", "message": repr(event)}
            yield "dead_letters", json.dumps(letter)
            continue
        for output in outputs:
            yield "outbox", json.dumps(output)


def run_sequence_detector() -> Iterator[tuple[str, str]]:
    windows: dict[str, sequence_detector.Window] = {}
    groups: dict[str, sequence_detector.Group] = {}
    for message in sequence_detector.numbers(keys=1000, per_key=100, seed=1):
        window = windows.setdefault(sequence_detector.key(message), sequence_detector.Window())
        update = sequence_detector.detect(message, window)
        group = groups.setdefault(sequence_detector.group(update), sequence_detector.Group())
        yield "updates", sequence_detector.format(sequence_detector.verify(update, group))


RUNS: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
    "wordcount": run_wordcount,
    "wordcount_letters": run_wordcount_letters,
    "wordcount_sqlite": run_wordcount_sqlite,
    "market_spread": run_market_spread,
    "transactional_email": run_transactional_email,
    "sequence_detector": run_sequence_detector,
}


@pytest.mark.parametrize("name", models.MODELS)
def test_plugins_give_what_the_model_says(name: str) -> None:
    outputs: dict[str, list[str]] = {sink: [] for sink in models.expected(name)}
    for sink, line in RUNS[name]():
        outputs[sink].append(line)
    for sink, lines in outputs.items():
        assert lines, f"{sink} is empty: the data shows nothing"
        assert models.difference(name, sink, lines) == ""


@pytest.mark.parametrize("name", models.MODELS)
def test_every_pipeline_file_has_a_model(name: str) -> None:
    files = {file.stem for file in (models.ROOT / "pipelines").glob("*.yaml")}
    assert files == set(models.MODELS)
    plugin = {"wordcount_sqlite": "sqlite_sink"}.get(name, name)
    assert (models.ROOT / "plugins" / f"{plugin}.py").is_file()


def edited(lines: list[str], change: str) -> list[str]:
    """Lines of one key with one thing wrong."""
    if change == "lost":
        return lines[:2] + lines[3:]
    if change == "doubled":
        return [*lines[:3], *lines[2:]]
    return [lines[1], lines[0], *lines[2:]]


@pytest.mark.parametrize(
    ("change", "says"), [("lost", "1 missing"), ("doubled", "1 extra"), ("swapped", "out of order")]
)
def test_difference_sees_one_wrong_line(change: str, says: str) -> None:
    lines: list[Any] = models.expected("wordcount")["counts"]
    the = [line for line in lines if line.startswith("the => ")]
    others = [line for line in lines if not line.startswith("the => ")]
    assert models.difference("wordcount", "counts", others + the) == ""
    assert says in models.difference("wordcount", "counts", others + edited(the, change))
