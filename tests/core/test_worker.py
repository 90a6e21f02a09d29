"""The worker's machine: flow control, order, barriers; by seeds, over whole clusters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roo.core.batch import Batch, Header, Kind, Origin, Output
from roo.core.worker import (
    IN_FLIGHT_MS,
    READ_BYTES,
    READ_BYTES_LEAST,
    WINDOW_MESSAGES,
    WINDOW_MESSAGES_FIRST,
    AllSplitsEnded,
    Arrived,
    BarrierOpened,
    BarrierPassed,
    Change,
    Credited,
    GiveCredit,
    Link,
    ProtocolError,
    Ran,
    ReadSplit,
    RunStage,
    Send,
    SplitEnded,
    SplitIdle,
    SplitReady,
    SplitsTaken,
    Started,
    StatesCame,
    WorkerCore,
)
from tests.core.cluster import Cluster

CHAIN = [Link(0, 0, 1), Link(1, 1, 2)]
SKIPPING = [Link(0, 0, 1), Link(1, 0, 2), Link(2, 1, 2), Link(3, 2, 3)]
GRAPHS = {
    "chain": (3, CHAIN),
    "skipping": (4, SKIPPING),
    "no exchange": (1, []),
    "a stage apart": (3, [Link(0, 0, 1)]),
}


def header(**more: object) -> Header:
    plain = Header(Kind.BATCH, 0, 0, 0, 1, 1, -1, 0, 1, 1, Origin(0, 0, 0, 0))
    return plain._replace(**more)  # type: ignore[arg-type]


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("seed", range(20))
def test_everything_read_runs_through_every_stage_once(graph: str, workers: int, seed: int) -> None:
    stages, links = GRAPHS[graph]
    cluster = Cluster(seed, workers, stages, links, reads=30)
    cluster.run()
    assert cluster.ended == set(range(workers))
    arriving = [workers * 30] + [0] * (stages - 1)
    for link in links:
        arriving[link.to_stage] += arriving[link.from_stage]
    for stage in range(1, stages):
        numbers = [number for _, s, number in cluster.ran if s == stage]
        assert len(numbers) == len(set(numbers)) == arriving[stage]


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("seed", range(60))
def test_a_barrier_cuts_every_channel_and_passes_everywhere(graph: str, seed: int) -> None:
    """The cluster itself checks that no message crosses the cut, before or after."""
    stages, links = GRAPHS[graph]
    cluster = Cluster(seed, 1 + seed % 3, stages, links, reads=25, barrier_at=seed * 7 % 150,
                      last=seed % 2 == 0)  # fmt: skip
    cluster.run()
    assert cluster.passed == set(range(cluster.workers))
    if not cluster.last:
        assert not any(cluster.left), "a barrier that is not the last one stops nothing"


@pytest.mark.parametrize("seed", range(10))
def test_a_worker_that_stands_still_holds_back_the_sources(seed: int) -> None:
    """A sleeping worker takes in no more than its windows allow, whatever the others read."""
    cluster = Cluster(seed, 2, 3, CHAIN, reads=500)
    cluster.held_up = {1}
    cluster.run()
    assert cluster.left[0] > 400
    cluster.held_up = set()
    cluster.run()
    assert cluster.left == [0, 0]


def test_the_highest_stage_runs_first_and_sources_last() -> None:
    core = WorkerCore(0, range(1), 3, CHAIN, [7])
    core.handle(Started())
    core.handle(Arrived(Batch(header(exchange=0), "low")))
    core.handle(Arrived(Batch(header(exchange=1), "high")))
    first = core.next_work()
    assert isinstance(first, RunStage)
    assert first.stage == 2
    second = core.next_work()
    assert isinstance(second, RunStage)
    assert second.stage == 1
    assert core.next_work() == ReadSplit(7)


def test_a_gap_in_a_channel_is_a_bug() -> None:
    core = WorkerCore(0, range(2), 2, [Link(0, 0, 1)], [])
    core.handle(Arrived(Batch(header(sender=1), "")))
    with pytest.raises(ProtocolError, match="expected batch 1 from worker 1"):
        core.handle(Arrived(Batch(header(sender=1, sequence=2), "")))


def test_frames_of_an_older_attempt_are_dropped() -> None:
    core = WorkerCore(0, range(2), 2, [Link(0, 0, 1)], [], attempt=2)
    core.handle(Arrived(Batch(header(sender=1, attempt=1), "")))
    assert core.next_work() is None


def test_a_large_batch_overdraws_its_window_once() -> None:
    core = WorkerCore(0, range(2), 2, [Link(0, 0, 1)], [5], window_messages=10)
    core.handle(Started())
    read = Batch(header(exchange=-1), None)
    effects = core.handle(Ran(0, read, [Output(0, 1, 25, 100, "large")]))
    assert [type(effect) for effect in effects] == [Send]
    assert core.credit(0, 1)[0] == -15
    assert not core.may_read
    assert core.next_work() is None
    core.handle(Credited(0, 1, 25, 100, 1))
    assert core.next_work() == ReadSplit(5)


def test_credit_goes_back_a_quarter_of_the_window_at_a_time() -> None:
    core = WorkerCore(0, range(2), 2, [Link(0, 0, 1)], [], window_messages=8)
    core.handle(Started())
    given = []
    for sequence in range(4):
        core.handle(Arrived(Batch(header(sender=1, sequence=sequence), "")))
        work = core.next_work()
        assert isinstance(work, RunStage)
        given.append(core.handle(Ran(1, work.batch, [])))
    assert given == [[], [GiveCredit(1, 0, 2, 2, 2, 8)], [], [GiveCredit(1, 0, 2, 2, 2, 8)]]


def test_idle_splits_are_not_read_until_ready() -> None:
    core = WorkerCore(0, range(1), 1, [], [0, 1])
    core.handle(Started())
    assert core.next_work() == ReadSplit(0)
    core.handle(SplitIdle(0))
    assert core.next_work() == ReadSplit(1)
    core.handle(SplitIdle(1))
    assert core.next_work() is None
    assert core.idle_splits == {0, 1}
    core.handle(SplitReady(1))
    assert core.next_work() == ReadSplit(1)
    assert core.handle(SplitEnded(1)) == []
    core.handle(SplitReady(0))
    assert core.handle(SplitEnded(0)) == [AllSplitsEnded(1)]


def test_a_worker_without_splits_says_so_at_once_and_once() -> None:
    core = WorkerCore(0, range(1), 1, [], [])
    assert core.handle(Started()) == [AllSplitsEnded(1)]
    assert core.handle(Started()) == []


def test_small_batches_make_their_sender_wait() -> None:
    """However few messages they hold: a receiver that lags behind gets larger ones."""
    core = WorkerCore(0, range(2), 2, [Link(0, 0, 1)], [5], window_batches=2)
    core.handle(Started())
    read = Batch(header(exchange=-1), None)
    for _ in range(2):
        assert core.may_read
        core.handle(Ran(0, read, [Output(0, 1, 1, 1, "small")]))
    assert not core.may_read
    core.handle(Credited(0, 1, 1, 1, 1))
    assert core.may_read


def test_what_waits_keeps_the_credit_of_its_messages_but_not_of_its_batch() -> None:
    core = WorkerCore(0, range(2), 2, [Link(0, 0, 1)], [], window_messages=4, window_batches=4)
    core.handle(Started())
    core.handle(Arrived(Batch(header(sender=1, sequence=0)._replace(messages=3), "all")))
    work = core.next_work()
    assert isinstance(work, RunStage)
    part = Batch(work.batch.header._replace(messages=2, cost_bytes=0), "late")
    assert core.handle(Ran(1, work.batch, [], part)) == [GiveCredit(1, 0, 1, 1, 1, 4)]
    assert core.next_work() is None
    core.handle(StatesCame((1,)))
    work = core.next_work()
    assert isinstance(work, RunStage)
    assert work.batch.payload == "late"
    assert core.handle(Ran(1, work.batch, [])) == [GiveCredit(1, 0, 2, 0, 0, 4)]


def test_after_the_last_barrier_nothing_is_read() -> None:
    for last in (False, True):
        worker = WorkerCore(0, [0, 1], 2, [Link(0, 0, 1)], [7])
        worker.handle(Started())
        assert worker.next_work() == ReadSplit(7)
        worker.handle(BarrierOpened(1, last))
        assert worker.next_work() == (None if last else ReadSplit(7))


def test_sources_wait_where_they_write_to_what_a_later_stage_has_not_cut_yet() -> None:
    """Both write to a sink of this worker's own: its place is noted once both are aligned."""
    worker = WorkerCore(0, [0, 1], 2, [Link(0, 0, 1)], [7], shared=[(0, 1)])
    worker.handle(Started())
    worker.handle(BarrierOpened(1, last=False))
    assert worker.next_work() is None
    passed = worker.handle(
        Arrived(Batch(header(kind=Kind.BARRIER, sender=1, messages=0, cost_bytes=0), None))
    )
    assert BarrierPassed(1) in passed
    assert worker.next_work() == ReadSplit(7)


