"""When a run grows and shrinks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roo.core.autoscale import Autoscale, Decision, Rules

RULES = Rules(1, 4, grow_above=0.8, shrink_below=0.3, for_ms=1_000, rest_ms=5_000)


def busy(workers: int, load: float) -> dict[int, float]:
    return dict.fromkeys(range(workers), load)


def test_it_grows_when_workers_stay_busy() -> None:
    scale = Autoscale(RULES)
    assert scale.look(0, busy(2, 0.9), 0, 2) is None
    assert scale.look(999, busy(2, 0.9), 0, 2) is None
    assert scale.look(1_000, busy(2, 0.9), 0, 2) == Decision(3, "workers were busy to 90% for 1 s")


def test_a_moment_is_not_enough() -> None:
    scale = Autoscale(RULES)
    scale.look(0, busy(2, 0.9), 0, 2)
    scale.look(900, busy(2, 0.5), 0, 2)
    assert scale.look(1_800, busy(2, 0.9), 0, 2) is None
    assert scale.look(2_800, busy(2, 0.9), 0, 2) is not None


def test_it_grows_when_sources_lag() -> None:
    scale = Autoscale(RULES)
    scale.look(0, busy(2, 0.1), 1, 2)
    decision = scale.look(1_000, busy(2, 0.1), 1, 2)
    assert decision == Decision(3, "sources of 1 worker(s) lagged for 1 s")


def test_it_grows_when_now_the_one_reason_holds_and_now_the_other() -> None:
    scale = Autoscale(RULES)
    scale.look(0, busy(2, 0.9), 0, 2)
    scale.look(500, busy(2, 0.1), 1, 2)
    decision = scale.look(1_000, busy(2, 0.9), 0, 2)
    assert decision == Decision(3, "workers were busy to 90% for 1 s")


def test_it_does_not_shrink_to_what_would_grow_again() -> None:
    rules = RULES._replace(shrink_below=0.5)
    assert decided(rules, busy(2, 0.45), 2) is None
    assert decided(rules, busy(2, 0.39), 2) == Decision(1, "workers were busy to only 39% for 1 s")


def test_it_does_not_shrink_while_sources_lag() -> None:
    scale = Autoscale(RULES)
    for now_ms in (0, 1_000):
        assert scale.look(now_ms, busy(4, 0.1), 1, 4) is None


@pytest.mark.parametrize(("workers", "to"), [(1, 2), (6, 4)])
def test_it_comes_back_within_its_bounds(workers: int, to: int) -> None:
    rules = RULES._replace(smallest=2)
    decision = decided(rules, busy(workers, 0.5), workers)
    assert decision is not None
    assert decision.workers == to
    assert f"than {to} workers" in decision.why


def test_it_stays_at_its_bounds() -> None:
    assert decided(RULES, busy(4, 1.0), 4) is None
    assert decided(RULES, busy(1, 0.0), 1) is None


def decided(rules: Rules, loads: dict[int, float], workers: int) -> Decision | None:
    """After long enough."""
    scale = Autoscale(rules)
    assert scale.look(0, loads, 0, workers) is None
    return scale.look(1_000, loads, 0, workers)


def test_it_shrinks_when_idle_and_rests_after_a_change() -> None:
    scale = Autoscale(RULES)
    scale.look(0, busy(3, 0.1), 0, 3)
    assert scale.look(1_000, busy(3, 0.1), 0, 3) == Decision(2, "workers were busy to only 10% "
                                                                "for 1 s")  # fmt: skip
    scale.look(1_100, busy(2, 0.1), 0, 2)
    assert scale.look(5_900, busy(2, 0.1), 0, 2) is None
    assert scale.look(6_000, busy(2, 0.1), 0, 2) is not None


def test_it_waits_for_reports() -> None:
    scale = Autoscale(RULES)
    scale.look(0, busy(2, 0.9), 0, 2)
    scale.look(500, busy(1, 0.9), 0, 2)
    assert scale.look(1_400, busy(2, 0.9), 0, 2) is None


@given(st.floats(0, 1), st.integers(1, 4), st.integers(0, 2))
def test_it_stays_within_its_bounds_and_never_swings(load: float, workers: int, lag: int) -> None:
    """Whatever it decides, the same work does not make it take that back."""
    scale = Autoscale(RULES)
    scale.look(0, busy(workers, load), lag, workers)
    decision = scale.look(1_000, busy(workers, load), lag, workers)
    if decision is None:
        return
    assert 1 <= decision.workers <= 4
    same_work = min(load * workers / decision.workers, 1.0)
    after = Autoscale(RULES)
    after.look(0, busy(decision.workers, same_work), lag, decision.workers)
    back = after.look(1_000, busy(decision.workers, same_work), lag, decision.workers)
    assert back is None or (back.workers > decision.workers) == (decision.workers > workers)
