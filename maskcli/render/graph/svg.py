"""The graph as one self-contained SVG picture, from top to bottom; containers are boxes around their inside."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Iterator

from maskcli.records.trace import Inspection
from maskcli.render.graph.folding import Folds, choose_folds, has_drop_inside, is_open
from maskcli.render.graph.graph import KINDS, Flow, FlowKind, Level, Node, build_graph, find_occurring
from maskcli.render.graph.layout import LevelLayout, lay_out_level, measure_column_widths
from maskcli.render.graph.looks import ACCENT, INK, LINE, LOOKS, LOST, MUTED, PAPER, STROKES, draw_sign
from maskcli.render.graph.measure import draw_curve, measure_text
from maskcli.render.graph.words import (
    FLOWS,
    describe_effect,
    describe_inside,
    describe_node,
    shorten_name,
)
from maskcli.render.text_flow import escape_html
from maskcli.render.views.trace import EFFECTS

MOST, DEEPEST = 150, 2
"""Most nodes in a picture, and most nested containers drawn open."""
FONT = "system-ui, 'Segoe UI', 'Liberation Sans', Helvetica, Arial, sans-serif"
NAME, SMALL = 13, 11.5
"""Font sizes."""
LONGEST = 30
"""Most characters of a name."""
HEIGHT, FOLDED, PILL, PORT, HEAD = 46, 62, 30, 10, 44
"""Heights in pixels: a call, a folded container, an input, a port, the title of an open container."""
GAP, BETWEEN, PAD, LANE = 34, 26, 18, 26
"""Pixels between layers, between nodes, inside containers, and for a line that passes a node."""
NARROWEST, MARGIN, SHIFT = 520, 24, 22.0
"""Pixels: least width, margin, and distance of parallel lines."""
BOLD = 1.08
"""Width of bold letters relative to normal ones."""


@dataclasses.dataclass(frozen=True)
class _Box:
    """The place of a cell: middle, top, bottom, and half of its width."""

    x: float
    top: float
    bottom: float
    half: float


@dataclasses.dataclass(frozen=True)
class _Shape:
    """An SVG fragment at 0, 0, with its size."""

    width: float
    height: float
    body: str


def render_graph_svg(inspection: Inspection) -> bytes:
    """Return the graph of a model as an SVG document.

    Raises:
        UsageError: if igraph is missing.
    """
    root = build_graph(inspection)
    graph = _draw_level(root, choose_folds(root, MOST, DEEPEST))
    title = _draw_title(inspection)
    legend = _draw_legend(root, max(graph.width, NARROWEST))
    width = max(graph.width, legend.width, title.width, NARROWEST) + 2 * MARGIN
    parts, y = [], float(MARGIN)
    for shape, x in ((title, MARGIN), (legend, MARGIN), (graph, (width - graph.width) / 2)):
        parts.append(_move(x, y, shape.body))
        y += shape.height + 16
    height = y - 16 + MARGIN
    name = escape_html(inspection.model.name)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="{FONT}" font-size="{SMALL}" fill="{INK}" role="img">'
        f"<title>The mask in {name}</title>"
        f'<rect width="100%" height="100%" fill="{PAPER}"/>{"".join(parts)}</svg>\n'
    ).encode()


# SVG elements.


def _element(tag: str, body: str = "", **attributes: object) -> str:
    """Return an element; attributes that are empty or None are left out, floats have one digit."""
    texts = []
    for name, value in attributes.items():
        if value not in (None, ""):
            text = f"{value:.1f}" if isinstance(value, float) else value
            texts.append(f' {name.replace("_", "-")}="{text}"')
    start = f"<{tag}{''.join(texts)}"
    if not body:
        return f"{start}/>"
    return f"{start}>{body}</{tag}>"


def _move(x: float, y: float, body: str) -> str:
    return f'<g transform="translate({x:.1f} {y:.1f})">{body}</g>'


def _draw_text(x: float, y: float, text: str, **attributes: object) -> str:
    return _element("text", escape_html(text), x=float(x), y=float(y), **attributes)


# A level: rows of nodes, and the lines between them.


def _draw_level(level: Level, folded: Folds) -> _Shape:
    layout = lay_out_level(level)
    shapes = [_draw_node(node, folded) for node in level.nodes]
    boxes, width, height = _place_cells(layout, shapes)
    lines = "".join(_draw_lines(level, layout, boxes))
    nodes = (_move(box.x - shape.width / 2, box.top, shape.body) for shape, box in zip(shapes, boxes, strict=False))
    return _Shape(width, height, lines + "".join(nodes))


def _place_cells(layout: LevelLayout, shapes: list[_Shape]) -> tuple[list[_Box], float, float]:
    """Return the place of each cell, and the width and height of the level."""
    spacers = len(layout.cells) - len(shapes)
    widths = [shape.width + BETWEEN for shape in shapes] + [LANE] * spacers
    heights = [shape.height for shape in shapes] + [0.0] * spacers
    lefts = [0.0, *itertools.accumulate(measure_column_widths(layout, widths))]
    middles = [(lefts[cell.slot] + lefts[cell.slot + 2]) / 2 for cell in layout.cells]
    rows = [max(heights[cell] for cell in row) for row in layout.layers]
    # Lines that go far to the side need a larger gap below their row.
    reach = [0.0] * len(layout.layers)
    for source, target in itertools.chain.from_iterable(map(itertools.pairwise, layout.routes)):
        row = layout.cells[source].layer
        reach[row] = max(reach[row], abs(middles[source] - middles[target]))
    gaps = [GAP + min(40.0, across * 0.08) for across in reach]
    tops = [0.0, *itertools.accumulate(map(sum, zip(rows, gaps, strict=True)))]
    boxes = []
    for number, (cell, middle, width) in enumerate(zip(layout.cells, middles, widths, strict=True)):
        top, row_height = tops[cell.layer], rows[cell.layer]
        # A spacer is as high as its row.
        height = heights[number] or row_height
        center = top + row_height / 2
        boxes.append(_Box(middle, center - height / 2, center + height / 2, (width - BETWEEN) / 2))
    return boxes, lefts[-1], max((box.bottom for box in boxes), default=0.0)


def _draw_lines(level: Level, layout: LevelLayout, boxes: list[_Box]) -> Iterator[str]:
    rows = [(min(boxes[cell].top for cell in row), max(boxes[cell].bottom for cell in row)) for row in layout.layers]
    shifts = _find_shifts(layout)
    labels = []
    for kind in KINDS:
        for flow, route, shift in zip(level.flows, layout.routes, shifts, strict=True):
            if flow.kind == kind:
                path, tip = _trace_path(route, layout, boxes, rows, shift)
                yield _draw_line(kind, path, tip)
                if flow.arguments:
                    labels.append(_draw_label(flow, tip, left=tip[0] < boxes[flow.target].x))
    yield from labels


def _find_shifts(layout: LevelLayout) -> list[float]:
    """Return the horizontal shift of each flow, so that flows between the same nodes do not overlap."""
    counts: collections.Counter[tuple[int, ...]] = collections.Counter()
    turns = []
    for route in layout.routes:
        turns.append(counts[route])
        counts[route] += 1
    return [SHIFT * (turn - (counts[route] - 1) / 2) for turn, route in zip(turns, layout.routes, strict=True)]


def _trace_path(
    route: tuple[int, ...], layout: LevelLayout, boxes: list[_Box], rows: list[tuple[float, float]], shift: float
) -> tuple[str, tuple[float, float]]:
    """Return the path of a line through its cells, and the tip of its arrow.

    Args:
        route: the cells.
        layout: layout of the level.
        boxes: place of each cell.
        rows: top and bottom of each layer.
        shift: horizontal shift at both ends.
    """
    cells = [boxes[cell] for cell in route]
    start, end = cells[0], cells[-1]
    x, y = start.x + _lean(start, cells[1].x - start.x, shift), start.bottom
    end_x = end.x + _lean(end, cells[-2].x - end.x, shift)
    path = f"M{x:.1f} {y:.1f}"
    for (above, below), box in zip(itertools.pairwise(route), cells[1:], strict=True):
        to_x, to_y = (end_x, box.top - 6) if box is end else (box.x, box.top)
        row_top, row_bottom = rows[layout.cells[below].layer][0], rows[layout.cells[above].layer][1]
        # The curve is in the gap between the rows. The rest is straight, so that no node is crossed.
        if to_y > y:
            bend = max(y, row_bottom)
            path += f"L{x:.1f} {bend:.1f}" + draw_curve(x, bend, to_x, min(to_y, row_top - 6))
        path += f"L{to_x:.1f} {to_y:.1f}"
        if box is not end:
            path += f"L{to_x:.1f} {box.bottom:.1f}"
        x, y = to_x, box.bottom
    return path, (end_x, end.top)


def _lean(box: _Box, across: float, shift: float) -> float:
    """Return the distance from the middle at which a line meets a box, towards the line's opposite end."""
    most = max(0.0, min(box.half - 10, 26))
    return max(-most, min(most, across * 0.15 + shift))


