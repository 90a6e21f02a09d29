"""What stands at a run's door: requests good and bad, and everybody who waits is told so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from roo.core.changes import Asked, Changes
from roo.core.placement import Placement
from roo.core.run_events import ChangeBegun, ChangeOver, ChangeQueued
from roo.runtime.control import MovedIn
from roo.runtime.door import Door

PLACE = Placement.fresh(2, [], ())


class Run:
    """As much of a coordinator as its door sees."""

    moved_so_far = (30, 3_000)

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.stopped: list[bool] = []

    def status(self) -> dict[str, Any]:
        return {"phase": "running"}

    def stop(self, *, now: bool) -> None:
        self.stopped.append(now)

    def change(self, asked: Asked) -> None:
        self.asked.append(asked)

    def preview(self, asked: Asked) -> tuple[Placement, Placement]:
        return PLACE, Changes(2).preview(asked, PLACE)[2]

    def doing(self) -> str:
        return "worker 1: step work for 7 s"

    def keys_by_worker(self) -> dict[int, int]:
        return {0: 60, 1: 60}

    def state_bytes_per_key(self) -> float | None:
        return 10.0

    def weights_of_file(self) -> dict[int, int]:
        return {0: 2, 1: 1}

    def weights_by_load(self) -> dict[int, int]:
        return {0: 700, 1: 1000}


class Visit:
    """A door and what it has said to one visitor."""

    def __init__(self, door: Door, run: Run) -> None:
        self.door, self.run = door, run
        self.heard: list[dict[str, Any]] = []

    def say(self, packed: bytes) -> None:
        self.heard.append(json.loads(packed))

    def ask(self, request: Any) -> None:
        packed = request if isinstance(request, bytes) else json.dumps(request).encode()
        self.door.take(self.say, packed)


@pytest.fixture(name="visit")
def _visit(tmp_path: Path) -> Iterator[Visit]:
    context: zmq.Context[Any] = zmq.Context()
    run: Any = Run()
    door = Door(context, f"ipc://{tmp_path / 'door'}", run)
    yield Visit(door, run)
    door.close(0)
    context.destroy(0)


RUBBISH = [
    b"",
    b"\x80\x05N.",
    b"[" * 60_000,
    b"[]",
    b"7",
    b"{}",
    b'{"command": []}',
    b'{"command": "dance"}',
    b'{"command": "change", "to": "four"}',
    b'{"command": "change", "to": []}',
    b'{"command": "change", "joins": Infinity}',
    b'{"command": "change", "leaves": 7}',
    b'{"command": "change", "leaves": ["first"]}',
    b'{"command": "change", "weights": [1]}',
    b'{"command": "change", "weights": {"a": 1}}',
    b'{"command": "change", "weights": {"0": null}}',
]


@pytest.mark.parametrize("request_", RUBBISH)
def test_rubbish_is_answered_and_changes_nothing(visit: Visit, request_: bytes) -> None:
    visit.ask(request_)
    assert visit.heard == [{"done": True, "why_not": "this is not a request that this Roo knows"}]
    assert visit.run.asked == []


def test_a_change_is_told_from_its_place_in_the_queue_to_its_end(visit: Visit) -> None:
    visit.ask({"command": "change", "joins": 1})
    assert visit.run.asked == [Asked(1, joins=1)]
    after = PLACE.changed([2], [])
    visit.door.tell(ChangeQueued(1, 2), [])
    visit.door.tell_progress()
    visit.door.tell(ChangeBegun(1, PLACE, after), [])
    visit.door.tell_progress()
    visit.door.tell(ChangeOver(1, ""), [MovedIn(2, 40, 4_000, 1.0, 2.0)])
    visit.door.tell_progress()
    queued, waiting, begun, progress, done = visit.heard
    assert queued == {"queued": True, "ahead": 2}
    assert waiting == {"waiting": True}
    assert (begun["begun"], begun["intervals_moved"], begun["keys_to_move"]) == (True, 2, 40)
    assert progress == {
        "progress": True, "keys": 30, "of": 40, "bytes": 3_000,
        "doing": "worker 1: step work for 7 s",
    }  # fmt: skip
    assert (done["done"], done["keys_moved"], done["pause_ms"]) == (True, 40, 2.0)


def test_who_waits_hears_so_while_another_change_is_made(visit: Visit) -> None:
    """And the refusal of the one does not end what the other hears."""
    visit.ask({"command": "change", "joins": 1})
    visit.door.tell(ChangeBegun(1, PLACE, PLACE.changed([2], [])), [])
    visit.ask({"command": "change", "to": 9})
    visit.door.tell(ChangeQueued(2, 1), [])
    visit.heard.clear()
    visit.door.tell_progress()
    assert [set(answer) & {"progress", "waiting"} for answer in visit.heard] == [
        {"progress"}, {"waiting"}
    ]  # fmt: skip
    visit.door.tell(ChangeOver(2, "the run is ending"), [])
    visit.heard.clear()
    visit.door.tell_progress()
    assert [answer["progress"] for answer in visit.heard] == [True]


def test_whoever_asked_another_way_hears_of_it_as_well(visit: Visit) -> None:
    visit.door.follow(-1, visit.say)
    visit.door.tell(ChangeOver(-1, "there is no worker 9"), [])
    assert visit.heard[0]["why_not"] == "there is no worker 9"


def test_a_plan_has_shares_keys_and_bytes_before_and_after(visit: Visit) -> None:
    visit.ask({"command": "change", "to": 1, "dry_run": True})
    [plan] = visit.heard
    assert visit.run.asked == []
    assert (plan["intervals_moved"], plan["keys_to_move"]) == (1, 60)
    first, second = plan["workers"]
    assert first == {
        "worker": 0, "share_before": 0.5, "share_after": 1.0, "intervals_before": 1,
        "intervals_after": 1, "keys_before": 60, "keys_after": 120, "bytes_before": 600,
        "bytes_after": 1200,
    }  # fmt: skip
    assert (second["keys_after"], second["bytes_after"], second["intervals_after"]) == (0, 0, 0)


def test_shares_by_the_file_by_hand_and_by_load(visit: Visit) -> None:
    visit.ask({"command": "change", "rebalance": True})
    visit.ask({"command": "change", "rebalance": True, "weights": {"1": 5}})
    visit.ask({"command": "change", "rebalance": True, "by_load": True})
    weights = [asked.weights for asked in visit.run.asked]
    assert weights == [{0: 2, 1: 1}, {0: 2, 1: 5}, {0: 700, 1: 1000}]


def test_who_stops_a_run_hears_of_its_end(visit: Visit) -> None:
    visit.ask({"command": "stop", "wait": True})
    assert (visit.heard, visit.run.stopped) == ([], [False])
    visit.door.tell_progress()
    visit.door.close(0)
    assert [answer.get("done", False) for answer in visit.heard] == [False, True]


@pytest.mark.parametrize("how", [{}, {"now": True}, {"now": True, "wait": True}])
def test_who_does_not_wait_for_the_end_is_answered_at_once(
    visit: Visit, how: dict[str, bool]
) -> None:
    visit.ask({"command": "stop", **how})
    assert visit.heard == [{"done": True}]
    assert visit.run.stopped == [how.get("now", False)]
