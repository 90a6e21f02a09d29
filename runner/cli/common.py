"""What several verbs share: a pipeline file's options, loading it, saying what is wrong."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from roo.api import ConnectorError, Split
from roo.core.changes import WORKERS_MAX
from roo.plan.build import check, make
from roo.plan.model import Plan
from roo.plan.promises import Promise, delivery_of, promises
from roo.plan.resolve import problem, raised_at
from roo.spec.findings import Finding, InvalidPipeline
from roo.spec.load import load
from roo.spec.model import PipelineSpec, SinkSpec, SourceSpec, StateSpec

if TYPE_CHECKING:
    from roo.runtime.key import Key


def add_pipeline_options(parser: argparse.ArgumentParser, *, workers: bool = True) -> None:
    """FILE, --set and --workers."""
    parser.add_argument("file", metavar="FILE", help="a pipeline file (YAML)")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="change one value of the file, e.g. sources.lines.path=x.txt (may be repeated)",
    )
    if workers:
        parser.add_argument(
            "--workers", type=worker_count, metavar="N", help="how many worker processes"
        )


def worker_count(text: str) -> int:
    """The value of --workers. Raises ArgumentTypeError with what to do."""
    if not text.isdecimal() or not 1 <= int(text) <= WORKERS_MAX:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a number of workers; give one from 1 to {WORKERS_MAX}"
        )
    return int(text)


@dataclass
class Loaded:
    """A checked pipeline, ready to run. splits: index -> (source name, split)."""

    spec: PipelineSpec
    plan: Plan
    splits: dict[int, tuple[str, Split]]


def load_checked(file: str, overrides: list[str], workers: int | None = None) -> PipelineSpec:
    """The spec of a file without findings: YAML, schema, cross-checks, code, connectors' classes.

    Raises InvalidPipeline. The folder the command starts in becomes importable.
    """
    import_from_here()
    spec = load(file, overrides, problem=problem)
    findings = check(spec) or _classes(spec)
    if findings:
        raise InvalidPipeline(findings)
    return replace(spec, workers=workers) if workers else spec


def import_from_here() -> None:
    """Plugins are looked for in the folder the command starts in, before anywhere else."""
    here = os.getcwd()  # noqa: PTH109
    if sys.path[0] != here:
        sys.path.insert(0, here)


def _classes(spec: PipelineSpec) -> list[Finding]:
    """A finding for every source and sink of the user's own that can't be made."""
    from roo.runtime.outlets import make_sink, make_source

    findings: list[Finding] = []
    parts: list[SourceSpec | SinkSpec] = [*spec.sources, *spec.sinks]
    for part in parts:
        if part.type == "plugin":
            with _found(spec, part, findings):
                _ = make_sink(part) if isinstance(part, SinkSpec) else make_source(part)
    return findings


def plan_of(spec: PipelineSpec) -> Plan:
    """The Plan of a checked spec. Raises InvalidPipeline for a connector that can't be made."""
    from roo.runtime.outlets import make_sink

    single = {}
    findings: list[Finding] = []
    for sink in spec.sinks:
        with _found(spec, sink, findings):
            single[sink.name] = make_sink(sink).single_writer
    if findings:
        raise InvalidPipeline(findings)
    return make(spec, single)


def check_connectors(spec: PipelineSpec) -> dict[int, tuple[str, Split]]:
    """Everything outside Roo that can be seen to be wrong before a worker starts; the splits.

    Raises InvalidPipeline (exit code 2), or ConnectorError where the machine is to blame (3).
    """
    from roo.runtime.outlets import check_plain, make_sink, make_source

    findings: list[Finding] = []
    for state in spec.states:
        if state.keys is not None:
            from roo.runtime.preload import check_keys

            with _found(spec, state, findings):
                check_keys(state.keys)
    for sink in spec.sinks:
        with _found(spec, sink, findings):
            make_sink(sink).check()
    splits: list[tuple[str, Split]] = []
    for source in spec.sources:
        with _found(spec, source, findings):
            made = make_source(source)
            made.check()
            found = made.splits()
            if not isinstance(found, list) or not all(isinstance(s, Split) for s in found):
                raise ConnectorError(f"splits() gave {found!r}", "give a list of roo.api.Split")
            for split in found:
                if source.type == "plugin":
                    check_plain(dict(split.options), f"`options` of split {split.name}")
                splits.append((source.name, split))
    if findings:
        raise InvalidPipeline(sorted(findings))
    return dict(enumerate(splits))