def _draw_stroke(kind: FlowKind, path: str) -> str:
    stroke = STROKES[kind]
    line = {"stroke": stroke.color, "stroke_width": str(stroke.width), "stroke_dasharray": stroke.dash}
    if stroke.dash:
        line["stroke_linecap"] = "round"
    return _element("path", d=path, fill="none", **line)


def _draw_line(kind: FlowKind, path: str, tip: tuple[float, float]) -> str:
    x, y = tip
    wide = 3.5 + STROKES[kind].width * 0.8
    arrow = f"M{x - wide:.1f} {y - 9:.1f}L{x:.1f} {y:.1f}L{x + wide:.1f} {y - 9:.1f}Z"
    return _draw_stroke(kind, path) + _element("path", d=arrow, fill=STROKES[kind].color)


def _draw_label(flow: Flow, tip: tuple[float, float], left: bool) -> str:
    """Return the name of a mask argument next to its arrow, on the outer side."""
    anchor, offset = ("end", -9) if left else ("start", 9)
    halo = {"stroke": PAPER, "stroke_width": 4, "paint_order": "stroke", "stroke_linejoin": "round"}
    text = shorten_name(", ".join(flow.arguments), LONGEST)
    return _draw_text(tip[0] + offset, tip[1] - 5, text, text_anchor=anchor, fill=ACCENT, font_size=11, **halo)


