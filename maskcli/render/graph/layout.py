"""Where the nodes of a level stand: in layers from top to bottom, each below what it takes, and in columns.

An edge that crosses layers goes through spacers, a cell in each; edges of one kind from one node share theirs, so that
a mask that many calls are given is one line with branches.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

from maskcli.errors import UsageError
from maskcli.render.graph.graph import Flow, Level

STIFFNESS = (2, 1, 8)
"""How much a line wants to go straight: between nodes, between a node and a spacer, and between spacers."""
STRAIGHT = 3
"""How much more that is so of a mask, there or lost."""
SWEEPS = 6


@dataclasses.dataclass(frozen=True)
class Slot:
    """A node or a spacer in its place.

    Attributes:
        layer: from 0 at the top.
        slot: where it begins, in halves of a column, from 0 at the left; it is two of them wide.
        node: the position of the node in the level; None for a spacer.
    """

    layer: int
    slot: int
    node: int | None


@dataclasses.dataclass(frozen=True)
class LevelLayout:
    """A level laid out.

    Attributes:
        cells: those of the nodes, in their order, and then the spacers.
        layers: which cells stand in each layer, from the left to the right.
        routes: the cells through which each flow goes, from its source to its target.
        slots: halves of columns.
    """

    cells: tuple[Slot, ...]
    layers: tuple[tuple[int, ...], ...]
    routes: tuple[tuple[int, ...], ...]
    slots: int


def lay_out_level(level: Level) -> LevelLayout:
    """Return where the nodes of a level stand.

    Raises:
        UsageError: when igraph is missing.
    """
    depths = _depths(level)
    routes, nodes = _routes(level, depths)
    weights = [STRAIGHT if flow.kind in ("mask", "lost") else 1 for flow in level.flows]
    across = _across(depths, routes, weights, nodes)
    slots = _slots(depths, across)
    layers = _by_layer(depths, slots)
    cells = (
        Slot(depth, slot, cell if cell < nodes else None)
        for cell, (depth, slot) in enumerate(zip(depths, slots, strict=True))
    )
    return LevelLayout(tuple(cells), layers, routes, max(slots, default=0) + 2)


def _forward(level: Level) -> list[Flow]:
    """Return flows from nodes to later ones: all, but in evidence that contradicts itself."""
    return [flow for flow in level.flows if flow.source < flow.target]


def _depths(level: Level) -> list[int]:
    """Return the layer of each node: one below the lowest that it takes from, what comes in at the top.

    A call that takes nothing stands right above the first that takes from it, and what goes out is in the last layer.
    """
    flows = sorted(_forward(level), key=lambda flow: flow.source)
    below_inputs = int(any(node.place in ("input", "in") for node in level.nodes))
    depths = [0 if node.place in ("input", "in") else below_inputs for node in level.nodes]
    for flow in flows:
        depths[flow.target] = max(depths[flow.target], depths[flow.source] + 1)
    fed = {flow.target for flow in flows}
    for position, node in enumerate(level.nodes):
        taken = [depths[flow.target] for flow in flows if flow.source == position]
        if node.place == "call" and position not in fed and taken:
            depths[position] = min(taken) - 1
    last = max((depth for depth, node in zip(depths, level.nodes, strict=True) if node.place == "call"), default=0)
    ends = [node.place in ("output", "out") for node in level.nodes]
    return [max(last + 1, depth) if end else depth for depth, end in zip(depths, ends, strict=True)]


def _routes(level: Level, depths: list[int]) -> tuple[tuple[tuple[int, ...], ...], int]:
    """Return the route of each flow, and how many nodes there are; spacers are added to ``depths``."""
    nodes = len(depths)
    lanes: dict[tuple[int, str], list[int]] = {}
    routes = []
    for flow in level.flows:
        lane = lanes.setdefault((flow.source, flow.kind), [])
        between = depths[flow.target] - depths[flow.source] - 1
        while len(lane) < between:
            depths.append(depths[flow.source] + len(lane) + 1)
            lane.append(len(depths) - 1)
        routes.append((flow.source, *lane[: max(0, between)], flow.target))
    return tuple(routes), nodes


def _across(depths: Sequence[int], routes: Sequence[Sequence[int]], weights: Sequence[int], nodes: int) -> list[float]:
    """Return where each cell stands across, in columns: ordered by Sugiyama's method, then drawn to its neighbors."""
    if not depths:
        return []
    hops: dict[tuple[int, int], int] = {}
    for route, weight in zip(routes, weights, strict=True):
        for source, target in itertools.pairwise(route):
            if depths[target] == depths[source] + 1:
                stiff = STIFFNESS[(source >= nodes) + (target >= nodes)]
                hops[source, target] = max(hops.get((source, target), 0), weight * stiff)
    graph = _igraph().Graph(len(depths), list(hops), directed=True)
    drawn: Any = graph.layout_sugiyama(layers=list(depths), hgap=1, vgap=1)
    coordinates = drawn[0] if isinstance(drawn, tuple) else drawn
    across = [float(x) for x, _ in coordinates.coords[: len(depths)]]
    return _straightened(across, _by_layer(depths, across), hops)


