"""The graph as one picture that needs nothing else: from top to bottom, containers as boxes around their inside."""

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
from maskcli.render.graph.words import FLOWS, describe_effect, describe_inside, describe_node, escape_text
from maskcli.render.tables import shorten_middle
from maskcli.render.text_flow import make_printable
from maskcli.render.views.trace import EFFECTS

MOST, DEEPEST = 150, 2
"""Nodes in one picture, and containers inside each other that are drawn open."""
FONT = "system-ui, 'Segoe UI', 'Liberation Sans', Helvetica, Arial, sans-serif"
NAME, SMALL = 13, 11.5
LONGEST = 30
"""Characters of a name."""
HEIGHT, FOLDED, PILL, PORT, HEAD = 46, 62, 30, 10, 44
"""Pixels: how high a call is, a folded container, an input, a port, and the title of an open container."""
GAP, BETWEEN, PAD, LANE = 34, 26, 18, 26
"""Pixels between layers, beside nodes, inside containers, and that a line takes which passes by."""
NARROWEST, MARGIN, ASIDE = 520, 24, 22.0
BOLD = 1.08
"""How much wider bold letters are."""


@dataclasses.dataclass(frozen=True)
class _Box:
    """Where a cell is: its middle, its upper and lower edge, and half of its width."""

    x: float
    top: float
    bottom: float
    half: float


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """A thing drawn at 0, 0: how wide and high it is, and its SVG."""

    width: float
    height: float
    body: str


def render_graph_svg(inspection: Inspection) -> bytes:
    """Return the graph of a model as an SVG document.

    Raises:
        UsageError: when igraph is missing.
    """
    root = build_graph(inspection)
    graph = _level(root, choose_folds(root, MOST, DEEPEST))
    title = _title(inspection)
    legend = _legend(root, max(graph.width, NARROWEST))
    width = max(graph.width, legend.width, title.width, NARROWEST) + 2 * MARGIN
    parts, y = [], float(MARGIN)
    for drawn, x in ((title, MARGIN), (legend, MARGIN), (graph, (width - graph.width) / 2)):
        parts.append(_at(x, y, drawn.body))
        y += drawn.height + 16
    height = y - 16 + MARGIN
    name = escape_text(inspection.model.name)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="{FONT}" font-size="{SMALL}" fill="{INK}" role="img">'
        f"<title>The mask in {name}</title>"
        f'<rect width="100%" height="100%" fill="{PAPER}"/>{"".join(parts)}</svg>\n'
    ).encode()


def _at(x: float, y: float, body: str) -> str:
    return f'<g transform="translate({x:.1f} {y:.1f})">{body}</g>'


def _text(x: float, y: float, text: str, **attributes: object) -> str:
    said = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<text x="{x:.1f}" y="{y:.1f}"{said}>{escape_text(text)}</text>'


# A level: rows of nodes, and lines between them.


def _level(level: Level, folded: Folds) -> _Drawn:
    layout = lay_out_level(level)
    drawn = [_node(node, folded) for node in level.nodes]
    boxes, width, height = _boxes(layout, drawn)
    lines = "".join(_lines(level, layout, boxes))
    nodes = "".join(_at(box.x - one.width / 2, box.top, one.body) for one, box in zip(drawn, boxes, strict=False))
    return _Drawn(width, height, lines + nodes)


