"""What charts of cells share: axes of whole numbers, elided where they are long, cells, and a choice of samples."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools
from maskcli.render.charts import Spec
from maskcli.render.charts.looks import (
    GRAY,
    LETTER,
    PADDING,
    SEPARATE_SCALES,
    SMALLEST,
    VALID,
    WIDEST,
    CellStyle,
    make_fill,
    make_marks,
    make_rgba,
)
from maskcli.render.numbers import format_count
from maskcli.render.parts import elide

ROWS, COLUMNS = 60, 160
"""Cells that are drawn at most, down and across."""
GAP = "…"
STRIP = 10
"""Pixels of a strip along an axis that says what its places are."""


@dataclasses.dataclass(frozen=True)
class Axis:
    """An axis of whole numbers from 0.

    Attributes:
        field: of the data.
        title: of the axis.
        count: how many numbers there are.
        shown: those that are drawn, None for the gap between them.
        step: pixels that each takes.
        noun: what one of them is.
    """

    field: str
    title: str
    count: int
    shown: tuple[int | None, ...]
    step: int
    noun: str

    @property
    def at(self) -> list[int]:
        """The numbers that are drawn."""
        return [index for index in self.shown if index is not None]

    @property
    def pixels(self) -> int:
        """What all of them take."""
        return self.step * max(1, len(self.shown))

    @property
    def note(self) -> str:
        """How many are not drawn; empty where all are."""
        missing = self.count - len(self.at)
        return f"{GAP} {format_count(missing, self.noun)} not drawn" if missing else ""

    @property
    def places(self) -> str:
        """The numbers that are drawn, as a Vega expression."""
        return json.dumps(self.at, separators=(",", ":")) if None in self.shown else f"sequence({self.count})"

    def channel(self, **axis: Any) -> Spec:
        """Return the encoding of it."""
        domain = [GAP if index is None else index for index in self.shown]
        return {
            "field": self.field,
            "type": "ordinal",
            "scale": {"domain": domain, "paddingInner": 0, "paddingOuter": 0},
            "axis": {"title": self.title, "values": self._labels(), "labelOverlap": False, **axis},
        }

    def _labels(self) -> list[int | str]:
        """Return the numbers that have room for a label, at even steps, and the gap."""
        width = max(LETTER * len(str(self.count)) + 7, 13)
        every = next(size for size in _steps() if size * self.step >= width)
        if None not in self.shown:
            return [index for index in self.at if index % every == 0]
        gap = self.shown.index(None)
        near = math.ceil(0.75 * width / self.step)
        labels: list[int | str] = [
            index
            for place, index in enumerate(self.shown)
            if index is not None and index % every == 0 and abs(place - gap) >= near
        ]
        return [*labels, GAP]


def _steps() -> Sequence[int]:
    return [digit * 10**power for power in range(9) for digit in (1, 2, 5)]


def make_axis(
    field: str, count: int, *, title: str = "", noun: str = "", limit: int = COLUMNS, room: int = WIDEST, most: int = 28
) -> Axis:
    """Return an axis of ``count`` numbers, cut to ``limit`` and fitted to ``room`` pixels, ``most`` for each."""
    shown = tuple(elide(count, limit))
    step = max(4, min(most, room // max(1, len(shown))))
    return Axis(field, title or field, count, shown, step, noun or field)


def make_row_axis(columns: Axis, field: str, count: int, **more: Any) -> Axis:
    """Return the axis that goes down, with cells not much taller than they are wide."""
    most = min(24, max(10, round(1.4 * columns.step)))
    return make_axis(field, count, limit=ROWS, room=WIDEST, most=most, **more)


def make_cell_layers(
    columns: Axis, rows: Axis, looks: Mapping[int, CellStyle], heat: Mapping[int, Spec] | None = None
) -> list[Spec]:
    """Return the layers of cells that are told by ``kind``; ``heat`` are fills by amount, of kinds that have one."""
    hot = heat or {}
    plain = {kind: look for kind, look in looks.items() if kind not in hot}
    mark = make_tile(columns, rows)
    return [
        *([{"transform": [_only(plain)], "mark": mark, "encoding": make_fill(plain)}] if plain else []),
        *({"transform": [_only([kind])], "mark": mark, "encoding": {"fill": fill}} for kind, fill in hot.items()),
        *make_marks(looks, measure_inner(columns.step), measure_inner(rows.step)),
    ]


def _only(kinds: Iterable[int]) -> Spec:
    return {"filter": f"indexof({list(kinds)}, datum.kind) >= 0"}


def make_tile(columns: Axis, rows: Axis) -> Spec:
    """Return the mark of a cell, with a gap to the next where there is room."""
    return {"type": "rect", "width": measure_inner(columns.step), "height": measure_inner(rows.step)}


def measure_inner(step: int) -> int:
    """Return the pixels of a cell without its gap."""
    return step - 1 if step >= SMALLEST else step


def make_frame(columns: Axis, rows: Axis) -> Spec:
    """Return the size of a view of cells."""
    return {"width": columns.pixels, "height": rows.pixels}


def make_strip(lane: Axis, side: str, looks: Mapping[int, CellStyle], transform: Sequence[Spec]) -> Spec:
    """Return the layer beside an axis, ``left`` or ``top``, that says what its places are, by ``kind``."""
    down = side == "left"
    width, height = (STRIP, measure_inner(lane.step)) if down else (measure_inner(lane.step), STRIP)
    across, along = ("x", "y") if down else ("y", "x")
    return {
        "transform": list(transform),
        "encoding": {
            along: lane.channel(offset=STRIP + 4),
            across: {"value": -STRIP / 2 - 3},
            "tooltip": [{"field": lane.field, "title": lane.noun}, {"field": "what", "title": "is"}],
        },
        "layer": [
            {"mark": {"type": "rect", "width": width, "height": height}, "encoding": make_fill(looks)},
            *make_marks(looks, width, height),
        ],
        "resolve": SEPARATE_SCALES,
    }


STRIP_FIELD: dict[int, CellStyle] = {0: VALID, 1: PADDING}
"""What the places along an axis may be."""


def make_strip_transform(lane: Axis, field: str, texts: Sequence[str]) -> list[Spec]:
    """Return what takes apart the kinds of the places of an axis, for a strip."""
    return [
        *make_flatten_transform(lane, field),
        {"calculate": f"datum.{field}", "as": "kind"},
        {"calculate": make_choice_expression("datum.kind", texts), "as": "what"},
    ]


GROUND: Spec = {"fill": make_rgba(GRAY, 0.06), "stroke": None}
"""What shows how far a grid goes where it has blank cells."""


def make_choice_expression(kind: str, texts: Sequence[str]) -> str:
    """Return a Vega expression that turns a number into one of these texts."""
    return f"{json.dumps(list(texts))}[{kind}]"


def make_flatten_transform(columns: Axis, *fields: str) -> list[Spec]:
    """Return what takes apart data with an array of values for ``columns`` in each of these fields."""
    return [{"calculate": columns.places, "as": columns.field}, {"flatten": [columns.field, *fields]}]


def make_text_expression(field: str, into: str) -> Spec:
    """Return what makes a text of a number, or of the name of what is none."""
    value = f"datum.{field}"
    return {"calculate": f"isNumber({value}) ? format({value}, '.5~g') : {value}", "as": into}


def make_number_filter(field: str, into: str) -> Spec:
    """Return what keeps numbers and makes nothing of all else."""
    return {"calculate": f"isNumber(datum.{field}) ? datum.{field} : null", "as": into}


def encode_numbers(values: NDArray[Any]) -> list[Any]:
    """Return numbers of a vector with six digits, and names of those that JSON has none for."""
    return [_number(value) for value in values.tolist()]


def _number(value: Any) -> Any:
    if isinstance(value, bool | int):
        return int(value) if abs(value) < 2**53 else str(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"
    short = float(f"{value:.6g}")
    return int(short) if short.is_integer() and abs(short) < 1e6 else short


def classify_timesteps(valid: Bools, mask: Bools | None) -> NDArray[np.int8]:
    """Return what each timestep is: 0 counts, 1 padding, 2 hidden by the mask, 3 padding that the mask counts."""
    told = valid if mask is None or mask.shape != valid.shape else mask
    return np.where(valid, np.where(told, 0, 2), np.where(told, 3, 1)).astype(np.int8)


def make_selection(count: int, sample: int, name: str = "sample", first: int = 0) -> Spec:
    """Return the parameter that says which of ``count`` is shown, with an input where there is a choice."""
    value = min(max(sample, first), first + max(0, count - 1))
    bind = {"input": "range", "min": first, "max": first + count - 1, "step": 1, "name": f"{name} "}
    return {"name": name, "value": value, **({"bind": bind} if count > 1 else {})}
