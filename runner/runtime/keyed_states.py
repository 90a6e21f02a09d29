"""The states of one name on one worker, and who is told of what happens to them.

The hot path looks states up in `objects` and makes new ones with `create`. Everything else that
adds or removes a state goes through `take_in` and `give_away`. So whoever keeps books of the states
(the snapshots) misses none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from roo.core.table import RING, hash_of


class Watcher(Protocol):
    """Is told before anything happens to the states."""

    def touching(self, keys: list[Any]) -> None:
        """A batch is about to run over these keys. Some may have no state yet."""

    def taken_in(self, keys: Sequence[Any]) -> None:
        """These keys have just got states: created by a batch before, or come by a move."""

    def giving_away(self, keys: Sequence[Any]) -> None:
        """These keys, all of which have states, are about to lose them."""


class KeyedStates:
    """One state of the pipeline file, as far as this worker owns it.

    objects: key -> state object. keys_hash: the sum of the hashes of all keys, modulo 2^64, as of
    the last `note_created`: it does not depend on their order, and is kept only while watched.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.objects: dict[Any, Any] = {}
        self.keys_hash = 0
        self._created: list[Any] = []
        self._watcher: Watcher | None = None

    @property
    def counted_hash(self) -> int | None:
        """The sum of the hashes of all keys that there are; None where nobody watches."""
        if self._watcher is None:
            return None
        self.note_created()
        return self.keys_hash

    def watch(self, watcher: Watcher) -> None:
        """Tell a watcher of everything from now on, and first of the states that there are."""
        keys = list(self.objects)
        self.keys_hash = hash_of(keys)
        self._created = []
        self._watcher = watcher
        watcher.taken_in(keys)

    def create(self, key: Any, state: Any) -> None:
        """A key that a batch came upon has a state from now on."""
        self.objects[key] = state
        if self._watcher is not None:
            self._created.append(key)

    def touch(self, keys: list[Any]) -> None:
        """A batch is about to run over these keys."""
        if self._watcher is not None:
            self.note_created()
            self._watcher.touching(keys)

    def note_created(self) -> None:
        """Tell of the keys that batches have created since the last time."""
        if self._created:
            created, self._created = self._created, []
            self.keys_hash = (self.keys_hash + hash_of(created)) % RING
            assert self._watcher is not None
            self._watcher.taken_in(created)

    def take_in(self, keys: Sequence[Any], states: Iterable[Any]) -> None:
        """These states have come: restored, preloaded or moved here. None of the keys has one."""
        self.note_created()
        self.objects.update(zip(keys, states, strict=True))
        if self._watcher is not None:
            self.keys_hash = (self.keys_hash + hash_of(keys)) % RING
            self._watcher.taken_in(keys)

    def give_away(self, keys: Sequence[Any]) -> list[Any]:
        """The states of these keys, which are no longer here after that. Raises KeyError."""
        self.note_created()
        if self._watcher is not None:
            self._watcher.giving_away(keys)
            self.keys_hash = (self.keys_hash - hash_of(keys)) % RING
        return list(map(self.objects.pop, keys))
