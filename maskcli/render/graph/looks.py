"""Styles of a graph: colours that colour-blind readers can distinguish, and a sign for each effect."""

from __future__ import annotations

import dataclasses

from maskcli.render.graph.graph import FlowKind

INK, PAPER, MUTED, LINE = "#1f2328", "#ffffff", "#57606a", "#8b949e"
MASK, LOST, ACCENT, OTHER = "#00775a", "#c2410c", "#7b3fa0", "#8a5a00"
"""Colours of a mask, a lost mask, a mask passed as an argument, and a changed mask."""

ON_PAGE = {
    "mask": (MASK, "#3fbf95"),
    "lost": ("#b93a0a", "#ff8a5c"),
    "accent": (ACCENT, "#c89bf0"),
    "other": (OTHER, "#e0b040"),
    "wire": (LINE, "#7d8590"),
}
"""Colours of a graph on a light and a dark page, as custom properties ``--mk-mask`` and so on."""


@dataclasses.dataclass(frozen=True)
class NodeStyle:
    """The style of a node in a picture.

    Attributes:
        color: colour of the border and the sign.
        fill: colour of the inside.
        width: width of the border in pixels.
        dash: dashes of the border; empty for a solid one.
        double: whether there is a second border.
    """

    color: str
    fill: str = PAPER
    width: float = 1.25
    dash: str = ""
    double: bool = False


LOOKS = {
    "creates": NodeStyle(MASK, "#e3f4ee", 1.5, double=True),
    "uses": NodeStyle(MASK, "#e3f4ee", 2),
    "passes": NodeStyle(MASK),
    "changes": NodeStyle(OTHER, "#fdf3dc", 2),
    "drops": NodeStyle(LOST, "#fdeae2", 3.5),
    "computes": NodeStyle(ACCENT, PAPER, 1.25, "2 3"),
    "none": NodeStyle(LINE),
    "input": NodeStyle(MUTED, "#eef1f4"),
    "output": NodeStyle(MUTED, "#eef1f4"),
}


@dataclasses.dataclass(frozen=True)
class Stroke:
    """The style of a line in a picture: colour, width in pixels, and dashes."""

    color: str
    width: float
    dash: str = ""


STROKES: dict[FlowKind, Stroke] = {
    "mask": Stroke(MASK, 4),
    "lost": Stroke(LOST, 2, "7 5"),
    "plain": Stroke(LINE, 1.25),
    "argument": Stroke(ACCENT, 2.25, "0.5 5"),
}

_ARROW = '<path d="M0-5V4M-3.5 1L0 5L3.5 1" {line}/>'
_SIGNS = {
    "creates": '<circle r="8" fill="{color}"/><path d="M0-4.5V4.5M-4.5 0H4.5" {white}/>',
    "uses": '<circle r="7" {line}/><circle r="3.5" fill="{color}"/>',
    "passes": _ARROW,
    "changes": '<path d="M0-6.5L7 5.5H-7Z" {line}/>',
    "drops": '<circle r="8" fill="{color}"/><path d="M-3.5-3.5L3.5 3.5M-3.5 3.5L3.5-3.5" {white}/>',
    "computes": '<path d="M0-7L7 0L0 7L-7 0Z" {line}/>',
    "none": '<circle r="4.5" {line}/>',
    "input": _ARROW,
    "output": _ARROW,
}


def draw_sign(effect: str, color: str, paper: str = PAPER) -> str:
    """Return the sign of an effect as SVG, centred at 0, 0, in a square of 16 pixels."""
    line = f'fill="none" stroke="{color}" stroke-width="2" stroke-linejoin="round" stroke-linecap="round"'
    white = f'fill="none" stroke="{paper}" stroke-width="2.25" stroke-linecap="round"'
    return _SIGNS[effect].format(color=color, line=line, white=white)
