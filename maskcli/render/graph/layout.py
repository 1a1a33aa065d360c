"""The layout of a level: nodes in layers from top to bottom, each below its sources, and in columns.

A flow that crosses layers goes through a spacer in each of them. Flows of one kind from one node share their spacers,
so that a mask for many calls is one line with branches.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

from maskcli.errors import UsageError, suggest_install
from maskcli.render.graph.graph import Level

STIFFNESS = (2, 1, 8)
"""Weight of a straight line: between nodes, between a node and a spacer, and between spacers."""
STRAIGHT = 3
"""Factor of this weight for flows with a mask, or with a lost one."""
SWEEPS = 6
"""Passes down and up that straighten the lines."""


@dataclasses.dataclass(frozen=True)
class Slot:
    """The place of a node or a spacer.

    Attributes:
        layer: layer, 0 at the top.
        slot: left edge in halves of a column, 0 at the left; a cell is two halves wide.
        node: position of the node in the level; None for a spacer.
    """

    layer: int
    slot: int
    node: int | None


@dataclasses.dataclass(frozen=True)
class LevelLayout:
    """The layout of a level.

    Attributes:
        cells: cells of the nodes, in their order, then those of the spacers.
        layers: positions of the cells in each layer, from left to right.
        routes: positions of the cells of each flow, from its source to its target.
        slots: width in halves of columns.
    """

    cells: tuple[Slot, ...]
    layers: tuple[tuple[int, ...], ...]
    routes: tuple[tuple[int, ...], ...]
    slots: int


def lay_out_level(level: Level) -> LevelLayout:
    """Return the layout of a level.

    Raises:
        UsageError: when igraph is missing.
    """
    nodes = len(level.nodes)
    depths = _find_depths(level)
    routes = _find_routes(level, depths)
    weights = [STRAIGHT if flow.kind in ("mask", "lost") else 1 for flow in level.flows]
    across = _place_across(depths, routes, weights, nodes)
    slots = _find_slots(depths, across)
    layers = _group_by_layer(depths, slots)
    cells = (
        Slot(depth, slot, cell if cell < nodes else None)
        for cell, (depth, slot) in enumerate(zip(depths, slots, strict=True))
    )
    return LevelLayout(tuple(cells), layers, routes, max(slots, default=0) + 2)


def _find_depths(level: Level) -> list[int]:
    """Return the layer of each node: one below its lowest source.

    Inputs are at the top, outputs in the last layer. A call without sources is right above its first target.
    """
    # Flows to earlier nodes occur only in contradictory records. They must not push nodes down without end.
    flows = sorted((flow for flow in level.flows if flow.source < flow.target), key=lambda flow: flow.source)
    is_input = [node.place in ("input", "in") for node in level.nodes]
    depths = [int(any(is_input) and not at_top) for at_top in is_input]
    for flow in flows:
        depths[flow.target] = max(depths[flow.target], depths[flow.source] + 1)
    fed = {flow.target for flow in flows}
    for position, node in enumerate(level.nodes):
        targets = [depths[flow.target] for flow in flows if flow.source == position]
        if node.place == "call" and position not in fed and targets:
            depths[position] = min(targets) - 1
    last = max((depth for depth, node in zip(depths, level.nodes, strict=True) if node.place == "call"), default=0)
    for position, node in enumerate(level.nodes):
        if node.place in ("output", "out"):
            depths[position] = max(last + 1, depths[position])
    return depths


def _find_routes(level: Level, depths: list[int]) -> tuple[tuple[int, ...], ...]:
    """Return the route of each flow; layers of new spacers are added to ``depths``."""
    lanes: dict[tuple[int, str], list[int]] = {}
    routes = []
    for flow in level.flows:
        lane = lanes.setdefault((flow.source, flow.kind), [])
        between = depths[flow.target] - depths[flow.source] - 1
        while len(lane) < between:
            depths.append(depths[flow.source] + len(lane) + 1)
            lane.append(len(depths) - 1)
        routes.append((flow.source, *lane[: max(0, between)], flow.target))
    return tuple(routes)


def _place_across(
    depths: Sequence[int], routes: Sequence[Sequence[int]], weights: Sequence[int], nodes: int
) -> list[float]:
    """Return the column of each cell: ordered by Sugiyama's method, then straightened."""
    if not depths:
        return []
    hops: dict[tuple[int, int], int] = {}
    for route, weight in zip(routes, weights, strict=True):
        for source, target in itertools.pairwise(route):
            if depths[target] == depths[source] + 1:
                stiff = STIFFNESS[(source >= nodes) + (target >= nodes)]
                hops[source, target] = max(hops.get((source, target), 0), weight * stiff)
    graph = _import_igraph().Graph(len(depths), list(hops), directed=True)
    coordinates: Any = graph.layout_sugiyama(layers=list(depths), hgap=1, vgap=1)
    # Depending on its version, igraph returns the coordinates or a tuple that starts with them.
    if isinstance(coordinates, tuple):
        coordinates = coordinates[0]
    across = [float(x) for x, _ in coordinates.coords[: len(depths)]]
    return _straighten(across, _group_by_layer(depths, across), hops)


