"""Styles of charts: colours for light and dark pages, and a mark per kind of cell, readable without colour."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from maskcli.render.charts import Figure, Spec
from maskcli.render.timesteps import RGB, TimestepKind

INK = "#1f2328"
GRAY, BLUE = TimestepKind.PADDING.rgb, TimestepKind.VALID.rgb
VERMILION, AMBER = TimestepKind.HIDDEN.rgb, TimestepKind.COUNTED.rgb
GREEN, BROWN = (0, 140, 105), (110, 66, 0)
"""Colours close to those of Okabe and Ito, which colour-blind readers can distinguish.

Cells use them translucent, so that they suit light and dark pages.
"""
FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
"""Fonts with equal letter widths: vl-convert measures the text, a browser draws it."""
TEXT = 11
LEGEND = 300
"""Width in pixels that every legend may take. A phone, or a page with two charts per row, would cut off more."""
LETTER = 6.0
"""Pixels per character of size ``TEXT``."""
LINE = 15
"""Pixels of a line of text."""
SMALLEST = 5
"""Pixels of the smallest cell with a gap to the next one."""
DOTTED = 9
"""Pixels of the smallest cell with a dot."""
HATCH = 9
"""Pixels between the lines on a cell of padding."""
PIXELS = 4
"""Size of a Vega symbol whose path is in pixels.

