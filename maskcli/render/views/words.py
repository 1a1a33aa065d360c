"""The words of tokens next to their padding, for a check of text."""

from __future__ import annotations

from maskcli.records.check import CheckReport
from maskcli.render.parts import Heading, Limits, Part
from maskcli.render.tables import (
    count_fitting_columns,
    elide_axis,
    fill_table,
    label_tokens,
    make_elision_note,
    make_token_fields,
    measure_tokens,
)
from maskcli.render.timesteps import find_timestep_kinds

MOST_ROWS = 12
"""Rows that are shown, unless all are requested."""


def view_words(report: CheckReport, limits: Limits) -> list[Part]:
    """Return a table of the words, with padding marked; nothing for data without words."""
    batch = report.batch
    if batch is None or batch.tokens is None:
        return []
    words, kinds = label_tokens(batch.tokens, report.data.words), find_timestep_kinds(batch.valid, None)
    rows = elide_axis(len(words), None if limits.everything else limits.rows or MOST_ROWS, "sequence")
    room = count_fitting_columns(limits, measure_tokens(words, ""), taken=10)
    timesteps = elide_axis(words.shape[1], room, "timestep")
    heading = Heading(f"Words {batch.shape}", "padding is marked with ·")
    table = fill_table(make_token_fields(words, kinds, timesteps), rows)
    return [heading, table, *make_elision_note(rows.note, timesteps.note)]
