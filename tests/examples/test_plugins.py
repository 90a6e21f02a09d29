"""The plugin functions, each on its own: they are plain functions, so this needs no engine."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from plugins import (
    market_spread,
    sequence_detector,
    transactional_email,
    wordcount,
    wordcount_letters,
)

# Word counts


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("  ... -- !", []),
        ("They know they found it.", ["they", "know", "they", "found", "it"]),
        ("'Don't,' said the dogs' owner", ["don't", "said", "the", "dogs", "owner"]),
        ("rock 'n' roll o'er o''er", ["rock", "n", "roll", "o'er", "o", "er"]),
        ("re-examined New-York snake_case", ["re", "examined", "new", "york", "snake", "case"]),
        ("it\u2019s ÉTÉ 1791", ["it\u2019s", "été", "1791"]),
    ],
)
def test_split(line: str, words: list[str]) -> None:
    assert wordcount.split(line) == words


def test_count_goes_on_from_the_state() -> None:
    state = wordcount.WordTotal()
    assert [wordcount.count("law", state) for _ in range(2)] == [("law", 1), ("law", 2)]
    assert wordcount.format(("law", 2)) == "law => 2"


def test_letters_share_a_state() -> None:
    assert wordcount_letters.letter("aardvark") == wordcount_letters.letter("apple") == "a"
    state = wordcount_letters.LetterTotal(total=6)
    assert wordcount_letters.count("apple", state, key="a") == ("a", 7)


# Market spread


@pytest.mark.parametrize(
    ("bid", "offer", "wide"),
    [
        ("20.00", "20.04", False),
        ("20.00", "20.0499", False),
        ("20.00", "20.05", True),
        ("1.08", "1.13", True),  # 1.13 - 1.08 < 0.05 in floats
        ("0.39", "0.41", True),  # exactly five per cent of 0.40
        ("0.3901", "0.41", False),
        ("0.9750", "1.0249", False),
        ("10.00", "9.00", False),  # crossed: an offer below the bid is no wide spread
        ("0.00", "0.00", True),  # no mid price to divide by
    ],
)
def test_too_wide(bid: str, offer: str, wide: bool) -> None:
    assert market_spread.too_wide(Decimal(bid), Decimal(offer)) is wide


def test_the_first_quote_opens_the_market() -> None:
    market = market_spread.Market()
    order: dict[str, Any] = {"type": "order", "symbol": "AA", "order": 1}
    assert market_spread.order(order, market) == {**order, "bid": None, "offer": None}
    market_spread.quote({"bid": "20.00", "offer": "20.01"}, market)
    assert market_spread.order(order, market) is None
    market_spread.quote({"bid": "20.00", "offer": "20.10"}, market)
    assert market_spread.order(order, market) == {**order, "bid": "20.00", "offer": "20.10"}


def test_a_bad_quote_changes_nothing() -> None:
    market = market_spread.Market("20.00", "20.01", rejecting=False)
    with pytest.raises(ArithmeticError):
        market_spread.quote({"bid": "20.00", "offer": "n/a"}, market)
    assert market == market_spread.Market("20.00", "20.01", rejecting=False)


# Transactional mail


def event(kind: str, time: str, item: str = "") -> dict[str, Any]:
    head = {"customer": "ada", "kind": kind, "time": f"2026-03-02T{time}"}
    return {**head, "item": item} if item else head


def sent(*events: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """(mail, items) of all mails that the events of one customer give rise to."""
    state = transactional_email.Customer()
    mails = [mail for each in events for mail in transactional_email.mails(each, state)]
    return [(mail["mail"], mail["items"]) for mail in mails]


WELCOME: tuple[str, list[str]] = ("welcome", [])


def test_one_welcome() -> None:
    assert sent(event("view", "09:00:00"), event("view", "11:00:00")) == [WELCOME]


@pytest.mark.parametrize(("time", "mails"), [("09:29:59", []), ("09:30:00", ["lamp"])])
def test_a_basket_is_abandoned_after_half_an_hour_to_the_second(
    time: str, mails: list[str]
) -> None:
    reminders = [("abandoned_basket", mails)] if mails else []
    assert sent(event("add", "09:00:00", "lamp"), event("view", time)) == [WELCOME, *reminders]


def test_one_reminder_until_something_is_added() -> None:
    assert sent(
        event("add", "09:00:00", "lamp"),
        event("view", "10:00:00"),
        event("view", "11:00:00"),
        event("add", "11:01:00", "rug"),
        event("session_end", "12:00:00"),
    ) == [WELCOME, ("abandoned_basket", ["lamp"]), ("abandoned_basket", ["lamp", "rug"])]


def test_an_emptied_basket_is_not_abandoned() -> None:
    assert sent(
        event("add", "09:00:00", "lamp"),
        event("remove", "09:01:00", "lamp"),
        event("session_end", "10:00:00"),
    ) == [WELCOME]


def test_a_mail_keeps_the_basket_as_it_was() -> None:
    mails = sent(
        event("add", "09:00:00", "lamp"),
        event("view", "10:00:00"),
        event("add", "10:01:00", "rug"),
        event("purchase", "12:00:00"),
    )
    assert mails == [
        WELCOME,
        ("abandoned_basket", ["lamp"]),
        ("order_confirmation", ["lamp", "rug"]),
    ]


@pytest.mark.parametrize(
    "bad",
    [
        {"customer": "ada", "time": "2026-03-02T09:00:00"},
        {"customer": "ada", "kind": "juggle", "time": "2026-03-02T09:00:00"},
        {"customer": "ada", "kind": "view"},
        {"customer": "ada", "kind": "view", "time": "yesterday"},
        {"customer": "ada", "kind": "add", "time": "2026-03-02T09:00:00"},
    ],
)
def test_an_unusable_event_raises_and_changes_nothing(bad: dict[str, Any]) -> None:
    state = transactional_email.Customer()
    with pytest.raises((KeyError, ValueError)):
        list(transactional_email.mails(bad, state))
    assert state == transactional_email.Customer()


# Sequence detector


def rings(values: list[int]) -> list[str]:
    """What the detector emits for the values of one key."""
    window = sequence_detector.Window()
    return [
        sequence_detector.format(sequence_detector.detect(("k-1", value), window))
        for value in values
    ]


RIGHT = ["k-1: [0, 0, 0, 1]", "k-1: [0, 0, 1, 2]", "k-1: [0, 1, 2, 3]", "k-1: [1, 2, 3, 4]"]


def test_numbers_are_in_order_per_key_and_mixed_across_keys() -> None:
    made = list(sequence_detector.numbers(keys=5, per_key=20, seed=3))
    for name in (f"key-{index}" for index in range(5)):
        assert [n for k, n in made if k == name] == list(range(1, 21))
    assert len(made) == 100
    assert [k for k, _ in made] != sorted(k for k, _ in made)
    assert made == list(sequence_detector.numbers(keys=5, per_key=20, seed=3))
    assert made != list(sequence_detector.numbers(keys=5, per_key=20, seed=4))


def test_detect_keeps_the_last_four() -> None:
    assert rings([1, 2, 3, 4]) == RIGHT


@pytest.mark.parametrize("values", [[2], [1, 3], [1, 1], [1, 2, 1], [0]])
def test_detect_raises(values: list[int]) -> None:
    with pytest.raises(sequence_detector.SequenceError):
        rings(values)


def test_verify_raises_where_a_ring_does_not_follow() -> None:
    state = sequence_detector.Group()
    sequence_detector.verify(("k-1", (0, 0, 0, 1)), state)
    sequence_detector.verify(("j-1", (0, 0, 0, 1)), state)
    with pytest.raises(sequence_detector.SequenceError, match="k-1"):
        sequence_detector.verify(("k-1", (0, 1, 2, 3)), state)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (RIGHT[1:], "line 1: k-1"),  # lost
        ([*RIGHT[:2], *RIGHT[1:]], "line 3: k-1"),  # doubled
        ([RIGHT[0], RIGHT[2], RIGHT[1], RIGHT[3]], "line 2: k-1"),  # out of order
        ([*RIGHT[:3], "k-1: [0, 0, 0, 4]"], "line 4: k-1"),  # lost state
        ([*RIGHT[:3], "k-1: [1, 2,"], "line 4: not"),  # cut short
        (RIGHT[:3], "ends with 3, not 4"),  # lost at the end
        ([], "0 keys, not 1"),
    ],
)
def test_check_finds(lines: list[str], says: str) -> None:
    with pytest.raises(sequence_detector.SequenceError, match=says):
        sequence_detector.check(lines, keys=1, last=4)


@pytest.mark.parametrize(
    ("lines", "code", "says"),
    [(RIGHT, 0, "ok: 1 keys, 4 updates\n"), (RIGHT[1:], 1, "line 1: k-1: ")],
)
def test_the_command_checks_a_file(
    lines: list[str],
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "sequence.txt"
    output.write_text("".join(f"{line}\n" for line in lines))
    monkeypatch.setattr(sys, "argv", ["sequence_detector", str(output)])
    assert sequence_detector.main() == code
    printed = capsys.readouterr()
    assert (printed.err if code else printed.out).startswith(says)
