"""The batch: the unit of transport and of every decision. Its payload is opaque to core."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple


class Kind(IntEnum):
    """What a frame between two workers is."""

    BATCH = 0
    BARRIER = 1
    CREDIT = 2
    STATES = 3
    STATES_TAKEN = 4
    STATES_END = 5
    STATES_WANTED = 6


class Origin(NamedTuple):
    """Where a batch came from: the read that all its messages descend from.

    source, split: indices in the plan and the assignment. start, end: offsets around the read.
    """

    source: int
    split: int
    start: int
    end: int


class Header(NamedTuple):
    """What a batch says of itself.

    sender: worker. exchange: which shuffle it is on, so (sender, exchange, receiver) is the
    channel. sequence: 0, 1, 2, … on its channel; a gap is a bug and stops the run. attempt: frames
    of an older attempt are dropped. watermark_ms: no message with an older event time follows; -1
    where there is none. read_ns: monotonic time of the read it descends from. messages, cost_bytes:
    what it takes from the channel's credit. Of credit itself, sequence is the number of
    batches, and where its origin starts the window.
    """

    kind: Kind
    sender: int
    exchange: int
    sequence: int
    table_version: int
    attempt: int
    watermark_ms: int
    read_ns: int
    messages: int
    cost_bytes: int
    origin: Origin


class Batch(NamedTuple):
    """A header and what it describes: opaque to core."""

    header: Header
    payload: Any


class Output(NamedTuple):
    """What running a stage made for one receiver of one exchange."""

    exchange: int
    receiver: int
    messages: int
    cost_bytes: int
    payload: Any
