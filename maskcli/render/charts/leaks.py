"""The chart of the leak matrix: how padding changes an output.

Each padded timestep is replaced separately; a cell shows the change at one timestep of the output.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from maskcli.records.leak import LeakMatrix
from maskcli.render.charts import Figure, Spec, make_chart_name
from maskcli.render.charts.grids import (
    GAP,
    Axis,
    encode_numbers,
    encode_padding,
    list_entries,
    make_axis,
    make_cell_layers,
    make_cell_view,
    make_choice_transform,
    make_flatten_transform,
    make_number_filter,
    make_selected_view,
    make_selection,
    make_strip,
    make_text_expression,
    select_occurring,
)
from maskcli.render.charts.looks import (
    GRAY,
    NOT_FINITE,
    PADDING,
    UNMOVED,
    VALID,
    VERMILION,
    CellStyle,
    LegendEntry,
    assemble_figure,
    make_chart_legend,
    make_heat_fill,
    make_rgba,
)
from maskcli.render.numbers import format_count, format_short

SIDE = 72
"""Most timesteps on a side."""
MOVES = CellStyle(make_rgba(VERMILION, 0.6), "square", make_rgba(VERMILION, 1), 1.5)
HARMLESS = CellStyle(make_rgba(GRAY, 0.5))
NO_CHANGE, LEAK, AT_PADDING, INFINITE = range(4)
"""Kinds of cells."""
LOOKS: dict[int, CellStyle] = {NO_CHANGE: UNMOVED, LEAK: MOVES, AT_PADDING: HARMLESS, INFINITE: NOT_FINITE}
KINDS = ("no change beyond rounding", "a leak", "changes only padding", "a leak: NaN or infinite")
"""Label of each kind of cell in the tooltip."""
ROWS = ("is padding", "counts")
"""Label of padding and of valid output timesteps."""


def make_figure(matrix: LeakMatrix, sample: int = 0) -> Figure:
    """Return the figure of a leak matrix; ``sample`` is selected first."""
    samples, outputs = matrix.valid.shape
    noun = "padded timestep"
    across = make_axis("padded", matrix.timesteps, title=f"{noun}, replaced", noun=noun, limit=SIDE, room=780)
    noun, title = "output timestep", "output timestep" if matrix.timed else "output"
    most = min(24, across.step)
    down = make_axis("output", outputs, title=title, noun=noun, limit=SIDE, room=780, most=most)
    kinds = _classify_cells(matrix)
    views = [*make_chart_legend(_list_entries(matrix, kinds), across.pixels), _make_view(matrix, kinds, across, down)]
    notes = [down.note, across.note]
    if matrix.tried < matrix.padded:
        notes.append(f"{GAP} {matrix.tried:,} of {format_count(matrix.padded, 'padded timestep')} tried")
    about = _describe(matrix, kinds)
    title = f"Effect of each padded timestep on {_name_output(matrix)}"
    return assemble_figure("leaks", title, about, views, notes, [make_selection(samples, sample)])


def _name_output(matrix: LeakMatrix) -> str:
    """Return the name of the output as part of a sentence."""
    name = make_chart_name(matrix.output)
    if name.isdecimal():
        return f"output {name}"
    return "the output" if name == "output" else name


def _classify_cells(matrix: LeakMatrix) -> NDArray[np.int8]:
    """Return the kind of each cell, ``(tried, output timesteps)``."""
    valid = matrix.valid[matrix.places[:, 0]]
    kinds = np.full(matrix.effects.shape, NO_CHANGE, np.int8)
    moves = matrix.effects > matrix.tolerance
    kinds[moves & ~valid] = AT_PADDING
    kinds[moves & valid] = LEAK
    kinds[moves & valid & np.isinf(matrix.effects)] = INFINITE
    return kinds


def _make_view(matrix: LeakMatrix, kinds: NDArray[np.int8], across: Axis, down: Axis) -> Spec:
    tooltip = {"padded": "padded timestep", "text": "changes it by", "what": "it is"}
    if matrix.timed:
        tooltip = {"output": "output timestep", "counts": "the output"} | tooltip
    layers = make_cell_layers(across, down, select_occurring(LOOKS, kinds), _make_heat(matrix, kinds))
    transform = [
        *make_flatten_transform(down, "rows", "change", "kind"),
        {"flatten": ["padded", "change", "kind"]},
        make_number_filter("change", "amount"),
        make_text_expression("change", "text"),
        make_choice_transform("kind", KINDS, "what"),
        make_choice_transform("rows", ROWS, "counts"),
    ]
    view = make_cell_view(across, down, layers, tooltip, transform)
    blank = {
        "transform": [{"filter": "datum.sample === sample && length(datum.padded) === 0"}],
        "mark": {"type": "text", "text": ["no padding", "tried here"]},
        "encoding": {"x": {"value": across.pixels / 2}, "y": {"value": down.pixels / 2}},
    }
    data = _list_data(matrix, kinds, across, down)
    if not matrix.timed:
        view["encoding"]["y"]["axis"]["labels"] = False
        return make_selected_view(view, data, [blank])
    view["encoding"]["y"]["axis"]["offset"] = 14
    return make_selected_view(view, data, [make_strip(down, "left", "rows", ROWS), blank])


def _list_data(matrix: LeakMatrix, kinds: NDArray[np.int8], across: Axis, down: Axis) -> list[Spec]:
    """Return a datum for each sample, with the changes at each output timestep.

    The field ``padded`` lists the padded timesteps that were tried.
    """
    data = []
    samples, timesteps = matrix.places.T
    drawn = np.isin(timesteps, across.at)
    for row in range(len(matrix.valid)):
        tried = np.flatnonzero(drawn & (samples == row))
        data.append(
            {
                "sample": row,
                "rows": encode_padding(matrix.valid[row, down.at]),
                "padded": timesteps[tried].tolist(),
                "change": [encode_numbers(matrix.effects[tried, at]) for at in down.at],
                "kind": [kinds[tried, at].tolist() for at in down.at],
            }
        )
    return data


def _make_heat(matrix: LeakMatrix, kinds: NDArray[np.int8]) -> dict[int, Spec]:
    """Return the fills of cells with a change, on one logarithmic scale for all samples."""
    changes = matrix.effects[np.isin(kinds, (LEAK, AT_PADDING))]
    changes = changes[np.isfinite(changes)]
    if not changes.size:
        return {}
    low = math.floor(math.log10(float(changes.min())))
    high = max(low + 1, math.ceil(math.log10(float(changes.max()))))
    ticks = [10.0**power for power in range(low, high + 1, max(1, (high - low) // 4))]
    scale = {"type": "log", "domain": [10.0**low, 10.0**high], "clamp": True}
    ramps = {
        LEAK: ([make_rgba(VERMILION, 0.2), make_rgba(VERMILION, 0.95)], "leak: largest change"),
        AT_PADDING: ([make_rgba(GRAY, 0.2), make_rgba(GRAY, 0.7)], "at padding: largest change"),
    }
    return {
        kind: make_heat_fill("amount", scale | {"range": colors}, title, values=ticks, format="~g")
        for kind, (colors, title) in select_occurring(ramps, kinds).items()
    }


def _list_entries(matrix: LeakMatrix, kinds: NDArray[np.int8]) -> list[LegendEntry]:
    texts = {
        LEAK: "a leak: the output counts",
        INFINITE: "a leak: NaN or infinite",
        AT_PADDING: "changes only padding",
        NO_CHANGE: f"no change (up to {format_short(matrix.tolerance)})" if matrix.tolerance else "no change",
    }
    entries = list_entries(LOOKS, texts, kinds)
    if matrix.timed:
        entries += [LegendEntry(VALID, "at the edge: counts"), LegendEntry(PADDING, "at the edge: padding")]
    return entries


def _describe(matrix: LeakMatrix, kinds: NDArray[np.int8]) -> str:
    leaks = np.isin(kinds, (LEAK, INFINITE))
    noun = "timesteps" if matrix.timed else "results"
    name = make_chart_name(matrix.output)
    tried = f"Of {format_count(matrix.padded, 'padded timestep')}, {matrix.tried:,} were replaced, one at a time"
    if not leaks.any():
        return f"{tried}: none changes valid {noun} of {name}."
    count, largest = int(leaks.any(axis=1).sum()), float(matrix.effects[leaks].max())
    return f"{tried}: {count:,} change valid {noun} of {name}, by up to {format_short(largest)}."
