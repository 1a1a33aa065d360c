"""Matrices as columns of a table: elided in the middle to what fits, padding and mask told by role."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from maskcli.records.arrays import Bools, Floats, Ints
from maskcli.records.sequences import Excerpt
from maskcli.render.numbers import format_count
from maskcli.render.parts import Cell, Cells, Column, Limits, Role, Text, make_cell

GAP = "…"
SEE_ALL = " (--all shows everything)"


def count_fitting_columns(limits: Limits, cell_width: int, taken: int) -> int | None:
    """Return how many columns of ``cell_width`` fit beside what is ``taken``, at least 2; None for all of them."""
    if limits.everything:
        return None
    return limits.columns or max(2, (limits.width - taken) // cell_width)


def make_timestep_columns(shown: list[int | None]) -> tuple[Column, ...]:
    """Return a column for each timestep shown, and one for the gap."""
    return tuple(Column(GAP if index is None else str(index)) for index in shown)


def find_token_role(valid: bool, masked: bool = False) -> Role:
    """Return the role of a token: padding, dropped when the mask hides a real one, valid otherwise."""
    return ("dropped" if masked else "valid") if valid else "padding"


def make_token_cells(tokens: Ints, valid: Bools, mask: Bools | None, shown: list[int | None]) -> list[Cells]:
    """Return the cells of one row of tokens; arrays are ``(timesteps,)``."""
    masked = np.zeros_like(valid) if mask is None else ~mask
    return [
        make_cell(GAP, "muted")
        if index is None
        else make_cell(tokens[index], find_token_role(valid[index], masked[index]))
        for index in shown
    ]


def make_mask_cells(mask: Bools | None, shown: list[int | None]) -> Cells:
    """Return one row of a mask as cells that stand together."""
    if mask is None:
        return make_cell("no mask", "muted")
    return tuple(Cell(GAP, "muted") if index is None else Cell("", "on" if mask[index] else "off") for index in shown)


def measure_tokens(batch: Excerpt) -> int:
    """Return the characters that the widest token takes, padding with its glyph, and the gap to the next."""
    shown = [part.tokens for part in (batch.first, batch.last) if part.tokens.size]
    extremes = (extreme for tokens in shown for extreme in (tokens.min(), tokens.max()))
    widest = max(len(str(number)) for number in (*extremes, batch.shape[1] - 1))
    return max(widest, len(str(batch.layout.value)) + 1) + 2


def format_vector(values: Floats, shown: list[int | None], number: Callable[[float], str]) -> str:
    """Return the numbers of a vector side by side."""
    return " ".join(GAP if index is None else number(values[index]) for index in shown)


def make_gap_row(columns: int) -> tuple[Cells, ...]:
    """Return the row that stands for the rows left out."""
    return tuple(make_cell("⋮", "muted") for _ in range(columns))


def describe_left_out(shown: list[int | None], count: int, noun: str) -> str:
    """Return how much of an axis is not shown, or nothing."""
    missing = count - sum(index is not None for index in shown)
    return f"{format_count(missing, noun)} not shown" if missing else ""


def make_elision_note(*notes: str) -> list[Text]:
    """Return a line that says what was left out and how to see it; none when all is shown."""
    said = ", ".join(note for note in notes if note)
    return [Text((Cell(f"{GAP} {said}{SEE_ALL}", "muted"),))] if said else []
