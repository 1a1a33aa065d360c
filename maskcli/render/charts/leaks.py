"""The leak matrix: how far each padded timestep, replaced alone, moves each timestep of an output."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.leak import LeakMatrix
from maskcli.render.charts import Figure, Spec, make_chart_name
from maskcli.render.charts.grids import (
    GAP,
    GROUND,
    STRIP_FIELD,
    Axis,
    encode_numbers,
    make_axis,
    make_cell_layers,
    make_choice_expression,
    make_flatten_transform,
    make_frame,
    make_number_filter,
    make_selection,
    make_strip,
    make_strip_transform,
    make_text_expression,
)
from maskcli.render.charts.looks import (
    GRAY,
    NOT_FINITE,
    SEPARATE_SCALES,
    UNMOVED,
    VERMILION,
    CellStyle,
    LegendEntry,
    assemble_spec,
    make_chart_legend,
    make_gradient_legend,
    make_rgba,
)
from maskcli.render.numbers import format_count, format_short

SIDE = 72
"""Timesteps on a side that are drawn at most."""
MOVES = CellStyle(make_rgba(VERMILION, 0.6), "square", make_rgba(VERMILION, 1), 1.5)
HARMLESS = CellStyle(make_rgba(GRAY, 0.5))
LOOKS: dict[int, CellStyle] = {0: UNMOVED, 1: MOVES, 2: HARMLESS, 3: NOT_FINITE}
WHAT = ("no change beyond rounding", "a leak", "moves padding only", "a leak: NaN or infinite")
COUNTS = ("counts", "is padding")


def make_figure(matrix: LeakMatrix, sample: int = 0) -> Figure:
    """Return the figure of a leak matrix; ``sample`` is the one that is shown first."""
    samples, outputs, timesteps = matrix.change.shape
    across = make_axis(
        "padded", timesteps, title="padded timestep, replaced", noun="padded timestep", limit=SIDE, room=780
    )
    title = "output timestep" if matrix.timed else "output"
    down = make_axis(
        "output", outputs, title=title, noun="output timestep", limit=SIDE, room=780, most=min(24, across.step)
    )
    kind = _kinds(matrix)
    views = [*make_chart_legend(_entries(matrix, kind), across.pixels), _view(matrix, kind, across, down)]
    tried = f"{GAP} {matrix.tried:,} of {format_count(matrix.padded, 'padded timestep')} tried"
    notes = [down.note, across.note, tried if matrix.tried < matrix.padded else ""]
    about = _about(matrix, kind)
    spec = assemble_spec(views, about, notes, [make_selection(samples, sample)])
    return Figure("leaks", f"What each padded timestep moves in {_output(matrix)}", about, spec)


def _output(matrix: LeakMatrix) -> str:
    """Return the name of the output; a number is no name."""
    name = make_chart_name(matrix.output)
    return f"output {name}" if name.isdecimal() else "the output" if name == "output" else name


def _kinds(matrix: LeakMatrix) -> NDArray[np.int8]:
    """Return what each cell is, ``(samples, output timesteps, timesteps)``; -1 where nothing was tried."""
    change, counts = matrix.change, matrix.valid[:, :, None]
    moved = np.nan_to_num(change, nan=0.0, posinf=np.inf) > matrix.tolerance
    kind = np.where(moved, np.where(counts, np.where(np.isinf(change), 3, 1), 2), 0)
    return np.where(np.isnan(change), -1, kind).astype(np.int8)


def _view(matrix: LeakMatrix, kind: NDArray[np.int8], across: Axis, down: Axis) -> Spec:
    found = {is_: look for is_, look in LOOKS.items() if (kind == is_).any()}
    picked: list[Spec] = [{"filter": "datum.sample === sample"}]
    main = {
        "transform": [*picked, *_transform(down)],
        "encoding": {
            "x": across.channel(orient="top"),
            "y": down.channel(**({"offset": 14} if matrix.timed else {"labels": False})),
            "tooltip": _tooltip(matrix.timed),
        },
        "layer": make_cell_layers(across, down, found, _heat(matrix, kind)),
        "resolve": SEPARATE_SCALES,
    }
    sides = (
        [make_strip(down, "left", STRIP_FIELD, [*picked, *make_strip_transform(down, "rows", COUNTS)])]
        if matrix.timed
        else []
    )
    return {
        "data": {"values": _data(matrix, kind, across, down)},
        **make_frame(across, down),
        "view": GROUND,
        "layer": [main, *sides, _nothing(across, down)],
    }


def _nothing(across: Axis, down: Axis) -> Spec:
    """Return the layer that says why a grid is blank."""
    return {
        "transform": [{"filter": "datum.sample === sample && length(datum.padded) === 0"}],
        "mark": {"type": "text", "text": ["no padding", "tried here"]},
        "encoding": {"x": {"value": across.pixels / 2}, "y": {"value": down.pixels / 2}},
    }


def _data(matrix: LeakMatrix, kind: NDArray[np.int8], across: Axis, down: Axis) -> list[Spec]:
    """Return a datum for each sample: the padded timesteps that were tried, and for each output timestep a change."""
    return [
        {
            "sample": row,
            "rows": (~matrix.valid[row, down.at]).astype(int).tolist(),
            "padded": (tried := [at for at in across.at if (kind[row, :, at] >= 0).any()]),
            "change": [encode_numbers(matrix.change[row, at, tried]) for at in down.at],
            "kind": [kind[row, at, tried].tolist() for at in down.at],
        }
        for row in range(len(matrix.change))
    ]


def _transform(down: Axis) -> list[Spec]:
    """Return what takes apart the rows, and then the cells of each."""
    return [
        *make_flatten_transform(down, "rows", "change", "kind"),
        {"flatten": ["padded", "change", "kind"]},
        make_number_filter("change", "amount"),
        make_text_expression("change", "text"),
        {"calculate": make_choice_expression("datum.kind", WHAT), "as": "what"},
        {"calculate": make_choice_expression("datum.rows", COUNTS), "as": "counts"},
    ]


def _tooltip(timed: bool) -> list[Spec]:
    titles = {"output": "output timestep", "counts": "the output", "padded": "padded timestep", "text": "moves it by"}
    titles |= {"what": "it is"}
    if not timed:
        del titles["output"], titles["counts"]
    return [{"field": field, "title": title} for field, title in titles.items()]


def _heat(matrix: LeakMatrix, kind: NDArray[np.int8]) -> dict[int, Spec]:
    """Return the colours of what moves, on one scale for all samples: of powers of ten, as changes span many."""
    moved = matrix.change[np.isin(kind, (1, 2))]
    moved = moved[np.isfinite(moved)]
    if not moved.size:
        return {}
    low, high = _powers(float(moved.min()), float(moved.max()))
    ticks = [10.0**power for power in range(low, high + 1, max(1, (high - low) // 4))]
    scale = {"type": "log", "domain": [10.0**low, 10.0**high], "clamp": True}
    named = ((1, VERMILION, 0.95, "leak: largest change"), (2, GRAY, 0.7, "at padding: largest change"))
    return {
        is_: {
            "field": "amount",
            "type": "quantitative",
            "scale": scale | {"range": [make_rgba(color, 0.2), make_rgba(color, most)]},
            "legend": make_gradient_legend(title, values=ticks, format="~g"),
        }
        for is_, color, most, title in named
        if (kind == is_).any()
    }


def _powers(low: float, high: float) -> tuple[int, int]:
    """Return the powers of ten around two numbers."""
    bottom = math.floor(math.log10(low))
    return bottom, max(bottom + 1, math.ceil(math.log10(high)))


def _entries(matrix: LeakMatrix, kind: NDArray[np.int8]) -> list[LegendEntry]:
    rounding = f"no change (up to {format_short(matrix.tolerance)})" if matrix.tolerance else "no change"
    texts = {1: "a leak: the output counts", 3: "a leak: NaN or infinite", 2: "moves padding only", 0: rounding}
    found = [LegendEntry(LOOKS[is_], text) for is_, text in texts.items() if (kind == is_).any()]
    edges = ("at the edge: counts", "at the edge: padding") if matrix.timed else ()
    return [*found, *(LegendEntry(STRIP_FIELD[is_], text) for is_, text in enumerate(edges))]


def _about(matrix: LeakMatrix, kind: NDArray[Any]) -> str:
    leaks = np.isin(kind, (1, 3))
    what = "timesteps" if matrix.timed else "results"
    tried = f"Of {format_count(matrix.padded, 'padded timestep')}, {matrix.tried:,} were replaced, each alone"
    if not leaks.any():
        return f"{tried}: none moves one of the {what} of {make_chart_name(matrix.output)} that count."
    largest = float(matrix.change[leaks].max())
    movers = int(leaks.any(axis=1).sum())
    return (
        f"{tried}: {movers:,} move {what} of {make_chart_name(matrix.output)} that count, at most by "
        f"{format_short(largest)}."
    )
