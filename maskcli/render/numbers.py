"""Numbers as people read them in a column."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from maskcli.tolerance import FIXED_BELOW, FIXED_FROM, PERCENT_DECIMAL_BELOW, PERCENT_FROM, PRECISE_BELOW, PRECISE_FROM

if TYPE_CHECKING:
    from maskcli.records.arrays import Floats

FormatNumber = Callable[[float], str]
DASH = "–"
"""A missing number."""


def make_fixed_formatter(values: Floats, digits: int = 3) -> FormatNumber:
    """Return a formatter with the same decimals for all ``values``; the largest has ``digits`` significant ones."""
    import numpy as np  # Loaded here, because ``maskcli rules`` needs no arrays.

    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max(initial=0.0))
    if not largest:
        return lambda value: f"{value + 0.0:.1f}"
    if not FIXED_FROM.value <= largest < FIXED_BELOW.value:
        return lambda value: f"{value:.{digits - 1}e}"
    decimals = max(0, digits - math.ceil(math.log10(largest)))
    return lambda value: f"{value + 0.0:.{decimals}f}"  # Adding zero turns -0.0 into 0.0.


def format_optional(value: float | None, number: FormatNumber) -> str:
    """Return a number, or a dash if it is missing."""
    return DASH if value is None else number(value)


def format_short(value: float | None) -> str:
    """Return three significant digits; ``0`` is exactly zero, and a dash is a missing number."""
    if value == 0:
        return "0"
    return format_optional(value, "{:.3g}".format)


def format_span(first: object, last: object) -> str:
    """Return both ends of a span, or one of them if they are equal."""
    return "–".join(dict.fromkeys(map(str, (first, last))))


def format_share(part: int, whole: int) -> str:
    """Return a percentage."""
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def format_precise(value: float | None) -> str:
    """Return six decimals, or six digits of a tiny or huge number; a dash is a missing number."""
    if value is None:
        return DASH
    if not value or PRECISE_FROM.value <= abs(value) < PRECISE_BELOW.value:
        return f"{value:.6f}"
    return f"{value:.6e}"


def format_significant(value: float, digits: int) -> str:
    """Return ``digits`` significant digits, or all digits before the decimal point if these are more."""
    if 10.0**digits <= abs(value) < FIXED_BELOW.value:
        return f"{value:.0f}"
    return f"{value:.{digits}g}"


def format_percent(part: float | None) -> str:
    """Return a part of 1 as a percentage, with a decimal below ten; a dash is a missing number."""
    if part is None or not math.isfinite(part):
        return DASH
    if 0 < abs(part) < PERCENT_FROM.value:
        return "<0.1 %"
    if 0 < abs(part) < PERCENT_DECIMAL_BELOW.value:
        return f"{100 * part:.1f} %"
    return f"{100 * part:.0f} %"
