"""Styles of text on a terminal, by rich."""

from __future__ import annotations

import functools
from typing import NamedTuple

from rich.color import Color as RichColor
from rich.color import ColorSystem
from rich.style import Style

from maskcli.render.heatmap import LOWER_HALF, UPPER_HALF, quantize_level, shade_level
from maskcli.render.parts import HEAT, KIND_ROLES, Color, Role
from maskcli.render.timesteps import TimestepKind

STYLES: dict[Role, str] = {
    "plain": "",
    **{KIND_ROLES[kind]: kind.style for kind in TimestepKind},
    "off": "",
    "heat0": "dim",
    "heat1": "blue",
    "heat2": "cyan",
    "heat3": "magenta",
    "heat4": "bright_magenta",
    "muted": "",
    "faint": "dim",
    "label": "cyan",
    "strong": "bold",
    "error": "bold red",
    "warning": "bold yellow",
    "info": "cyan",
}
"""Nothing that carries information is dim, which on Solarized is hardly visible, or bright black, its background."""


class Paint(NamedTuple):
    """The styles of one terminal.

    Attributes:
        color_system: ``standard`` for 16 colours, ``256`` or ``truecolor``; ``windows`` is standard.
        has_color: whether text has colours; otherwise it is only bold or dim.
    """

    color_system: str
    has_color: bool

    def style(self, characters: str, role: Role, level: float | None, paper: Color | None) -> str:
        """Return characters in the style of a role, or of a level, on the colour ``paper``."""
        fine = self.color_system in ("256", "truecolor")
        style = _find_style(role if level is None else level, fine)
        # With 16 colours, a level keeps its glyph, because so few colours do not distinguish the levels.
        if paper is not None and (fine or paper != level):
            characters, style = _add_paper(characters, style, _find_style(paper, fine))
        if not self.has_color:
            style = style.without_color
        return style.render(characters, color_system=_SYSTEMS[self.color_system])


_SYSTEMS = {
    "standard": ColorSystem.STANDARD,
    "256": ColorSystem.EIGHT_BIT,
    "truecolor": ColorSystem.TRUECOLOR,
    "windows": ColorSystem.STANDARD,
}


def _add_paper(characters: str, ink: Style, paper: Style) -> tuple[str, Style]:
    """Return characters on a colour; dim paper has no colour, so that ink and paper swap their halves."""
    if paper.color is None:
        return characters.replace(UPPER_HALF, LOWER_HALF), paper + Style(bgcolor=ink.color)
    return characters, ink + Style(bgcolor=paper.color)


@functools.cache
def _find_style(color: Color, fine: bool) -> Style:
    """Return the style of a role or level; with 16 colours, a level has the style of its quarter."""
    if not isinstance(color, float):
        return Style.parse(STYLES[color])
    if fine:
        return Style(color=RichColor.from_rgb(*shade_level(color)))
    return Style.parse(STYLES[HEAT[quantize_level(color)]])
