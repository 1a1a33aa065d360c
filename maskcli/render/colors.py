"""The choice of colour: ``--color``, else NO_COLOR and FORCE_COLOR, else whether the output is a terminal."""

from __future__ import annotations

import os
from typing import Any, Literal

ColorChoice = Literal["auto", "always", "never"]
COLOR_CHOICES: tuple[ColorChoice, ...] = ("auto", "always", "never")
DUMB_TERMINALS = ("dumb", "unknown")

_choice: ColorChoice = "auto"


def set_color_choice(choice: ColorChoice) -> None:
    """Set the choice of this process."""
    global _choice
    _choice = choice


def decide_color() -> bool | None:
    """Return whether output has colour; None if that depends on whether it is a terminal."""
    if _choice != "auto":
        return _choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    return True if os.environ.get("FORCE_COLOR") else None


def make_console_options() -> dict[str, Any]:
    """Return the arguments of a rich console; rich itself follows NO_COLOR, FORCE_COLOR and the terminal."""
    if _choice == "never":
        return {"color_system": None, "no_color": True}
    if _choice == "auto":
        return {}
    is_dumb = os.environ.get("TERM", "").lower() in DUMB_TERMINALS
    return {"force_terminal": True, "no_color": False, "color_system": "standard" if is_dumb else "auto"}
