"""A batch's keys and messages as bytes, and back: equal and of the same type as they were sent.

Where every message *is* its key, as in a word count, it travels once.
"""

from __future__ import annotations

import pickle
from typing import Any, NamedTuple

from roo.items import is_text, pack_items, pack_text, unpack_items

ATOMS = frozenset({str, int, float, bytes, bool, complex, type(None)})
"""Types that nobody can change under the reader, so a batch of them need not be copied."""

_SAME = b"s"


class Keyed(NamedTuple):
    """What travels on an exchange to stateful steps: lists of one length.

    messages may be the very list `keys`. entries: which step of the stage each message is for;
    empty where the stage has one step.
    """

    keys: list[Any]
    messages: list[Any]
    entries: list[int]


def pack(payload: Keyed) -> list[bytes]:
    """As frames for the wire. Raises whatever pickle raises for what can't be sent."""
    keys, messages, entries = payload
    text = pack_text(messages)
    # Only plain str is compared: what other types call equal need not be the same.
    if text is not None and keys == messages:
        frames = [text, _SAME]
    else:
        frames = [pack_items(keys), text or pack_items(messages)]
    if entries:
        frames.append(pack_items(entries))
    return frames


def unpack(frames: list[bytes]) -> Keyed:
    """The inverse of `pack`. Only ever given frames from an authenticated worker."""
    keys = unpack_items(frames[0])
    messages = keys if frames[1] == _SAME else unpack_items(frames[1])
    return Keyed(keys, messages, unpack_items(frames[2]) if len(frames) > 2 else [])


def own(payload: Keyed) -> Keyed:
    """The same for this worker itself: lists of its own, and messages that nobody else can change.

    A message that stays on its worker must look like one that travelled: a step that goes on
    changing an object it has handed out must not reach into a batch still queued. Raises whatever
    pickle raises for what couldn't be sent.
    """
    keys, messages, entries = payload
    if is_text(messages) or set(map(type, messages)) <= ATOMS:
        return Keyed(keys.copy(), messages.copy(), entries.copy())
    return Keyed(keys.copy(), pickle.loads(pickle.dumps(messages, 5)), entries.copy())


def copied(message: Any) -> Any:
    """A message of the receiver's own. What can't be copied is given as it is: it can't be sent
    either, which is said where that is tried.
    """
    if type(message) is tuple and ATOMS.issuperset(map(type, message)):
        return message
    try:
        return pickle.loads(pickle.dumps(message, 5))
    except Exception:
        return message
