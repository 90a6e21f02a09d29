"""Tables whose numbers are never cut: columns are shortened, then dropped, until the rest fits.

Rich's own tables wrap or cut any cell when there is no room; a status view has to choose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Generic, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from roo.status.color import clean

Row = TypeVar("Row")
Cell = tuple[str, str]
"""Text and style: a style of rich, or BAR."""

BAR = "bar"
"""The style of what `bar` draws: its heavy part stands out, its light part steps back."""


@dataclass(frozen=True)
class Glyphs:
    """The characters that are not ASCII, with what stands in for them on a terminal without."""

    heavy: str = "━"
    light: str = "─"
    heavy_light: str = "╾"
    light_heavy: str = "╼"
    ellipsis: str = "…"
    corner: str = "└"
    ascii_only: bool = False


UNICODE = Glyphs()
ASCII = Glyphs("=", "-", "=", "=", "~", "\\", ascii_only=True)


@dataclass(frozen=True)
class Column(Generic[Row]):
    """A column and how much it matters: the one with the smallest `keep` is dropped first.

    cell(row, width): text and style. width: the least; the column is as wide as its widest
    number, so that none is cut. most: set where the column may have any width from `width` up to
    this (names, bars); it is given what the others leave.
    """

    title: str
    cell: Callable[[Row, int], Cell]
    width: int
    keep: int
    right: bool = True
    most: int | None = None


def table(
    columns: Sequence[Column[Row]], rows: Sequence[Row], width: int, gap: int, glyphs: Glyphs
) -> list[Text]:
    """The titles' line and a line per row, none wider than `width`."""
    fitted = _fit(columns, rows, width, gap)
    titles = [(column.title, "dim") for column, _ in fitted]
    lines = [titles, *([column.cell(row, w) for column, w in fitted] for row in rows)]
    return [
        line(
            [
                part
                for (column, w), (text, style) in zip(fitted, cells, strict=True)
                for part in (
                    (" " * gap, "") if column is not fitted[0][0] else ("", ""),
                    (pad(text, w, column.right, glyphs), style),
                )
            ],
            width,
            glyphs,
        )
        for cells in lines
    ]


def line(cells: Sequence[Cell], width: int, glyphs: Glyphs) -> Text:
    """One line of styled parts, cut at `width` as the last resort, with no space at its end."""
    text = Text(no_wrap=True, overflow="crop", end="")
    for part, style in cells:
        if style == BAR:
            for light, run in groupby(part, glyphs.light.__eq__):
                text.append("".join(run), "dim" if light else "cyan")
        else:
            text.append(readable(part, glyphs), style)
    text.truncate(max(0, width), overflow="crop")
    text.rstrip()
    return text


def pad(text: str, width: int, right: bool, glyphs: Glyphs) -> str:
    """The text shortened and padded to exactly `width` cells."""
    short = shorten(text, width, glyphs)
    space = " " * (width - cell_len(short))
    return space + short if right else short + space


def shorten(text: str, width: int, glyphs: Glyphs) -> str:
    """The text, or its beginning and an ellipsis when it is wider than `width` cells."""
    text = readable(text, glyphs)
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + glyphs.ellipsis if width > 0 else ""


def shorten_path(text: str, width: int, glyphs: Glyphs) -> str:
    """As `shorten`, but keeps the end: the file's name tells more. Cut at a slash if it can be."""
    text = readable(text, glyphs)
    if cell_len(text) <= width or width <= 0:
        return shorten(text, width, glyphs)
    while cell_len(text) > width - 1:
        text = text[1:]
    return glyphs.ellipsis + text[max(0, text.find("/")) :]


def readable(text: str, glyphs: Glyphs) -> str:
    """One line of what the terminal can show: no control characters, "?" for what it lacks."""
    text = clean(text)
    return text.encode("ascii", "replace").decode() if glyphs.ascii_only else text


def bar(intervals: Sequence[tuple[float, float]], width: int, glyphs: Glyphs) -> str:
    """Where the intervals (from, to, as parts of the whole) lie, in `width` cells of two halves.

    A half is drawn heavy when an interval covers its middle; an interval too small to cover any
    middle still gets the half it lies in.
    """
    halves = [False] * (2 * width)
    for start, end in intervals if width > 0 else ():
        first, last = (round(min(1.0, max(0.0, x)) * len(halves)) for x in (start, end))
        if first >= last and end > start:
            first = min(len(halves) - 1, int((start + end) / 2 * len(halves)))
            last = first + 1
        halves[first:last] = [True] * (last - first)
    shapes = {
        (True, True): glyphs.heavy,
        (True, False): glyphs.heavy_light,
        (False, True): glyphs.light_heavy,
        (False, False): glyphs.light,
    }
    return "".join(shapes[pair] for pair in zip(halves[::2], halves[1::2], strict=True))


def _fit(
    columns: Sequence[Column[Row]], rows: Sequence[Row], width: int, gap: int
) -> list[tuple[Column[Row], int]]:
    """The columns that stay, each with its width: the least ones first, then the rest shared."""
    kept = [
        (
            column,
            max(
                [column.width, cell_len(column.title)]
                + [cell_len(column.cell(row, 0)[0]) for row in rows if column.most is None]
            ),
        )
        for column in columns
    ]
    while len(kept) > 1 and sum(least + gap for _, least in kept) - gap > width:
        kept.remove(min(kept, key=lambda pair: pair[0].keep))
    spare = width - sum(least + gap for _, least in kept) + gap
    fitted = []
    for column, least in kept:
        more = max(0, min(spare, (column.most or 0) - least))
        spare -= more
        fitted.append((column, least + more))
    return fitted
