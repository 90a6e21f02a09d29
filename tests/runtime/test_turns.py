"""When slices have their turn: as much later as batches are to have time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roo.runtime import turns
from roo.runtime.turns import FLOWS_S, LATE, SHARE_WITHIN, Turns


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(turns.clock, "monotonic_s", lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def slice_of(clock: Clock, turn: Turns, took_s: float, share: float) -> None:
    begun_s = clock.now_s
    clock.now_s += took_s
    turn.took(begun_s, share)


def after_batch_and_slice(clock: Clock, took_s: float, share: float) -> Turns:
    turn = Turns()
    turn.ran(keyed=True)
    slice_of(clock, turn, took_s, share)
    return turn


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


def test_where_batches_flow_slices_do_not_follow_one_another(clock: Clock) -> None:
    turn = after_batch_and_slice(clock, 0.0004, 3.0)
    assert not turn.is_due(clock.now_s + 0.0011)
    assert turn.in_ms() == pytest.approx(1.2)
    assert turn.is_due(clock.now_s + 0.0013)
    clock.now_s += 0.0013
    assert turn.in_ms() is None


def test_what_was_put_off_and_is_due_before_anybody_waits_is_not_forgotten(clock: Clock) -> None:
    turn = after_batch_and_slice(clock, 0.0004, 3.0)
    assert not turn.is_due(clock.now_s)
    clock.now_s += 0.01
    assert turn.in_ms() == 0.0
    assert turn.is_due(clock.now_s)
    assert turn.in_ms() is None


def test_soon_after_the_last_batch_they_do(clock: Clock) -> None:
    turn = after_batch_and_slice(clock, 0.004, 100.0)
    assert not turn.is_due(clock.now_s + FLOWS_S - 0.0001)
    clock.now_s += FLOWS_S
    assert turn.is_due(clock.now_s)
    slice_of(clock, turn, 0.004, 100.0)
    assert turn.is_due(clock.now_s)


def test_where_only_sources_and_sinks_ran_it_is_put_off_for_longer(clock: Clock) -> None:
    turn = Turns()
    slice_of(clock, turn, 0.004, 1.0)
    turn.ran(keyed=False)
    assert not turn.is_due(clock.now_s + 0.005)
    assert turn.is_due(clock.now_s + 0.0041 + LATE * 0.004)
    turn.ran(keyed=True)
    turn.ran(keyed=False)
    assert turn.is_due(clock.now_s + 0.005)


def test_within_a_batch_it_comes_sooner(clock: Clock) -> None:
    turn = Turns()
    slice_of(clock, turn, 0.004, 1.0)
    assert not turn.is_due_within(clock.now_s + SHARE_WITHIN * 0.0039)
    assert turn.is_due_within(clock.now_s + SHARE_WITHIN * 0.0041)


@given(st.lists(st.tuples(st.sampled_from(["keyed", "other", "nothing"]), st.integers(0, 60))))
def test_who_waits_with_no_time_set_has_just_had_a_slice(rounds: list[tuple[str, int]]) -> None:
    """As a worker goes on: a slice if one is due, then work or else a wait; time passes anywhere.
    A slice that was not made, and of which nobody knows when it comes, would hang the run.
    """
    with pytest.MonkeyPatch.context() as patch:
        clock, turn = Clock(patch), Turns()
        for what, tenths_of_ms in rounds:
            made = turn.is_due(clock.now_s)
            if made:
                slice_of(clock, turn, 0.0003, 8.0)
            clock.now_s += tenths_of_ms / 10_000
            if what != "nothing":
                turn.ran(keyed=what == "keyed")
            assert made or turn.in_ms() is not None