def _straightened(across: list[float], rows: Sequence[Sequence[int]], hops: dict[tuple[int, int], int]) -> list[float]:
    """Return places in the same order, nearer to those above and below: what carries the mask goes straight."""
    above: list[list[tuple[int, int]]] = [[] for _ in across]
    below: list[list[tuple[int, int]]] = [[] for _ in across]
    for (source, target), weight in hops.items():
        below[source].append((target, weight))
        above[target].append((source, weight))
    for near, ordered in (*((above, rows), (below, rows[::-1])) * SWEEPS, (above, rows), (below, rows[:1])):
        for row in ordered:
            wanted = [_median([(across[other], weight) for other, weight in near[cell]], across[cell]) for cell in row]
            pull = [sum(weight for _, weight in near[cell]) or 1 for cell in row]
            for cell, place in zip(row, _apart(wanted, pull), strict=True):
                across[cell] = place
    return across


def _median(places: list[tuple[float, int]], otherwise: float) -> float:
    """Return the weighted median of places; the middle between two where both are as good."""
    if not places:
        return otherwise
    total, below = sum(weight for _, weight in places), 0
    ordered = sorted(places)
    for position, (place, weight) in enumerate(ordered):
        below += weight
        if 2 * below == total:
            return (place + ordered[position + 1][0]) / 2
        if 2 * below > total:
            return place
    return otherwise


def _apart(wanted: Sequence[float], pull: Sequence[int]) -> list[float]:
    """Return places as near to those wanted as can be, each at least one column right of the one before it.

    Of cells that want the same place the one with the most pull has it, and the others go aside: a compromise would
    move a long chain of calls a little further at each of them.
    """
    blocks: list[tuple[float, list[tuple[float, int]]]] = []
    for position, (place, weight) in enumerate(zip(wanted, pull, strict=True)):
        cells = [(place - position, weight)]
        at = place - position
        while blocks and blocks[-1][0] > at:
            cells = [*blocks.pop()[1], *cells]
            at = _median(cells, at)
        blocks.append((at, cells))
    moved = [at for at, cells in blocks for _ in cells]
    return [at + position for position, at in enumerate(moved)]


def _slots(depths: Sequence[int], across: Sequence[float]) -> list[int]:
    """Return halves of columns from 0; cells of one layer are at least a whole one apart."""
    slots = [math.floor(2 * x + 0.5 + 1e-6) for x in across]
    for row in _by_layer(depths, across):
        for left, right in itertools.pairwise(row):
            slots[right] = max(slots[right], slots[left] + 2)
    first = min(slots, default=0)
    return [slot - first for slot in slots]


def _by_layer(depths: Sequence[int], across: Sequence[float]) -> tuple[tuple[int, ...], ...]:
    rows: list[list[int]] = [[] for _ in range(max(depths, default=-1) + 1)]
    for cell in sorted(range(len(depths)), key=lambda cell: (across[cell], cell)):
        rows[depths[cell]].append(cell)
    return tuple(map(tuple, rows))


def measure_column_widths(layout: LevelLayout, widths: Sequence[float]) -> list[float]:
    """Return the widths of the halves of columns, so that each has room for its cells.

    Args:
        layout: a level laid out.
        widths: of its cells, with the gaps beside them.
    """
    halves = [0.0] * layout.slots
    for cell, width in zip(layout.cells, widths, strict=True):
        for half in (cell.slot, cell.slot + 1):
            halves[half] = max(halves[half], width / 2)
    return halves


def check_igraph() -> None:
    """Raise UsageError where what lays graphs out is not installed."""
    _igraph()


@functools.cache
def _igraph() -> Any:
    try:
        import igraph  # type: ignore[import-untyped]
    except ImportError:
        raise UsageError(
            where="graph", expected="the package igraph, which lays it out", received="none",
            fix="pip install 'maskcli[report]'",
        ) from None  # fmt: skip
    return igraph
