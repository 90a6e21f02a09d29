"""Roo: a declarative, stateful stream processor. The door for plugin writers is `roo.api`."""

__version__ = "0.1.0"
