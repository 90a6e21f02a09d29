"""YAML text -> validated, frozen PipelineSpec, or every finding at once.

text         YAML with the place of every node
environment  ${V} in strings; --set
schema       the JSON Schema, and its errors in words
cross        what a schema can't see: names, cycles, what nothing reads
build        plain data -> PipelineSpec, defaults and units filled in
"""

from roo.spec.load import load

__all__ = ["load"]
