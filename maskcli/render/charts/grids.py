"""Parts of charts made of cells: axes, cells, strips, data transforms and the choice of a sample."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Array, Bools
from maskcli.records.wording import format_count
from maskcli.render.charts import Spec, looks
from maskcli.render.charts.looks import CellStyle, LegendEntry
from maskcli.render.parts import elide
from maskcli.render.tables import GAP, Elision
from maskcli.render.timesteps import RGB, TimestepKind

WIDE, NARROW = 640, 270
"""Pixels for the cells of a chart: on a screen, and on a phone or where two charts share a row."""
WIDEST = 160
"""Most pixels of a number on the horizontal axis."""
ROWS, COLUMNS = 60, 160
"""Most cells drawn, down and across."""
HEIGHT = 340
"""Pixels of the rows of a matrix, unless they then become too thin."""
OMITTED = -1
"""The kind of a cell that is not drawn."""
STRIP = 10
"""Pixels of the strip along an axis that marks padding."""
STRIP_STYLES: dict[int, CellStyle] = {TimestepKind.VALID: looks.VALID, TimestepKind.PADDING: looks.PADDING}
VALIDITY = ("padding", "valid")
"""Label of each kind of timestep on a strip."""
GROUND: Spec = {"fill": looks.make_rgba(looks.GRAY, 0.06), "stroke": None}
"""Background of a grid with blank cells, which shows the grid's extent."""
OF_SAMPLE: Spec = {"filter": "datum.sample === sample"}
"""Keeps the data of the selected sample."""
Entry = TypeVar("Entry")


@dataclasses.dataclass(frozen=True)
class Axis(Elision):
    """An axis of whole numbers from 0.

    Attributes:
        field: field of the data.
        title: title of the axis.
        step: pixels per number.
        numbered: whether the numbers are drawn.
    """

    field: str
    title: str
    step: int
    numbered: bool = True

    @property
    def pixels(self) -> int:
        """Length of the axis in pixels."""
        return self.step * max(1, len(self.indices))

    @property
    def note(self) -> str:
        """Count of the numbers that are not drawn; empty if all are drawn."""
        missing = self.count - len(self.kept)
        if not missing:
            return ""
        return f"{GAP} {format_count(missing, self.noun)} not drawn"

    @property
    def expression(self) -> str:
        """Numbers on the axis as a Vega expression."""
        if None not in self.indices:
            return f"sequence({self.count})"
        return json.dumps(self.kept, separators=(",", ":"))

    def channel(self, **axis: Any) -> Spec:
        """Return the encoding of the axis."""
        domain = [GAP if index is None else index for index in self.indices]
        labels = {} if self.numbered else {"labels": False}
        return {
            "field": self.field,
            "type": "ordinal",
            "scale": {"domain": domain, "paddingInner": 0, "paddingOuter": 0},
            "axis": {"title": self.title, "values": self._choose_labels(), "labelOverlap": False, **labels, **axis},
        }

    def _choose_labels(self) -> list[int | str]:
        """Return the numbers that have room for a label, at even steps, and the gap."""
        width = max(looks.LETTER * len(str(self.count)) + 7, 13)
        sizes = (digit * 10**power for power in range(9) for digit in (1, 2, 5))
        interval = next(size for size in sizes if size * self.step >= width)
        if None not in self.indices:
            return [index for index in self.kept if index % interval == 0]
        gap = self.indices.index(None)
        near = math.ceil(0.75 * width / self.step)
        labels: list[int | str] = [
            index
            for place, index in enumerate(self.indices)
            if index is not None and index % interval == 0 and abs(place - gap) >= near
        ]
        return [*labels, GAP]


