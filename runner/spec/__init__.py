"""YAML text -> validated, frozen PipelineSpec, or every finding at once.

text         YAML with the place of every node
environment  ${V} in strings; --set
schema       the JSON Schema, and its errors in words
parts        sources, states, steps and sinks, and what each reads
cross        what a schema can't see: names, cycles, what nothing reads
ends         options of sources and sinks that do not fit together
build        plain data -> PipelineSpec, defaults and units filled in
"""

from roo.spec.load import load

__all__ = ["load"]