def test_the_end_of_what_is_read_is_told_again_after_a_change() -> None:
    worker = WorkerCore(0, [0], 1, [], [7])
    assert worker.handle(SplitEnded(7)) == [AllSplitsEnded(1)]
    worker.handle(BarrierOpened(1, False, Change((0,), 2), frozenset()))
    assert worker.handle(SplitsTaken(())) == [AllSplitsEnded(2)]


def test_a_split_that_waits_for_data_can_be_given_away() -> None:
    worker = WorkerCore(0, [0], 1, [], [7])
    worker.handle(SplitIdle(7))
    worker.handle(BarrierOpened(1, False, Change((0, 1), 2), frozenset({7})))
    assert worker.idle_splits == frozenset()
    assert worker.handle(SplitsTaken(())) == [AllSplitsEnded(2)]


def ran(core: WorkerCore, sequence: int, messages: int, took_ms: float) -> list[GiveCredit]:
    """A batch comes from worker 1 and is run; the credit that goes back."""
    come = Batch(header(sender=1, sequence=sequence, messages=messages), "")
    core.handle(Arrived(come))
    work = core.next_work()
    assert isinstance(work, RunStage)
    effects = core.handle(Ran(1, work.batch, [], took_ms=took_ms))
    return [effect for effect in effects if isinstance(effect, GiveCredit)]


