"""The leak matrix: how far each padded timestep, replaced alone, moves each timestep of an output."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.leak import LeakMatrix
from maskcli.render.charts import Figure, Spec, printable
from maskcli.render.charts.grids import (
    BESIDE,
    GAP,
    GROUND,
    Lane,
    beside,
    cells,
    chosen,
    flat,
    frame,
    lane,
    number,
    numbers,
    readable,
    said,
    strip,
)
from maskcli.render.charts.looks import (
    APART,
    GRAY,
    NOT_FINITE,
    UNMOVED,
    VERMILION,
    Entry,
    Look,
    assembled,
    gradient,
    legend,
    rgba,
)
from maskcli.render.numbers import plural, short

SIDE = 72
"""Timesteps on a side that are drawn at most."""
MOVES = Look(rgba(VERMILION, 0.6), "square", rgba(VERMILION, 1), 1.5)
HARMLESS = Look(rgba(GRAY, 0.5))
LOOKS: dict[int, Look] = {0: UNMOVED, 1: MOVES, 2: HARMLESS, 3: NOT_FINITE}
WHAT = ("no change beyond rounding", "a leak", "moves padding only", "a leak: NaN or infinite")
COUNTS = ("counts", "is padding")


def figure(matrix: LeakMatrix, sample: int = 0) -> Figure:
    """Return the figure of a leak matrix; ``sample`` is the one that is shown first."""
    samples, outputs, timesteps = matrix.change.shape
    across = lane("padded", timesteps, title="padded timestep, replaced", noun="padded timestep", limit=SIDE, room=780)
    title = "output timestep" if matrix.timed else "output"
    down = lane("output", outputs, title=title, noun="output timestep", limit=SIDE, room=780, most=min(24, across.step))
    kind = _kinds(matrix)
    views = [*legend(_entries(matrix, kind), across.pixels), _view(matrix, kind, across, down)]
    tried = f"{GAP} {matrix.tried:,} of {plural(matrix.padded, 'padded timestep')} tried"
    notes = [down.note, across.note, tried if matrix.tried < matrix.padded else ""]
    about = _about(matrix, kind)
    spec = assembled(views, about, notes, [chosen(samples, sample)])
    return Figure("leaks", f"What each padded timestep moves in {_output(matrix)}", about, spec)


def _output(matrix: LeakMatrix) -> str:
    """Return the name of the output; a number is no name."""
    name = printable(matrix.output)
    return f"output {name}" if name.isdecimal() else "the output" if name == "output" else name


def _kinds(matrix: LeakMatrix) -> NDArray[np.int8]:
    """Return what each cell is, ``(samples, output timesteps, timesteps)``; -1 where nothing was tried."""
    change, counts = matrix.change, matrix.valid[:, :, None]
    moved = np.nan_to_num(change, nan=0.0, posinf=np.inf) > matrix.tolerance
    kind = np.where(moved, np.where(counts, np.where(np.isinf(change), 3, 1), 2), 0)
    return np.where(np.isnan(change), -1, kind).astype(np.int8)


def _view(matrix: LeakMatrix, kind: NDArray[np.int8], across: Lane, down: Lane) -> Spec:
    found = {is_: look for is_, look in LOOKS.items() if (kind == is_).any()}
    picked: list[Spec] = [{"filter": "datum.sample === sample"}]
    main = {
        "transform": [*picked, *_transform(down)],
        "encoding": {
            "x": across.channel(orient="top"),
            "y": down.channel(**({"offset": 14} if matrix.timed else {"labels": False})),
            "tooltip": _tooltip(matrix.timed),
        },
        "layer": cells(across, down, found, _heat(matrix, kind)),
        "resolve": APART,
    }
    sides = [strip(down, "left", BESIDE, [*picked, *beside(down, "rows", COUNTS)])] if matrix.timed else []
    return {
        "data": {"values": _data(matrix, kind, across, down)},
        **frame(across, down),
        "view": GROUND,
        "layer": [main, *sides, _nothing(across, down)],
    }


def _nothing(across: Lane, down: Lane) -> Spec:
    """Return the layer that says why a grid is blank."""
    return {
        "transform": [{"filter": "datum.sample === sample && length(datum.padded) === 0"}],
        "mark": {"type": "text", "text": ["no padding", "tried here"]},
        "encoding": {"x": {"value": across.pixels / 2}, "y": {"value": down.pixels / 2}},
    }


def _data(matrix: LeakMatrix, kind: NDArray[np.int8], across: Lane, down: Lane) -> list[Spec]:
    """Return a datum for each sample: the padded timesteps that were tried, and for each output timestep a change."""
    return [
        {
            "sample": row,
            "rows": (~matrix.valid[row, down.at]).astype(int).tolist(),
            "padded": (tried := [at for at in across.at if (kind[row, :, at] >= 0).any()]),
            "change": [numbers(matrix.change[row, at, tried]) for at in down.at],
            "kind": [kind[row, at, tried].tolist() for at in down.at],
        }
        for row in range(len(matrix.change))
    ]


def _transform(down: Lane) -> list[Spec]:
    """Return what takes apart the rows, and then the cells of each."""
    return [
        *flat(down, "rows", "change", "kind"),
        {"flatten": ["padded", "change", "kind"]},
        number("change", "amount"),
        readable("change", "text"),
        {"calculate": said("datum.kind", WHAT), "as": "what"},
        {"calculate": said("datum.rows", COUNTS), "as": "counts"},
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
            "scale": scale | {"range": [rgba(color, 0.2), rgba(color, most)]},
            "legend": gradient(title, values=ticks, format="~g"),
        }
        for is_, color, most, title in named
        if (kind == is_).any()
    }


def _powers(low: float, high: float) -> tuple[int, int]:
    """Return the powers of ten around two numbers."""
    bottom = math.floor(math.log10(low))
    return bottom, max(bottom + 1, math.ceil(math.log10(high)))


def _entries(matrix: LeakMatrix, kind: NDArray[np.int8]) -> list[Entry]:
    rounding = f"no change (up to {short(matrix.tolerance)})" if matrix.tolerance else "no change"
    texts = {1: "a leak: the output counts", 3: "a leak: NaN or infinite", 2: "moves padding only", 0: rounding}
    found = [Entry(LOOKS[is_], text) for is_, text in texts.items() if (kind == is_).any()]
    edges = ("at the edge: counts", "at the edge: padding") if matrix.timed else ()
    return [*found, *(Entry(BESIDE[is_], text) for is_, text in enumerate(edges))]


def _about(matrix: LeakMatrix, kind: NDArray[Any]) -> str:
    leaks = np.isin(kind, (1, 3))
    what = "timesteps" if matrix.timed else "results"
    tried = f"Of {plural(matrix.padded, 'padded timestep')}, {matrix.tried:,} were replaced, each alone"
    if not leaks.any():
        return f"{tried}: none moves one of the {what} of {printable(matrix.output)} that count."
    largest = float(matrix.change[leaks].max())
    movers = int(leaks.any(axis=1).sum())
    return f"{tried}: {movers:,} move {what} of {printable(matrix.output)} that count, at most by {short(largest)}."