# Nodes.


def _draw_node(node: Node, folded: Folds) -> _Shape:
    if node.place in ("in", "out"):
        return _Shape(PORT, PORT, f'<circle cx="{PORT / 2}" cy="{PORT / 2}" r="4" fill="{LINE}"/>')
    if node.call is None:
        return _draw_pill(node)
    if node.level is None:
        return _draw_call(node, _list_texts(node), HEIGHT)
    if is_open(node, folded):
        return _draw_container(node, node.level, folded)
    return _draw_folded(node, node.level, folded[node.path])


def _draw_pill(node: Node) -> _Shape:
    """Return an input or output of the model."""
    text = shorten_name(node.name, LONGEST)
    width = measure_text(f"{node.place} {text}", NAME) + 30
    look = LOOKS[node.place]
    return _Shape(
        width,
        PILL,
        f'<rect width="{width:.1f}" height="{PILL}" rx="{PILL / 2}" fill="{look.fill}" stroke="{look.color}"/>'
        f'<text x="{width / 2:.1f}" y="{PILL / 2 + 4.5}" text-anchor="middle" font-size="{NAME}">'
        f'<tspan fill="{MUTED}" font-size="{SMALL}">{node.place} </tspan>'
        f'<tspan font-weight="600">{escape_html(text)}</tspan></text>',
    )


def _list_texts(node: Node) -> tuple[tuple[str, str], ...]:
    """Return the type and the effect of a call, each with its colour."""
    assert node.call is not None  # noqa: S101 - asked of calls only
    color = LOOKS[node.effect].color
    effect = describe_effect(node), INK if color == LINE else color
    return (shorten_name(node.call.type, LONGEST), MUTED), effect


def _draw_call(node: Node, texts: tuple[tuple[str, str], ...], height: float) -> _Shape:
    """Return a call with its sign, its name and texts.

    The first two texts share a line; a third one is below.
    """
    name = shorten_name(node.name, LONGEST)
    below = "  ·  ".join(text for text, _ in texts[:2])
    lines = [(name, NAME), (below, SMALL), *((text, SMALL) for text, _ in texts[2:])]
    width = max(120.0, *(measure_text(text, size * BOLD) for text, size in lines)) + 46
    return _Shape(width, height, _draw_frame(node, width, height) + _draw_heading(node, name, texts))


