"""What happened to the mask: the batch, the mask's path, the outputs, and the same weights without a mask."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from maskcli.evidence import Call, Inspection
from maskcli.records import Bools, Floats
from maskcli.render.grid import (
    Cells,
    elision_note,
    fitting,
    gap_row,
    left_out,
    mask_cells,
    timestep_columns,
    token_cells,
    token_role,
    token_width,
    vector,
)
from maskcli.render.numbers import fixed, short
from maskcli.render.parts import Cell, Column, Heading, Limits, Part, Remarks, Role, Table, Text, cell, elided

EFFECTS = {
    "creates": "no mask came in, one goes out",
    "passes": "does not look at it, passes it on",
    "changes": "another mask goes out",
    "uses": "is given it",
    "drops": "a mask came in, none goes out",
    "none": "knows no mask",
}
SOURCES = {
    "embedding": "from Embedding(mask_zero=True): id ≠ 0",
    "masking": "from Masking(0.0): the vector is not all zero",
    "explicit": "given explicitly: all but the padding",
    "none": "no mask source",
    "all": "from Embedding(mask_zero=True); all three below",
}
LEGEND: tuple[tuple[Role, str], ...] = (
    ("on", " counts"),
    ("off", " masked"),
    ("padding", " padding"),
    ("dropped", " real token, masked"),
)


def view(inspection: Inspection, limits: Limits) -> list[Part]:
    """Return all of it, in the order in which a reader asks."""
    return [
        *_batch(inspection, limits),
        *_embedding(inspection, limits),
        *_trace(inspection),
        *_outputs(inspection, limits),
        *_sources(inspection, limits),
        Remarks(inspection.remarks),
    ]


def _batch(inspection: Inspection, limits: Limits) -> list[Part]:
    tokens, valid, mask = inspection.batch.tokens, inspection.valid, inspection.mask
    n_sequences, maxlen = tokens.shape
    rows = elided(n_sequences, limits.rows)
    columns = elided(maxlen, fitting(limits, token_width(inspection.batch) + 1, taken=14))

    def show(row: int) -> tuple[Cells, ...]:
        told = _row(mask, row)
        shown = token_cells(tokens[row], valid[row], told, columns)
        return (cell(row, "label"), *shown, mask_cells(told, columns))

    return [
        Heading(f"Tokens and mask ({n_sequences}, {maxlen})", SOURCES[inspection.model.mask_source]),
        Table(
            (Column("sample"), *timestep_columns(columns), Column("mask", "left")),
            tuple(gap_row(len(columns) + 2) if row is None else show(row) for row in rows),
        ),
        *elision_note(left_out(rows, n_sequences, "sequence"), left_out(columns, maxlen, "timestep")),
        *_legend(valid, mask),
    ]


def _legend(valid: Bools, mask: Bools | None) -> list[Part]:
    """Return what the glyphs mean, of those that occur."""
    told = np.zeros_like(valid) if mask is None else mask
    occurs = {
        "on": told.any(),
        "off": mask is not None and not told.all(),
        "padding": not valid.all(),
        "dropped": mask is not None and (valid & ~told).any(),
    }
    signs = [cell for role, text in LEGEND if occurs[role] for cell in (Cell("", role), Cell(f"{text}   ", "muted"))]
    return [Text(tuple(signs))] if signs else []


def _embedding(inspection: Inspection, limits: Limits) -> list[Part]:
    row = inspection.embedding
    number = fixed(row.padding_vector)
    shown = elided(len(row.padding_vector), fitting(limits, len(number(-1.0)) + 1, taken=8))
    return [
        Heading(f"Embedding vector of padding id {row.padding_id}"),
        Text((Cell(f"[{vector(row.padding_vector, shown, number)}]"),)),
    ]


def _trace(inspection: Inspection) -> list[Part]:
    columns = (Column("#"), Column("call", "left"), Column("type", "left"), Column("in", "left"), Column("out", "left"))
    table = Table(
        (*columns, Column("effect", "left"), Column("", "left")), tuple(_call_row(call) for call in inspection.trace)
    )
    return [Heading("Path of the mask", "what each call does to it, in the order of running"), table]


def _call_row(call: Call) -> tuple[Cells, ...]:
    aside: Role = "muted" if call.computes_mask else "plain"
    effect, what = (call.effect, EFFECTS[call.effect])
    if call.computes_mask:
        effect, what = "computes", "the mask that a later call is given"
    elif call.effect == "uses":
        what += ", passes it on" if call.mask_out is not None else ", returns none"
    return (
        cell(call.index, "label"),
        cell(call.call, aside),
        cell(call.type, aside),
        _carries(call.mask_in),
        _carries(call.mask_out),
        cell(effect, "muted" if call.computes_mask else "strong"),
        cell(what, aside),
    )


def _carries(mask: Bools | None) -> Cells:
    return cell("–", "muted") if mask is None else (Cell("", "on"),)


def _outputs(inspection: Inspection, limits: Limits) -> list[Part]:
    outputs, unmasked = inspection.outputs, inspection.unmasked
    units, pooled = outputs.values.shape[-1], outputs.values.ndim < 3
    runs = [outputs.values] if unmasked is None else [outputs.values, unmasked.values]
    taken = _taken(inspection, len(runs))
    number, width = _number(runs, limits, taken)
    features = elided(units, fitting(limits, (width + 1) * len(runs), taken))
    places = list(np.ndindex(outputs.values.shape[:-1]))
    shown = elided(len(places), limits.rows)
    starts = {after for before, after in zip([None, *shown], shown, strict=False) if before is None}

    def show(index: int) -> tuple[Cells, ...]:
        at = places[index]
        first = pooled or at[1] == 0 or index in starts
        vectors = (cell(vector(run[at], features, lambda value: number(value).rjust(width))) for run in runs)
        moves = () if unmasked is None else (cell(short(float(unmasked.change[at]))),)
        return (
            cell(at[0] if first else "", "label"),
            *(() if pooled else _timestep(inspection, at)),
            *vectors,
            *moves,
        )

    columns = (
        Column("sample"),
        *(() if pooled else (Column("t"), Column("token"), Column("mask", "left"))),
        Column("output"),
        *(() if unmasked is None else (Column("without mask"), Column("moves"))),
    )
    what = "sample" if pooled else "timestep"
    return [
        Heading(
            f"Outputs of {outputs.call} {outputs.values.shape!s}",
            "" if unmasked is None else "beside the same weights run without any mask",
        ),
        Table(columns, tuple(gap_row(len(columns)) if index is None else show(index) for index in shown)),
        *elision_note(left_out(shown, len(places), what), left_out(features, units, "unit")),
    ]


def _taken(inspection: Inspection, vectors: int) -> int:
    """Return the characters that the columns beside so many columns of vectors take, with their gaps."""
    tokens = inspection.batch.tokens
    timestep = len(str(tokens.shape[1] - 1))
    token = max(5, len(str(tokens.min())), len(str(tokens.max())))
    note = 5 + timestep
    pooled = inspection.outputs.values.ndim < 3
    beside = 6 if pooled else 6 + 2 + timestep + 2 + token + 2 + note
    return beside + (2 - 1) * vectors + (2 + 7 if vectors > 1 else 0)


def _number(runs: list[Floats], limits: Limits, taken: int) -> tuple[Callable[[float], str], int]:
    """Return a formatter and its width: with three digits, or with two where that makes room for all units."""
    both, units = np.stack(runs), runs[0].shape[-1]
    number, width = _formatter(both, 3)
    room = fitting(limits, (width + 1) * len(runs), taken)
    return (number, width) if room is None or units <= room else _formatter(both, 2)


def _formatter(values: Floats, digits: int) -> tuple[Callable[[float], str], int]:
    number = fixed(values, digits)
    return number, max(len(number(float(values.min()))), len(number(float(values.max()))))


def _timestep(inspection: Inspection, at: tuple[int, ...]) -> tuple[Cells, ...]:
    mask = inspection.outputs.mask
    hidden = inspection.mask is not None and not inspection.mask[at]
    told = Cell("–", "muted") if mask is None else Cell("", "on" if mask[at] else "off")
    note = f" {_note(inspection, at)}" if mask is not None and not mask[at] else ""
    return (
        cell(at[1], "label"),
        cell(inspection.batch.tokens[at], token_role(bool(inspection.valid[at]), hidden)),
        (told, Cell(note, "muted")),
    )


def _note(inspection: Inspection, at: tuple[int, ...]) -> str:
    """Return what a masked output is: zero, that of the timestep before, or a value of its own."""
    outputs = inspection.outputs
    if not outputs.values[at].any():
        return "zero"
    return f"= t{at[1] - 1}" if outputs.repeats_previous is not None and outputs.repeats_previous[at] else "own"


def _sources(inspection: Inspection, limits: Limits) -> list[Part]:
    results = inspection.mask_sources
    if not results:
        return []
    n_sequences, maxlen = inspection.batch.tokens.shape
    rows = elided(n_sequences, limits.rows)
    timesteps = elided(maxlen, fitting(limits, len(results), taken=24))

    def show(row: int) -> tuple[Cells, ...]:
        return (cell(row, "label"), *(mask_cells(_row(result.mask, row), timesteps) for result in results))

    differences = (cell("–" if result is results[0] else short(result.max_abs_difference)) for result in results)
    return [
        Heading(
            "The three mask sources, with equal weights",
            "one mask, one output" if inspection.mask_sources_agree else "they differ",
        ),
        Table(
            (Column(""), *(Column(result.mask_source, "left") for result in results)),
            (
                *(gap_row(len(results) + 1) if row is None else show(row) for row in rows),
                (cell("outputs move", "label"), *differences),
            ),
        ),
        *elision_note(left_out(rows, n_sequences, "sequence"), left_out(timesteps, maxlen, "timestep")),
    ]


def _row(mask: Bools | None, row: int) -> Bools | None:
    return None if mask is None else mask[row]
