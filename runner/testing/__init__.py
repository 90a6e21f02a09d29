"""Tests of one's own code: `check_source` and `check_sink` hold a connector to Roo's rules.

Each raises an AssertionError that says which rule is broken, by what, and what to do about it.
`compare` is what `roo test` compares outputs by.
"""

from roo.testing.outputs import Output, compare
from roo.testing.sinks import check_sink
from roo.testing.sources import check_source

__all__ = ["Output", "check_sink", "check_source", "compare"]