def _boxes(layout: LevelLayout, drawn: list[_Drawn]) -> tuple[list[_Box], float, float]:
    """Return where each cell is, and how wide and high the whole is."""
    sizes = [(one.width + BETWEEN, one.height) for one in drawn]
    sizes += [(LANE, 0)] * (len(layout.cells) - len(drawn))
    halves = measure_column_widths(layout, [width for width, _ in sizes])
    lefts = [0.0, *itertools.accumulate(halves)]
    middles = [(lefts[cell.slot] + lefts[cell.slot + 2]) / 2 for cell in layout.cells]
    heights = [max(sizes[cell][1] for cell in row) for row in layout.layers]
    reach = [0.0] * len(layout.layers)
    for hop in itertools.chain.from_iterable(map(itertools.pairwise, layout.routes)):
        row = layout.cells[hop[0]].layer
        reach[row] = max(reach[row], abs(middles[hop[0]] - middles[hop[1]]))
    gaps = [GAP + min(40.0, across * 0.08) for across in reach]
    tops = [0.0, *itertools.accumulate(map(sum, zip(heights, gaps, strict=True)))]
    boxes = []
    for number, (cell, middle, (width, height)) in enumerate(zip(layout.cells, middles, sizes, strict=True)):
        top, high = tops[cell.layer], heights[cell.layer]
        own = height if number < len(drawn) else high
        boxes.append(_Box(middle, top + (high - own) / 2, top + (high + own) / 2, (width - BETWEEN) / 2))
    return boxes, lefts[-1], tops[-1] - (gaps[-1] if gaps else 0)


def _lines(level: Level, layout: LevelLayout, boxes: list[_Box]) -> Iterator[str]:
    rows = [(min(boxes[cell].top for cell in row), max(boxes[cell].bottom for cell in row)) for row in layout.layers]
    aside = _aside(layout)
    labels = []
    for kind in KINDS:
        for number, (flow, route) in enumerate(zip(level.flows, layout.routes, strict=True)):
            if flow.kind == kind:
                path, tip = _path(route, layout, boxes, rows, aside[number])
                yield _line(kind, path, tip)
                labels += [_label(flow, tip, tip[0] < boxes[flow.target].x)] if flow.arguments else []
    yield from labels


def _aside(layout: LevelLayout) -> list[float]:
    """Return how far each flow stands aside, so that two between the same nodes do not hide each other."""
    between: collections.Counter[tuple[int, ...]] = collections.Counter()
    turns = []
    for route in layout.routes:
        turns.append(between[route])
        between[route] += 1
    return [ASIDE * (turn - (between[route] - 1) / 2) for turn, route in zip(turns, layout.routes, strict=True)]


def _path(
    route: tuple[int, ...], layout: LevelLayout, boxes: list[_Box], rows: list[tuple[float, float]], aside: float
) -> tuple[str, tuple[float, float]]:
    """Return the path of a line through its cells, and where its arrow points."""
    own = [boxes[cell] for cell in route]
    leaning = [_lean(box, (own[1], own[-2])[end].x - box.x, aside) for end, box in enumerate((own[0], own[-1]))]
    x, y = own[0].x + leaning[0], own[0].bottom
    path = f"M{x:.1f} {y:.1f}"
    for number, cell in enumerate(route[1:], 1):
        last = number == len(route) - 1
        to_x, to_y = own[number].x + (leaning[1] if last else 0), own[number].top - (6 if last else 0)
        row, above = rows[layout.cells[cell].layer], rows[layout.cells[route[number - 1]].layer]
        if to_y > y:
            path += f"L{x:.1f} {max(y, above[1]):.1f}" + draw_curve(x, max(y, above[1]), to_x, min(to_y, row[0] - 6))
        path += f"L{to_x:.1f} {to_y:.1f}" + ("" if last else f"L{to_x:.1f} {own[number].bottom:.1f}")
        x, y = to_x, own[number].bottom
    return path, (to_x, own[-1].top)


def _lean(box: _Box, across: float, aside: float) -> float:
    """Return how far from its middle a line meets a box: on the side that it comes from or goes to."""
    most = max(0.0, min(box.half - 10, 26))
    return max(-most, min(most, across * 0.15 + aside))


def _line(kind: FlowKind, path: str, tip: tuple[float, float]) -> str:
    stroke = STROKES[kind]
    dash = f' stroke-dasharray="{stroke.dash}" stroke-linecap="round"' if stroke.dash else ""
    x, y = tip
    wide = 3.5 + stroke.width * 0.8
    head = f'<path d="M{x - wide:.1f} {y - 9:.1f}L{x:.1f} {y:.1f}L{x + wide:.1f} {y - 9:.1f}Z" fill="{stroke.color}"/>'
    return f'<path d="{path}" fill="none" stroke="{stroke.color}" stroke-width="{stroke.width}"{dash}/>{head}'