def _straighten(across: list[float], rows: Sequence[Sequence[int]], hops: dict[tuple[int, int], int]) -> list[float]:
    """Return the columns in the same order, moved so that heavy lines become straight.

    Each sweep goes down and up. In each row every cell goes to the weighted median of its neighbours in the row before.
    """
    above: list[list[tuple[int, int]]] = [[] for _ in across]
    below: list[list[tuple[int, int]]] = [[] for _ in across]
    for (source, target), weight in hops.items():
        below[source].append((target, weight))
        above[target].append((source, weight))
    for near, ordered in (*((above, rows), (below, rows[::-1])) * SWEEPS, (above, rows), (below, rows[:1])):
        for row in ordered:
            goals = [_find_median([(across[end], weight) for end, weight in near[cell]], across[cell]) for cell in row]
            pull = [sum(weight for _, weight in near[cell]) or 1 for cell in row]
            for cell, place in zip(row, _spread(goals, pull), strict=True):
                across[cell] = place
    return across


def _find_median(places: list[tuple[float, int]], otherwise: float) -> float:
    """Return the weighted median of places, the middle between two equally good ones."""
    if not places:
        return otherwise
    ordered = sorted(places)
    sums = list(itertools.accumulate(weight for _, weight in ordered))
    position = bisect.bisect_left(sums, sums[-1] / 2)
    # At exactly half of the weight, the next place is equally good.
    ends = ordered[position : position + 1 + (2 * sums[position] == sums[-1])]
    return (ends[0][0] + ends[-1][0]) / 2


def _spread(goals: Sequence[float], pull: Sequence[int]) -> list[float]:
    """Return the places nearest to the goals, each at least one column right of the previous one.

    Of cells with the same goal, the one with the largest pull gets its goal. A compromise would move a long chain of
    calls a little further at each of its calls.
    """
    # Without the position, places at least one column apart become places in ascending order. Merging the neighbours
    # that are out of order, at the median of their goals, solves this problem (isotonic regression).
    blocks: list[tuple[float, list[tuple[float, int]]]] = []
    for position, (place, weight) in enumerate(zip(goals, pull, strict=True)):
        cells = [(place - position, weight)]
        at = place - position
        while blocks and blocks[-1][0] > at:
            cells = [*blocks.pop()[1], *cells]
            at = _find_median(cells, at)
        blocks.append((at, cells))
    merged = [at for at, cells in blocks for _ in cells]
    return [at + position for position, at in enumerate(merged)]


def _find_slots(depths: Sequence[int], across: Sequence[float]) -> list[int]:
    """Return the left edge of each cell in halves of columns, from 0.

    Cells of one layer are at least a whole column apart.
    """
    slots = [math.floor(2 * x + 0.5 + 1e-6) for x in across]
    for row in _group_by_layer(depths, across):
        for left, right in itertools.pairwise(row):
            slots[right] = max(slots[right], slots[left] + 2)
    first = min(slots, default=0)
    return [slot - first for slot in slots]


def _group_by_layer(depths: Sequence[int], across: Sequence[float]) -> tuple[tuple[int, ...], ...]:
    """Return the cells of each layer, from left to right."""
    rows: list[list[int]] = [[] for _ in range(max(depths, default=-1) + 1)]
    for cell in sorted(range(len(depths)), key=lambda cell: (across[cell], cell)):
        rows[depths[cell]].append(cell)
    return tuple(map(tuple, rows))


def measure_column_widths(layout: LevelLayout, widths: Sequence[float]) -> list[float]:
    """Return the widths of the halves of columns, so that all cells have room.

    Args:
        layout: the layout of a level.
        widths: widths of its cells, with the gaps between them.
    """
    halves = [0.0] * layout.slots
    for cell, width in zip(layout.cells, widths, strict=True):
        for half in (cell.slot, cell.slot + 1):
            halves[half] = max(halves[half], width / 2)
    return halves


def check_igraph() -> None:
    """Raise UsageError if igraph is not installed."""
    _import_igraph()


@functools.cache
def _import_igraph() -> Any:
    try:
        import igraph  # type: ignore[import-untyped]
    except ImportError:
        raise UsageError(
            where="graph", expected="the package igraph, which lays it out", received="none",
            fix=suggest_install("report"),
        ) from None  # fmt: skip
    return igraph
