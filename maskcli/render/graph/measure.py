"""How wide a text is about, and how a line runs: what a picture needs to know that no browser lays out."""

from __future__ import annotations

import re

_NARROW, _WIDE = re.compile(r"[fijlrtI.,:;|!'()\[\] ]"), re.compile("[mwMW@%&]")


def measure_text(text: str, size: float) -> float:
    """Return about how many pixels a text takes, rather more than less; signs of the East are as wide as high."""
    ems = sum(
        1.05 if ord(letter) > 0x2E7F else 0.38 if _NARROW.match(letter) else 0.95 if _WIDE.match(letter) else 0.62
        for letter in text
    )
    return ems * size


def draw_curve(x: float, y: float, to_x: float, to_y: float) -> str:
    """Return the piece of a path that leads down from one place to another."""
    if abs(x - to_x) < 0.5:
        return f"L{to_x:.1f} {to_y:.1f}"
    middle = (y + to_y) / 2
    return f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}"
