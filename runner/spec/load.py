"""File -> PipelineSpec: the one function behind `roo run`, `roo validate` and all the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from roo.spec import cross, schema
from roo.spec.build import build
from roo.spec.environment import override, substitute
from roo.spec.findings import InvalidPipeline
from roo.spec.model import PipelineSpec
from roo.spec.parts import code_references, collect
from roo.spec.text import read


def load(
    file: str,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    problem: Callable[[str], tuple[str, str, str] | None] | None = None,
) -> PipelineSpec:
    """Read and check a pipeline file.

    overrides: `--set` options ("path=value"). environ: for `${V}`; None: this process's.
    Raises InvalidPipeline with every finding, sorted by place. Code references are checked only for
    their form here; `roo.plan.check` imports them. In a file that will not come so far `problem`
    does: (code, what, hint) of a reference that does not import, so that one look tells all.
    """
    document = read(file)
    if document.data is not None:
        if isinstance(document.data, dict):
            override(document, list(overrides))
            substitute(document, os.environ if environ is None else environ)
        schema.check(document)
        parts = collect(document)
        cross.check(document, parts)
        if document.findings and problem is not None:
            for path, reference in code_references(parts):
                if schema.is_reference(reference) and (found := problem(reference)) is not None:
                    document.find(path, *found)
    if document.findings:
        raise InvalidPipeline(sorted(set(document.findings)))
    return build(document, parts)