def wants_checkpoints(spec: PipelineSpec) -> bool:
    """Whether the file asks for checkpoints, or all sources can be read again from an offset."""
    from roo.runtime.outlets import make_source

    assert spec.checkpoint is not None
    return spec.checkpoint.asked or all(make_source(source).rewindable for source in spec.sources)


def add_key_option(parser: argparse.ArgumentParser) -> None:
    """--key FILE."""
    parser.add_argument("--key", metavar="FILE", default=os.environ.get("ROO_KEY"),
                        help="the cluster key (`roo key new`; default: $ROO_KEY)")  # fmt: skip


def tcp_address(text: str) -> str:
    """tcp://HOST:PORT, as argparse wants it checked."""
    parts = urlsplit(text)
    try:
        if parts.scheme == "tcp" and parts.hostname and parts.port is not None:
            return text
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not tcp://HOST:PORT, like tcp://0.0.0.0:7070")


def _run_name(text: str) -> str:
    return tcp_address(text) if text.startswith("tcp:") else text


def add_run_name(parser: argparse.ArgumentParser) -> None:
    """NAME, and the key that a run elsewhere asks for."""
    help_ = "the run: its pipeline's name, its process, or tcp://HOST:PORT with --key"
    parser.add_argument("name", metavar="NAME", type=_run_name, help=help_)
    add_key_option(parser)


def is_loopback(address: str) -> bool:
    """Whether a tcp address leads to this very machine, and none else comes by it."""
    return (urlsplit(address).hostname or "") in ("127.0.0.1", "::1", "localhost")


def key_of(arguments: argparse.Namespace, name: str = "") -> Key | None:
    """The key that is given; else the one that a run at the loopback address `name` made for
    itself. Raises ConnectorError.
    """
    path = arguments.key
    if not path and name.startswith("tcp:") and is_loopback(name):
        from roo.runtime.registry import key_at

        path = key_at(name)
    if not path:
        return None
    from roo.runtime.key import read_key

    return read_key(path)


def promises_of(plan: Plan, *, kept: bool) -> list[Promise]:
    """What each way from a source to a sink promises. kept: with checkpoints."""
    from roo.runtime.outlets import make_sink, make_source

    rewindable = {s.name: make_source(s).rewindable for s in plan.spec.sources}
    delivery = {s.name: delivery_of(make_sink(s)) for s in plan.spec.sinks}
    return promises(plan, rewindable, delivery, kept=kept)


@contextmanager
def _found(
    spec: PipelineSpec, part: SourceSpec | SinkSpec | StateSpec, findings: list[Finding]
) -> Iterator[None]:
    """What a connector raises here becomes a finding, where it stands in the file.

    Raises ConnectorError where the machine is to blame.
    """
    section = {SourceSpec: "sources", SinkSpec: "sinks", StateSpec: "states"}[type(part)]
    try:
        yield
    except ConnectorError as error:
        if error.environment:
            raise
        said, hint = error.message, error.hint
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {error}{raised_at(error)}"
        hint = "mend the class, or what stands under `with`"
    else:
        return
    options = ("path", "address", "class", "type", "keys")
    at = next(o for o in options if (section, part.name, o) in spec.places.values)
    what = f"{section.removesuffix('s')} {part.name}: {said}"
    findings.append(spec.places.finding((section, part.name, at), "connector", what, hint))


def complain(error: InvalidPipeline | ConnectorError) -> int:
    """Say what is wrong on stderr; the exit code."""
    if isinstance(error, InvalidPipeline):
        for finding in error.findings:
            print(finding, file=sys.stderr)
        return 2
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  {error.hint}", file=sys.stderr)
    return 3
