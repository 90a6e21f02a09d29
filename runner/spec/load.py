"""File -> PipelineSpec: the one function behind `roo run`, `roo validate` and all the others."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from roo.spec import cross, schema
from roo.spec.build import build
from roo.spec.environment import override, substitute
from roo.spec.findings import InvalidPipeline
from roo.spec.model import PipelineSpec
from roo.spec.parts import collect
from roo.spec.text import read


def load(
    file: str, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> PipelineSpec:
    """Read and check a pipeline file.

    overrides: `--set` options ("path=value"). environ: for `${V}`; None: this process's.
    Raises InvalidPipeline with every finding, sorted by place. Code references are checked only for
    their form here; `roo.plan.check` imports them.
    """
    document = read(file)
    if document.data is not None:
        if isinstance(document.data, dict):
            override(document, list(overrides))
            substitute(document, os.environ if environ is None else environ)
        schema.check(document)
        parts = collect(document)
        cross.check(document, parts)
    if document.findings:
        raise InvalidPipeline(sorted(set(document.findings)))
    return build(document, parts)
