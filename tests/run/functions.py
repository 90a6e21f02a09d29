"""Plugin functions for the tests of this folder: plain functions, as a user would write them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Total:
    """How many messages a key has had."""

    def __init__(self) -> None:
        self.count = 0


class Named:
    """A state that is told its key."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.seen: list[Any] = []


def itself(message: Any) -> Any:
    return message


def one_key(message: Any) -> str:
    return "all"


def gathered(message: str, state: list[str]) -> list[str]:
    state.append(message)
    return state


def boxed(message: str) -> list[str]:
    return [message]


def spoilt(message: list[str]) -> list[str]:
    message.append("spoilt")
    return message


def upper(message: str) -> str:
    return message.upper()


def unless_empty(message: str) -> str | None:
    return message or None


def long(message: str) -> bool:
    return len(message) > 3


def listed(message: str) -> list[str]:
    return message.split()


def generated(message: str) -> Iterator[str]:
    yield from message.split()


def nothing_for_short(message: str) -> list[str] | None:
    return [message] if len(message) > 3 else None


def twice(message: Any) -> tuple[Any, Any]:
    return message, message


def scaled(message: str, factor: int, suffix: str = "") -> str:
    return message * factor + suffix


def first_letter(message: str) -> str:
    return message[0]


def last_letter(message: str) -> str:
    return message[-1]


def length(message: str) -> str:
    return str(len(message))


def as_bytes(message: str) -> bytes:
    return message.encode()


def count(message: str, state: Total) -> str:
    state.count += 1
    return f"{message} {state.count}"


def odd_only(message: str, state: Total) -> str | None:
    state.count += 1
    return message if state.count % 2 else None


def since_last(message: str, state: Named) -> Iterator[str]:
    """Everything seen so far with this key, newest last."""
    state.seen.append(message)
    yield from (f"{state.key}:{seen}" for seen in state.seen)


def told_its_key(message: str, state: Named, key: str) -> tuple[str, str, str]:
    return key, state.key, message


def add(message: str, state: Total, by: int) -> str:
    state.count += by
    return f"{message} {state.count}"


def pass_on(message: str, state: Total) -> str:
    """For re-keying: the message goes on as it came, and the state counts it."""
    state.count += 1
    return message


def seen_as(message: str, state: Named, kind: str) -> str:
    """Two steps over one state: which step saw which message, in the order of the state."""
    state.seen.append(message)
    return f"{message} {kind} {len(state.seen)}"


def starts_even(message: str) -> bool:
    return int(message.split()[1]) % 2 == 0


def starts_odd(message: str) -> bool:
    return not starts_even(message)


def first_word(message: str) -> str:
    return message.split()[0]


def boom_on_not(message: str) -> str:
    if message == "not":
        raise ValueError("not this one")
    return message


def boom_on_bad(message: str) -> str:
    if "bad" in message:
        raise ValueError(f"{message} is bad")
    return message


class Logged:
    """A state whose birth is noted in a file of its process."""

    def __init__(self, key: str) -> None:
        with Path(f"born.{os.getpid()}").open("a") as log:
            log.write(f"{key}\n")
        self.count = 0


def some_keys() -> Iterator[str]:
    return (f"k{i}" for i in range(20))


def modulo(message: str, by: int = 1) -> str:
    return str(int(message.split()[1]) % by)


def by_17(message: str) -> str:
    return modulo(message, 17)


def by_7(message: str) -> str:
    return modulo(message, 7)


def checked(message: str, state: Named) -> str:
    """For "k n" where a key's n must be 1, 2, 3 …: says what came instead."""
    number = int(message.split()[1])
    state.seen[:] = [number, *state.seen[:1]]
    before = state.seen[1] if len(state.seen) > 1 else 0
    return message if number == before + 1 else f"{message} after {before}"


def last_of_key(message: str) -> str:
    return message.split()[0][-1]


def itself_with_state(message: Any, state: Any) -> Any:
    return message
