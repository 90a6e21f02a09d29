"""Plain data without findings -> PipelineSpec, with defaults and units filled in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from roo.spec.ends import codec_kind
from roo.spec.model import (
    AutoscaleSpec,
    CheckpointSpec,
    ClusterSpec,
    CodecSpec,
    ErrorsSpec,
    KeysSpec,
    PipelineSpec,
    Places,
    SinkSpec,
    SourceSpec,
    StateSpec,
    StepSpec,
    TestSpec,
)
from roo.spec.parts import Part, Parts
from roo.spec.text import Document
from roo.spec.units import duration_s, size_bytes

MAX_FRAME = "16MiB"
RETRY_FOR = "60s"
ROTATE_WAIT = "1s"
CHECKPOINT_EVERY = "5s"
CHECKPOINTS_KEPT = 3
LENGTH_BYTES = 4

# What a kind takes when the file does not say. Connectors never guess.
_SOURCE_DEFAULTS: dict[str, dict[str, Any]] = {
    "file": {"follow": False, "rotate_wait": ROTATE_WAIT, "splits": 1, "compression": "auto"},
    "generate": {"call": None, "with": {}, "start": 0, "step": 1, "rate": None, "count": None},
    "plugin": {"with": {}},
}
_SINK_DEFAULTS: dict[str, dict[str, Any]] = {
    "file": {"mode": "overwrite", "visibility": "immediate"},
    "tcp": {"retry_for": RETRY_FOR},
    "plugin": {"with": {}},
}
_NOT_OPTIONS = {
    "type", "from", "errors", "codec", "decode", "encode", "framing", "length_bytes", "max_frame",
}  # fmt: skip


def build(document: Document, parts: Parts) -> PipelineSpec:
    """The spec of a document in which nothing was found."""
    data: dict[str, Any] = document.data
    errors = _errors(data.get("errors"), ErrorsSpec())
    name = str(data.get("name") or FilePath(document.file).stem)
    return PipelineSpec(
        name=name,
        file=document.file,
        sources=tuple(
            SourceSpec(p.name, p.data["type"], _options(p, _SOURCE_DEFAULTS), _codec(p, "decode"),
                       _errors(p.data.get("errors"), errors))
            for p in parts.sources
        ),
        states=tuple(
            StateSpec(p.name, p.data["factory"], _keys(p.data.get("keys")),
                      p.data.get("unknown", "create"), p.data.get("version", 1),
                      p.data.get("migrate"))
            for p in parts.states
        ),
        steps=tuple(_step(p, errors) for p in parts.steps),
        sinks=tuple(
            SinkSpec(p.name, p.data["type"] or "null", p.inputs, _options(p, _SINK_DEFAULTS),
                     _codec(p, "encode"), _errors(p.data.get("errors"), errors))
            for p in parts.sinks
        ),
        workers=data.get("cluster", {}).get("workers", 1),
        cluster=_cluster(data.get("cluster", {})),
        checkpoint=_checkpoint(data.get("checkpoint"), name),
        errors=errors,
        tests=tuple(_test(test) for test in data.get("tests", [])),
        places=Places(document.file, document.values, document.keys, document.options),
    )  # fmt: skip


def _cluster(data: Mapping[str, Any]) -> ClusterSpec:
    restarts = data.get("restarts", {})
    usual = ClusterSpec()
    return ClusterSpec(
        duration_s(data["timeout"]) if "timeout" in data else usual.timeout_s,
        restarts.get("max", usual.restarts_max),
        tuple(data.get("weights", ())),
        _autoscale(data["autoscale"]) if "autoscale" in data else None,
    )


def _autoscale(data: Mapping[str, Any]) -> AutoscaleSpec:
    return AutoscaleSpec(
        data["min"],
        data["max"],
        data.get("grow_above", 0.8),
        data.get("shrink_below", 0.3),
        duration_s(data.get("for", "10s")),
        duration_s(data.get("rest", "30s")),
    )


def _checkpoint(data: Mapping[str, Any] | None, name: str) -> CheckpointSpec:
    given = data or {}
    return CheckpointSpec(
        duration_s(given.get("every", CHECKPOINT_EVERY)),
        given.get("dir", f".roo/{name}"),
        given.get("keep", CHECKPOINTS_KEPT),
        asked=data is not None,
    )


def _errors(data: Mapping[str, Any] | None, inherited: ErrorsSpec) -> ErrorsSpec:
    """A part's own `errors`; without one, the pipeline's. Policy and sink named above serve below
    too; limits are each one's own.
    """
    if data is None:
        return inherited
    return ErrorsSpec(
        data.get("policy", inherited.policy),
        data.get("sink", inherited.sink),
        data.get("max_errors"),
        data.get("max_ratio"),
    )


def _options(part: Part, defaults: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    options = dict(defaults.get(part.data["type"], {}))
    options |= {name: value for name, value in part.data.items() if name not in _NOT_OPTIONS}
    for name in ("retry_for", "rotate_wait"):
        if name in options:
            options[f"{name}_s"] = duration_s(options.pop(name))
    return options


def _codec(part: Part, function: str) -> CodecSpec:
    given = part.data.get("codec")
    options = {name: v for name, v in given.items() if name != "type"} if isinstance(
        given, dict
    ) else {}  # fmt: skip
    options["framing"] = part.data.get("framing", "lines")
    options["length_bytes"] = part.data.get("length_bytes", LENGTH_BYTES)
    options["max_frame_bytes"] = size_bytes(part.data.get("max_frame", MAX_FRAME))
    return CodecSpec(codec_kind(part.data), part.data.get(function), options)


def _keys(data: Mapping[str, Any] | None) -> KeysSpec | None:
    if data is None:
        return None
    values = tuple(data["list"]) if "list" in data else None
    return KeysSpec(data.get("file"), values, data.get("call"))


def _step(part: Part, errors: ErrorsSpec) -> StepSpec:
    data = part.data
    return StepSpec(
        name=part.name,
        type=data["type"],
        call=data["call"],
        inputs=part.inputs,
        parameters=data.get("with", {}),
        partition=data.get("partition"),
        state=data.get("state"),
        many=data.get("many", False),
        errors=_errors(data.get("errors"), errors),
    )


def _test(data: Mapping[str, Any]) -> TestSpec:
    return TestSpec(
        data["name"],
        {name: tuple(items) for name, items in data["input"].items()},
        {name: tuple(items) for name, items in data["expect"].items()},
        data.get("order", "per_key"),
    )