Vega scales the path of a symbol by sqrt(size) / 2, which is 1 for this size.
"""


def make_rgba(color: RGB, alpha: float) -> str:
    """Return a translucent colour."""
    return f"rgba({color[0]},{color[1]},{color[2]},{alpha:g})"


def make_ramp(color: RGB, most: float = 0.9) -> list[str]:
    """Return both ends of a scale from nearly transparent to a colour."""
    return [make_rgba(color, 0.1), make_rgba(color, most)]


@dataclasses.dataclass(frozen=True)
class CellStyle:
    """The style of a kind of cell.

    Attributes:
        fill: colour of the cell.
        mark: name of the mark on the cell; empty for none.
        ink: colour of the mark.
        width: line width of the mark.
        solid: whether the mark is filled.
        edge: colour of the mark's lines if it differs from ``ink``.
    """

    fill: str
    mark: str = ""
    ink: str = "transparent"
    width: float = 1.0
    solid: bool = False
    edge: str = ""

    @property
    def inside(self) -> str:
        """Colour inside the mark."""
        return self.ink if self.solid else "transparent"


VALID = CellStyle(make_rgba(BLUE, 0.16))
PADDING = CellStyle(make_rgba(GRAY, 0.28), "hatch", make_rgba(GRAY, 1), 1.6)
"""The loudest style in a batch without faults: padding is what a reader looks for."""
HIDDEN = CellStyle(make_rgba(VERMILION, 0.25), "strike", make_rgba(VERMILION, 1), 1.8)
COUNTED = CellStyle(make_rgba(AMBER, 0.3), "diamond", make_rgba(AMBER, 1), 1.2, solid=True, edge=make_rgba(BROWN, 1))
NOT_FINITE = CellStyle(make_rgba(VERMILION, 0.12), "cross", make_rgba(VERMILION, 1), 1.8)
UNMOVED = CellStyle(make_rgba(GRAY, 0.1), "dot", make_rgba(GRAY, 0.8), 1, solid=True)
STYLES: dict[int, CellStyle] = {
    TimestepKind.VALID: VALID,
    TimestepKind.PADDING: PADDING,
    TimestepKind.HIDDEN: HIDDEN,
    TimestepKind.COUNTED: COUNTED,
    TimestepKind.NOT_FINITE: NOT_FINITE,
}


def make_layer(mark: str, encoding: Spec, keep: str = "", **style: Any) -> Spec:
    """Return a layer of marks; ``keep`` is a Vega expression of the data that it shows, all of it if empty."""
    layer = {"mark": {"type": mark, **style}, "encoding": encoding}
    return {"transform": [{"filter": keep}], **layer} if keep else layer


def make_symbols(encoding: Spec, keep: str = "", **style: Any) -> Spec:
    """Return a layer of symbols whose paths are in pixels; see ``make_layer``."""
    return make_layer("point", encoding, keep, size=PIXELS, opacity=1, **style)


def make_path(mark: str, width: float, height: float) -> str:
    """Return a mark as an SVG path in pixels, for a cell of this size."""
    x, y, r = width / 2, height / 2, min(width, height) * 0.28
    paths = {
        "": "M0,0",
        "hatch": make_hatch(width, height, HATCH),
        "strike": f"M{-x + 1:g},0L{x - 1:g},0",
        "diamond": f"M0,{-r:g}L{r:g},0L0,{r:g}L{-r:g},0Z",
        "cross": f"M{-r:g},{-r:g}L{r:g},{r:g}M{-r:g},{r:g}L{r:g},{-r:g}",
        "square": f"M{1 - x:g},{1 - y:g}H{x - 1:g}V{y - 1:g}H{1 - x:g}Z",
        "dot": "M-1,0A1,1,0,1,1,1,0A1,1,0,1,1,-1,0Z",
        "circle": "M-3.5,0A3.5,3.5,0,1,1,3.5,0A3.5,3.5,0,1,1,-3.5,0Z",
        "triangle": "M0,-4.5L4.5,3.5L-4.5,3.5Z",
        "line": f"M{-x:g},0L{x:g},0",
    }
    return paths[mark]


def make_hatch(width: float, height: float, gap: float = 14) -> str:
    """Return slanted lines that fill a band, as an SVG path in pixels, about ``gap`` pixels apart.

    The lines continue in the next band: their spacing divides ``rise``, the height that a line gains across a band.
    """
    rise = max(8.0, width)
    spacing = rise / max(1, round(rise / gap))
    # The first line starts below the band, so that the lower right corner is hatched too.
    starts = (height + rise - (step + 1) * spacing for step in range(math.ceil((height + rise) / spacing)))
    return "".join(_clip_line(low, rise, width, height) for low in starts) or "M0,0"


def _clip_line(low: float, rise: float, width: float, height: float) -> str:
    """Return the part of a rising line within the band; empty if there is none.

    The line starts at ``low`` on the left side of the band.
    """
    start, end = max(0.0, (low - height) / rise), min(1.0, low / rise)
    if end - start <= 1e-9:
        return ""
    points = ((part * width - width / 2, low - part * rise - height / 2) for part in (start, end))
    return "M" + "L".join(f"{x:.2f},{y:.2f}" for x, y in points)


def make_fill(styles: Mapping[int, CellStyle]) -> Spec:
    """Return the fill of cells by the field ``kind``."""
    return {"fill": _encode_by_kind({kind: style.fill for kind, style in styles.items()})}


def make_marks(styles: Mapping[int, CellStyle], width: float, height: float) -> list[Spec]:
    """Return the layer of marks on cells of this size, if any kind has a mark."""
    # Dots close together would look like a pattern.
    hidden = "dot" if min(width, height) < DOTTED else ""
    marked = {int(kind): style for kind, style in styles.items() if style.mark not in ("", hidden)}
    if not marked:
        return []
    thin = min(1.0, max(0.5, min(width, height) / 14))
    channels: dict[str, list[Any]] = {
        "shape": [make_path(style.mark, width, height) for style in marked.values()],
        "stroke": [style.edge or style.ink for style in marked.values()],
        "fill": [style.inside for style in marked.values()],
        "strokeWidth": [style.width * thin for style in marked.values()],
    }
    encoding = {
        channel: _encode_by_kind(dict(zip(marked, values, strict=True))) | _make_type(channel)
        for channel, values in channels.items()
    }
    return [make_symbols(encoding, keep_kinds(marked))]


def keep_kinds(kinds: Iterable[int]) -> str:
    """Return the Vega expression of cells of these kinds."""
    return f"indexof({list(map(int, kinds))}, datum.kind) >= 0"


SEPARATE_SCALES: Spec = {"scale": dict.fromkeys(("fill", "shape", "stroke", "strokeWidth"), "independent")}
"""Gives each layer scales of its own, because each has different kinds."""


def _make_type(channel: str) -> Spec:
    """Return the type of a style field. Vega-Lite warns if a width is not ordinal."""
    return {"type": "ordinal" if channel == "strokeWidth" else "nominal"}


def _encode_by_kind(values: Mapping[int, Any]) -> Spec:
    scale = {"type": "ordinal", "domain": list(map(int, values)), "range": list(values.values())}
    return {"field": "kind", "type": "nominal", "scale": scale, "legend": None}


@dataclasses.dataclass(frozen=True)
class LegendEntry:
    """An entry of a legend.

    Attributes:
        style: style of the sample.
        text: label of the sample.
        dash: dashes of a line; None for a solid one.
        marker: name of the marker on a line; empty for none.
    """

    style: CellStyle
    text: str
    dash: tuple[int, int] | None = None
    marker: str = ""


def make_chart_legend(entries: Sequence[LegendEntry], width: int) -> list[Spec]:
    """Return the view of the legend, in as many rows as needed; none without entries."""
    if not entries:
        return []
    places = _place_entries(entries, max(width, LEGEND))
    stroke: Spec = {"stroke": {"field": "ink", "type": "nominal", "scale": None}}
    return [
        {
            "data": {"values": places},
            "width": round(max(place["x"] + LETTER * len(place["text"]) for place in places)) + 16,
            "height": places[-1]["y"] + 9,
            "view": {"fill": None},
            "encoding": {axis: {"field": axis, "type": "quantitative", "scale": None, "axis": None} for axis in "xy"},
            "layer": [
                make_symbols(_read_fields(shape="back", fill="fill"), strokeWidth=0),
                make_symbols(
                    stroke | _read_fields(shape="front", fill="solid", strokeWidth="width", strokeDash="dash")
                ),
                make_symbols(stroke | _read_fields(shape="marker", fill="solid"), strokeWidth=1.5),
                make_layer("text", {"text": {"field": "text"}}, align="left", baseline="middle", dx=17),
            ],
        }
    ]


def _place_entries(entries: Sequence[LegendEntry], width: int) -> list[Spec]:
    """Return the data of the entries, in rows of at most ``width`` pixels."""
    data, x, y = [], 0.0, 0
    for entry in entries:
        pixels = 26 + LETTER * len(entry.text) + 14
        if x and x + pixels > width:
            x, y = 0.0, y + 22
        data.append(_encode_entry(entry, x + 11, y + 9))
        x += pixels
    return data


def _read_fields(**fields: str) -> Spec:
    """Return channels that use the value of a field without a scale."""
    return {channel: {"field": field, **_make_type(channel), "scale": None} for channel, field in fields.items()}


def _encode_entry(entry: LegendEntry, x: float, y: float) -> Spec:
    style = entry.style
    return {
        "x": x,
        "y": y,
        "text": entry.text,
        "fill": style.fill,
        "back": "M-8,-8h16v16h-16Z",
        "front": make_path(style.mark, 24 if style.mark == "line" else 16, 16),
        "ink": style.edge or style.ink,
        "solid": style.inside,
        "width": style.width,
        "dash": list(entry.dash or (1, 0)),
        "marker": make_path(entry.marker, 16, 16),
    }


NUMBER = (
    "datum.value === 0 || (abs(datum.value) >= 1e-3 && abs(datum.value) < 1e7) "
    "? format(datum.value, ',.6~f') : format(datum.value, '.3~g')"
)
"""Vega expression of a label. A format of its own would write 1,500 as 1.5e+3 between labels at steps of 500."""


def make_heat_fill(field: str, scale: Spec, title: str = "", **legend: Any) -> Spec:
    """Return the fill of cells by amount, with a colour legend if there is a title."""
    fill: Spec = {"field": field, "type": "quantitative", "scale": scale, "legend": None}
    if title:
        size = {"direction": "horizontal", "gradientLength": 130, "tickCount": 3, "labelExpr": NUMBER}
        fill["legend"] = {"title": title, "orient": "top", **size, **legend}
    return fill


def assemble_figure(
    name: str, title: str, about: str, views: Sequence[Spec], notes: Sequence[str] = (), params: Sequence[Spec] = ()
) -> Figure:
    """Return the figure of a chart.

    Args:
        name: stem of its file.
        title: title.
        about: description.
        views: legend and cells, one below the other.
        notes: counts of parts that are not drawn; empty texts are skipped.
        params: selections.
    """
    spec: Spec = {
        "description": about,
        "background": "transparent",
        "params": list(params),
        "vconcat": list(views),
        "spacing": 10,
        "config": CONFIG,
    }
    note = ", ".join(filter(None, notes))
    if note:
        spec["title"] = {"text": note, **_NOTE}
    return Figure(name, title, about, spec)


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
"""Settings of every chart.

All text colours are here, so that a page can replace them. Marks are hidden from screen readers, which read the
description instead.
"""
