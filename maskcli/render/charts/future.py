"""The chart of the timesteps of an output by those of the input: which change which.

Each timestep of the input is replaced separately, or each block of timesteps of a long input.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Floats
from maskcli.records.evidence import FutureEffect
from maskcli.records.report import Report
from maskcli.records.wording import format_count
from maskcli.render.charts import Figure, looks
from maskcli.render.charts.grids import WIDE, CellGrid, CellKind, make_grid_views, make_selection
from maskcli.render.charts.looks import CellStyle
from maskcli.render.charts.matrix import make_effect_axes, make_effect_heat, name_blocks, phrase_output
from maskcli.render.numbers import format_short

NO_CHANGE, PAST, AHEAD, INFINITE, UNTRIED = range(5)
"""Kinds of cells."""
ALLOWED = CellStyle(looks.make_rgba(looks.BLUE, 0.45))
FRAMED = CellStyle(looks.make_rgba(looks.VERMILION, 0.6), "square", looks.make_rgba(looks.VERMILION, 1), 1.5)
LOOKS: dict[int, CellKind] = {
    NO_CHANGE: CellKind(looks.UNMOVED, "no change beyond rounding", "no change"),
    PAST: CellKind(ALLOWED, "changes the same or a later timestep", heat=(looks.BLUE, "same or later timestep")),
    AHEAD: CellKind(FRAMED, "changes an earlier timestep", heat=(looks.VERMILION, "earlier one (framed)")),
    INFINITE: CellKind(looks.NOT_FINITE, "changes it to NaN or infinite", "changes it to NaN or infinite"),
    UNTRIED: CellKind(looks.PADDING, "padding, not replaced", "padding, not replaced"),
}


def make_figure(effect: FutureEffect, room: int = WIDE) -> Figure:
    """Return the figure of an effect that has a matrix."""
    assert effect.matrix is not None  # noqa: S101 - callers select these
    unit = "timestep" if effect.block == 1 else f"block of {effect.block} timesteps"
    change, kinds = effect.matrix[None], classify_cells(effect, effect.matrix)[None]
    across, down = make_effect_axes(change.shape, unit, f"{unit} of the output", f"{unit} of the input, replaced", room)
    grid = CellGrid(
        across=across,
        down=down,
        kinds=kinds,
        looks=LOOKS,
        numbers={"change": change},
        tooltip={"row_text": "output timestep", "column_text": "replaced", "text": "largest change", "what": "it"},
        heat=make_effect_heat(change, kinds, LOOKS),
        transform=name_blocks(effect.block),
    )
    title = f"Effect of each {unit} on {phrase_output(effect.output)}"
    notes, selection = (down.note, across.note), make_selection(1, 0)
    return looks.assemble_figure("future", title, describe_matrix(effect), make_grid_views(grid), notes, [selection])


def classify_cells(effect: FutureEffect, matrix: Floats) -> NDArray[np.int8]:
    """Return the kind of each cell, ``(output timesteps, timesteps)``, in blocks as the matrix."""
    outputs, inputs = matrix.shape
    # A block changes timesteps of its own as well: only later blocks look ahead for certain.
    later = np.arange(inputs) * effect.block > np.arange(outputs)[:, None] * effect.block + effect.shift
    kinds = np.full(matrix.shape, NO_CHANGE, np.int8)
    moves = matrix > 0  # NaN compares as False.
    kinds[moves & ~later] = PAST
    kinds[moves & later] = AHEAD
    kinds[np.isinf(matrix)] = INFINITE
    kinds[np.isnan(matrix)] = UNTRIED
    return kinds


def describe_matrix(effect: FutureEffect) -> str:
    """Return the main facts of the matrix for readers who cannot see it."""
    name = phrase_output(effect.output)
    tried = f"Each of {format_count(effect.timesteps, 'timestep')} was replaced"
    if effect.block > 1:
        tried = f"{format_count(effect.timesteps, 'timestep')} were replaced in blocks of {effect.block}"
    if not effect.looks_ahead:
        return f"{tried}: no later timestep changes an earlier one of {name}."
    return (
        f"{tried}: later timesteps change earlier ones of {name} by up to {format_short(effect.max_abs_change)}, most "
        f"at timestep {effect.timestep}, by timestep {effect.by_timestep}."
    )


def explain_no_matrix(report: Report) -> str:
    """Return the reason why no timesteps of an output were compared with those of the input."""
    model = report.check.examination.model
    probes = () if model is None else model.further_probes
    reason = next((probe.why for probe in probes if probe.name == "future" and probe.why), "the model did not run")
    return f"It could not be tried: {reason}."
