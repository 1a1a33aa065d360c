"""What happened to the mask: the batch, the mask's path, the outputs, and the same weights without a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.records.model import ModelAbout
from maskcli.records.trace import Call, Inspection
from maskcli.render.grid import (
    GAP,
    count_fitting_columns,
    describe_left_out,
    find_token_role,
    format_vector,
    make_elision_note,
    make_gap_row,
    make_mask_cells,
    make_timestep_columns,
    make_token_cells,
)
from maskcli.render.numbers import format_short, make_fixed_formatter
from maskcli.render.parts import (
    Cell,
    Cells,
    Column,
    Heading,
    Limits,
    Part,
    Remarks,
    Role,
    Table,
    Text,
    elide,
    make_cell,
)
from maskcli.render.views.outputs import (
    convert_ids,
    describe_mask_shape,
    fit_axis,
    has_timesteps,
    view_first_output,
    view_further_outputs,
)
from maskcli.render.views.trace import LONGEST_NAME, NARROWEST, shorten_middle, view_mask_path

SOURCES = {
    "embedding": "from Embedding(mask_zero=True): id ≠ 0",
    "masking": "from Masking(0.0): the vector is not all zero",
    "explicit": "given explicitly: all but the padding",
    "none": "no mask source",
    "all": "from Embedding(mask_zero=True); all three below",
}
ORIGINS = {"built-in": "built in", "file": "from a file", "factory": "from a function", "object": "from Python"}


def view(inspection: Inspection, limits: Limits) -> list[Part]:
    """Return all of it, in the order in which a reader asks."""
    return [
        *_model(inspection.model),
        *_inputs(inspection.inputs, inspection.model, limits),
        *_batch(inspection, limits),
        *_embedding(inspection, limits),
        *view_mask_path(inspection.trace, limits),
        *view_first_output(inspection, limits),
        *view_further_outputs(inspection.outputs[1:], limits),
        *_sources(inspection, limits),
        Remarks(inspection.remarks),
    ]


# The model and what went in.


def _model(about: ModelAbout) -> list[Part]:
    """Return which model it is; a built-in one is named on the command line, and made there."""
    return [] if about.settings is not None else [Heading(about.name, f"{about.type} {ORIGINS[about.source]}")]


def _inputs(inputs: tuple[ModelInput, ...], about: ModelAbout, limits: Limits) -> list[Part]:
    if len(inputs) < 2 or about.settings is not None:
        return []
    rows = elide(len(inputs), limits.rows)
    columns = (*(Column(title, "left") for title in ("input", "shape", "dtype", "kind")), Column("padded timesteps"))

    def show(given: ModelInput) -> tuple[Cells, ...]:
        padded = "–" if given.valid is None else f"{int((~given.valid).sum()):,} of {given.valid.size:,}"
        name = shorten_middle(given.name, max(NARROWEST, limits.width - 50))
        return (
            make_cell(name, "label"),
            *(make_cell(said) for said in (given.values.shape, given.values.dtype, given.kind)),
            make_cell(padded, "muted" if given.valid is None else "plain"),
        )

    return [
        Table(columns, tuple(make_gap_row(5) if row is None else show(inputs[row]) for row in rows)),
        *make_elision_note(describe_left_out(rows, len(inputs), "input")),
    ]


# Timesteps and the mask.


def _batch(inspection: Inspection, limits: Limits) -> list[Part]:
    given = inspection.primary
    if given is None or given.valid is None:
        return []
    mask = inspection.mask if has_timesteps(inspection.mask, given.valid) else None
    several = sum(one.valid is not None and one.kind != "mask" for one in inspection.inputs) > 1
    what = ("Tokens and mask" if given.kind == "ids" else "Timesteps and mask") + (
        f" of {given.name}" if several else ""
    )
    elsewhere = mask is None and inspection.mask is not None
    if given.kind == "ids":
        table = _tokens(given, given.valid, mask, elsewhere, limits)
    else:
        table = _timesteps(given.valid, mask, elsewhere, limits)
    return [
        Heading(f"{what} {given.values.shape!s}", describe_mask_origin(inspection)),
        *table,
        *_legend(given, given.valid, mask),
        *describe_mask_shape(inspection.mask, given.valid, "The mask"),
    ]


def _tokens(given: ModelInput, valid: Bools, mask: Bools | None, elsewhere: bool, limits: Limits) -> list[Part]:
    """Return the tokens beside their mask; one that is ``elsewhere`` has another shape, and no column."""
    tokens = convert_ids(given)
    n_sequences, maxlen = valid.shape
    rows = elide(n_sequences, limits.rows)

    def make(room: int | None) -> list[Part]:
        columns = elide(maxlen, room)

        def show(row: int) -> tuple[Cells, ...]:
            told = _row(mask, row)
            shown = make_token_cells(tokens[row], valid[row], told, columns)
            return (make_cell(row, "label"), *shown, *(() if elsewhere else (make_mask_cells(told, columns),)))

        titles = (Column("sample"), *make_timestep_columns(columns), *(() if elsewhere else (Column("mask", "left"),)))
        return [
            Table(titles, tuple(make_gap_row(len(titles)) if row is None else show(row) for row in rows)),
            *make_elision_note(
                describe_left_out(rows, n_sequences, "sequence"), describe_left_out(columns, maxlen, "timestep")
            ),
        ]

    return fit_axis(make, count_fitting_columns(limits, _token_width(tokens, given.padding) + 1, taken=14), limits)


def _token_width(tokens: NDArray[Any], padding: int) -> int:
    """Return the characters that the widest token takes, padding with its glyph, and the gap to the next."""
    widest = max(len(str(tokens.min())), len(str(tokens.max())), len(str(tokens.shape[1] - 1)))
    return max(widest, len(str(padding)) + 1) + 2


def _timesteps(valid: Bools, mask: Bools | None, elsewhere: bool, limits: Limits) -> list[Part]:
    """Return the timesteps of features, which have no token to show: a glyph each, beside that of the mask."""
    samples, timesteps = valid.shape
    rows = elide(samples, limits.rows)
    columns = elide(timesteps, count_fitting_columns(limits, 2, taken=14))

    def show(row: int) -> tuple[Cells, ...]:
        told = _row(mask, row)
        masked = np.zeros_like(valid[row]) if told is None else ~told
        glyphs = tuple(
            Cell(GAP, "muted") if at is None else _glyph(find_token_role(bool(valid[row, at]), bool(masked[at])))
            for at in columns
        )
        return (make_cell(row, "label"), glyphs, *(() if elsewhere else (make_mask_cells(told, columns),)))

    titles = (Column("sample"), Column("valid", "left"), *(() if elsewhere else (Column("mask", "left"),)))
    return [
        Table(titles, tuple(make_gap_row(len(titles)) if row is None else show(row) for row in rows)),
        *make_elision_note(
            describe_left_out(rows, samples, "sample"), describe_left_out(columns, timesteps, "timestep")
        ),
    ]


def _glyph(role: Role) -> Cell:
    return Cell("", "on" if role == "valid" else role)


def _legend(given: ModelInput, valid: Bools, mask: Bools | None) -> list[Part]:
    """Return what the glyphs mean, of those that occur."""
    ids = given.kind == "ids"
    told = np.zeros_like(valid) if mask is None else mask
    legend: tuple[tuple[Role, str, Any], ...] = (
        ("on", " counts" if ids else " valid, counts", told.any() or not ids),
        ("off", " masked", mask is not None and not told.all()),
        ("padding", " padding", not valid.all()),
        ("dropped", f" real {'token' if ids else 'timestep'}, masked", mask is not None and (valid & ~told).any()),
    )
    signs = [cell for role, text, occurs in legend if occurs for cell in (Cell("", role), Cell(f"{text}   ", "muted"))]
    return [Text(tuple(signs))] if signs else []


def describe_mask_origin(inspection: Inspection) -> str:
    """Return where the mask comes from."""
    if inspection.model.settings is not None:
        return SOURCES[inspection.model.settings.mask_source]
    maker = _maker(inspection.trace)
    if maker is not None:
        return f"made by {shorten_middle(maker.call, LONGEST_NAME)} ({maker.type})"
    if inspection.mask is None:
        return "no mask source"
    if any(given.kind == "mask" for given in inspection.inputs):
        return "given as an input"
    return "made in the code of the model"


def _maker(trace: tuple[Call, ...]) -> Call | None:
    """Return the first call that creates a mask: of nested ones the innermost."""
    found: Call | None = None
    for call in trace:
        if call.effect == "creates" and not call.computes_mask:
            if found is not None and not call.call.startswith(f"{found.call}/"):
                break
            found = call
    return found


def _embedding(inspection: Inspection, limits: Limits) -> list[Part]:
    row = inspection.embedding
    if row is None:
        return []
    number = make_fixed_formatter(row.padding_vector)
    shown = elide(len(row.padding_vector), count_fitting_columns(limits, len(number(-1.0)) + 1, taken=8))
    return [
        Heading(f"Embedding vector of padding id {row.padding_id}"),
        Text((Cell(f"[{format_vector(row.padding_vector, shown, number)}]"),)),
    ]


# The mask sources.


def _sources(inspection: Inspection, limits: Limits) -> list[Part]:
    results, given = inspection.mask_sources, inspection.primary
    if not results or given is None:
        return []
    n_sequences, maxlen = given.values.shape[:2]
    rows = elide(n_sequences, limits.rows)
    timesteps = elide(maxlen, count_fitting_columns(limits, len(results), taken=24))

    def show(row: int) -> tuple[Cells, ...]:
        return (make_cell(row, "label"), *(make_mask_cells(_row(result.mask, row), timesteps) for result in results))

    differences = (
        make_cell("–" if result is results[0] else format_short(result.max_abs_difference)) for result in results
    )
    return [
        Heading(
            "The three mask sources, with equal weights",
            "one mask, one output" if inspection.mask_sources_agree else "they differ",
        ),
        Table(
            (Column(""), *(Column(result.mask_source, "left") for result in results)),
            (
                *(make_gap_row(len(results) + 1) if row is None else show(row) for row in rows),
                (make_cell("outputs move", "label"), *differences),
            ),
        ),
        *make_elision_note(
            describe_left_out(rows, n_sequences, "sequence"), describe_left_out(timesteps, maxlen, "timestep")
        ),
    ]


def _row(mask: Bools | None, row: int) -> Bools | None:
    return None if mask is None else mask[row]
