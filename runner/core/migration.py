"""The move of one state in a rescale: which worker gives which keys when, which keys wait.

    donor                                          receiver
      cut: its moved keys are fixed                  cut: it may take in
      ------------ chunk (keys, absent) ---------->  takes it in, lets messages go
      <----------- taken (chunks) -----------------
      <----------- wanted (keys) ------------------  also from whoever routes messages
      ------------ end (keys, hash) -------------->  compares with what it took

Each key moves exactly once. What messages wait for goes first: who routes a batch by the new table
gives what it has of the batch's keys before it, and asks their donors to send the rest to the
receiver. A receiver asks for what does not come so within `Pacing.ask_after_ms`. A message whose
state has not come waits, and so does whatever comes for its key after it; all others run.

The machines are pure. Methods are events; they give effects, each to be performed before the next
one is asked for. Time is passed in. A chunk is whatever its states came in: opaque.

What can be counted is compared. A donor gives as many keys as it had at its cut, less those that
stay; a receiver takes as many from each donor as that gave, with the same sum of hashes; it has
none of them before. `MoveMismatch` says where that is not so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from roo.core.table import RING, Table, hash64, hash_of


@dataclass(frozen=True)
class Pacing:
    """How a move shares a worker with the batches that flow meanwhile.

    slice_ms: length of one time slice of the move, between two batches.
    share_first, share_least, share_halved_every_ms: after a time slice batches have so many times
    as long. The share begins with the first, is halved again and again, and ends with the least.
    chunk_keys, chunk_bytes: how much one chunk holds at most. (A larger single state goes alone.)
    chunks_on_their_way: so many that a receiver has not taken in yet; the donor waits then.
    chunks_ahead: so many more if messages wait for them.
    taken_at_once: a receiver says after so many chunks that it has taken them in.
    ask_after_ms: how long a receiver waits for a key to come by itself before it asks.
    release_every_ms: how often waiting messages are tried again while others still wait.
    look_at_keys: how many keys a donor looks at in one go, to see which of them move.
    list_parts: into so many parts the keys are listed: to find a place among keys that come and go
    costs a third of the time of listing all of them.
    """

    slice_ms: float = 0.3
    share_first: float = 12.0
    share_least: float = 3.0
    share_halved_every_ms: float = 10_000.0
    chunk_keys: int = 128
    chunk_bytes: int = 256 * 1024
    chunks_on_their_way: int = 8
    chunks_ahead: int = 64
    taken_at_once: int = 4
    ask_after_ms: float = 2.0
    release_every_ms: float = 1.0
    look_at_keys: int = 256
    list_parts: int = 32

    def share_after(self, elapsed_ms: float) -> float:
        """How many times as long as a time slice batches have, so long after a move began."""
        halved = int(elapsed_ms / self.share_halved_every_ms)
        return max(self.share_first / 2.0 ** min(halved, 10), self.share_least)


class MoveMismatch(Exception):
    """The keys of a move do not add up."""


# Effects


class Give(NamedTuple):
    """Take the states of these keys away here, and send them. absent: keys that were asked for and
    are not here; None: nobody asked.
    """

    receiver: int
    keys: list[Any]
    absent: list[Any] | None


class SayEnd(NamedTuple):
    """Tell a receiver that it has been given everything: so many keys, with this sum of hashes."""

    receiver: int
    keys: int
    keys_hash: int


class Ask(NamedTuple):
    """Ask a donor to send keys to a receiver ahead of the others."""

    donor: int
    receiver: int
    keys: list[Any]


class TakeIn(NamedTuple):
    """Keep the states of a chunk: they belong here from now on."""

    donor: int
    keys: list[Any]
    chunk: Any


class SayTaken(NamedTuple):
    """Tell a donor that so many of its chunks have been taken in."""

    donor: int
    chunks: int


class Release(NamedTuple):
    """Messages that wait may try again."""


Effect = Give | SayEnd | Ask | TakeIn | SayTaken | Release


class Walk:
    """All keys that a mapping has now, some at a time, though keys come and go meanwhile.

    Keys that come stand at the end of a dict, so the first ones are those to be walked over. An
    iterator does not outlive such a change. So the place is noted as the number of keys before it
    that are still there, and a part of the keys is listed at once.
    """

    def __init__(self, here: Mapping[Any, Any], parts: int, part_least: int = 1024) -> None:
        self._here = here
        self._part = max(part_least, len(here) // parts)
        self._listed: Iterator[Any] = iter(())

    def some(self, count: int, place: int) -> list[Any]:
        """The next keys; none: there are no more. Some may have gone since they were listed.

        place: how many of those that were given out before are still there.
        """
        some = list(islice(self._listed, count))
        if not some:
            self._listed = iter(self._list(place))
            some = list(islice(self._listed, count))
        return some

    def _list(self, place: int) -> list[Any]:
        """A part of the keys from a place on, from the end that is nearer."""
        count = min(self._part, len(self._here) - place)
        after = len(self._here) - place - count
        if place < after:
            return list(islice(self._here, place, place + count))
        last: Iterator[Any] = reversed(self._here)
        return list(islice(last, after, after + count))[::-1]


class Donor:
    """What one worker gives of one state, from its cut on.

    receivers: who gets keys of it. here: the states of this worker, by key; performing `Give` takes
    them away. after: who owns what from now on.
    """

    def __init__(
        self,
        worker: int,
        receivers: Iterable[int],
        here: Mapping[Any, Any],
        after: Table,
        pacing: Pacing,
    ) -> None:
        self._worker = worker
        self._receivers = sorted(receivers)
        self._here = here
        self._after = after
        self._pacing = pacing
        self._keys_at_once = 1
        self._credit = dict.fromkeys(self._receivers, pacing.chunks_on_their_way)
        self._walk: Walk | None = None
        # Keys that the walk has come upon and that are still to be given, in order.
        self._listed: dict[int, dict[Any, None]] = {r: {} for r in self._receivers}
        self._questions: dict[int, list[Any]] = {r: [] for r in self._receivers}
        self._given = {r: [0, 0] for r in self._receivers}
        self._at_cut: tuple[int, int | None] = (0, None)
        self._stay = self._stay_hash = 0
        self._is_walked = False
        self._to_end = self._receivers.copy()

    @property
    def is_done(self) -> bool:
        """Whether everything has been given."""
        return not self._to_end

    @property
    def keys_given(self) -> int:
        """How many keys have been given so far."""
        return sum(keys for keys, _ in self._given.values())

    @property
    def has_more(self) -> bool:
        """Whether `next` has something to do now."""
        return self._may_answer_any() or (self._walk is not None and bool(self._to_end)
                                          and self._may_give())  # fmt: skip

    def cut(self, keys_hash: int | None) -> None:
        """All before the barrier has run here: what this worker has now is what it had.

        keys_hash: the sum of the hashes of all keys here; None: nobody has kept it.
        """
        self._walk = Walk(self._here, self._pacing.list_parts)
        self._at_cut = len(self._here), keys_hash

    def wanted(self, receiver: int, keys: list[Any]) -> None:
        """Messages wait for these keys, or are on their way to their receiver."""
        if receiver in self._to_end:
            self._questions[receiver] += keys

    def taken(self, receiver: int, chunks: int) -> None:
        """A receiver has taken chunks in."""
        self._credit[receiver] += chunks

    def packed(self, keys: int, size_bytes: int) -> None:
        """How large the last chunk was: the next ones are to be about as large as they may be."""
        if keys:
            fit = self._pacing.chunk_bytes * keys // max(size_bytes, 1)
            more = max(self._keys_at_once, 2 * keys)  # the next states may be larger
            self._keys_at_once = max(1, min(self._pacing.chunk_keys, more, fit))

    def routed(self, receiver: int, keys: Iterable[Any]) -> Iterator[Give]:
        """A batch for these keys is about to go to a receiver: what is here goes before it. Each
        effect is to be performed before the next one is asked for.
        """
        if self._walk is None or receiver not in self._to_end:
            return
        here = [key for key in dict.fromkeys(keys) if key in self._here]
        while here and self._may_answer(receiver):
            yield self._give(receiver, here[: self._keys_at_once], [])
            here = [key for key in here if key in self._here]

    def next_answer(self) -> Give | None:
        """A chunk that was asked for; None: there is none, or too much is on its way."""
        if self._walk is None:
            return None
        for receiver, wanted in self._questions.items():
            if wanted and self._may_answer(receiver):
                some = list(dict.fromkeys(wanted[: self._keys_at_once]))
                del wanted[: self._keys_at_once]
                here = [key for key in some if key in self._here]
                return self._give(receiver, here, [key for key in some if key not in self._here])
        return None

    def next(self) -> Give | SayEnd | None:
        """The next thing to do, to be done before the next call; None: nothing now. Raises
        MoveMismatch.
        """
        answer = self.next_answer()
        if answer is not None or self._walk is None or not self._to_end or not self._may_give():
            return answer
        while not self._is_walked:
            for receiver, listed in self._listed.items():
                if len(listed) >= self._keys_at_once:
                    return self._give(receiver, list(islice(listed, self._keys_at_once)), None)
            self._look_on(self._walk)
        for receiver, listed in self._listed.items():
            if listed:
                return self._give(receiver, list(islice(listed, self._keys_at_once)), None)
        receiver = self._to_end.pop()
        self._questions[receiver].clear()  # what is not here was never here, or is on its way
        return SayEnd(receiver, *self._given[receiver])

    def _look_on(self, walk: Walk) -> None:
        """At some keys: which of them move?"""
        waiting = sum(map(len, self._listed.values()))
        keys_at_cut, hash_at_cut = self._at_cut
        left = keys_at_cut - self._stay - self.keys_given - waiting
        some = walk.some(self._pacing.look_at_keys, self._stay + waiting) if left else []
        for key in some:
            if key not in self._here:
                continue
            hashed = hash64(key)
            owner = self._after.owner(hashed)
            if owner != self._worker:
                self._listed[owner][key] = None
            elif left:
                self._stay += 1
                self._stay_hash += hashed
            else:
                break  # the others came since
            left -= 1
        if some:
            return
        self._is_walked = True
        if left:
            raise MoveMismatch(
                f"worker {self._worker} had {keys_at_cut} keys and found {keys_at_cut - left}"
            )
        if hash_at_cut is not None:
            hashes = [self._stay_hash, *(given for _, given in self._given.values())]
            hashes += [hash_of(listed) for listed in self._listed.values()]
            if sum(hashes) % RING != hash_at_cut:
                what = f"worker {self._worker} found other keys than the {keys_at_cut} that it had"
                raise MoveMismatch(what)

    def _give(self, receiver: int, keys: list[Any], absent: list[Any] | None) -> Give:
        self._credit[receiver] -= 1
        listed, given = self._listed[receiver], self._given[receiver]
        for key in keys:
            listed.pop(key, None)
        given[0] += len(keys)
        given[1] = (given[1] + hash_of(keys)) % RING
        return Give(receiver, keys, absent)

    def _may_give(self) -> bool:
        """Whether no receiver has as much on its way as it may."""
        return min(self._credit.values()) > 0

    def _may_answer(self, receiver: int) -> bool:
        return self._credit[receiver] > -self._pacing.chunks_ahead

    def _may_answer_any(self) -> bool:
        return self._walk is not None and any(
            wanted and self._may_answer(receiver) for receiver, wanted in self._questions.items()
        )


class Questions:
    """Which keys a worker has asked for: each once. before: who owned what."""

    def __init__(self, worker: int, owner_before: Callable[[Any], int]) -> None:
        self._worker = worker
        self._owner_before = owner_before
        self._asked: set[Any] = set()

    def ask(self, receiver: int, keys: Iterable[Any]) -> list[Ask]:
        """Have their donors send keys to a receiver, where these are others than the two here."""
        asked, wanted = self._asked, dict[int, list[Any]]()
        for key in keys:
            if key not in asked:
                donor = self._owner_before(key)
                if donor not in (receiver, self._worker):
                    asked.add(key)
                    wanted.setdefault(donor, []).append(key)
        return [Ask(donor, receiver, some) for donor, some in wanted.items()]


class _Chunk(NamedTuple):
    """What has come and is still to be taken in. keys_hash: of all, where it is the end."""

    donor: int
    keys: list[Any]
    chunk: Any
    end: tuple[int, int] | None = None


class Receiver:
    """What comes to one worker of one state, and what waits for it.

    donors: those that give. owner_before: the donor of a key. here: the states of this worker, by
    key; performing `TakeIn` adds to them. is_cut: whether all before the barrier has run here (one
    that joins has nothing before): what comes earlier is put aside.
    """

    def __init__(
        self,
        worker: int,
        donors: Iterable[int],
        owner_before: Callable[[Any], int],
        here: Mapping[Any, Any],
        questions: Questions,
        pacing: Pacing,
        *,
        is_cut: bool = False,
    ) -> None:
        self._worker = worker
        self._awaits = set(donors)
        self._owner_before = owner_before
        self._here = here
        self._questions = questions
        self._pacing = pacing
        self._is_cut = is_cut
        self._coming: deque[_Chunk] = deque()
        self._urgent: list[tuple[_Chunk, list[Any]]] = []  # answers that came before the cut
        self._taken = {donor: [0, 0] for donor in self._awaits}
        self._to_say = dict.fromkeys(self._awaits, 0)
        self._absent: set[Any] = set()  # keys that their donors do not have
        # Keys that messages wait for, and those of them that have not come.
        self._waited_for: set[Any] = set()
        self._missing: set[Any] = set()
        self._to_ask: list[Any] = []
        self._ask_at_ms = self._released_ms = 0.0
        self._waiting_since_ms: float | None = None
        self._may_release = False
        self.longest_wait_ms = 0.0

    @property
    def is_awaited(self) -> bool:
        """Whether anything is still to come, or waits."""
        return bool(self._awaits) or bool(self._waited_for)

    @property
    def is_done(self) -> bool:
        """Whether everything has come."""
        return not self.is_awaited and not self._coming

    @property
    def has_more(self) -> bool:
        """Whether `next` has something to do now."""
        return self._is_cut and bool(self._coming)

    @property
    def keys_taken(self) -> int:
        """How many keys have been taken in so far."""
        return sum(keys for keys, _ in self._taken.values())

    # Coming

    def cut(self) -> Iterator[Effect]:
        """All before the barrier has run here."""
        self._is_cut = True
        urgent, self._urgent = self._urgent, []
        for chunk, absent in urgent:
            yield from self._answered(chunk, absent)

    def came(
        self, donor: int, keys: list[Any], chunk: Any, absent: list[Any] | None
    ) -> Iterator[Effect]:
        """A chunk has come. absent: what was asked for and its donor does not have; None: nobody
        asked. Raises MoveMismatch.
        """
        came = _Chunk(donor, keys, chunk)
        if absent is None:
            self._coming.append(came)
        elif not self._is_cut:
            self._urgent.append((came, absent))
        else:
            yield from self._answered(came, absent)

    def ended(self, donor: int, keys: int, keys_hash: int) -> None:
        """A donor has given everything. (What came before is taken in before.)"""
        self._coming.append(_Chunk(donor, [], None, (keys, keys_hash)))

    def next(self, now_ms: float) -> Iterator[Effect]:
        """Take in one thing that has come. Raises MoveMismatch."""
        if not self.has_more:
            return
        chunk = self._coming.popleft()
        if chunk.end is None:
            yield from self._take_in(chunk)
            return
        if tuple(self._taken[chunk.donor]) != chunk.end:
            keys, _ = self._taken[chunk.donor]
            raise MoveMismatch(
                f"worker {chunk.donor} gave worker {self._worker} {chunk.end[0]} keys, and {keys} "
                f"came" + (", not the same ones" if keys == chunk.end[0] else "")
            )
        self._awaits.discard(chunk.donor)
        yield from self._release(now_ms)

    def _answered(self, chunk: _Chunk, absent: list[Any]) -> Iterator[Effect]:
        """Of a key that its donor does not have any more the state may be among what has come."""
        yield from self._take_in(chunk)
        yield from self._promote(absent)
        absent = [key for key in absent if key not in self._here]
        self._absent.update(absent)
        self._have_come(absent)

    def _promote(self, keys: list[Any]) -> Iterator[Effect]:
        """Take in first what has come of these keys."""
        wanted = set(keys)
        first = [chunk for chunk in self._coming if not wanted.isdisjoint(chunk.keys)]
        for chunk in first:
            self._coming.remove(chunk)
            yield from self._take_in(chunk)

    def _take_in(self, chunk: _Chunk) -> Iterator[Effect]:
        donor, keys = chunk.donor, chunk.keys
        if donor not in self._awaits:
            raise MoveMismatch(f"worker {donor} gave worker {self._worker} keys after its end")
        if not self._here.keys().isdisjoint(keys):
            twice = sorted(repr(key) for key in keys if key in self._here)
            raise MoveMismatch(
                f"worker {donor} gave worker {self._worker} key {twice[0]}, which was there"
            )
        taken = self._taken[donor]
        taken[0] += len(keys)
        taken[1] = (taken[1] + hash_of(keys)) % RING
        yield TakeIn(donor, keys, chunk.chunk)
        self._to_say[donor] += 1
        if self._to_say[donor] >= self._pacing.taken_at_once:
            yield SayTaken(donor, self._to_say[donor])
            self._to_say[donor] = 0
        self._have_come(keys)

    def _have_come(self, keys: list[Any]) -> None:
        """Of these keys the states are here, or there are none."""
        if not self._missing.isdisjoint(keys):
            self._missing.difference_update(keys)
            self._may_release = True

    # Waiting

    def messages(self, keys: list[Any], now_ms: float) -> list[int]:
        """Messages for these keys are about to run: the indexes of those that have to wait."""
        here, awaits, absent = self._here, self._awaits, self._absent
        owner_of, waited_for = self._owner_before, self._waited_for
        late = [
            i
            for i, key in enumerate(keys)
            if key in waited_for
            or (key not in here and key not in absent and owner_of(key) in awaits)
        ]
        if not late:
            return late
        new = {keys[i] for i in late} - waited_for
        waited_for |= new
        self._missing |= new
        if new:
            if not self._to_ask:
                self._ask_at_ms = now_ms + self._pacing.ask_after_ms
            self._to_ask += new
        if self._waiting_since_ms is None:
            self._waiting_since_ms = now_ms
        return late

    def due_in_ms(self, now_ms: float) -> float:
        """How long until `tick` has something to do if nothing comes; -1: nothing."""
        dues_ms = []
        if self._to_ask:
            dues_ms.append(self._ask_at_ms)
        if self._may_release:
            dues_ms.append(self._released_ms + self._pacing.release_every_ms)
        return max(0.0, min(dues_ms) - now_ms) if dues_ms else -1.0

    def tick(self, now_ms: float) -> Iterator[Effect]:
        """Time has gone by: ask for what has not come, let messages go whose states have."""
        if self._to_ask and now_ms >= self._ask_at_ms:
            to_ask, self._to_ask = self._to_ask, []
            if self._is_cut:
                yield from self._promote(to_ask)
            missing = [key for key in to_ask if key in self._missing]
            yield from self._questions.ask(self._worker, missing)
        if self._may_release and (
            not self._missing or now_ms >= self._released_ms + self._pacing.release_every_ms
        ):
            yield from self._release(now_ms)

    def _release(self, now_ms: float) -> Iterator[Effect]:
        """Those that still wait will say so again."""
        self._waited_for.clear()
        self._missing.clear()
        self._may_release = False
        self._released_ms = now_ms
        if self._waiting_since_ms is not None:
            self.longest_wait_ms = max(self.longest_wait_ms, now_ms - self._waiting_since_ms)
            self._waiting_since_ms = None
        yield Release()
