"""The same stages in one process, one message at a time: what `roo test` runs."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any, NamedTuple

from roo.core.batch import Origin
from roo.core.placement import Placement
from roo.plan.model import Plan
from roo.runtime.failures import Failures
from roo.runtime.latency import Histogram
from roo.runtime.outlets import Outlet, make_codec
from roo.runtime.payload import Keyed, pack, unpack
from roo.runtime.preload import keys_of
from roo.runtime.stages import Stages
from roo.spec.model import SourceSpec


class Emitted(NamedTuple):
    """One output. key: of the message it was made from, None where there was none yet.

    item: the message, or what `encode` returned. text: as the sink would write it, None for a
    sink that takes messages.
    """

    key: Any
    item: Any
    text: str | None


class LocalRun:
    """A plan on one worker without sockets, files or batches. Sinks collect; nothing is written.

    Messages travel between stages as bytes, so what cannot be sent fails here as it would between
    workers. Raises RunFailure wherever a run would fail.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._stages = Stages(plan, 0, Placement.fresh(1, plan.single_writers, ()))
        self._failures: Failures = self._stages.failures
        self._failures.split_names = ["test"]
        self._outlets = {s.name: Outlet(s, self._failures, Histogram(), 1) for s in plan.spec.sinks}
        self._decoders = {s.name: make_codec(_by_line(s)).decoder() for s in plan.spec.sources}
        self._queue: deque[tuple[int, Keyed]] = deque()
        self._fed = 0
        self.outputs: dict[str, list[Emitted]] = {s.name: [] for s in plan.spec.sinks}
        for state in plan.spec.states:
            if state.keys is not None:
                self._stages.preload(state, keys_of(state.name, state.keys))

    def feed(self, source: str, item: Any) -> None:
        """Put one item in and run it to the sinks: text through the codec, else the message."""
        index = [s.name for s in self._plan.spec.sources].index(source)
        self._failures.origin = Origin(index, 0, self._fed, self._fed + 1)
        self._fed += 1
        messages = [item]
        if isinstance(item, str):
            messages, failures = self._decoders[source].feed(item.encode() + b"\n")
            for failure in failures:
                self._failures.undecodable(source, failure)
        self._stages.run_source(source, messages)
        self._collect(0, None)
        while self._queue:
            stage, payload = self._queue.popleft()
            self._stages.run_keyed(stage, payload)
            self._collect(stage, payload.keys[0])

    def _collect(self, stage: int, key: Any) -> None:
        """Outputs of one message, or of the reading of it: all have its key."""
        for made in self._stages.take(stage):
            if isinstance(made.payload, Keyed):
                keys, messages, entries = self._stages.sendable(made)
                for i in range(len(keys)):
                    one = Keyed([keys[i]], [messages[i]], [entries[i]] if entries else [])
                    self._queue.append((made.to_stage, unpack(pack(one))))
            else:
                self._emit(self._plan.stages[made.to_stage].entries[0], key, made.payload)
        for sink in self.outputs:
            self._emit(sink, key, self._stages.take_items(sink))

    def _emit(self, sink: str, key: Any, items: list[Any]) -> None:
        outlet = self._outlets[sink]
        for item in items:
            encoded, messages = outlet.encode([item])
            if not messages:
                continue  # nothing to write, or it did not encode and the policy let it pass
            text = None
            if isinstance(encoded, bytes):
                text = encoded.decode("utf-8", "backslashreplace").removesuffix("\n")
            self.outputs[sink].append(Emitted(key, item, text))


def _by_line(source: SourceSpec) -> Any:
    """The codec of a source for items given as lines of text, whatever frames them on the wire."""
    return replace(source.codec, options={**source.codec.options, "framing": "lines"})
