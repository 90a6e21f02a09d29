"""The lists that gather an exchange's batches, one lane for each owner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from roo.core.placement import Placement


class Lane(NamedTuple):
    """The lists that gather one exchange's batch for one owner; emptied, never replaced."""

    keys: list[Any]
    messages: list[Any]
    entries: list[int]


class Lanes:
    """The lanes into one stage.

    by_byte: what a hash's first byte settles, as the append methods of a lane; None where it does
    not. The list stays the same object when the table changes: generated code holds it. several:
    whether the stage has several entries. check: raises for what is no key.
    """

    def __init__(self, *, several: bool, check: Callable[[Any], None]) -> None:
        self.by_byte: list[Any] = []
        self._several = several
        self._check = check
        self._place: Placement | None = None
        self._lanes: dict[int, Lane] = {}
        self._appends: dict[int, Any] = {}

    def aim(self, place: Placement) -> None:
        """From now on to the owners of this placement. The lanes are empty."""
        if place is self._place:
            return
        self._place = place
        self._lanes = {worker: Lane([], [], []) for worker in place.workers}
        parts = 3 if self._several else 2
        self._appends = {
            worker: tuple(items.append for items in lane[:parts])
            for worker, lane in self._lanes.items()
        }
        directory = place.table.directory()
        self.by_byte[:] = [None if owner is None else self._appends[owner] for owner in directory]

    def of(self, key: Any) -> Any:
        """The append methods for any key, exactly. Raises BadKey."""
        self._check(key)
        assert self._place is not None
        return self._appends[self._place.table.owner_of(key)]

    def filled(self) -> list[tuple[int, Lane]]:
        """(owner, lane) where something is."""
        return [(owner, lane) for owner, lane in self._lanes.items() if lane.keys]
