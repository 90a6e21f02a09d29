"""Who may write: a worker that nobody hears ends itself; late writers are known of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from roo.core.fencing import Lease, Writers


def test_a_worker_that_is_heard_goes_on() -> None:
    lease = Lease(timeout_ms=10_000, now_ms=0)
    assert not lease.is_over(5_000)
    assert lease.is_over(5_001)
    lease.heard(4_000)
    assert not lease.is_over(9_000)
    assert lease.is_over(9_001)


def test_an_answer_that_comes_late_takes_nothing_back() -> None:
    lease = Lease(timeout_ms=10_000, now_ms=0)
    lease.heard(4_000)
    lease.heard(1_000)
    assert not lease.is_over(9_000)


@given(st.lists(st.integers(0, 3_000), max_size=20), st.integers(0, 100))
def test_it_is_over_before_the_coordinator_may_give_the_worker_up(
    waits_ms: list[int], delay_ms: int
) -> None:
    """The coordinator counts from when a report came, which is after it was said."""
    lease, now_ms, said_ms = Lease(timeout_ms=10_000, now_ms=0), 0, 0
    for wait_ms in waits_ms:
        now_ms += wait_ms
        said_ms = now_ms
        lease.heard(said_ms)
    came_ms = said_ms + delay_ms
    assert lease.is_over(came_ms + 10_000)


def test_processes_elsewhere_have_not_been_seen_to_end() -> None:
    writers = Writers(all_ended=True)
    writers.begin_attempt()
    assert writers.all_ended
    writers.start_elsewhere([3, 4])
    writers.left(3)
    writers.begin_attempt()
    assert not writers.all_ended
    writers.begin_attempt()
    assert not writers.all_ended  # until an attempt has got as far as a checkpoint
    writers.committed()
    assert writers.all_ended


def test_a_worker_that_left_in_peace_writes_no_more() -> None:
    writers = Writers(all_ended=True)
    writers.start_elsewhere([3])
    writers.left(3)
    writers.begin_attempt()
    assert writers.all_ended


def test_a_file_that_could_not_be_synced_is_written_anew() -> None:
    writers = Writers(all_ended=True)
    writers.failed()
    writers.begin_attempt()
    assert not writers.all_ended
    writers.committed()
    assert writers.all_ended


def test_the_run_before_may_have_left_writers() -> None:
    assert not Writers(all_ended=False).all_ended
