"""Estimates of text widths, and curves, for pictures that no browser lays out."""

from __future__ import annotations

import re

_NARROW, _WIDE = re.compile(r"[fijlrtI.,:;|!'()\[\] ]"), re.compile("[mwMW@%&]")


def measure_text(text: str, size: float) -> float:
    """Return the width of a text in pixels, rather too large than too small."""
    return size * sum(map(_measure_letter, text))


def _measure_letter(letter: str) -> float:
    """Return the width of a letter as a part of the font size. East Asian letters are square."""
    if ord(letter) > 0x2E7F:
        return 1.05
    if _NARROW.match(letter):
        return 0.38
    return 0.95 if _WIDE.match(letter) else 0.62


def draw_curve(x: float, y: float, to_x: float, to_y: float) -> str:
    """Return the piece of a path that leads down from one place to another."""
    if abs(x - to_x) < 0.5:
        return f"L{to_x:.1f} {to_y:.1f}"
    middle = (y + to_y) / 2
    return f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}"