def test_a_window_grows_where_a_step_is_fast() -> None:
    core = WorkerCore(0, range(2), 2, [Link(0, 0, 1)], [])
    windows = [back.window for n in range(15) for back in ran(core, n, WINDOW_MESSAGES, 0.001)]
    assert windows[:3] == [2 * WINDOW_MESSAGES_FIRST * 2**n for n in range(3)]
    assert windows[-1] == WINDOW_MESSAGES


def test_what_is_under_way_to_a_slow_step_takes_so_long_at_most() -> None:
    core = WorkerCore(0, range(2), 2, [Link(0, 0, 1)], [])
    for n in range(200):
        back = ran(core, n, 1, took_ms=50.0)
    assert [one.window for one in back] == [IN_FLIGHT_MS / 50.0 / 2]


def test_a_pause_within_one_batch_closes_no_window() -> None:
    core = WorkerCore(0, range(2), 2, [Link(0, 0, 1)], [])
    for n in range(100):
        ran(core, n, 1000, took_ms=1.0)
    [back] = ran(core, 100, WINDOW_MESSAGES, took_ms=40.0)
    assert back.window > 10_000


@given(
    st.lists(st.tuples(st.integers(1, 300), st.sampled_from([0.0, 0.1, 5.0, 400.0])), max_size=60)
)
def test_credit_adds_up_while_windows_change(batches: list[tuple[int, float]]) -> None:
    """What the sender has, what is under way and what is owed are the window, whatever happens."""
    receiver = WorkerCore(0, range(2), 2, [Link(0, 0, 1)], [])
    sender = WorkerCore(1, range(2), 2, [Link(0, 0, 1)], [1])
    read = Batch(header(exchange=-1), None)
    window = WINDOW_MESSAGES_FIRST
    for messages, took_ms in batches:
        assert sender.may_read, "all has been consumed"
        sender.handle(Ran(0, read, [Output(0, 0, messages, 1, "")]))
        sequence = sender._sequence_out[0, 0] - 1
        for back in ran(receiver, sequence, messages, took_ms):
            sender.handle(Credited(0, 0, *back[2:]))
            window = back.window
        assert sender.credit(0, 0)[0] + receiver._owed[0, 1][0] == window


def test_reads_are_small_at_first_and_where_they_fill_a_window_or_take_long() -> None:
    core = WorkerCore(0, range(2), 2, [Link(0, 0, 1)], [5])
    read = Batch(header(exchange=-1), None)

    def sizes(messages: int, took_ms: float, times: int) -> list[int]:
        found = []
        for _ in range(times):
            core.handle(Ran(0, read, [Output(0, 1, messages, 1, "")], took_ms=took_ms))
            core.handle(Credited(0, 1, messages, 1, 1, 1000))
            found.append(core.read_bytes)
        return found

    core.handle(Credited(0, 1, 936, 0, 0, 1000))
    assert sizes(250, 1.0, 3) == [32, 64, 128]
    assert sizes(251, 1.0, 1) == [128]
    assert sizes(501, 1.0, 2) == [64, 32]
    assert sizes(0, 1.0, 20)[-1] == READ_BYTES
    assert sizes(0, 101.0, 20)[-1] == READ_BYTES_LEAST


def test_a_worker_that_joins_is_given_credit_back_with_the_whole_window() -> None:
    core = WorkerCore(0, [0], 2, [Link(0, 0, 1)], [])
    core.handle(BarrierOpened(1, False, Change((0, 1), 2), frozenset()))
    assert core.workers == (0, 1)
    assert core.credit(0, 1)[0] == WINDOW_MESSAGES
    given = [back for n in range(8) for back in ran(core, n, 1, took_ms=0.0)]
    assert given == [GiveCredit(1, 0, 8, 8, 8, WINDOW_MESSAGES)]
