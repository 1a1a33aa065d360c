"""The words of tokens next to their padding, for a check of text."""

from __future__ import annotations

from maskcli.records.check import CheckReport
from maskcli.render.parts import Heading, Limits, Part
from maskcli.render.tables import (
    elide_axis,
    fill_table,
    find_room,
    label_tokens,
    make_elision_note,
    make_token_fields,
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

    def make_table(room: int | None) -> list[Part]:
        timesteps = elide_axis(words.shape[1], room, "timestep")
        table = fill_table(make_token_fields(words, kinds, timesteps), rows)
        return [table, *make_elision_note(rows.note, timesteps.note)]

    heading = Heading(f"Words {batch.shape}", "padding is marked with ·")
    return [heading, *make_table(find_room(make_table, words.shape[1], limits))]
