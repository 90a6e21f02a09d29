"""Figures as tables for people and as JSON for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from benchmarks.measure import Figure, Reach
from benchmarks.settings import Settings


def show(figure: Figure, console: Console) -> None:
    """Print one figure: its series, then its ratios."""
    console.print(Group(Text(f"\n{figure.title}", style="bold"), Text(figure.note, style="dim")))
    runs = len(figure.series[0].values)
    series = Table("candidate")
    series.add_column("metric", no_wrap=True)
    for heading in (f"median of {runs}", "min .. max", "reach"):
        series.add_column(heading, justify="right", no_wrap=True)
    for one in figure.series:
        low_to_high = f"{_number(min(one.values))} .. {_number(max(one.values))}"
        reach = _reach(one.reach, one.median)
        series.add_row(one.candidate, one.metric, _number(one.median), low_to_high, reach)
    console.print(series)
    if figure.ratios:
        ratios = Table("ratio")
        for heading in ("of medians", "median of rounds", "reach"):
            ratios.add_column(heading, justify="right", no_wrap=True)
        for two in figure.ratios:
            reach = _reach(two.reach, two.of_medians)
            ratios.add_row(two.name, f"{two.of_medians:.3f}", f"{two.of_rounds:.3f}", reach)
        console.print(ratios)


def write_json(figures: Sequence[Figure], settings: Settings, file: Path) -> None:
    """Everything measured, every round of it, with the machine and the settings."""
    machine = {
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "platform": platform.platform(),
        "python": platform.python_version(),
    }
    asked = {name: value for name, value in asdict(settings).items() if name != "scratch"}
    report = {"machine": machine, "settings": asked, "figures": list(map(_as_data, figures))}
    file.write_text(json.dumps(report, indent=2) + "\n")


def _as_data(figure: Figure) -> dict[str, Any]:
    series = [
        {**asdict(one), "median": one.median, "reached": _reached(one.reach, one.median)}
        for one in figure.series
    ]
    ratios = [
        {**asdict(two), "reached": _reached(two.reach, two.of_medians)} for two in figure.ratios
    ]
    return {**asdict(figure), "series": series, "ratios": ratios}


def _reached(reach: Reach | None, value: float) -> bool | None:
    return reach.holds(value) if reach else None


def _reach(reach: Reach | None, value: float) -> Text:
    if reach is None:
        return Text("")
    holds = reach.holds(value)
    return Text(f"{reach}  {'yes' if holds else 'NO'}", style="green" if holds else "bold red")


def _number(value: float) -> str:
    """Thousands apart where there are any, else three decimals."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3f}"
