"""The Plan: what to run, and nothing of how. `make` builds it, `check` finds bad references."""

from roo.plan.build import check, make
from roo.plan.model import Exchange, Plan, Stage

__all__ = ["Exchange", "Plan", "Stage", "check", "make"]
