"""The chart of the leak matrix: how padding changes an output.

Each padded timestep is replaced separately; a cell shows the change at one timestep of the output.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from maskcli.records.leak import LeakMatrix
from maskcli.records.wording import format_count
from maskcli.render.charts import Figure, Spec, looks, make_chart_name
from maskcli.render.charts.grids import WIDE, Axis, CellGrid, CellKind, make_grid_views, make_selection
from maskcli.render.charts.looks import CellStyle
from maskcli.render.charts.matrix import make_effect_axes, make_effect_heat, name_blocks, phrase_output, pool_blocks
from maskcli.render.numbers import format_short
from maskcli.render.tables import GAP

MOVES = CellStyle(looks.make_rgba(looks.VERMILION, 0.6), "square", looks.make_rgba(looks.VERMILION, 1), 1.5)
NO_CHANGE, LEAK, AT_PADDING, INFINITE = range(4)
"""Kinds of cells."""
PRIORITY = (NO_CHANGE, AT_PADDING, LEAK, INFINITE)
"""The kinds, the most important one last."""
LOOKS: dict[int, CellKind] = {
    LEAK: CellKind(MOVES, "a leak", heat=(looks.VERMILION, "a leak (framed)")),
    INFINITE: CellKind(looks.NOT_FINITE, "a leak: NaN or infinite", "a leak: NaN or infinite"),
    AT_PADDING: CellKind(
        CellStyle(looks.make_rgba(looks.GRAY, 0.5)), "changes only padding", heat=(looks.GRAY, "changes only padding")
    ),
    NO_CHANGE: CellKind(looks.UNMOVED, "no change beyond rounding", "no change"),
}


def make_figure(matrix: LeakMatrix, sample: int = 0, room: int = WIDE) -> Figure:
    """Return the figure of a leak matrix; ``sample`` is selected first."""
    samples, rows = matrix.valid.shape
    size = (samples, matrix.timesteps)
    change, kinds, block = pool_blocks(matrix.places, matrix.effects, classify_changes(matrix), size, PRIORITY)
    valid = np.logical_or.reduceat(matrix.valid, np.arange(0, rows, block), axis=1)
    unit = "timestep" if block == 1 else f"block of {block} timesteps"
    tooltip = {"column_text": "padded timestep", "text": "changes it by", "what": "it is"}
    if matrix.timed:
        tooltip = {"row_text": "output timestep", "of_row": "the output is"} | tooltip
    cells = dict(LOOKS)
    if matrix.tolerance:
        text = f"no change (up to {format_short(matrix.tolerance)})"
        cells[NO_CHANGE] = dataclasses.replace(cells[NO_CHANGE], legend=text)
    output = f"{unit} of the output" if matrix.timed else "output"
    across, down = make_effect_axes(change.shape, unit, output, f"padded {unit}, replaced", room)
    down = dataclasses.replace(down, numbered=matrix.timed)
    grid = CellGrid(
        across=across,
        down=down,
        kinds=kinds,
        looks=cells,
        numbers={"change": change},
        tooltip=tooltip,
        heat=make_effect_heat(change, kinds, cells),
        transform=name_blocks(block),
        layers=[_make_blank(across, down)],
        strips={down: valid} if matrix.timed else {},
    )
    notes = [down.note, across.note]
    if matrix.tried < matrix.padded:
        notes.append(f"{GAP} {matrix.tried:,} of {format_count(matrix.padded, 'padded timestep')} tried")
    title, selection = (
        f"Effect of each padded {unit} on {phrase_output(matrix.output)}",
        make_selection(samples, sample),
    )
    return looks.assemble_figure("leaks", title, describe_leaks(matrix), make_grid_views(grid), notes, [selection])


def _make_blank(across: Axis, down: Axis) -> Spec:
    """Return the layer of the text in place of cells, for a sample that has none."""
    middle = {"x": {"value": across.pixels / 2}, "y": {"value": down.pixels / 2}}
    empty = "datum.sample === sample && length(datum.column) === 0"
    return looks.make_layer("text", middle, empty, text=["no padding", "tried here"])


def classify_changes(matrix: LeakMatrix) -> NDArray[np.int8]:
    """Return the kind of each cell, ``(tried, output timesteps)``."""
    valid = matrix.valid[matrix.places[:, 0]]
    kinds = np.full(matrix.effects.shape, NO_CHANGE, np.int8)
    moves = matrix.effects > matrix.tolerance
    kinds[moves & ~valid] = AT_PADDING
    kinds[moves & valid] = LEAK
    kinds[moves & valid & np.isinf(matrix.effects)] = INFINITE
    return kinds


def find_leaks(matrix: LeakMatrix) -> NDArray[np.bool_]:
    """Return where replaced padding changes a valid output, ``(tried, output timesteps)``."""
    return np.isin(classify_changes(matrix), (LEAK, INFINITE))


def describe_leaks(matrix: LeakMatrix) -> str:
    """Return the main facts of the matrix for readers who cannot see it."""
    leaks = find_leaks(matrix)
    noun = "timesteps" if matrix.timed else "results"
    name = make_chart_name(matrix.output)
    tried = f"Of {format_count(matrix.padded, 'padded timestep')}, {matrix.tried:,} were replaced, one at a time"
    if not leaks.any():
        return f"{tried}: none changes valid {noun} of {name}."
    count, largest = int(leaks.any(axis=1).sum()), float(matrix.effects[leaks].max())
    return f"{tried}: {count:,} change valid {noun} of {name}, by up to {format_short(largest)}."
