"""How charts look: colours that do on white and on black, and for each kind of cell a mark beside its colour."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from maskcli.render.charts import Spec

INK = "#1f2328"
GRAY, BLUE, VERMILION, AMBER, GREEN = (128, 128, 128), (16, 126, 194), (213, 94, 0), (230, 159, 0), (0, 140, 105)
BROWN = (110, 66, 0)
"""About the colours of Okabe and Ito, which colour-blind eyes tell apart; translucent, any page shines through."""
FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
"""Fonts of one width, so that what vl-convert measures holds in a browser."""
TEXT = 11
WIDEST = 860
"""Pixels that a chart may be wide."""
LEGEND = 300
"""Pixels that a legend may always take: on a phone, or beside another chart, more would be cut."""
LETTER = 6.0
"""Pixels that a character of ``TEXT`` takes."""
SMALLEST = 5
"""Pixels of a cell that still has a gap to the next."""
PIXELS = 4
"""The size of a Vega symbol at which the numbers of its path are pixels."""
RGB = tuple[int, int, int]


def make_rgba(color: RGB, alpha: float) -> str:
    """Return a translucent colour."""
    return f"rgba({color[0]},{color[1]},{color[2]},{alpha:g})"


def make_ramp(color: RGB, most: float = 0.9) -> list[str]:
    """Return the ends of a scale from next to nothing to a colour."""
    return [make_rgba(color, 0.1), make_rgba(color, most)]


@dataclasses.dataclass(frozen=True)
class CellStyle:
    """How a kind of cell looks.

    Attributes:
        fill: of the cell.
        mark: what is drawn on it, by name; empty for nothing.
        ink: of the mark.
        width: of its lines.
        solid: whether it is filled.
        edge: its lines where they are of another colour than the ink.
    """

    fill: str
    mark: str = ""
    ink: str = "transparent"
    width: float = 1.0
    solid: bool = False
    edge: str = ""


VALID = CellStyle(make_rgba(BLUE, 0.25))
PADDING = CellStyle(make_rgba(GRAY, 0.14), "slash", make_rgba(GRAY, 0.75))
HIDDEN = CellStyle(make_rgba(VERMILION, 0.25), "strike", make_rgba(VERMILION, 1), 1.8)
COUNTED = CellStyle(make_rgba(AMBER, 0.3), "diamond", make_rgba(AMBER, 1), 1.2, solid=True, edge=make_rgba(BROWN, 1))
NOT_FINITE = CellStyle(make_rgba(VERMILION, 0.12), "cross", make_rgba(VERMILION, 1), 1.8)
UNMOVED = CellStyle(make_rgba(GRAY, 0.1), "dot", make_rgba(GRAY, 0.8), 1, solid=True)


def make_path(mark: str, width: float, height: float) -> str:
    """Return a mark as an SVG path in pixels, for a cell of this size."""
    x, y, r = width / 2, height / 2, min(width, height) * 0.28
    made = {
        "": "M0,0",
        "slash": f"M{-x:g},{y:g}L{x:g},{-y:g}",
        "strike": f"M{-x + 1:g},0L{x - 1:g},0",
        "diamond": f"M0,{-r:g}L{r:g},0L0,{r:g}L{-r:g},0Z",
        "cross": f"M{-r:g},{-r:g}L{r:g},{r:g}M{-r:g},{r:g}L{r:g},{-r:g}",
        "square": f"M{1 - x:g},{1 - y:g}H{x - 1:g}V{y - 1:g}H{1 - x:g}Z",
        "dot": "M-1,0A1,1,0,1,1,1,0A1,1,0,1,1,-1,0Z",
        "circle": "M-3.5,0A3.5,3.5,0,1,1,3.5,0A3.5,3.5,0,1,1,-3.5,0Z",
        "triangle": "M0,-4.5L4.5,3.5L-4.5,3.5Z",
        "line": f"M{-x:g},0L{x:g},0",
    }
    return made[mark]


def make_hatch(width: float, height: float) -> str:
    """Return slanted lines over a band of this size, as an SVG path in pixels; they go on in the band beside it."""
    rise = max(8.0, width)
    every = rise / max(1, round(rise / 14))
    lines = []
    for step in range(math.ceil((height + rise) / every)):
        low = height - step * every + (rise - every)
        lines.append(_clipped(low, rise, width, height))
    return "".join(line for line in lines if line) or "M0,0"


def _clipped(low: float, rise: float, width: float, height: float) -> str:
    """Return the part within the band of a line that goes up from ``low`` at its left side."""
    start, end = max(0.0, (low - height) / rise), min(1.0, low / rise)
    if end - start <= 1e-9:
        return ""
    points = ((part * width - width / 2, low - part * rise - height / 2) for part in (start, end))
    return "M" + "L".join(f"{x:.2f},{y:.2f}" for x, y in points)


def make_fill(looks: Mapping[int, CellStyle], field: str = "kind") -> Spec:
    """Return the fill of cells by their kind."""
    return {"fill": _scaled(field, {kind: look.fill for kind, look in looks.items()})}


def make_marks(looks: Mapping[int, CellStyle], width: float, height: float, field: str = "kind") -> list[Spec]:
    """Return the layer of marks on cells of this size; none where no kind has one."""
    marked = {kind: look for kind, look in looks.items() if look.mark}
    if not marked:
        return []
    thin = min(1.0, max(0.5, min(width, height) / 14))
    drawn: dict[str, dict[int, Any]] = {
        "shape": {kind: make_path(look.mark, width, height) for kind, look in marked.items()},
        "stroke": {kind: look.edge or look.ink for kind, look in marked.items()},
        "fill": {kind: look.ink if look.solid else "transparent" for kind, look in marked.items()},
        "strokeWidth": {kind: look.width * thin for kind, look in marked.items()},
    }
    return [
        {
            "transform": [{"filter": f"indexof({list(marked)}, datum.{field}) >= 0"}],
            "mark": {"type": "point", "size": PIXELS, "opacity": 1},
            "encoding": {channel: _scaled(field, values) | _type(channel) for channel, values in drawn.items()},
        }
    ]


SEPARATE_SCALES: Spec = {"scale": dict.fromkeys(("fill", "shape", "stroke", "strokeWidth"), "independent")}
"""Keeps the scales of layers apart, each of which has kinds of its own."""


def _type(channel: str) -> Spec:
    """Return the type of a field that says how something looks: Vega-Lite warns of widths without an order."""
    return {"type": "ordinal" if channel == "strokeWidth" else "nominal"}


def _scaled(field: str, values: Mapping[int, Any]) -> Spec:
    scale = {"type": "ordinal", "domain": list(values), "range": list(values.values())}
    return {"field": field, "type": "nominal", "scale": scale, "legend": None}


@dataclasses.dataclass(frozen=True)
class LegendEntry:
    """A line of a legend: what is drawn, and what it means. ``dash`` is of lines."""

    look: CellStyle
    text: str
    dash: tuple[int, int] | None = None
    marker: str = ""


def make_chart_legend(entries: Sequence[LegendEntry], width: int) -> list[Spec]:
    """Return the view that says what looks mean, in as many rows as it needs; none without entries."""
    if not entries:
        return []
    placed = _laid_out(entries, max(width, LEGEND))
    base = {"size": PIXELS, "opacity": 1}
    drawn: Spec = {"stroke": {"field": "ink", "type": "nominal", "scale": None}}
    return [
        {
            "data": {"values": placed},
            "width": round(max(entry["x"] + LETTER * len(entry["text"]) for entry in placed)) + 16,
            "height": placed[-1]["y"] + 9,
            "view": {"fill": None},
            "encoding": {axis: {"field": axis, "type": "quantitative", "scale": None, "axis": None} for axis in "xy"},
            "layer": [
                {"mark": {"type": "point", **base, "strokeWidth": 0}, "encoding": _plain(shape="back", fill="fill")},
                {
                    "mark": {"type": "point", **base},
                    "encoding": drawn
                    | _plain(shape="front", fill="solid", strokeWidth="width", strokeDash="dash"),
                },
                {
                    "mark": {"type": "point", **base, "strokeWidth": 1.5},
                    "encoding": drawn | _plain(shape="marker", fill="solid"),
                },
                {
                    "mark": {"type": "text", "align": "left", "baseline": "middle", "dx": 17},
                    "encoding": {"text": {"field": "text"}},
                },
            ],
        }
    ]  # fmt: skip


def _laid_out(entries: Sequence[LegendEntry], width: int) -> list[Spec]:
    """Return the entries with their places, in rows of at most ``width`` pixels."""
    placed, x, row = [], 0.0, 0
    for entry in entries:
        takes = 26 + LETTER * len(entry.text) + 14
        if x and x + takes > width:
            x, row = 0.0, row + 1
        placed.append(_placed(entry, x, row * 22))
        x += takes
    return placed


def _plain(**fields: str) -> Spec:
    """Return channels that take what a field holds as it is."""
    return {channel: {"field": field, **_type(channel), "scale": None} for channel, field in fields.items()}


def _placed(entry: LegendEntry, x: float, y: float) -> Spec:
    look = entry.look
    wide = 24 if look.mark == "line" else 16
    return {
        "x": x + 11,
        "y": y + 9,
        "text": entry.text,
        "fill": look.fill,
        "back": "M-8,-8h16v16h-16Z",
        "front": make_path(look.mark, wide, 16),
        "ink": look.edge or look.ink,
        "solid": look.ink if look.solid else "transparent",
        "width": look.width,
        "dash": list(entry.dash or (1, 0)),
        "marker": make_path(entry.marker, 16, 16),
    }


def make_gradient_legend(title: str, orient: str = "top", **more: Any) -> Spec:
    """Return the legend of a scale of colours."""
    size = {"direction": "horizontal", "gradientLength": 130, "tickCount": 3, "format": ",~g"}
    return {"title": title, "orient": orient, **size, **more}


def assemble_spec(views: Sequence[Spec], about: str, notes: Sequence[str] = (), params: Sequence[Spec] = ()) -> Spec:
    """Return views, one below the other, as a whole specification; ``notes`` say what was left out."""
    said = [note for note in notes if note]
    return {
        "description": about,
        "background": "transparent",
        **({"title": {"text": ", ".join(said), **_NOTE}} if said else {}),
        "params": list(params),
        "vconcat": list(views),
        "spacing": 10,
        "config": CONFIG,
    }


_NOTE: Spec = {"anchor": "start", "fontSize": TEXT, "fontWeight": "normal", "fontStyle": "italic", "offset": 8}
_GUIDE: Spec = {
    "labelColor": INK,
    "titleColor": INK,
    "labelFontSize": TEXT,
    "titleFontSize": 12,
    "titleFontWeight": "normal",
}
CONFIG: Spec = {
    "font": FONT,
    "aria": False,
    "mark": {"aria": False},
    "text": {"color": INK, "fontSize": TEXT, "baseline": "middle"},
    "title": {"color": INK, "subtitleColor": INK},
    "view": {"stroke": None},
    "axis": {
        **_GUIDE,
        "domain": False,
        "ticks": False,
        "labelAngle": 0,
        "labelPadding": 5,
        "titlePadding": 7,
        "grid": False,
        "gridColor": make_rgba(GRAY, 0.3),
    },
    "legend": {**_GUIDE, "offset": 8, "titleFontSize": TEXT, "gradientThickness": 11, "gradientStrokeWidth": 0},
}
"""Colours of text stand here only, so that a page may give them others. Marks are no text to a screen reader: what
they show is said in the description."""
