"""The words of tokens next to their padding, for a check of text."""

from __future__ import annotations

from maskcli.records.check import CheckReport
from maskcli.render.parts import Cells, Heading, Limits, Part, make_cell
from maskcli.render.tables import (
    ItemColumn,
    count_fitting_columns,
    elide_axis,
    fill_table,
    label_tokens,
    make_elision_note,
    make_timestep_fields,
    make_token_cell,
    measure_tokens,
)
from maskcli.render.timesteps import TimestepKind

MOST_ROWS = 12
"""Rows that are shown, unless all are requested."""


def view_words(report: CheckReport, limits: Limits) -> list[Part]:
    """Return a table of the words, with padding marked; nothing for data without words."""
    batch = report.batch
    if batch is None or batch.tokens is None:
        return []
    words, valid = label_tokens(batch.tokens, report.data.words), batch.valid

    def show_word(row: int, timestep: int) -> Cells:
        return make_token_cell(
            words[row, timestep], TimestepKind.VALID if valid[row, timestep] else TimestepKind.PADDING
        )

    rows = elide_axis(len(words), None if limits.everything else limits.rows or MOST_ROWS, "sequence")
    room = count_fitting_columns(limits, measure_tokens(words, ""), taken=10)
    timesteps = elide_axis(words.shape[1], room, "timestep")
    fields: list[ItemColumn[int]] = [ItemColumn("sample", lambda row: make_cell(row, "label"))]
    fields += make_timestep_fields(timesteps, show_word)
    heading = Heading(f"Words {batch.shape}", "padding is marked with ·")
    return [heading, fill_table(fields, rows), *make_elision_note(rows.note, timesteps.note)]
