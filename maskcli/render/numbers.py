"""Numbers as people read them in a column."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from maskcli.records import Floats


def fixed(values: Floats, digits: int = 3) -> Callable[[float], str]:
    """Return a formatter with the same decimals for all of ``values``; the largest gets ``digits`` significant ones."""
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max(initial=0.0))
    if largest and not 1e-4 <= largest < 1e6:
        return lambda value: f"{value:.{digits - 1}e}"
    decimals = max(0, digits - math.ceil(math.log10(largest))) if largest else 1
    return lambda value: f"{value + 0.0:.{decimals}f}"


def short(value: float | None) -> str:
    """Return three significant digits; ``0`` is exactly zero, and a dash is no number."""
    if value is None:
        return "–"
    return "0" if value == 0 else f"{value:.3g}"


def share(part: int, whole: int) -> str:
    """Return a percentage."""
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def plural(count: int, noun: str) -> str:
    """Return ``1 token``, ``2 tokens``, with thousands set apart."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
