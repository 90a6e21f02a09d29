"""YAML text -> validated, frozen PipelineSpec, or every finding at once.

text         YAML with the place of every node
environment  ${V} in strings; --set
schema       the JSON Schema, and its errors in words
parts        sources, states, steps and sinks, and what each reads
cross        what a schema can't see: names, cycles, what nothing reads
ends         options of sources and sinks that do not fit together
build        plain data -> PipelineSpec, defaults and units filled in
load         all of it, in order

Nothing is imported here: workers need the model alone, and importing YAML takes longer than a
worker's whole start.
"""
