"""What a valid pipeline file says, as frozen data. Durations are `_s`, sizes `_bytes`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from roo.spec.findings import Finding

StepType = Literal["map", "filter", "flat_map", "stateful"]
Policy = Literal["fail", "skip", "dead_letter"]
Unknown = Literal["create", "reject", "drop", "dead_letter"]

Path = tuple[str | int, ...]
"""Where a node stands in the file: ("steps", 0, "call")."""


@dataclass
class Places:
    """Where everything in a file stands.

    values, keys: (line, column) from 1 of each value, and of each mapping key. options: the
    `--set` option that put a value where it stands.
    """

    file: str
    values: dict[Path, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    options: dict[Path, str] = field(default_factory=dict)

    def place(self, path: Path, *, key: bool = False) -> tuple[int, int]:
        """Where a node stands, or else the nearest one around it."""
        if key and path in self.keys:
            return self.keys[path]
        while path not in self.values and path:
            path = path[:-1]
        return self.values.get(path, (1, 1))

    def finding(
        self, path: Path, code: str, what: str, hint: str = "", *, key: bool = False
    ) -> Finding:
        """A finding at a node. What an option of the command line put there is its fault."""
        place = self.place(path, key=key)
        for length in range(1, len(path) + 1):
            if path[:length] in self.options:
                place, what = (1, 1), f"--set {self.options[path[:length]]}: {what}"
                break
        return Finding(self.file, *place, code, what, hint)


@dataclass(frozen=True)
class ErrorsSpec:
    """What happens to a message that fails. sink: where dead letters go (policy dead_letter).

    max_errors, max_ratio: the run fails once more messages than this (or a larger part of the
    messages read) have failed; None: no limit.
    """

    policy: Policy = "fail"
    sink: str | None = None
    max_errors: int | None = None
    max_ratio: float | None = None


@dataclass(frozen=True)
class CodecSpec:
    """How bytes and messages turn into each other.

    kind: lines | json | csv | msgpack | bytes | function. function: "module:function" when kind
    is "function" (`decode:` or `encode:` in the file). options: what else the codec takes
    (framing, length_bytes, max_frame_bytes, columns, header, delimiter …), as in the file with
    sizes in bytes.
    """

    kind: str
    function: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SourceSpec:
    """type: file | stdin | tcp | generate | plugin. options: the kind's own, units resolved."""

    name: str
    type: str
    options: Mapping[str, Any]
    codec: CodecSpec
    errors: ErrorsSpec


@dataclass(frozen=True)
class SinkSpec:
    """type: file | stdout | tcp | null | plugin. inputs: names of the steps or sources read."""

    name: str
    type: str
    inputs: tuple[str, ...]
    options: Mapping[str, Any]
    codec: CodecSpec
    errors: ErrorsSpec


@dataclass(frozen=True)
class KeysSpec:
    """The keys created before the first message: exactly one of the three is set.

    file: path of a text file, one key a line. values: the keys. call: "module:function" that
    returns an iterable of keys.
    """

    file: str | None = None
    values: tuple[str, ...] | None = None
    call: str | None = None


@dataclass(frozen=True)
class StateSpec:
    """factory: "module:callable". unknown: what a key outside `keys` gets.

    version: of the shape of what is stored. migrate: "module:function" that makes a state of the
    current version from a stored one: (fields, version) -> state.
    """

    name: str
    factory: str
    keys: KeysSpec | None = None
    unknown: Unknown = "create"
    version: int = 1
    migrate: str | None = None


@dataclass(frozen=True)
class CheckpointSpec:
    """folder: where checkpoints are kept. keep: how many. asked: whether the file says so, or it is
    only the default for sources that can rewind.
    """

    every_s: float
    folder: str
    keep: int
    asked: bool


@dataclass(frozen=True)
class AutoscaleSpec:
    """When a run grows and shrinks by itself: as `roo.core.autoscale.Rules` has it."""

    min: int
    max: int
    grow_above: float
    shrink_below: float
    for_s: float
    rest_s: float


@dataclass(frozen=True)
class ClusterSpec:
    """timeout_s: a worker that is silent for so long is lost. restarts_max: how often a run starts
    again from one and the same checkpoint. weights: of workers 0 and so on; 1 where there is none.
    """

    timeout_s: float = 10.0
    restarts_max: int = 5
    weights: tuple[int, ...] = ()
    autoscale: AutoscaleSpec | None = None


@dataclass(frozen=True)
class StepSpec:
    """One step. inputs: names of the steps or sources it reads, in the file's order.

    parameters: the `with:` mapping, passed as keywords. partition, state: set on stateful steps
    only. many: a returned iterable is flattened.
    """

    name: str
    type: StepType
    call: str
    inputs: tuple[str, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    partition: str | None = None
    state: str | None = None
    many: bool = False
    errors: ErrorsSpec = ErrorsSpec()


@dataclass(frozen=True)
class TestSpec:
    """One entry of `tests:`. input: items per source; expect: items per sink.

    order: per_key (outputs of one key in this order), exact, or any.
    """

    __test__ = False  # not a pytest class

    name: str
    input: Mapping[str, tuple[Any, ...]]
    expect: Mapping[str, tuple[Any, ...]]
    order: Literal["per_key", "exact", "any"] = "per_key"


@dataclass(frozen=True)
class PipelineSpec:
    """A whole valid pipeline file.

    file: the path as the user gave it.
    """

    name: str
    file: str
    sources: tuple[SourceSpec, ...]
    states: tuple[StateSpec, ...]
    steps: tuple[StepSpec, ...]
    sinks: tuple[SinkSpec, ...]
    workers: int = 1
    cluster: ClusterSpec = ClusterSpec()
    checkpoint: CheckpointSpec | None = None
    errors: ErrorsSpec = ErrorsSpec()
    tests: tuple[TestSpec, ...] = ()
    places: Places = field(default_factory=lambda: Places(""))