def _label(flow: Flow, tip: tuple[float, float], left: bool) -> str:
    """Return the name of a mask argument beside its arrow, on the outer side."""
    halo = {"stroke": PAPER, "stroke_width": 4, "paint_order": "stroke", "stroke_linejoin": "round"}
    place = {"text_anchor": "end" if left else "start", "fill": ACCENT, "font_size": 11}
    text = shorten_middle(make_printable(", ".join(flow.arguments)), LONGEST)
    return _text(tip[0] + (-9 if left else 9), tip[1] - 5, text, **place, **halo)


# Nodes.


def _node(node: Node, folded: Folds) -> _Drawn:
    if node.place in ("in", "out"):
        return _Drawn(PORT, PORT, f'<circle cx="{PORT / 2}" cy="{PORT / 2}" r="4" fill="{LINE}"/>')
    if node.call is None:
        return _pill(node)
    if node.level is None:
        return _box(node, _said(node), HEIGHT)
    return _container(node, node.level, folded) if is_open(node, folded) else _folded(node, node.level, folded)


def _pill(node: Node) -> _Drawn:
    text = shorten_middle(make_printable(node.name), LONGEST)
    width = measure_text(f"{node.place} {text}", NAME) + 30
    look = LOOKS[node.place]
    return _Drawn(
        width,
        PILL,
        f'<rect width="{width:.1f}" height="{PILL}" rx="{PILL / 2}" fill="{look.fill}" stroke="{look.color}"/>'
        f'<text x="{width / 2:.1f}" y="{PILL / 2 + 4.5}" text-anchor="middle" font-size="{NAME}">'
        f'<tspan fill="{MUTED}" font-size="{SMALL}">{node.place} </tspan>'
        f'<tspan font-weight="600">{escape_text(text)}</tspan></text>',
    )


def _said(node: Node) -> tuple[tuple[str, str], ...]:
    """Return the second line of a call: its type and its effect, each with its color."""
    assert node.call is not None  # noqa: S101 - asked of calls only
    return (shorten_middle(make_printable(node.call.type), LONGEST), MUTED), (
        describe_effect(node),
        LOOKS[node.effect].color,
    )


def _box(node: Node, said: tuple[tuple[str, str], ...], height: float) -> _Drawn:
    """Return a call: its sign, its name, and what is said below."""
    name = shorten_middle(make_printable(node.name), LONGEST)
    below = "  ·  ".join(text for text, _ in said[:2])
    texts = [(name, NAME * BOLD), (below, SMALL * BOLD), *((text, SMALL * BOLD) for text, _ in said[2:])]
    width = max(120.0, *(measure_text(text, size) for text, size in texts)) + 46
    return _Drawn(width, height, _frame(node, width, height) + _heading(node, name, said))


def _heading(node: Node, name: str, said: tuple[tuple[str, str], ...]) -> str:
    (kind, kind_color), (effect, color), *more = said
    bold = ' font-weight="700"' if node.effect in ("drops", "creates") else ""
    return (
        f"<title>{escape_text(node.path)}: {escape_text(describe_node(node))}</title>"
        + _at(20, 23, draw_sign(node.effect, LOOKS[node.effect].color))
        + _text(38, 19, name, font_size=NAME, font_weight=600)
        + f'<text x="38" y="36"><tspan fill="{kind_color}">{escape_text(kind)}  ·  </tspan>'
        + f'<tspan fill="{INK if color == LINE else color}"{bold}>{escape_text(effect)}</tspan></text>'
        + "".join(_text(38, 52, text, fill=fill, font_weight=600) for text, fill in more)
    )


