"""What is said of a change of workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from roo.core.changes import Refused
from roo.core.placement import Placement
from roo.runtime.control import MovedIn

LOAD_MIN = 0.05
WEIGHT_SCALE = 1000


def weights_by_load(loads: Mapping[int, float], place: Placement) -> dict[int, int]:
    """Weights under which every worker would be equally busy, by what its share costs it now.

    loads: part of its time that it is busy, by worker. Raises Refused where nothing is being done.
    """
    if set(loads) != set(place.workers) or max(loads.values(), default=0.0) < LOAD_MIN:
        raise Refused("there is no load to go by: no worker has been busy for the last second")
    per_share = {w: max(loads[w], LOAD_MIN) / max(place.table.share(w), 0.001) for w in loads}
    least = min(per_share.values())
    return {w: max(1, round(WEIGHT_SCALE * least / cost)) for w, cost in per_share.items()}


def say_change(joins: Sequence[int], leaves: Sequence[int]) -> str:
    """Who comes and who goes, in a line."""
    parts = [
        f"worker{'s' * (len(who) > 1)} {', '.join(map(str, who))} {verb}{'s' * (len(who) == 1)}"
        for who, verb in ((joins, "join"), (leaves, "leave"))
        if who
    ]
    return "; ".join(parts) or "shares change"


def say_moved(moves: Sequence[MovedIn], seconds: float) -> str:
    """What a move has moved, in a line. seconds: from the request to its end."""
    keys = sum(move.keys for move in moves)
    size = sum(move.size_bytes for move in moves)
    wait_ms = max((move.wait_ms for move in moves), default=0.0)
    cut_ms = max((move.cut_ms for move in moves), default=0.0)
    return (
        f"moved {keys:,} keys ({size / 1e6:.1f} MB) in {seconds:.1f} s; "
        f"longest pause {wait_ms:.0f} ms for what moved, {cut_ms:.0f} ms for the rest"
    )


def facts_of_move(moves: Sequence[MovedIn]) -> dict[str, float]:
    """The same for a script. pause_ms: of a key that moved; cut_ms: of any other, at most."""
    return {
        "keys_moved": sum(move.keys for move in moves),
        "bytes_moved": sum(move.size_bytes for move in moves),
        "pause_ms": round(max((move.wait_ms for move in moves), default=0.0), 1),
        "cut_ms": round(max((move.cut_ms for move in moves), default=0.0), 1),
    }
