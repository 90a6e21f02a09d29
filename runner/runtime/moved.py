"""What is said of a change of workers."""

from __future__ import annotations

from collections.abc import Sequence

from roo.runtime.control import MovedIn


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
