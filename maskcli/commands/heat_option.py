"""``--heat``, which draws a picture on the screen in place of tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from maskcli.commands.options import Answer
from maskcli.errors import UsageError

RESOLUTIONS = ("full", "half")
DRAWN_IN = ("table", "markdown")


def heat_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--heat``."""
    return click.option(
        "--heat", type=click.Choice(RESOLUTIONS),
        help="Draw heat maps instead of tables, a line for each row, or half a line.",
    )(command)  # fmt: skip


def check_heat(heat: str | None, answer: Answer) -> None:
    """Raise UsageError where a heat map is asked for in a form that has none."""
    if heat is not None and answer.format_ not in DRAWN_IN:
        raise UsageError(
            where=f"--heat {heat}",
            expected=f"--format {' or '.join(DRAWN_IN)}",
            received=f"--format {answer.format_}",
            fix="Leave out one of the two: heat maps are characters.",
        )
