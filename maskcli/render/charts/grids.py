"""Parts of charts made of cells: axes, cells, strips, data transforms and the choice of a sample."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools
from maskcli.records.wording import format_count
from maskcli.render.charts import Spec
from maskcli.render.charts.looks import (
    GRAY,
    LETTER,
    PADDING,
    SEPARATE_SCALES,
    SMALLEST,
    VALID,
    CellStyle,
    LegendEntry,
    make_fill,
    make_marks,
    make_rgba,
)
from maskcli.render.parts import elide
from maskcli.render.timesteps import TimestepKind

WIDE, NARROW = 640, 270
"""Pixels for the cells of a chart: on a screen, and on a phone or where two charts share a row."""
WIDEST = 160
"""Most pixels of a number on the horizontal axis."""
ROWS, COLUMNS = 60, 160
"""Most cells drawn, down and across."""
GAP = "…"
STRIP = 10
"""Pixels of the strip along an axis that marks padding."""
STRIP_STYLES: dict[int, CellStyle] = {TimestepKind.VALID: VALID, TimestepKind.PADDING: PADDING}
GROUND: Spec = {"fill": make_rgba(GRAY, 0.06), "stroke": None}
"""Background of a grid with blank cells, which shows the grid's extent."""
OF_SAMPLE: Spec = {"filter": "datum.sample === sample"}
"""Keeps the data of the selected sample."""
Entry = TypeVar("Entry")


@dataclasses.dataclass(frozen=True)
class Axis:
    """An axis of whole numbers from 0.

    Attributes:
        field: field of the data.
        title: title of the axis.
        count: length of the axis before it is shortened.
        places: numbers on the axis, None for the gap between them.
        step: pixels per number.
        noun: noun for one number.
    """

    field: str
    title: str
    count: int
    places: tuple[int | None, ...]
    step: int
    noun: str

    @property
    def at(self) -> list[int]:
        """Numbers on the axis, without the gap."""
        return [index for index in self.places if index is not None]

    @property
    def pixels(self) -> int:
        """Length of the axis in pixels."""
        return self.step * max(1, len(self.places))

    @property
    def note(self) -> str:
        """Count of the numbers that are not drawn; empty if all are drawn."""
        missing = self.count - len(self.at)
        if not missing:
            return ""
        return f"{GAP} {format_count(missing, self.noun)} not drawn"

    @property
    def expression(self) -> str:
        """Numbers on the axis as a Vega expression."""
        if None not in self.places:
            return f"sequence({self.count})"
        return json.dumps(self.at, separators=(",", ":"))

    def channel(self, **axis: Any) -> Spec:
        """Return the encoding of the axis."""
        domain = [GAP if index is None else index for index in self.places]
        return {
            "field": self.field,
            "type": "ordinal",
            "scale": {"domain": domain, "paddingInner": 0, "paddingOuter": 0},
            "axis": {"title": self.title, "values": self._choose_labels(), "labelOverlap": False, **axis},
        }

    def _choose_labels(self) -> list[int | str]:
        """Return the numbers that have room for a label, at even steps, and the gap."""
        width = max(LETTER * len(str(self.count)) + 7, 13)
        sizes = (digit * 10**power for power in range(9) for digit in (1, 2, 5))
        interval = next(size for size in sizes if size * self.step >= width)
        if None not in self.places:
            return [index for index in self.at if index % interval == 0]
        gap = self.places.index(None)
        near = math.ceil(0.75 * width / self.step)
        labels: list[int | str] = [
            index
            for place, index in enumerate(self.places)
            if index is not None and index % interval == 0 and abs(place - gap) >= near
        ]
        return [*labels, GAP]