def _draw_heading(node: Node, name: str, texts: tuple[tuple[str, str], ...]) -> str:
    (kind, kind_color), (effect, color), *further = texts
    bold = ' font-weight="700"' if node.effect in ("drops", "creates") else ""
    return (
        f"<title>{escape_html(node.path)}: {escape_html(describe_node(node))}</title>"
        + _move(20, 23, draw_sign(node.effect, LOOKS[node.effect].color))
        + _draw_text(38, 19, name, font_size=NAME, font_weight=600)
        + f'<text x="38" y="36"><tspan fill="{kind_color}">{escape_html(kind)}  ·  </tspan>'
        + f'<tspan fill="{color}"{bold}>{escape_html(effect)}</tspan></text>'
        + "".join(_draw_text(38, 52, text, fill=fill, font_weight=600) for text, fill in further)
    )


def _draw_frame(node: Node, width: float, height: float, fill: str = "") -> str:
    look = LOOKS[node.effect]
    line = {"stroke": look.color, "stroke_width": str(look.width), "stroke_dasharray": look.dash}
    frame = _element("rect", width=width, height=float(height), rx=7, fill=fill or look.fill, **line)
    if look.double:
        place = f'x="3.5" y="3.5" width="{width - 7:.1f}" height="{height - 7:.1f}"'
        frame += f'<rect {place} rx="4.5" fill="none" stroke="{look.color}"/>'
    return frame


def _draw_folded(node: Node, level: Level, model: str) -> _Shape:
    """Return a folded container as a pile of sheets; ``model`` is the path of the equal open one, if any."""
    reason = f", as in {shorten_name(model.rpartition('/')[2], LONGEST)}" if model else ", not drawn"
    note = describe_inside(level) + reason, MUTED
    if has_drop_inside(level):
        note = f"{note[0]}; one drops the mask", LOST
    shape = _draw_call(node, (*_list_texts(node), note), FOLDED)
    color = LOOKS[node.effect].color
    sheets = "".join(
        _element("rect", x=shift, y=shift, width=shape.width, height=FOLDED, rx=7, fill=PAPER, stroke=color)
        for shift in (6, 3)
    )
    return dataclasses.replace(shape, body=sheets + shape.body)


def _draw_container(node: Node, level: Level, folded: Folds) -> _Shape:
    """Return an open container with its inside."""
    texts = _list_texts(node)
    inside, head = _draw_level(level, folded), _draw_call(node, texts, HEAD)
    width = max(inside.width + 2 * PAD, head.width)
    height = HEAD + 14 + inside.height + PAD
    heading = _draw_heading(node, shorten_name(node.name, LONGEST), texts)
    body = _draw_frame(node, width, height, fill="#fafbfc") + heading
    rule = f'<path d="M0 {HEAD}H{width:.1f}" stroke="{LINE}" stroke-opacity="0.4"/>'
    return _Shape(width, height, body + rule + _move((width - inside.width) / 2, HEAD + 14, inside.body))


# Title and legend.


def _draw_title(inspection: Inspection) -> _Shape:
    name = shorten_name(inspection.model.name, 2 * LONGEST)
    kind, calls = shorten_name(inspection.model.type, LONGEST), len(inspection.trace)
    subtitle = f"{kind}, {calls} calls: the effect of each on the mask, and the path of the mask"
    body = _draw_text(0, 18, name, font_size=18, font_weight=700) + _draw_text(0, 38, subtitle, fill=MUTED)
    return _Shape(max(measure_text(name, 18 * BOLD), measure_text(subtitle, SMALL)), 44, body)


def _draw_legend(root: Level, room: float) -> _Shape:
    """Return the legend of the lines and signs that occur, in as many rows as needed."""
    kinds, effects = find_occurring(root)
    entries = [(_draw_stroke(kind, "M2-4H38"), 44, FLOWS[kind]) for kind in KINDS[::-1] if kind in kinds]
    entries += [
        (_move(8, -4, draw_sign(effect, LOOKS[effect].color)), 22, f"{effect}: {meaning}")
        for effect, meaning in EFFECTS.items()
        if effect in effects
    ]
    parts, x, y = [], 0.0, 14.0
    for sample, offset, text in entries:
        width = offset + measure_text(text, SMALL) * 0.92 + 22
        if x and x + width > room:
            x, y = 0.0, y + 22
        parts.append(_move(x, y, sample + _draw_text(offset, 0, text)))
        x += width
    return _Shape(room, y + 6, "".join(parts))
