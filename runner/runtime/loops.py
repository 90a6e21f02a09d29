"""The hot path: Plan -> Python source -> one flat function for each way into a stage.

User functions are called straight from a loop over the batch: no generator per step, no dict per
message, and a `try` that costs nothing until it is needed (Python 3.11 keeps exception tables
beside the code). `roo plan --code` prints what is generated here; word count's is

    def stage_0_lines(messages):
        rest = iter(messages)
        for m0 in rest:
            try:
                for m1 in call_split(m0) or ():
                    try:
                        key = key_count(m1)
                        try:
                            lane = lanes_1[digest(key.encode())[0]] or lane_1(key)
                        except (AttributeError, UnicodeError):
                            lane = lane_1(key)
                        to_keys, to_messages = lane
                        to_keys(key)
                        to_messages(m1)
                    except Exception as error:
                        failed(error)
            except Exception as error:
                failed(error)

`lanes_1` has one entry for each first byte of a hash: the append methods of the lists that gather
the batch for that owner; None where a byte does not settle the owner.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from roo.plan.model import Plan
from roo.spec.model import StepSpec

BLOCKS_MAX = 12
INDENT_MAX = 40
"""How deep code nests before the rest becomes a function of its own: Python allows 20 blocks (loops
and tries; one part adds up to four) and 100 indentations.
"""


@dataclass(frozen=True)
class Where:
    """What a line of generated code does, for naming the culprit of an error.

    part: step or sink. role: call | partition | factory | encode | send. variable: the local that
    holds the message. keyed: whether the local `key` is this message's.
    """

    part: str
    role: str
    function: str
    variable: str
    keyed: bool


@dataclass
class Code:
    """Generated source. functions: entry -> function name, an entry being a source or a stage.

    where: line number -> what that line does. counters: names whose inputs (or, with a trailing
    "/out", outputs) the code counts one by one; the other counts follow from list lengths.
    """

    source: str = ""
    functions: dict[str | int, str] = field(default_factory=dict)
    where: dict[int, Where] = field(default_factory=dict)
    counters: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)


def generate(plan: Plan, *, alone: bool = False) -> Code:
    """The hot path of every stage that has steps. (A sink's stage has none: it writes.)

    alone: for the only worker of a run, which has no owner to look up; the same line by line.
    """
    writer = _Writer(plan, alone)
    for stage in plan.stages:
        if stage.index == 0:
            for source in stage.entries:
                writer.source_function(source)
        elif plan.step(stage.entries[0]):
            writer.keyed_function(stage.index, stage.entries)
        writer.shared_parts(stage.index)
    writer.code.source = "\n".join(writer.lines) + "\n"
    return writer.code


def identifier(name: str) -> str:
    """A name of the file as part of a Python name: no two are the same."""
    return name.replace("-", "·")


class _Writer:
    def __init__(self, plan: Plan, alone: bool) -> None:
        self.plan = plan
        self._alone = alone
        self.code = Code()
        self.lines: list[str] = []
        self._indent = 0
        self._blocks = 0
        self._keyed = False
        self._stage = 0
        self._shared: list[str] = []

    # Functions

    def source_function(self, source: str) -> None:
        """`stage_0_NAME(messages)`: from one source to the first exchanges and sinks."""
        self._begin(0, keyed=False)
        name = f"stage_0_{identifier(source)}"
        self.code.functions[source] = name
        with self._block(f"def {name}(messages):"):
            self._line("rest = iter(messages)")
            with self._block("for m0 in rest:"), self._guard():
                self._readers(source, "m0")
        self._line("")

    def keyed_function(self, stage: int, steps: tuple[str, ...]) -> None:
        """`stage_N(keys, messages[, entries])`: stateful steps and what follows them."""
        self._begin(stage, keyed=True)
        self.code.functions[stage] = f"stage_{stage}"
        if len(steps) == 1:
            with (
                self._block(f"def stage_{stage}(keys, messages):"),
                self._block("for key, m0 in zip(keys, messages):"),
                self._guard(),
            ):
                self._stateful(self._step(steps[0]), "m0", "m1")
        else:
            with (
                self._block(f"def stage_{stage}(keys, messages, entries):"),
                self._block("for key, m0, entry in zip(keys, messages, entries):"),
                self._guard(),
            ):
                for index, step in enumerate(steps):
                    with self._block(f"{'elif' if index else 'if'} entry == {index}:"):
                        self._stateful(self._step(step), "m0", "m1")
        self._line("")

    def shared_parts(self, stage: int) -> None:
        """Functions for steps that several ways lead to, or that lie too deep for one function."""
        written: set[str] = set()
        while set(self._shared) - written:
            part = next(p for p in self._shared if p not in written)
            written.add(part)
            self._indent, self._blocks = 0, 0
            with self._block(f"def {self._shared_name(part)}(m0, key):"), self._guard():
                self._part(part, "m0", inline=True)
            self._line("")

    def _shared_name(self, part: str) -> str:
        return f"stage_{self._stage}_part_{identifier(part)}"

    # Parts

    def _readers(self, name: str, message: str) -> None:
        """Hand a message to every reader of `name`; with several, one's error is its own."""
        readers = self.plan.readers.get(name, ())
        if not any(self._sole_input(r) for r in readers) and self.plan.step(name):
            self._count(f"{name}/out")
        copy = f"m{int(message[1:]) + 1}"
        for reader in readers[:-1]:  # what one of them does to its message is no affair of the next
            with self._guard():
                self._line(f"{copy} = {_as_it_is(message)}")
                self._part(reader, copy)
        if len(readers) == 1:
            self._part(readers[0], message)
        elif readers:
            with self._guard():
                self._part(readers[-1], message)

    def _part(self, name: str, message: str, *, inline: bool = False) -> None:
        plan = self.plan
        step = plan.step(name)
        if step is None:
            self._emit(name, message)
        elif step.type == "stateful":
            self._send(step, message)
        elif not inline and (
            not self._only_way(name) or self._blocks >= BLOCKS_MAX or self._indent >= INDENT_MAX
        ):
            if name not in self._shared:
                self._shared.append(name)
            self._line(f"{self._shared_name(name)}({message}, {'key' if self._keyed else 'None'})")
        else:
            if not (len(step.inputs) == 1 and plan.step(step.inputs[0]) is None):
                self._count(name)
            self._stateless(step, message, f"m{int(message[1:]) + 1}")

    def _stateless(self, step: StepSpec, message: str, result: str) -> None:
        where = self._where(step.name, "call", step.call, message)
        call = f"call_{identifier(step.name)}({message}{self._keywords(step)})"
        if step.type == "filter":
            with self._block(f"if {call}:", where):
                self._readers(step.name, message)
        elif step.type == "map":
            self._line(f"{result} = {call}", where)
            with self._block(f"if {result} is not None:"):
                self._readers(step.name, result)
        else:
            self._flatten(step, f"{call}", result, where)

    def _stateful(self, step: StepSpec, message: str, result: str) -> None:
        state = identifier(step.state or "")
        plan_state = self.plan.state(step.state or "")
        factory = self._where(step.name, "factory", plan_state.factory, message)
        where = self._where(step.name, "call", step.call, message)
        key = ", key=key" if step.call in self.plan.takes_key else ""
        call = f"call_{identifier(step.name)}({message}, state{key}{self._keywords(step)})"
        self._line(f"state = state_of_{state}(key)")
        with self._block("if state is None:"):
            self._line(f"state = create_{state}(key, {step.name!r}, {message})", factory)
            if plan_state.unknown in ("drop", "dead_letter"):
                with self._block("if state is None:"):
                    self._line("continue")
        if step.many:
            self._flatten(step, call, result, where)
        elif not self.plan.readers.get(step.name):
            self._line(call, where)
        else:
            self._line(f"{result} = {call}", where)
            with self._block(f"if {result} is not None:"):
                self._readers(step.name, result)

    def _flatten(self, step: StepSpec, call: str, result: str, where: Where) -> None:
        self._blocks += 1
        with self._block(f"for {result} in {call} or ():", where), self._guard():
            self._readers(step.name, result)
        self._blocks -= 1

    def _send(self, step: StepSpec, message: str) -> None:
        """To the owner of the key: the list of that lane, by the first byte of the hash."""
        stage = self.plan.stage_of[step.name]
        # A stage's own `key` must survive for the readers that come after this one.
        key = "next_key" if self._keyed else "key"
        where = self._where(step.name, "partition", step.partition or "", message)
        route = Where(step.name, "route", step.partition or "", message, keyed=False)
        self._line(f"{key} = key_{identifier(step.name)}({message})", where)
        with self._block("try:"):
            by_byte = f"lanes_{stage}[digest({key}.encode())[0]] or"
            if self._alone:
                by_byte = f"lanes_{stage}[0] if type({key}) is str else"
            self._line(f"lane = {by_byte} lane_{stage}({key})", route)
        with self._block("except (AttributeError, UnicodeError):"):
            self._line(f"lane = lane_{stage}({key})", route)
        entries = self.plan.stages[stage].entries
        several = len(entries) > 1
        self._line(f"to_keys, to_messages{', to_entries' if several else ''} = lane")
        self._line(f"to_keys({key})")
        self._line(f"to_messages({_as_it_is(message) if self._keyed else message})")
        if several:
            self._line(f"to_entries({entries.index(step.name)})")

    def _emit(self, sink: str, message: str) -> None:
        spec = self.plan.sink(sink)
        assert spec is not None
        name = identifier(sink)
        if spec.codec.kind == "function":
            where = self._where(sink, "encode", spec.codec.function or "", message)
            self._line(f"emit_{name}(encode_{name}({message}))", where)
        else:
            self._line(f"emit_{name}({_as_it_is(message) if self._keyed else message})")

    # Small things

    def _begin(self, stage: int, *, keyed: bool) -> None:
        if stage != self._stage:
            self._shared = []
        self._stage, self._keyed, self._indent, self._blocks = stage, keyed, 0, 0

    def _step(self, name: str) -> StepSpec:
        step = self.plan.step(name)
        assert step is not None
        return step

    def _only_way(self, name: str) -> bool:
        """Whether one part of this stage alone leads to `name`."""
        parts = self.plan.parts(self._stage)
        return sum(name in self.plan.readers.get(part, ()) for part in parts) == 1

    def _sole_input(self, name: str) -> bool:
        part = self.plan.step(name) or self.plan.sink(name)
        return part is not None and len(part.inputs) == 1

    def _keywords(self, step: StepSpec) -> str:
        """`with:` parameters, as keyword arguments taken from the function's globals."""
        prefix = f"with_{identifier(step.name)}_"
        return "".join(f", {name}={prefix}{name}" for name in step.parameters)

    def _where(self, part: str, role: str, function: str, message: str) -> Where:
        return Where(part, role, function, message, self._keyed)

    def _count(self, name: str) -> None:
        if name not in self.code.counters:
            self.code.counters.append(name)
        self._line(f"counts[{self.code.counters.index(name)}] += 1")

    def _line(self, text: str, where: Where | None = None) -> None:
        self.lines.append("    " * self._indent + text if text else "")
        if where:
            self.code.where[len(self.lines)] = where

    @contextmanager
    def _block(self, head: str, where: Where | None = None) -> Iterator[None]:
        self._line(head, where)
        self._indent += 1
        before = len(self.lines)
        yield
        if len(self.lines) == before:
            self._line("pass")
        self._indent -= 1

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """What fails inside is handled and costs its neighbours nothing."""
        self._blocks += 1
        with self._block("try:"):
            yield
        self._blocks -= 1
        with self._block("except Exception as error:"):
            self._line("failed(error)")


def _as_it_is(message: str) -> str:
    """An expression for a message that is encoded with its batch: as it is now, whatever a state
    that keeps it, or another reader, does to it until then.
    """
    return f"{message} if type({message}) in atoms else copied({message})"
