"""The chart of the timesteps of an output by those of the input: which change which.

Each timestep of the input is replaced separately, or each block of timesteps of a long input.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Floats
from maskcli.records.evidence import FutureEffect
from maskcli.render.charts import Figure, Spec, make_chart_name
from maskcli.render.charts.grids import (
    Axis,
    encode_numbers,
    list_entries,
    make_axis,
    make_cell_layers,
    make_cell_view,
    make_choice_transform,
    make_flatten_transform,
    make_number_filter,
    make_selected_view,
    make_selection,
    make_text_expression,
    select_occurring,
)
from maskcli.render.charts.looks import (
    BLUE,
    NOT_FINITE,
    PADDING,
    UNMOVED,
    VERMILION,
    CellStyle,
    assemble_figure,
    make_chart_legend,
    make_heat_fill,
    make_rgba,
)
from maskcli.render.numbers import format_count, format_short

SIDE = 72
"""Most timesteps or blocks on a side."""
NO_CHANGE, PAST, AHEAD, INFINITE, UNTRIED = range(5)
"""Kinds of cells."""
LOOKS: dict[int, CellStyle] = {
    NO_CHANGE: UNMOVED,
    PAST: CellStyle(make_rgba(BLUE, 0.45)),
    AHEAD: CellStyle(make_rgba(VERMILION, 0.6), "square", make_rgba(VERMILION, 1), 1.5),
    INFINITE: NOT_FINITE,
    UNTRIED: PADDING,
}
KINDS = (
    "no change beyond rounding",
    "changes the same or a later timestep",
    "changes an earlier timestep",
    "changes it to NaN or infinite",
    "padding, not replaced",
)
"""Label of each kind of cell in the tooltip."""


def make_figure(effect: FutureEffect) -> Figure:
    """Return the figure of an effect that has a matrix."""
    assert effect.matrix is not None  # noqa: S101 - callers select these
    outputs, inputs = effect.matrix.shape
    unit = "timestep" if effect.block == 1 else f"block of {effect.block} timesteps"
    across = make_axis("by", inputs, title=f"{unit} of the input, replaced", noun=unit, limit=SIDE, room=780)
    most = min(24, across.step)
    down = make_axis("output", outputs, title=f"{unit} of the output", noun=unit, limit=SIDE, room=780, most=most)
    kinds = classify_cells(effect, effect.matrix)
    entries = list_entries(LOOKS, dict(enumerate(KINDS)), kinds)
    view = _make_view(effect, effect.matrix, kinds, across, down)
    views = [*make_chart_legend(entries, across.pixels), view]
    title = f"Effect of each {unit} on {_name_output(effect)}"
    about = describe_matrix(effect)
    return assemble_figure("future", title, about, views, [down.note, across.note], [make_selection(1, 0)])


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


def _name_output(effect: FutureEffect) -> str:
    """Return the name of the output as part of a sentence."""
    name = make_chart_name(effect.output)
    if name.isdecimal():
        return f"output {name}"
    return "the output" if name == "output" else name


def _make_view(effect: FutureEffect, matrix: Floats, kinds: NDArray[np.int8], across: Axis, down: Axis) -> Spec:
    tooltip = {"from_output": "output timestep", "from_by": "replaced", "text": "largest change", "what": "it"}
    layers = make_cell_layers(across, down, select_occurring(LOOKS, kinds), _make_heat(matrix, kinds))
    transform = [
        *make_flatten_transform(down, "change", "kind"),
        *make_flatten_transform(across, "change", "kind"),
        make_number_filter("change", "amount"),
        make_text_expression("change", "text"),
        make_choice_transform("kind", KINDS, "what"),
        _make_range("output", effect.block, "from_output"),
        _make_range("by", effect.block, "from_by"),
    ]
    view = make_cell_view(across, down, layers, tooltip, transform)
    datum = {
        "sample": 0,
        "change": [encode_numbers(matrix[at, across.at]) for at in down.at],
        "kind": [kinds[at, across.at].tolist() for at in down.at],
    }
    return make_selected_view(view, [datum], [])


def _make_range(field: str, block: int, into: str) -> Spec:
    """Return the transform that names the timesteps of a block."""
    if block == 1:
        return {"calculate": f"datum.{field}", "as": into}
    start = f"datum.{field} * {block}"
    return {"calculate": f"{start} + ' to ' + ({start} + {block - 1})", "as": into}


def _make_heat(matrix: Floats, kinds: NDArray[np.int8]) -> dict[int, Spec]:
    """Return the fills of cells with a change, on one logarithmic scale."""
    changes = matrix[np.isin(kinds, (PAST, AHEAD))]
    if not changes.size:
        return {}
    low = math.floor(math.log10(float(changes.min())))
    high = max(low + 1, math.ceil(math.log10(float(changes.max()))))
    ticks = [10.0**power for power in range(low, high + 1, max(1, (high - low) // 4))]
    scale = {"type": "log", "domain": [10.0**low, 10.0**high], "clamp": True}
    ramps = {
        PAST: ([make_rgba(BLUE, 0.15), make_rgba(BLUE, 0.8)], "same or earlier: largest change"),
        AHEAD: ([make_rgba(VERMILION, 0.2), make_rgba(VERMILION, 0.95)], "later: largest change"),
    }
    return {
        kind: make_heat_fill("amount", scale | {"range": colors}, title, values=ticks, format="~g")
        for kind, (colors, title) in select_occurring(ramps, kinds).items()
    }


def describe_matrix(effect: FutureEffect) -> str:
    """Return the main facts of the matrix for readers who cannot see it."""
    name = _name_output(effect)
    tried = f"Each of {format_count(effect.timesteps, 'timestep')} was replaced"
    if effect.block > 1:
        tried = f"{format_count(effect.timesteps, 'timestep')} were replaced in blocks of {effect.block}"
    if not effect.looks_ahead:
        return f"{tried}: no later timestep changes an earlier one of {name}."
    return (
        f"{tried}: later timesteps change earlier ones of {name} by up to {format_short(effect.max_abs_change)}, most "
        f"at timestep {effect.timestep}, by timestep {effect.by_timestep}."
    )
