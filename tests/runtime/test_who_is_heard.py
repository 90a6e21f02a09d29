"""Who counts: processes of this attempt alone, for as long as the coordinator hears them."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from roo import clock
from roo.api import Context
from roo.cli.common import load_checked, plan_of
from roo.core.checkpoints import Manifest, SplitPosition
from roo.core.fencing import Lease
from roo.core.placement import Placement
from roo.runtime import control, presence, watchdog
from roo.runtime.coordinator import Coordinator
from roo.runtime.coordinator_main import CoordinatorProcess
from roo.runtime.cut import Checkpoint
from roo.runtime.lines import Peer
from roo.runtime.outlets import make_sink
from roo.runtime.suspects import Suspicion
from roo.runtime.watchdog import Watchdog
from roo.runtime.worker import Worker
from roo.status import Silent

PIPELINE = """version: 1
name: heard
sources: {lines: {type: file, path: in.txt}}
states: {s: {factory: "tests.run.functions:Total"}}
steps:
  - {name: keep, type: stateful, partition: "tests.run.functions:itself", state: s,
     call: "tests.run.functions:count"}
sinks: {out: {type: file, path: "out-{worker}.txt"}}
"""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    Path("in.txt").write_text("a\n")
    Path("p.yaml").write_text(PIPELINE)
    return plan_of(load_checked("p.yaml", []))


# The coordinator


class Lines:
    def __init__(self) -> None:
        self.come: list[tuple[Peer, bytes]] = []
        self.sent: list[tuple[bytes, Any]] = []

    def receive(self) -> Iterator[tuple[Peer, bytes]]:
        come, self.come = self.come, []
        yield from come

    def send(self, peer: Peer, packed: bytes) -> None:
        self.sent.append((peer.identity, pickle.loads(packed)))

    def refused(self) -> int:
        return 0

    def say(self, identity: str, message: Any) -> None:
        self.come.append((Peer(0, identity.encode()), pickle.dumps(message, 5)))


def test_an_older_attempt_is_not_heard_and_its_watchdog_is_told(plan: Any) -> None:
    lines = Lines()
    processes: Any = SimpleNamespace(count=1, stdin_worker=None, folder="", exited=list, left=list)
    coordinator = Coordinator(plan, {}, processes, lines, SimpleNamespace(), Silent())
    stats = control.WorkerStats(0, 1, monotonic_s=7.5)
    lines.say("worker-0-0", control.Hello(1))
    lines.say("watchdog-0-0", stats)
    coordinator.hear()
    assert lines.sent == [(b"watchdog-0-0", control.NotWanted())]
    lines.sent.clear()
    lines.say("worker-1-0", control.Hello(1))
    lines.say("watchdog-1-0", stats)
    coordinator.hear()
    (_, assignment), (_, heard) = lines.sent
    assert type(assignment) is control.Assignment
    assert heard == control.Heard(7.5)


@pytest.mark.parametrize(("code", "is_in_time"), [(-9, False), (-9, True), (1, True)])
def test_a_worker_that_does_not_end_well_fails_the_run(code: int, is_in_time: bool) -> None:
    """Also one that was killed because it did not end in time."""
    said: list[Any] = []
    run: Any = SimpleNamespace(
        _workers=SimpleNamespace(
            wait=lambda: {0, 1} if is_in_time else {1}, exited=lambda: [(0, code), (1, 0)]
        ),
        _stderr=SimpleNamespace(relay_the_rest=lambda: None),
        _lines=SimpleNamespace(sockets=[]),
        _coordinator=SimpleNamespace(
            has_killed=False, fail_late=lambda worker, error: said.append((worker, error["what"]))
        ),
    )
    CoordinatorProcess._see_workers_end(run)
    ((worker, what),) = said
    assert worker == 0
    assert ("did not end in time" in what) is not is_in_time


# A worker


def test_a_worker_that_is_not_wanted_or_not_heard_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(clock, "monotonic_s", lambda: now_s)
    said: list[Any] = []
    line: Any = SimpleNamespace(receive=lambda: said.pop(0) if said else None)
    dog: Any = SimpleNamespace(_lease=Lease(10_000, 100_000))
    assert Watchdog._may_go_on(dog, line)
    now_s = 105.5
    assert not Watchdog._may_go_on(dog, line)
    said.append(control.Heard(104.0))
    assert Watchdog._may_go_on(dog, line)
    said.append(control.NotWanted())
    assert not Watchdog._may_go_on(dog, line)
    here: Any = SimpleNamespace(_lease=None)  # on the coordinator's machine it is seen to end
    now_s = 1_000.0
    assert Watchdog._may_go_on(here, line)


OUTLIVES = """
import os, sys, time
from roo.runtime.transport import Site
from roo.runtime.watchdog import Watchdog
Watchdog(Site("", "ipc://nowhere"), "watchdog-1-0", int(sys.argv[1])).start()
print("up", flush=True)
time.sleep(600)
"""


def test_a_worker_ends_with_its_coordinator() -> None:
    """Whatever its main thread is at."""
    theirs, ours = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", OUTLIVES, str(theirs)], pass_fds=(theirs,), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    os.close(ours)
    assert process.wait(timeout=120) == 1
    process.stdout.close()
    os.close(theirs)


HOLDS = """
import sys, time
from pathlib import Path
from roo.runtime.presence import hold
hold(Path(sys.argv[1]))
print("up", flush=True)
time.sleep(600)
"""


def test_workers_that_are_left_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert presence.all_workers_ended(tmp_path)
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    with monkeypatch.context() as patch:
        patch.setattr(presence, "WITHIN_S", 0.1)
        assert not presence.all_workers_ended(tmp_path)
    process.send_signal(signal.SIGKILL)
    assert presence.all_workers_ended(tmp_path)
    process.wait(timeout=120)
    process.stdout.close()


@pytest.mark.parametrize("kept", [True, False])
def test_sinks_publish_and_are_handed_over_for_a_real_checkpoint_alone(kept: bool) -> None:
    done: list[str] = []
    taken: Any = SimpleNamespace(
        _snapshots=SimpleNamespace(settle=lambda *, kept: None),
        _noted={"out": 3},
        _outlets={"out": SimpleNamespace(commit=lambda noted: done.append(f"commit {noted}"))},
    )
    taken.settle = lambda *, kept: Checkpoint.settle(taken, kept=kept)
    worker: Any = SimpleNamespace(
        checkpoint=taken,
        changing=SimpleNamespace(hand_over_sinks=lambda checkpoint: done.append("hand over")),
        control=SimpleNamespace(send=lambda message: None),
        _is_last=False,
        _leaves=False,
    )
    Worker._settle(worker, control.Announce(7, kept))
    assert done == (["commit 3", "hand over"] if kept else [])


def test_files_of_workers_that_are_gone_are_cut_back(plan: Any) -> None:
    """Worker 7 was lost after the checkpoint, and what it wrote since is written again."""
    written = Path("out-7.txt")
    context = Context("heard", "out", 7, 1, machine="here")
    sink = make_sink(plan.sink("out"))
    sink.open(context)
    sink.write(b"kept\n")
    noted = sink.prepare()
    sink.write(b"to be taken back\n")
    sink.close()
    place = Placement.fresh(1, plan.single_writers, [0])
    manifest = Manifest(
        3, "heard", plan.fingerprint, plan.shape, "", 1, place.table,
        (SplitPosition("lines", "in.txt", {"path": "in.txt"}, 2, None, False),), (), {"s": 1},
        {"out": {"7": noted}},
    )  # fmt: skip
    told: Any = SimpleNamespace(socket=None, send=lambda message: None)
    assignment = control.Assignment(
        plan, 0, place, None, {}, (7,), Path("checkpoints"), manifest, Suspicion()
    )
    worker: Any = SimpleNamespace(
        plan=plan, _assignment=assignment, _context=Context("heard", "", 0, 1, machine="here"),
        control=told,
    )  # fmt: skip
    Worker._roll_back_the_gone(worker, manifest)
    assert written.read_text() == "kept\n"


def test_what_a_worker_does_before_it_is_ready(plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It restores, and rolls back the gone, where there is a checkpoint to go on from."""
    calls: list[str] = []
    monkeypatch.setattr(Worker, "_roll_back_the_gone", lambda self, resume: calls.append("gone"))
    monkeypatch.setattr("roo.runtime.resume.restore_states", lambda *words: calls.append("states"))
    place = Placement.fresh(1, plan.single_writers, [])
    manifest = Manifest(
        3, "heard", plan.fingerprint, plan.shape, "", 1, place.table, (), (), {"s": 1}, {}
    )
    Path("checkpoints").mkdir()
    data: Any = SimpleNamespace(sockets=[], send=lambda *words: None)
    line: Any = SimpleNamespace(socket=0, send=lambda message: None)
    assignment = control.Assignment(
        plan, 0, place, None, {}, (7,), Path("checkpoints"), manifest, Suspicion()
    )
    worker = Worker(assignment, line, data, 1, str(Path.cwd()))
    worker.prepare()
    assert calls == ["states", "gone"]
    assert watchdog.memory_bytes() > 0
    worker.close()
