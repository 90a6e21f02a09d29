"""Numbers as people read them: short, of bounded width, never misleading by rounding.

Counts, rates and milliseconds take at most 5 characters up to 999 T, sizes at most 7, so that
columns keep their width while the numbers grow. What is not a number (None, NaN, infinite)
is "-".
"""

from __future__ import annotations

import math

NOTHING = "-"
_THOUSANDS = ("", "k", "M", "G", "T")
_SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def count(value: float | None) -> str:
    """Whole up to 9999, then three digits: 812, 9999, 12.3k, 450k, 1.20M."""
    if value is None or not math.isfinite(value):
        return NOTHING
    whole = round(value)
    return str(whole) if abs(whole) < 10_000 else _three_digits(whole)


def rate(value: float | None) -> str:
    """Something a second, without the "/s": as `count`, but 0.4 and 9.5 keep their tenth."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if 0 < abs(value) < 9.95:
        return f"{value:.1f}" if abs(value) >= 0.05 else "<0.1"
    return count(value)


def exact(value: int) -> str:
    """Every digit, in groups of three: 1,234,567."""
    return f"{value:,}"


def milliseconds(value_ms: float | None) -> str:
    """Without the unit: 0.04, 0.42, 3.1, 12, 480, 12.3k."""
    if value_ms is None or not math.isfinite(value_ms):
        return NOTHING
    if abs(value_ms) < 0.995:
        return f"{value_ms:.2f}"
    if abs(value_ms) < 9.95:
        return f"{value_ms:.1f}"
    return count(value_ms)


def size(value_bytes: float | None) -> str:
    """In powers of 1024: 812 B, 3.4 MiB, 93 MiB, 1.2 GiB."""
    if value_bytes is None or not math.isfinite(value_bytes):
        return NOTHING
    value, unit = value_bytes, _SIZES[0]
    for unit in _SIZES:
        # 1000 and more of one unit is shown in the next, so that there are never four digits.
        if abs(round(value)) < 1000 or unit == _SIZES[-1]:
            break
        value /= 1024
    tenth = unit != "B" and abs(value) < 9.95
    return f"{value:.1f} {unit}" if tenth else f"{round(value)} {unit}"


def duration(value_s: float | None, *, whole: bool = False) -> str:
    """0.42 s, 12.3 s, 2m 05s, 3h 04m, 2d 03h. whole: no fractions of a second (for an ETA)."""
    if value_s is None or not math.isfinite(value_s):
        return NOTHING
    if value_s < 0:
        return "-" + duration(-value_s, whole=whole)
    seconds = round(value_s)
    if whole and seconds < 60:
        return f"{seconds} s"
    if not whole and value_s < 0.995:
        return f"{value_s:.2f} s"
    if not whole and value_s < 59.95:
        return f"{value_s:.1f} s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if hours == 0:
        return f"{minutes}m {seconds % 60:02}s"
    if days == 0:
        return f"{hours}h {minutes % 60:02}m"
    return f"{days}d {hours % 24:02}h"


def elapsed(value_s: float) -> str:
    """As `duration`, but in tenths from the beginning: 0.3 s, so that it counts up evenly."""
    return f"{value_s:.1f} s" if 0 <= value_s < 59.95 else duration(value_s)


def percent(part: float | None) -> str:
    """A part, 0 to 1, as 41%. It is 100% only when nothing is missing, 0% only when nothing is."""
    if part is None or not math.isfinite(part * 100):
        return NOTHING
    if 0 < part < 1:
        return f"{min(99, max(1, round(part * 100)))}%"
    return f"{round(part * 100)}%"


def share(part: float | None) -> str:
    """A worker's part of the ring: 100%, 33.3%, 1.6%, at most 5 characters."""
    if part is None or not math.isfinite(part):
        return NOTHING
    text = f"{part * 100:.1f}".removesuffix(".0")
    return f"{text}%"


def _three_digits(value: float) -> str:
    """12_345 -> 12.3k. The unit is picked after rounding: 999_960 is 1.00M, not 1000k."""
    for power, unit in enumerate(_THOUSANDS):
        scaled = value / 1000**power
        for decimals, bound in ((2, 9.995), (1, 99.95), (0, 999.5)):
            if power and abs(scaled) < bound:
                return f"{scaled:.{decimals}f}{unit}"
    return f"{value:.0e}"
