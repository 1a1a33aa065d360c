"""Parts of the charts of matrices: how each replaced timestep changes each timestep of an output."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Floats, Ints
from maskcli.render.charts import Spec, make_chart_name
from maskcli.render.charts.grids import OMITTED, WIDEST, Axis, CellKind, make_axis, make_matrix_axis, select_occurring
from maskcli.render.charts.looks import make_heat_fill, make_rgba

SIDE = 64
"""Most timesteps or blocks on a side."""


def make_effect_axes(shape: tuple[int, ...], unit: str, output: str, replaced: str, room: int) -> tuple[Axis, Axis]:
    """Return the axes of replaced timesteps or blocks, across, and of those of the output, down.

    Args:
        shape: ``(samples, rows, columns)``.
        unit: noun of a row or column.
        output: title of the rows.
        replaced: title of the columns.
        room: pixels of the columns.
    """
    _, rows, columns = shape
    across = make_axis("column", columns, title=replaced, noun=unit, limit=SIDE, room=room, most=WIDEST)
    return across, make_matrix_axis(across, "row", rows, title=output, noun=unit, limit=SIDE)


def pool_blocks(
    places: Ints, change: Floats, kinds: NDArray[np.int8], size: tuple[int, int], priority: Sequence[int]
) -> tuple[Floats, NDArray[np.int8], int]:
    """Return a matrix with at most ``SIDE`` rows and columns, and the number of timesteps in each.

    Args:
        places: ``(n, 2)``, the sample and the column of each replaced timestep; other columns are ``OMITTED``.
        change: ``(n, rows)``, its changes.
        kinds: of the same shape. Where a block has several kinds, its kind is the last one of them in ``priority``,
            and its change is the largest one of that kind.
        size: the numbers of samples and of columns.
        priority: all kinds.
    """
    (samples, columns), rows = size, change.shape[1]
    block = max(1, math.ceil(max(rows, columns) / SIDE))
    starts = np.arange(0, rows, block)
    pooled = np.full((samples, math.ceil(columns / block), len(starts)), np.nan)
    pooled_kinds = np.full(pooled.shape, OMITTED, np.int8)
    for kind in priority:
        of_kind = np.maximum.reduceat(np.where(kinds == kind, change, -np.inf), starts, axis=1)
        largest = np.full(pooled.shape, -np.inf)
        np.maximum.at(largest, (places[:, 0], places[:, 1] // block), of_kind)
        occurs = largest > -np.inf
        pooled[occurs], pooled_kinds[occurs] = largest[occurs], kind
    return pooled.swapaxes(1, 2), pooled_kinds.swapaxes(1, 2), block


def phrase_output(output: str) -> str:
    """Return the name of an output as part of a sentence."""
    name = make_chart_name(output)
    if name.isdecimal():
        return f"output {name}"
    return "the output" if name == "output" else name


def name_blocks(block: int) -> list[Spec]:
    """Return the transforms that name the timestep of each row and column, or the timesteps of its block."""
    return [_name_block(field, block) for field in ("row", "column")]


def _name_block(field: str, block: int) -> Spec:
    text = f"datum.{field}"
    if block > 1:
        start = f"datum.{field} * {block}"
        text = f"{start} + ' to ' + ({start} + {block - 1})"
    return {"calculate": text, "as": f"{field}_text"}


def make_effect_heat(change: Floats, kinds: NDArray[np.int8], looks: Mapping[int, CellKind]) -> dict[int, Spec]:
    """Return the fills of cells with a change, on one logarithmic scale for all samples."""
    heated = {kind: look.heat for kind, look in select_occurring(looks, kinds).items() if look.heat is not None}
    changes = change[np.isin(kinds, list(heated)) & np.isfinite(change)]
    if not changes.size:
        return {}
    low = math.floor(math.log10(float(changes.min())))
    high = max(low + 1, math.ceil(math.log10(float(changes.max()))))
    ticks = [10.0**power for power in range(low, high + 1, max(1, (high - low) // 4))]
    scale = {"type": "log", "domain": [10.0**low, 10.0**high], "clamp": True}
    return {
        kind: make_heat_fill(
            "amount", scale | {"range": [make_rgba(color, 0.2), make_rgba(color, 0.95)]}, title, values=ticks
        )
        for kind, (color, title) in heated.items()
    }
