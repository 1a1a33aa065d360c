"""A padded batch."""

from __future__ import annotations

from maskcli.records.sequences import Excerpt, PaddedBatch
from maskcli.render.grid import (
    elision_note,
    fitting,
    gap_row,
    left_out,
    timestep_columns,
    token_cells,
    token_width,
)
from maskcli.render.numbers import plural, share
from maskcli.render.parts import Cell, Column, Heading, Limits, Part, Table, Text, cell, elided


def view(batch: PaddedBatch | Excerpt, limits: Limits) -> list[Part]:
    """Return the batch with its padding set apart, its lengths, and what padding and truncation cost."""
    shown = batch if isinstance(batch, Excerpt) else excerpt(batch)
    n_sequences, maxlen = shown.shape
    rows = elided(n_sequences, limits.rows)
    columns = elided(maxlen, fitting(limits, token_width(shown), taken=20))
    table = Table(
        columns=(Column("sample"), *timestep_columns(columns), Column("length")),
        rows=tuple(_row(shown, row, columns) if row is not None else gap_row(len(columns) + 2) for row in rows),
    )
    return [
        heading(shown),
        table,
        *elision_note(left_out(rows, n_sequences, "sequence"), left_out(columns, maxlen, "timestep")),
        Text(summary(shown)),
    ]


def excerpt(batch: PaddedBatch) -> Excerpt:
    """Return all of a batch as what a table shows."""
    shape = batch.tokens.shape[0], batch.tokens.shape[1]
    return Excerpt(shape, batch.layout, int(batch.mask.sum()), batch.truncated_tokens, batch, batch)


def _row(shown: Excerpt, row: int, columns: list[int | None]) -> tuple[tuple[Cell, ...], ...]:
    tokens, mask, length = shown.row(row)
    return cell(row, "label"), *token_cells(tokens, mask, None, columns), cell(length)


def heading(shown: Excerpt) -> Heading:
    """Return what the batch is called."""
    layout = shown.layout
    return Heading(f"Padded batch {shown.shape}", f"{layout.dtype}, padding {layout.padding}, value {layout.value}")


def summary(shown: Excerpt) -> tuple[Cell, ...]:
    """Return what padding and truncation cost."""
    size = shown.shape[0] * shown.shape[1]
    padding = size - shown.tokens
    cut = shown.truncated_tokens
    said = f"{plural(shown.tokens, 'token')}, {padding:,} padding ({share(padding, size)} of the batch), "
    where = {"pre": "start", "post": "end"}[shown.layout.truncating]
    return (
        Cell(said),
        Cell(f"{cut:,} truncated at the {where}" if cut else "0 truncated", "strong" if cut else "plain"),
    )
