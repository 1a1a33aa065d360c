"""The chart of a matrix: how each replaced timestep changes each timestep of an output."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools, Floats, Ints
from maskcli.render.charts import Figure, Spec, make_chart_name
from maskcli.render.charts.grids import (
    WIDE,
    WIDEST,
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
    PADDING,
    CellStyle,
    LegendEntry,
    assemble_figure,
    make_chart_legend,
    make_heat_fill,
    make_rgba,
)
from maskcli.render.timesteps import RGB

OMITTED = -1
"""CellKind of a cell that is not drawn."""
SIDE = 64
"""Most timesteps or blocks on a side."""
HEIGHT = 340
"""Pixels of the rows, unless they then become too thin."""
ROWS = ("padding", "valid")
"""Label of padding and of valid output timesteps."""


@dataclasses.dataclass(frozen=True)
class CellKind:
    """A kind of cell.

    Attributes:
        style: its style.
        label: its label in the tooltip.
        legend: its label in the legend, the title of the scale of colours if it has one.
        heat: colour of its changes; None if the cells have one fill.
    """

    style: CellStyle
    label: str
    legend: str
    heat: RGB | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class EffectMatrix:
    """The content of a chart.

    Attributes:
        name: stem of the file.
        title: title.
        about: description.
        change: ``(samples, rows, columns)``.
        kinds: of the same shape, numbers of ``looks``, or ``OMITTED``.
        looks: each kind of cell, in the order of the legend.
        row: title of a row, and its noun.
        column: title of a column, and its noun.
        tooltip: titles of ``row_text``, ``column_text``, ``text``, ``what`` and ``of_row``.
        valid: ``(samples, rows)``, True at valid rows; None without a strip that marks them.
        numbered: whether rows have numbers.
        block: timesteps in each row and column.
        blank: text of a sample without cells.
        notes: counts of parts that are not drawn.
    """

    name: str
    title: str
    about: str
    change: Floats
    kinds: NDArray[np.int8]
    looks: Mapping[int, CellKind]
    row: tuple[str, str]
    column: tuple[str, str]
    tooltip: Mapping[str, str]
    valid: Bools | None = None
    numbered: bool = True
    block: int = 1
    blank: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def make_matrix_figure(matrix: EffectMatrix, sample: int = 0, room: int = WIDE) -> Figure:
    """Return the figure of a matrix; ``sample`` is selected first."""
    samples, rows, columns = matrix.change.shape
    (row_title, row_noun), (column_title, column_noun) = matrix.row, matrix.column
    across = make_axis("column", columns, title=column_title, noun=column_noun, limit=SIDE, room=room, most=WIDEST)
    # A single row is taller, so that its legend does not dwarf it.
    most = min(24 if rows > 1 else 48, across.step, max(5, HEIGHT // min(rows, SIDE)))
    down = make_axis("row", rows, title=row_title, noun=row_noun, limit=SIDE, most=most)
    views = [*make_chart_legend(_list_entries(matrix), across.pixels), _make_view(matrix, across, down)]
    notes = [down.note, across.note, *matrix.notes]
    return assemble_figure(matrix.name, matrix.title, matrix.about, views, notes, [make_selection(samples, sample)])


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


def _list_entries(matrix: EffectMatrix) -> list[LegendEntry]:
    styles = {kind: look.style for kind, look in matrix.looks.items()}
    # Kinds with a scale of colours have a legend of their own.
    texts = {kind: look.legend for kind, look in matrix.looks.items() if look.heat is None}
    entries = list_entries(styles, texts, matrix.kinds)
    if matrix.valid is not None and not matrix.valid.all():
        entries += [LegendEntry(PADDING, "at the edge: padding")]
    return entries


def _make_view(matrix: EffectMatrix, across: Axis, down: Axis) -> Spec:
    looks = select_occurring(matrix.looks, matrix.kinds)
    styles = {kind: look.style for kind, look in looks.items()}
    layers = make_cell_layers(across, down, styles, _make_heat(matrix, looks))
    fields = ("change", "kind")
    transform = [
        *make_flatten_transform(down, "rows", *fields),
        {"flatten": ["column", *fields]},
        make_number_filter("change", "amount"),
        make_text_expression("change", "text"),
        make_choice_transform("kind", [look.label for _, look in sorted(matrix.looks.items())], "what"),
        make_choice_transform("rows", ROWS, "of_row"),
        _make_range("row", matrix.block),
        _make_range("column", matrix.block),
    ]
    view = make_cell_view(across, down, layers, matrix.tooltip, transform)
    more: list[Spec] = []
    axis = view["encoding"]["y"]["axis"]
    if matrix.valid is not None:
        axis["offset"] = 14
        more.append(make_strip(down, "left", "rows", ROWS))
    if not matrix.numbered:
        axis["labels"] = False
    if matrix.blank:
        more.append(_make_blank(matrix.blank, across, down))
    return make_selected_view(view, _list_data(matrix, across, down), more)


def _make_blank(text: Sequence[str], across: Axis, down: Axis) -> Spec:
    """Return the layer of the text in place of cells."""
    return {
        "transform": [{"filter": "datum.sample === sample && length(datum.column) === 0"}],
        "mark": {"type": "text", "text": list(text)},
        "encoding": {"x": {"value": across.pixels / 2}, "y": {"value": down.pixels / 2}},
    }


def _list_data(matrix: EffectMatrix, across: Axis, down: Axis) -> list[Spec]:
    """Return a datum for each sample, with arrays over its columns for each row."""
    valid = np.ones(matrix.change.shape[:2], bool) if matrix.valid is None else matrix.valid
    data: list[Spec] = []
    for row, (change, kinds) in enumerate(zip(matrix.change, matrix.kinds, strict=True)):
        columns = [at for at in across.at if (kinds[:, at] != OMITTED).any()]
        data.append(
            {
                "sample": row,
                "rows": encode_padding(valid[row, down.at]),
                "column": columns,
                "change": [encode_numbers(change[at, columns]) for at in down.at],
                "kind": [kinds[at, columns].tolist() for at in down.at],
            }
        )
    return data


def _make_range(field: str, block: int) -> Spec:
    """Return the transform that names a timestep, or the timesteps of a block."""
    text = f"datum.{field}"
    if block > 1:
        start = f"datum.{field} * {block}"
        text = f"{start} + ' to ' + ({start} + {block - 1})"
    return {"calculate": text, "as": f"{field}_text"}


def _make_heat(matrix: EffectMatrix, looks: Mapping[int, CellKind]) -> dict[int, Spec]:
    """Return the fills of cells with a change, on one logarithmic scale for all samples."""
    heated = {kind: look for kind, look in looks.items() if look.heat is not None}
    changes = matrix.change[np.isin(matrix.kinds, list(heated)) & np.isfinite(matrix.change)]
    if not changes.size:
        return {}
    low = math.floor(math.log10(float(changes.min())))
    high = max(low + 1, math.ceil(math.log10(float(changes.max()))))
    ticks = [10.0**power for power in range(low, high + 1, max(1, (high - low) // 4))]
    scale = {"type": "log", "domain": [10.0**low, 10.0**high], "clamp": True}
    return {
        kind: make_heat_fill(
            "amount",
            scale | {"range": [make_rgba(look.heat, 0.2), make_rgba(look.heat, 0.95)]},
            look.legend,
            values=ticks,
        )
        for kind, look in heated.items()
        if look.heat is not None
    }
