"""The committed data is what it says: real text, and what the scripts make from their seeds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from . import models


@pytest.mark.parametrize(
    ("script", "arguments", "files"),
    [
        (
            "make_market.py",
            ["--seed", "1", "--messages", "20000", "--symbols", "3000"],
            ["symbols.txt", "market_feed.jsonl"],
        ),
        ("make_shop_events.py", ["--seed", "1", "--sessions", "300"], ["shop_events.jsonl"]),
    ],
)
def test_the_scripts_reproduce_the_data(
    script: str, arguments: list[str], files: list[str], tmp_path: Path
) -> None:
    command = [sys.executable, str(models.DATA / script), *arguments, "--out", str(tmp_path)]
    subprocess.run(command, check=True, timeout=180)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(files)
    for file in files:
        assert (tmp_path / file).read_bytes() == (models.DATA / file).read_bytes()


def test_another_seed_makes_another_market(tmp_path: Path) -> None:
    command = [sys.executable, str(models.DATA / "make_market.py"), "--seed", "2", "--out"]
    subprocess.run([*command, str(tmp_path)], check=True, timeout=180)
    ours = (models.DATA / "market_feed.jsonl").read_bytes()
    assert (tmp_path / "market_feed.jsonl").read_bytes() != ours


def test_the_bill_of_rights_is_whole() -> None:
    text = (models.DATA / "bill_of_rights.txt").read_text()
    amendments = text.split("\n\nAmendment ")[1:]
    numerals = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X"]
    assert [amendment.split("\n")[0] for amendment in amendments] == numerals
    # In words, each with its numeral: a word lost or doubled in the text shows here.
    lengths = [len(amendment.split()) for amendment in amendments]
    assert lengths == [46, 28, 33, 55, 109, 82, 51, 17, 22, 29]


def test_the_market_has_what_the_rules_turn_on() -> None:
    outputs = models.expected("market_spread")
    assert any('"bid": null' in line for line in outputs["rejected"])
    assert outputs["unlisted"]
    assert 1000 < len(outputs["rejected"]) < 5000
    feed = (models.DATA / "market_feed.jsonl").read_text()
    assert len(feed) < 2_000_000


def test_the_shop_has_every_mail() -> None:
    outbox = "\n".join(models.expected("transactional_email")["outbox"])
    for kind in ("welcome", "abandoned_basket", "order_confirmation"):
        assert outbox.count(f'"{kind}"') > 30