def make_axis(
    field: str, count: int, *, title: str = "", noun: str = "", limit: int = COLUMNS, room: int = WIDE, most: int = 28
) -> Axis:
    """Return an axis of ``count`` numbers, shortened to ``limit``.

    The numbers share ``room`` pixels; each takes between 4 and ``most``.
    """
    places = tuple(elide(count, limit))
    step = max(4, min(most, room // max(1, len(places))))
    return Axis(field, title or field, count, places, step, noun or field)


def make_row_axis(columns: Axis, field: str, count: int) -> Axis:
    """Return the vertical axis, whose cells are not much taller than wide."""
    most = min(24, max(10, round(1.4 * columns.step)))
    return make_axis(field, count, limit=ROWS, most=most)


def make_cell_view(
    columns: Axis, rows: Axis, layers: Sequence[Spec], tooltip: Mapping[str, str], transform: Sequence[Spec]
) -> Spec:
    """Return the view of a grid of cells, without its data."""
    return {
        "transform": list(transform),
        "width": columns.pixels,
        "height": rows.pixels,
        "encoding": {"x": columns.channel(orient="top"), "y": rows.channel(), "tooltip": make_tooltip(tooltip)},
        "layer": list(layers),
        "resolve": SEPARATE_SCALES,
    }


def make_selected_view(view: Spec, data: list[Spec], layers: Sequence[Spec]) -> Spec:
    """Return a view of one selected sample, with further layers such as strips.

    Args:
        view: view of the cells, from ``make_cell_view``.
        data: one datum per sample.
        layers: layers with axes of their own.
    """
    size = {"width": view.pop("width"), "height": view.pop("height")}
    cells = view | {"transform": [OF_SAMPLE, *view["transform"]]}
    return {"data": {"values": data}, **size, "view": GROUND, "layer": [cells, *layers]}


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
    width, height = measure_inner(columns.step), measure_inner(rows.step)
    mark = {"type": "rect", "width": width, "height": height}
    layers: list[Spec] = []
    if plain:
        layers.append({"transform": [_filter_kinds(plain)], "mark": mark, "encoding": make_fill(plain)})
    for kind, fill in heat.items():
        layers.append({"transform": [_filter_kinds([kind])], "mark": mark, "encoding": {"fill": fill}})
    return [*layers, *make_marks(styles, width, height)]


def _filter_kinds(kinds: Iterable[int]) -> Spec:
    return {"filter": f"indexof({list(map(int, kinds))}, datum.kind) >= 0"}


def measure_inner(step: int) -> int:
    """Return the pixels of a cell without its gap."""
    return step - 1 if step >= SMALLEST else step


def make_strip(lane: Axis, side: str, field: str, texts: Sequence[str]) -> Spec:
    """Return the layer along an axis that marks padding, for the selected sample.

    Args:
        lane: the axis.
        side: ``left`` or ``top``.
        field: field of the data with the kinds of the timesteps, padding or valid.
        texts: label of each kind in the tooltip.
    """
    sizes = {"width": measure_inner(lane.step), "height": STRIP}
    across, along = "y", "x"
    if side == "left":
        sizes = {"width": STRIP, "height": measure_inner(lane.step)}
        across, along = along, across
    return {
        "transform": [
            OF_SAMPLE,
            *make_flatten_transform(lane, field),
            {"calculate": f"datum.{field}", "as": "kind"},
            make_choice_transform("kind", texts, "what"),
        ],
        "encoding": {
            along: lane.channel(offset=STRIP + 4),
            across: {"value": -STRIP / 2 - 3},
            "tooltip": make_tooltip({lane.field: lane.noun, "what": "is"}),
        },
        "layer": [
            {"mark": {"type": "rect", **sizes}, "encoding": make_fill(STRIP_STYLES)},
            *make_marks(STRIP_STYLES, **sizes),
        ],
        "resolve": SEPARATE_SCALES,
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


def list_entries(
    styles: Mapping[int, CellStyle], texts: Mapping[int, str], kinds: NDArray[np.int8]
) -> list[LegendEntry]:
    """Return the legend entries of the kinds that occur, in the order of ``texts``."""
    return [LegendEntry(styles[kind], text) for kind, text in select_occurring(texts, kinds).items()]


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
