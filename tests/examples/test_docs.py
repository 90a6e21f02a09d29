"""docs/examples.md shows what the pipelines really say and print."""

from __future__ import annotations

import json
import re
from collections import Counter

from . import models

README = (models.ROOT / "README.md").read_text()
PAGE = (models.ROOT / "docs" / "examples.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[list[str]]:
    """The lines of every fenced block of a language."""
    return [text.splitlines() for found, text in BLOCKS if found == language]


def last_totals(name: str) -> list[str]:
    """The last line of each key that begins with `a`, sorted."""
    last = {line.split(" => ")[0]: line for line in models.expected(name)["counts"]}
    return sorted(line for key, line in last.items() if key.startswith("a"))


def test_outputs_are_true() -> None:
    words, letters, rows, rings = blocks("")
    assert words == last_totals("wordcount")[: len(words)]
    assert f"({len(last_totals('wordcount'))} keys; the first nine)" in PAGE
    assert len(words) == 9
    assert letters == last_totals("wordcount_letters")
    totals = Counter(row.split("|")[0] for row in models.expected("wordcount_sqlite")["counts"])
    assert rows == [f"{word}|{total}" for word, total in totals.most_common(3)]
    updates = [u for u in models.expected("sequence_detector")["updates"] if u.startswith("key-7:")]
    assert rings == updates[: len(rings)]


def test_the_readme_s_counts_are_true() -> None:
    shown = re.search(r"Among its first lines are these:\n\n```\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    assert set(shown[1].splitlines()) < set(models.expected("wordcount")["counts"])


def test_json_outputs_are_true() -> None:
    market, mails = blocks("json")
    for sink, lines in (("rejected", market), ("outbox", mails)):
        name = "market_spread" if sink == "rejected" else "transactional_email"
        for line in lines:
            assert models.canonical(json.loads(line)) in models.expected(name)[sink]


def test_excerpts_stand_in_the_files() -> None:
    names = ("wordcount", "wordcount_letters")
    for language, folder, end in (("yaml", "pipelines", "yaml"), ("python", "plugins", "py")):
        for number, excerpt in enumerate(blocks(language)):
            file = models.ROOT / folder / f"{names[number % 2]}.{end}"
            text = re.sub(r"(\w+): (?:str)\b|\) -> \w+:", bare, file.read_text())
            for line in excerpt:
                assert line.split("…")[0] in text, f"{line!r} is not in {file.name}"


def bare(annotated: re.Match[str]) -> str:
    """A parameter or a signature's end without its type."""
    return annotated[1] or "):"


def test_numbers_in_the_table_are_true() -> None:
    def count(name: str, sink: str) -> int:
        return len(models.expected(name)[sink])

    keys = models.by_key("counts", models.expected("wordcount")["counts"])
    events = (models.DATA / "shop_events.jsonl").read_text().splitlines()
    mailed = models.by_key("outbox", models.expected("transactional_email")["outbox"])
    customers = set(re.findall(r'^\{"customer": "([^"]+)", .*\}$', "\n".join(events), re.MULTILINE))
    for text in (
        f"| {len(keys)} words |",
        f"| {count('wordcount', 'counts')} running totals |",
        f"| {count('wordcount_sqlite', 'counts')} rows |",
        f"| {count('market_spread', 'rejected'):,} orders, "
        f"{count('market_spread', 'unlisted')} dead letters |",
        f"| {len(events):,} lines | {count('transactional_email', 'outbox')} mails, "
        f"{count('transactional_email', 'dead_letters')} dead letters |",
        f"| {len(customers)} customers |",
        f"Two of the {len(customers)} customers have sent nothing else, so {len(mailed)} get\n",
        f"| {count('sequence_detector', 'updates'):,} rings |",
    ):
        assert text in PAGE
