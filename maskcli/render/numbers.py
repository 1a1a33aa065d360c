"""Numbers as people read them in a column."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from maskcli.records.arrays import Floats
from maskcli.tolerance import FIXED_BELOW, FIXED_FROM, PERCENT_DECIMAL_BELOW, PERCENT_FROM, PRECISE_BELOW, PRECISE_FROM


def make_fixed_formatter(values: Floats, digits: int = 3) -> Callable[[float], str]:
    """Return a formatter with the same decimals for all of ``values``; the largest gets ``digits`` significant ones."""
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max(initial=0.0))
    if largest and not FIXED_FROM.value <= largest < FIXED_BELOW.value:
        return lambda value: f"{value:.{digits - 1}e}"
    decimals = max(0, digits - math.ceil(math.log10(largest))) if largest else 1
    return lambda value: f"{value + 0.0:.{decimals}f}"


def format_short(value: float | None) -> str:
    """Return three significant digits; ``0`` is exactly zero, and a dash is no number."""
    if value is None:
        return "–"
    return "0" if value == 0 else f"{value:.3g}"


def format_share(part: int, whole: int) -> str:
    """Return a percentage."""
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def format_count(count: int, noun: str) -> str:
    """Return ``1 token``, ``2 tokens``, with thousands set apart."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def format_precise(value: float | None) -> str:
    """Return six decimals, or six digits of what is tiny or huge; a dash is no number."""
    return (
        "–"
        if value is None
        else f"{value:.6f}"
        if PRECISE_FROM.value <= abs(value) < PRECISE_BELOW.value or not value
        else f"{value:.6e}"
    )


def format_significant(value: float, digits: int) -> str:
    """Return so many significant digits, more of a number that has more before its point."""
    return f"{value:.0f}" if 10.0**digits <= abs(value) < FIXED_BELOW.value else f"{value:.{digits}g}"


def format_percent(part: float | None) -> str:
    """Return a part of 1 as a percentage, with a decimal below ten; a dash is no number."""
    if part is None or not math.isfinite(part):
        return "–"
    if 0 < abs(part) < PERCENT_FROM.value:
        return "<0.1 %"
    return f"{100 * part:.1f} %" if 0 < abs(part) < PERCENT_DECIMAL_BELOW.value else f"{100 * part:.0f} %"
