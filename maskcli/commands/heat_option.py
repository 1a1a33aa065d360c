"""``--heat``, which draws a picture on the screen in place of tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from maskcli.commands.options import OutputOptions
from maskcli.errors import UsageError

RESOLUTIONS = ("full", "half")
HEAT_FORMS = ("table", "markdown")


def heat_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--heat``."""
    return click.option(
        "--heat", type=click.Choice(RESOLUTIONS),
        help="Draw heat maps instead of tables, a line for each row, or half a line.",
    )(command)  # fmt: skip


def check_heat(heat: str | None, answer: OutputOptions) -> None:
    """Raise UsageError where a heat map is asked for in a form that has none."""
    if heat is not None and answer.format_ not in HEAT_FORMS:
        raise UsageError(
            where=f"--heat {heat}",
            expected=f"--format {' or '.join(HEAT_FORMS)}",
            received=f"--format {answer.format_}",
            fix="Leave out one of the two: heat maps are characters.",
        )
