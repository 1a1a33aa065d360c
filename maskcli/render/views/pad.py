"""A padded batch."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from maskcli.records.arrays import Array, Bools
from maskcli.records.sequences import Excerpt, PaddedBatch
from maskcli.records.wording import format_count
from maskcli.render.numbers import format_share
from maskcli.render.parts import (
    Cell,
    Cells,
    Heading,
    Limits,
    Part,
    Section,
    Text,
    make_cell,
    make_sections,
    suggest_next,
)
from maskcli.render.tables import (
    ItemColumn,
    elide_axis,
    fill_table,
    find_room,
    label_tokens,
    make_elision_note,
    make_legend,
    make_note,
    make_timestep_fields,
    make_token_cell,
)
from maskcli.render.timesteps import TimestepKind
from maskcli.render.views.validity import view_validity


def view(batch: PaddedBatch | Excerpt, limits: Limits) -> list[Section]:
    """Return the batch with its padding marked, its lengths, and the cost of padding and truncation."""
    excerpt = batch if isinstance(batch, Excerpt) else make_excerpt(batch)
    n_sequences, maxlen = excerpt.shape
    rows = elide_axis(n_sequences, limits.rows, "sequence")

    @functools.lru_cache(maxsize=32)  # A row is shown cell by cell, and several times until the width fits.
    def get_row(row: int) -> tuple[Array, Bools, int]:
        part, position = excerpt.find(row)
        return _label_values(part, excerpt.origin.words, position), part.mask[position], int(part.lengths[position])

    def show_token(row: int, timestep: int) -> Cells:
        tokens, mask, _ = get_row(row)
        return make_token_cell(tokens[timestep], TimestepKind.VALID if mask[timestep] else TimestepKind.PADDING)

    def make_table(room: int | None) -> list[Part]:
        timesteps = elide_axis(maxlen, room, "timestep")
        fields: list[ItemColumn[int]] = [
            ItemColumn("sample", lambda row: make_cell(row, "label")),
            *make_timestep_fields(timesteps, show_token),
            ItemColumn("length", lambda row: make_cell(get_row(row)[2]), rule=True),
        ]
        return [fill_table(fields, rows), *make_elision_note(rows.note, timesteps.note)]

    has_padding = not (excerpt.first.mask.all() and excerpt.last.mask.all())
    parts = (
        make_heading(excerpt),
        *view_validity(excerpt.inputs),
        *make_table(find_room(make_table, maxlen, limits)),
        *make_legend((("padding", "padding"),) if has_padding else (), limits),
        *_note_features(excerpt.first),
        Text(summarize_padding(excerpt)),
    )
    return [
        Section("batch", parts),
        *make_sections(
            ("next", suggest_next("`maskcli inspect` with the same arguments shows what a model does with the mask."))
        ),
    ]


def _label_values(batch: PaddedBatch, words: Mapping[int, str] | None, row: int) -> Array:
    """Return the text of each timestep of a row: its id or word, or the first number of its features."""
    tokens = batch.tokens[row]
    if not batch.features:
        return label_tokens(tokens, words)
    return np.array([f"{number:.4g}" for number in tokens.reshape(len(tokens), -1)[:, 0]], dtype=object)


def _note_features(batch: PaddedBatch) -> list[Part]:
    if not batch.features:
        return []
    shape = " x ".join(map(str, batch.features))
    notes: list[Part] = [make_note(f"{shape} features at each timestep; the first one is shown")]
    if batch.likely_padding is not None:
        value = f"{batch.likely_padding:g}"
        text = f"some rows end in vectors of {value}: if these are padding, inspect and check need --value {value}"
        notes.append(make_note(text))
    return notes


def make_excerpt(batch: PaddedBatch) -> Excerpt:
    """Return an excerpt that contains the whole batch."""
    shape = batch.tokens.shape[0], batch.tokens.shape[1]
    cut = batch.truncated_tokens, batch.truncated_sequences
    return Excerpt(shape, batch.layout, int(batch.mask.sum()), *cut, batch, batch, batch.origin, batch.marked_by)


def make_heading(excerpt: Excerpt) -> Heading:
    """Return the heading of a batch: its shape and its layout."""
    layout = excerpt.layout
    return Heading(f"Padded batch {excerpt.shape}", f"{layout.dtype}, padding {layout.padding}, value {layout.value}")


def summarize_padding(excerpt: Excerpt) -> Cells:
    """Return the cost of padding and truncation."""
    size = excerpt.shape[0] * excerpt.shape[1]
    padding = size - excerpt.tokens
    cut = excerpt.truncated_tokens
    tokens = format_count(excerpt.tokens, "timestep" if excerpt.first.features else "token")
    summary = Cell(f"{tokens}, {padding:,} padding ({format_share(padding, size)} of the batch), ")
    if not cut:
        return (summary, Cell("0 truncated"))
    side = {"pre": "start", "post": "end"}[excerpt.layout.truncating]
    sequences = format_count(excerpt.truncated_sequences, "sequence")
    return (summary, Cell(f"{format_count(cut, 'token')} of {sequences} truncated at the {side}", "strong"))
