"""A padded batch."""

from __future__ import annotations

from maskcli.records.sequences import Excerpt, PaddedBatch
from maskcli.render.grid import (
    count_fitting_columns,
    describe_left_out,
    make_elision_note,
    make_gap_row,
    make_timestep_columns,
    make_token_cells,
    measure_tokens,
)
from maskcli.render.numbers import format_count, format_share
from maskcli.render.parts import Cell, Column, Heading, Limits, Part, Table, Text, elide, make_cell


def view(batch: PaddedBatch | Excerpt, limits: Limits) -> list[Part]:
    """Return the batch with its padding set apart, its lengths, and what padding and truncation cost."""
    shown = batch if isinstance(batch, Excerpt) else make_excerpt(batch)
    n_sequences, maxlen = shown.shape
    rows = elide(n_sequences, limits.rows)
    columns = elide(maxlen, count_fitting_columns(limits, measure_tokens(shown), taken=20))
    table = Table(
        columns=(Column("sample"), *make_timestep_columns(columns), Column("length")),
        rows=tuple(_row(shown, row, columns) if row is not None else make_gap_row(len(columns) + 2) for row in rows),
    )
    return [
        make_heading(shown),
        table,
        *make_elision_note(
            describe_left_out(rows, n_sequences, "sequence"), describe_left_out(columns, maxlen, "timestep")
        ),
        Text(summarize_padding(shown)),
    ]


def make_excerpt(batch: PaddedBatch) -> Excerpt:
    """Return all of a batch as what a table shows."""
    shape = batch.tokens.shape[0], batch.tokens.shape[1]
    return Excerpt(shape, batch.layout, int(batch.mask.sum()), batch.truncated_tokens, batch, batch)


def _row(shown: Excerpt, row: int, columns: list[int | None]) -> tuple[tuple[Cell, ...], ...]:
    tokens, mask, length = shown.row(row)
    return make_cell(row, "label"), *make_token_cells(tokens, mask, None, columns), make_cell(length)


def make_heading(shown: Excerpt) -> Heading:
    """Return what the batch is called."""
    layout = shown.layout
    return Heading(f"Padded batch {shown.shape}", f"{layout.dtype}, padding {layout.padding}, value {layout.value}")


def summarize_padding(shown: Excerpt) -> tuple[Cell, ...]:
    """Return what padding and truncation cost."""
    size = shown.shape[0] * shown.shape[1]
    padding = size - shown.tokens
    cut = shown.truncated_tokens
    said = f"{format_count(shown.tokens, 'token')}, {padding:,} padding ({format_share(padding, size)} of the batch), "
    where = {"pre": "start", "post": "end"}[shown.layout.truncating]
    return (
        Cell(said),
        Cell(f"{cut:,} truncated at the {where}" if cut else "0 truncated", "strong" if cut else "plain"),
    )