def make_axis(
    field: str, count: int, *, title: str = "", noun: str = "", limit: int = COLUMNS, room: int = WIDE, most: int = 28
) -> Axis:
    """Return an axis of ``count`` numbers, shortened to ``limit``.

    The numbers share ``room`` pixels; each takes between 4 and ``most``.
    """
    indices = tuple(elide(count, limit))
    step = max(4, min(most, room // max(1, len(indices))))
    return Axis(count, noun or field, indices, field, title or field, step)


def make_row_axis(columns: Axis, field: str, count: int) -> Axis:
    """Return the vertical axis, whose cells are not much taller than wide."""
    most = min(24, max(10, round(1.4 * columns.step)))
    return make_axis(field, count, limit=ROWS, most=most)


def make_matrix_axis(columns: Axis, field: str, count: int, *, title: str = "", noun: str = "", limit: int) -> Axis:
    """Return the vertical axis of a matrix, whose cells are at most as tall as wide."""
    # A single row is taller, so that its legend does not dwarf it.
    tallest = 24 if count > 1 else 48
    most = min(tallest, columns.step, max(5, HEIGHT // min(count, limit)))
    return make_axis(field, count, title=title, noun=noun, limit=limit, most=most)


@dataclasses.dataclass(frozen=True)
class CellKind:
    """A kind of cell.

    Attributes:
        style: its style.
        label: its label in the tooltip.
        legend: its label in the legend; empty for none, as for a kind whose scale of colours has a legend of its own.
        heat: colour of its amounts, and the title of their scale; None if the cells have one fill.
    """

    style: CellStyle
    label: str
    legend: str = ""
    heat: tuple[RGB, str] | None = None


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CellGrid:
    """The cells of a chart: the timesteps of all samples, or a matrix for each sample.

    Attributes:
        across: horizontal axis.
        down: vertical axis.
        kinds: ``(rows, columns)``, or ``(samples, rows, columns)`` for a matrix of the selected sample: numbers of
            ``looks``, or ``OMITTED``.
        looks: each kind of cell, in the order of the legend.
        numbers: arrays of the same shape, by field; the first one, if any, is the ``amount`` and ``text`` of a cell.
        tooltip: titles of the fields in the tooltip; the kind is in ``what``.
        heat: fill by amount, of the kinds that have one.
        transform: further transforms of a cell.
        layers: further layers.
        strips: by axis of a matrix, ``(samples, length)``, True at valid timesteps; the label is in ``of_FIELD``.
    """

    across: Axis
    down: Axis
    kinds: NDArray[np.int8]
    looks: Mapping[int, CellKind]
    numbers: Mapping[str, Array]
    tooltip: Mapping[str, str]
    heat: Mapping[int, Spec] = dataclasses.field(default_factory=dict)
    transform: Sequence[Spec] = ()
    layers: Sequence[Spec] = ()
    strips: Mapping[Axis, Bools] = dataclasses.field(default_factory=dict)


def make_grid_views(grid: CellGrid) -> list[Spec]:
    """Return the legend of a grid, and its cells below."""
    entries = [LegendEntry(look.style, look.legend) for look in _select_looks(grid).values() if look.legend]
    if not all(valid.all() for valid in grid.strips.values()):
        entries.append(LegendEntry(looks.PADDING, "at the edge: padding"))
    view = _make_cell_view(grid)
    data: Spec = {"data": {"values": list(_list_data(grid))}}
    if grid.kinds.ndim == 2:
        return [
            *looks.make_chart_legend(entries, grid.across.pixels),
            data | view | {"layer": [*view["layer"], *grid.layers]},
        ]
    for axis, channel in ((grid.across, "x"), (grid.down, "y")):
        if axis in grid.strips:  # The offset leaves room for the strip between the axis and the cells.
            view["encoding"][channel]["axis"]["offset"] = STRIP + 4
    size = {"width": view.pop("width"), "height": view.pop("height")}
    strips = (make_strip(axis, "left" if axis is grid.down else "top") for axis in grid.strips)
    view["transform"].insert(0, OF_SAMPLE)
    cells = {**data, **size, "view": GROUND, "layer": [view, *strips, *grid.layers]}
    return [*looks.make_chart_legend(entries, grid.across.pixels), cells]


def _select_looks(grid: CellGrid) -> dict[int, CellKind]:
    return select_occurring(grid.looks, grid.kinds)


def _make_cell_view(grid: CellGrid) -> Spec:
    """Return the view of the cells, without its data."""
    amounts = [(make_number_filter(name, "amount"), make_text_expression(name, "text")) for name in grid.numbers]
    styles = {kind: look.style for kind, look in _select_looks(grid).items()}
    return {
        "transform": [
            *_flatten_cells(grid),
            *(transform for pair in amounts[:1] for transform in pair),
            make_choice_transform("kind", [look.label for _, look in sorted(grid.looks.items())], "what"),
            *(make_choice_transform(_name_strip(axis), VALIDITY, f"of_{axis.field}") for axis in grid.strips),
            *grid.transform,
        ],
        "width": grid.across.pixels,
        "height": grid.down.pixels,
        "encoding": {
            "x": grid.across.channel(orient="top"),
            "y": grid.down.channel(),
            "tooltip": make_tooltip(grid.tooltip),
        },
        "layer": make_cell_layers(grid.across, grid.down, styles, select_occurring(grid.heat, grid.kinds)),
        "resolve": looks.SEPARATE_SCALES,
    }


def _name_strip(axis: Axis) -> str:
    return f"{axis.field}_valid"


def _flatten_cells(grid: CellGrid) -> list[Spec]:
    """Return the transforms that split the data of a sample into cells."""
    fields = (*grid.numbers, "kind")
    if grid.kinds.ndim == 2:
        return make_flatten_transform(grid.across, *fields)
    strips = {axis: _name_strip(axis) for axis in grid.strips}
    across, down = ([strips[axis]] if axis in strips else [] for axis in (grid.across, grid.down))
    return [
        *make_flatten_transform(grid.down, *down, *fields),
        {"flatten": [grid.across.field, *across, *fields]},
    ]


def _list_data(grid: CellGrid) -> Iterator[Spec]:
    """Yield a datum for each sample, with arrays over the columns, for each row of a matrix."""
    across, down, arrays = grid.across.kept, grid.down.kept, grid.numbers
    if grid.kinds.ndim == 2:
        for row in down:
            numbers = {name: encode_numbers(values[row, across]) for name, values in arrays.items()}
            yield {"sample": row, **numbers, "kind": grid.kinds[row, across].tolist()}
        return
    for sample, kinds in enumerate(grid.kinds):
        columns = [at for at in across if (kinds[:, at] != OMITTED).any()]
        yield {
            "sample": sample,
            grid.across.field: columns,
            **{_name_strip(axis): encode_padding(valid[sample, axis.kept]) for axis, valid in grid.strips.items()},
            **{name: [encode_numbers(values[sample, at, columns]) for at in down] for name, values in arrays.items()},
            "kind": [kinds[at, columns].tolist() for at in down],
        }


def make_tooltip(titles: Mapping[str, str]) -> list[Spec]:
    """Return the tooltip of these fields, each under its title."""
    return [{"field": field, "title": title} for field, title in titles.items()]


def make_cell_layers(
    columns: Axis, rows: Axis, styles: Mapping[int, CellStyle], heat: Mapping[int, Spec] | None = None
) -> list[Spec]:
    """Return the layers of cells, styled by the field ``kind``.

    Args:
        columns: horizontal axis.
        rows: vertical axis.
        styles: style of each kind.
        heat: fill by amount, of the kinds that have one.
    """
    heat = heat or {}
    plain = {kind: style for kind, style in styles.items() if kind not in heat}
    size = {"width": measure_inner(columns.step), "height": measure_inner(rows.step)}
    fills = [(plain, looks.make_fill(plain))] if plain else []
    fills += [({kind: styles[kind]}, {"fill": fill}) for kind, fill in heat.items()]
    layers = [looks.make_layer("rect", encoding, looks.keep_kinds(kinds), **size) for kinds, encoding in fills]
    return [*layers, *looks.make_marks(styles, **size)]


def make_token_layers(tokens: NDArray[Any], field: str, step: int) -> list[Spec]:
    """Return the layer of valid tokens, if cells of ``step`` pixels have room; a legend has the id of padding."""
    longest = max(len(str(tokens.min(initial=0))), len(str(tokens.max(initial=0))))
    if looks.LETTER * longest + 6 > step:
        return []
    valid = looks.keep_kinds((TimestepKind.VALID, TimestepKind.HIDDEN))
    return [looks.make_layer("text", {"text": {"field": field, "type": "nominal"}}, valid)]


def measure_inner(step: int) -> int:
    """Return the pixels of a cell without its gap."""
    return step - 1 if step >= looks.SMALLEST else step


def make_strip(lane: Axis, side: str) -> Spec:
    """Return the layer along an axis that marks padding, for the selected sample; ``side`` is ``left`` or ``top``."""
    sizes: Spec = {"width": measure_inner(lane.step), "height": STRIP}
    across, along = "y", "x"
    if side == "left":
        sizes = {"width": STRIP, "height": measure_inner(lane.step)}
        across, along = along, across
    field = _name_strip(lane)
    return {
        "transform": [
            OF_SAMPLE,
            *make_flatten_transform(lane, field),
            {"calculate": f"datum.{field}", "as": "kind"},
            make_choice_transform("kind", VALIDITY, "what"),
        ],
        "encoding": {
            along: lane.channel(offset=STRIP + 4),
            across: {"value": -STRIP / 2 - 3},
            "tooltip": make_tooltip({lane.field: lane.noun, "what": "is"}),
        },
        "layer": [
            looks.make_layer("rect", looks.make_fill(STRIP_STYLES), **sizes),
            *looks.make_marks(STRIP_STYLES, **sizes),
        ],
        "resolve": looks.SEPARATE_SCALES,
    }


def make_choice_transform(field: str, texts: Sequence[str], into: str) -> Spec:
    """Return the transform that replaces a number with the text at its position."""
    return {"calculate": f"{json.dumps(list(texts))}[datum.{field}]", "as": into}


def make_flatten_transform(columns: Axis, *fields: str) -> list[Spec]:
    """Return the transform that splits arrays over ``columns`` into one datum per number."""
    return [{"calculate": columns.expression, "as": columns.field}, {"flatten": [columns.field, *fields]}]


def make_text_expression(field: str, into: str) -> Spec:
    """Return the transform that formats a number; texts such as ``NaN`` stay."""
    value = f"datum.{field}"
    return {"calculate": f"isNumber({value}) ? format({value}, '.5~g') : {value}", "as": into}


def make_number_filter(field: str, into: str) -> Spec:
    """Return the transform that replaces texts such as ``NaN`` with null."""
    return {"calculate": f"isNumber(datum.{field}) ? datum.{field} : null", "as": into}


def encode_numbers(values: NDArray[Any]) -> list[Any]:
    """Return the numbers of a vector with six digits, or as text where JSON has no number."""
    return [_encode_number(value) for value in values.tolist()]


def _encode_number(value: Any) -> Any:
    if isinstance(value, bool | int):
        return int(value) if abs(value) < 2**53 else str(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    short = float(f"{value:.6g}")
    return int(short) if short.is_integer() and abs(short) < 1e6 else short


def select_occurring(by_kind: Mapping[int, Entry], kinds: NDArray[np.int8]) -> dict[int, Entry]:
    """Return the entries of the kinds that occur, in the same order."""
    occurring = set(np.unique(kinds).tolist())
    return {int(kind): value for kind, value in by_kind.items() if kind in occurring}


def encode_padding(valid: Bools) -> list[int]:
    """Return the kind of each timestep of a strip: ``PADDING`` or ``VALID``."""
    kinds: list[int] = np.where(valid, TimestepKind.VALID, TimestepKind.PADDING).tolist()
    return kinds


def make_selection(count: int, sample: int, name: str = "sample", first: int = 0) -> Spec:
    """Return the parameter that selects one of ``count``, with an input if there is a choice."""
    value = min(max(sample, first), first + max(0, count - 1))
    param: Spec = {"name": name, "value": value}
    if count > 1:
        param["bind"] = {"input": "range", "min": first, "max": first + count - 1, "step": 1, "name": f"{name} "}
    return param
