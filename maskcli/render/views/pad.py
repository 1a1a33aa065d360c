"""A padded batch."""

from __future__ import annotations

from maskcli.records import PaddedBatch
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


def view(batch: PaddedBatch, limits: Limits) -> list[Part]:
    """Return the batch with its padding set apart, its lengths, and what padding and truncation cost."""
    n_sequences, maxlen = batch.tokens.shape
    rows = elided(n_sequences, limits.rows)
    columns = elided(maxlen, fitting(limits, token_width(batch), taken=20))
    table = Table(
        columns=(Column("sample"), *timestep_columns(columns), Column("length")),
        rows=tuple(
            (
                cell(row, "label"),
                *token_cells(batch.tokens[row], batch.mask[row], None, columns),
                cell(batch.lengths[row]),
            )
            if row is not None
            else gap_row(len(columns) + 2)
            for row in rows
        ),
    )
    return [
        heading(batch),
        table,
        *elision_note(left_out(rows, n_sequences, "sequence"), left_out(columns, maxlen, "timestep")),
        Text(summary(batch)),
    ]


def heading(batch: PaddedBatch) -> Heading:
    """Return what the batch is called."""
    n_sequences, maxlen = batch.tokens.shape
    layout = batch.layout
    return Heading(
        f"Padded batch ({n_sequences}, {maxlen})", f"{layout.dtype}, padding {layout.padding}, value {layout.value}"
    )


def summary(batch: PaddedBatch) -> tuple[Cell, ...]:
    """Return what padding and truncation cost."""
    kept = int(batch.mask.sum())
    padding = batch.mask.size - kept
    cut = batch.truncated_tokens
    said = f"{plural(kept, 'token')}, {padding:,} padding ({share(padding, batch.mask.size)} of the batch), "
    where = {"pre": "start", "post": "end"}[batch.layout.truncating]
    return (
        Cell(said),
        Cell(f"{cut:,} truncated at the {where}" if cut else "0 truncated", "strong" if cut else "plain"),
    )