def _frame(node: Node, width: float, height: float, fill: str = "") -> str:
    look = LOOKS[node.effect]
    dash = f' stroke-dasharray="{look.dash}"' if look.dash else ""
    size = f'width="{width:.1f}" height="{height:.1f}"'
    frame = f'<rect {size} rx="7" fill="{fill or look.fill}" stroke="{look.color}" stroke-width="{look.width}"{dash}/>'
    if look.double:
        size = f'width="{width - 7:.1f}" height="{height - 7:.1f}"'
        frame += f'<rect x="3.5" y="3.5" {size} rx="4.5" fill="none" stroke="{look.color}"/>'
    return frame


def _folded(node: Node, level: Level, folded: Folds) -> _Drawn:
    """Return a container with its inside left out: a pile of sheets, with what is left out said."""
    like = folded[node.path].rpartition("/")[2]
    said = (
        f"{describe_inside(level)}, as in {shorten_middle(make_printable(like), LONGEST)}"
        if like
        else f"{describe_inside(level)}, not drawn"
    )
    fill = MUTED
    if has_drop_inside(level):
        said, fill = f"{said}; one drops the mask", LOST
    drawn = _box(node, (*_said(node), (said, fill)), FOLDED)
    sheets = "".join(
        f'<rect x="{shift}" y="{shift}" width="{drawn.width:.1f}" height="{FOLDED}" rx="7" fill="{PAPER}" '
        f'stroke="{LOOKS[node.effect].color}"/>'
        for shift in (6, 3)
    )
    return dataclasses.replace(drawn, body=sheets + drawn.body)


def _container(node: Node, level: Level, folded: Folds) -> _Drawn:
    """Return a container with its inside."""
    drawn, head = _level(level, folded), _box(node, _said(node), HEAD)
    width = max(drawn.width + 2 * PAD, head.width)
    height = HEAD + 14 + drawn.height + PAD
    name = shorten_middle(make_printable(node.name), LONGEST)
    body = _frame(node, width, height, fill="#fafbfc") + _heading(node, name, _said(node))
    rule = f'<path d="M0 {HEAD}H{width:.1f}" stroke="{LINE}" stroke-opacity="0.4"/>'
    return _Drawn(width, height, body + rule + _at((width - drawn.width) / 2, HEAD + 14, drawn.body))


# What is above the graph.


def _title(inspection: Inspection) -> _Drawn:
    name = shorten_middle(make_printable(inspection.model.name), 2 * LONGEST)
    kind, calls = shorten_middle(make_printable(inspection.model.type), LONGEST), len(inspection.trace)
    said = f"{kind}, {calls} calls: what each does to the mask, and where the mask goes"
    body = _text(0, 18, name, font_size=18, font_weight=700) + _text(0, 38, said, fill=MUTED)
    return _Drawn(max(measure_text(name, 18 * BOLD), measure_text(said, SMALL)), 44, body)


def _legend(root: Level, room: float) -> _Drawn:
    """Return what lines and signs mean, of those that occur, in as many rows as they need."""
    kinds, effects = find_occurring(root)
    entries = [(_sample(kind), 44, FLOWS[kind]) for kind in KINDS[::-1] if kind in kinds]
    entries += [
        (_at(8, -4, draw_sign(effect, LOOKS[effect].color)), 22, f"{effect}: {EFFECTS[effect]}")
        for effect in EFFECTS
        if effect in effects
    ]
    parts, x, y = [], 0.0, 14.0
    for body, before, text in entries:
        width = before + measure_text(text, SMALL) * 0.92 + 22
        if x and x + width > room:
            x, y = 0.0, y + 22
        parts.append(_at(x, y, body + _text(before, 0, text)))
        x += width
    return _Drawn(room, y + 6, "".join(parts))


def _sample(kind: FlowKind) -> str:
    stroke = STROKES[kind]
    dash = f' stroke-dasharray="{stroke.dash}" stroke-linecap="round"' if stroke.dash else ""
    return f'<path d="M2-4H38" stroke="{stroke.color}" stroke-width="{stroke.width}"{dash}/>'
