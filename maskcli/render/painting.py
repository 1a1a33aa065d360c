"""Styles of text on a terminal: those of roles by themselves, those of levels by rich.

Rich, and NumPy for the shades of levels, take longer to import than a short table to print.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

from maskcli.render.parts import HEAT, KIND_ROLES, Color, Role
from maskcli.render.timesteps import TimestepKind

if TYPE_CHECKING:
    from rich.style import Style

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


CODES = {"bold": "1", "dim": "2"} | {
    f"{prefix}{color}": f"{first + number}"
    for prefix, first in (("", 30), ("bright_", 90))
    for number, color in enumerate(("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"))
}
"""The parameters of the escape sequence of each word in ``STYLES`` (ECMA-48, Select Graphic Rendition)."""


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
        if level is None and paper is None:
            return self._style_role(characters, role)
        fine = self.color_system in ("256", "truecolor")
        style = _find_style(role if level is None else level, fine)
        # With 16 colours, a level keeps its glyph, because so few colours do not distinguish the levels.
        if paper is not None and (fine or paper != level):
            characters, style = _add_paper(characters, style, _find_style(paper, fine))
        if not self.has_color:
            style = style.without_color
        from rich.color import ColorSystem

        systems = {"256": ColorSystem.EIGHT_BIT, "truecolor": ColorSystem.TRUECOLOR}
        return style.render(characters, color_system=systems.get(self.color_system, ColorSystem.STANDARD))

    def _style_role(self, characters: str, role: Role) -> str:
        words = STYLES[role].split()
        codes = ";".join(CODES[word] for word in words if self.has_color or word in ("bold", "dim"))
        return f"\x1b[{codes}m{characters}\x1b[0m" if codes and characters else characters


def _add_paper(characters: str, ink: Style, paper: Style) -> tuple[str, Style]:
    """Return characters on a colour; dim paper has no colour, so that ink and paper swap their halves."""
    from rich.style import Style

    from maskcli.render.heatmap import LOWER_HALF, UPPER_HALF

    if paper.color is None:
        return characters.replace(UPPER_HALF, LOWER_HALF), paper + Style(bgcolor=ink.color)
    return characters, ink + Style(bgcolor=paper.color)


@functools.cache
def _find_style(color: Color, fine: bool) -> Style:
    """Return the style of a role or level; with 16 colours, a level has the style of its quarter."""
    from rich.color import Color as RichColor
    from rich.style import Style

    from maskcli.render.heatmap import quantize_level, shade_level

    if not isinstance(color, float):
        return Style.parse(STYLES[color])
    if fine:
        return Style(color=RichColor.from_rgb(*shade_level(color)))
    return Style.parse(STYLES[HEAT[quantize_level(color)]])
