"""The choice of colour: ``--color``, else NO_COLOR and FORCE_COLOR, else whether the output is a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
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


def is_plain_stdout() -> bool:
    """Return whether standard output certainly has no styles: a pipe or a file, without an option or a variable."""
    if _choice == "always" or _is_special():
        return False
    with contextlib.suppress(ValueError, AttributeError):  # A closed stream.
        return not sys.stdout.isatty()
    return True


def find_color_system() -> str | None:
    """Return the colours of an ordinary terminal, in the words of rich; None where rich must look at it."""
    term = os.environ.get("TERM", "").strip().lower()
    is_unusual = _choice != "auto" or _is_special() or "NO_COLOR" in os.environ or sys.platform == "win32"
    if is_unusual or term in ("", *DUMB_TERMINALS):
        return None
    if os.environ.get("COLORTERM", "").strip().lower() in ("truecolor", "24bit"):
        return "truecolor"
    return "256" if term.endswith(("-256color", "-kitty")) else "standard"


def _is_special() -> bool:
    """Return whether a notebook has its own idea of standard output, or variables that rich knows speak of it."""
    forced = any(name in os.environ for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"))
    return forced or "IPython" in sys.modules
