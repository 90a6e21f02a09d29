"""When slices have their turn: as much later as batches are to have time."""

from __future__ import annotations

import pytest

from roo.runtime import turns
from roo.runtime.turns import LATE, SHARE, SHARE_BUSY, Turns


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(turns.time, "monotonic", lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def slice_of(clock: Clock, turn: Turns, took_s: float, share: float) -> None:
    begun_s = clock.now_s
    clock.now_s += took_s
    turn.took(begun_s, share)


def test_a_slice_is_put_off_by_its_length_times_the_share(clock: Clock) -> None:
    turn = Turns()
    slice_of(clock, turn, 0.004, 3.0)
    turn.ran(keyed=True)
    assert turn.in_ms() == pytest.approx(12.0)
    assert not turn.is_due(clock.now_s + 0.0119)
    assert turn.is_due(clock.now_s + 0.0121)
    assert turn.away_s(clock.now_s + 0.0121) == pytest.approx(0.0121)


def test_where_nothing_runs_it_is_not_put_off(clock: Clock) -> None:
    turn = Turns()
    slice_of(clock, turn, 0.004, 3.0)
    assert turn.is_due(clock.now_s)
    assert turn.in_ms() is None


def test_where_only_sources_and_sinks_ran_it_is_put_off_for_longer(clock: Clock) -> None:
    turn = Turns()
    slice_of(clock, turn, 0.004, 1.0)
    turn.ran(keyed=False)
    assert not turn.is_due(clock.now_s + 0.005)
    assert turn.is_due(clock.now_s + 0.0041 + LATE * 0.004)
    turn.ran(keyed=True)
    turn.ran(keyed=False)
    assert turn.is_due(clock.now_s + 0.005)


@pytest.mark.parametrize(
    ("waited_s", "share"), [(0.0, SHARE_BUSY), (0.04, SHARE_BUSY), (0.06, SHARE), (1.0, SHARE)]
)
def test_a_worker_that_hardly_ever_waits_hurries(
    clock: Clock, waited_s: float, share: float
) -> None:
    turn = Turns()
    turn.look(0.0)
    clock.now_s += 1.0
    turn.look(waited_s)
    assert turn.share == share
    clock.now_s += 1.0
    turn.look(waited_s + 1.0)  # what counts is the time since the last look
    assert turn.share == SHARE
