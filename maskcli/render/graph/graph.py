"""Calls and what flows between them, lifted to nested levels: the model itself, and each call that makes further calls.

A tensor that comes from outside a container to a call inside is two flows, one to the container and one from its port
``in``; on its way out it is three. Thus a container can be folded, and no path is cut.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Literal

from maskcli.records.trace import Call, Edge, Inspection

NodePlace = Literal["call", "input", "output", "in", "out"]
FlowKind = Literal["mask", "lost", "plain", "argument"]
KINDS: tuple[FlowKind, ...] = ("plain", "lost", "mask", "argument")
"""In the order of drawing: what comes later lies above."""
Ref = tuple[NodePlace, str]
"""A node: where it stands, and the path of its call, the name of the input or output, or the path of the container."""


@dataclasses.dataclass(frozen=True, eq=False)
class Flow:
    """Tensors on their way from one node of a level to another.

    Attributes:
        source: the position of the node that they come from.
        target: the position of the node that they go to.
        kind: whether they carry a mask, would carry one had it not been lost, or are a mask argument themselves.
        arguments: the names of the mask arguments.
        edges: which edges these are, by position.
    """

    source: int
    target: int
    kind: FlowKind
    arguments: tuple[str, ...]
    edges: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """A call, an input or output of the model, or the port of a container.

    Attributes:
        place: what it is.
        path: of the call, or of the container whose port it is; the name of an input or output.
        call: None where it is none.
        level: what is inside; None where that is nothing.
        loses: whether a later call lacks a mask that it had.
    """

    place: NodePlace
    path: str
    call: Call | None = None
    level: Level | None = None
    loses: bool = False

    @property
    def ref(self) -> Ref:
        """What tells it from all other nodes of the graph."""
        return self.place, self.path

    @property
    def effect(self) -> str:
        """What a call does to a mask, ``computes`` where it makes one for a later call; the place of what is none.

        A call may use the mask and yet take it from those behind it, and then that it drops it says more.
        """
        if self.call is None:
            return self.place
        return "computes" if self.call.computes_mask else "drops" if self.loses else self.call.effect

    @property
    def name(self) -> str:
        """Its own name, without what leads to it."""
        if self.place == "call":
            return self.path.rpartition("/")[2]
        return self.path if self.place in ("input", "output") else self.place


@dataclasses.dataclass(frozen=True, eq=False)
class Level:
    """What is directly inside the model or one container.

    Attributes:
        path: of the container; empty for the model.
        nodes: what comes in, the calls in the order of running, and what goes out.
        flows: between them, in the order of arriving.
    """

    path: str
    nodes: tuple[Node, ...]
    flows: tuple[Flow, ...]

    @property
    def calls(self) -> int:
        """How many calls it has, with those inside others."""
        return sum(1 + (node.level.calls if node.level is not None else 0) for node in self.nodes if node.call)


Pieces = dict[tuple[Ref, Ref], dict[FlowKind, list[tuple[int, "str | None", bool]]]]
"""The flows of a level in the making: the position of each edge, the mask argument that it is given as, and whether it
arrives there."""


def build_graph(inspection: Inspection) -> Level:
    """Return the graph of a model."""
    inputs = [given.name for given in inspection.inputs]
    return lift_levels(inspection.trace, inspection.edges, inputs, [output.name for output in inspection.outputs])


def lift_levels(trace: Sequence[Call], edges: Sequence[Edge], inputs: Sequence[str], outputs: Sequence[str]) -> Level:
    """Return the level of the model with all others inside it."""
    tree = Tree(trace)
    known: set[Ref] = {("call", call.call) for call in trace}
    known |= {("input", name) for name in inputs} | {("output", name) for name in outputs}
    pieces: dict[str, Pieces] = {path: {} for path in tree.children}
    for position, edge in enumerate(edges):
        source, target = find_ends(edge)
        if source not in known or target not in known:
            continue
        for path, own_source, own_target, arrives in tree.pieces(source, target):
            kinds = pieces[path].setdefault((own_source, own_target), {})
            kinds.setdefault(classify_edge(edge), []).append((position, edge.argument, arrives))
    above, below = [Node("input", name) for name in inputs], [Node("output", name) for name in outputs]
    return _level("", [*above, *_calls("", tree, pieces), *below], pieces[""])


def _calls(path: str, tree: Tree, pieces: dict[str, Pieces]) -> list[Node]:
    """Return the nodes of the calls directly inside a container, each with what is inside it."""
    return [
        Node("call", call.call, call, _inside(call.call, tree, pieces), call.call in tree.losing)
        for call in tree.children[path]
    ]


def _inside(path: str, tree: Tree, pieces: dict[str, Pieces]) -> Level | None:
    if path not in tree.children:
        return None
    used = {ref for ends_of in pieces[path] for ref in ends_of}
    above = [Node("in", path)] if ("in", path) in used else []
    below = [Node("out", path)] if ("out", path) in used else []
    return _level(path, [*above, *_calls(path, tree, pieces), *below], pieces[path])


def _level(path: str, nodes: list[Node], pieces: Pieces) -> Level:
    at = {node.ref: position for position, node in enumerate(nodes)}
    flows = (flow for (source, target), kinds in pieces.items() for flow in _flows(at[source], at[target], kinds))
    return Level(path, tuple(nodes), tuple(flows))


def _flows(source: int, target: int, kinds: dict[FlowKind, list[tuple[int, str | None, bool]]]) -> Iterator[Flow]:
    """Yield the flows between two nodes: what becomes of them further inside is told there, where they arrive here."""
    arriving = {kind: edges for kind, edges in kinds.items() if any(arrives for _, _, arrives in edges)} or kinds
    others = [position for kind, edges in kinds.items() if kind not in arriving for position, _, _ in edges]
    for kind, edges in arriving.items():
        names = dict.fromkeys(name for _, name, arrives in edges if name is not None and arrives)
        yield Flow(source, target, kind, tuple(names), (*(position for position, _, _ in edges), *others))
        others = []


def find_ends(edge: Edge) -> tuple[Ref, Ref]:
    """Return the nodes that an edge goes from and to."""
    source: Ref = ("input" if edge.from_input else "call", edge.source)
    target: Ref = ("output" if edge.to_output else "call", edge.target)
    return source, target


def classify_edge(edge: Edge) -> FlowKind:
    """Return what an edge has to do with masks."""
    if edge.argument is not None:
        return "argument"
    if edge.mask is not None:
        return "mask"
    return "lost" if edge.lost else "plain"


class Tree:
    """Which call is inside which.

    Attributes:
        children: the calls directly inside each container, by its path; those of the model by ``''``.
        losing: the paths of calls at which masks were lost that later calls would have.
    """

    def __init__(self, trace: Sequence[Call]) -> None:
        """Sort calls by what they are inside of."""
        self.calls = {call.call: call for call in trace}
        self.losing = {call.lost_at for call in trace}
        self.above = {path: self._above(path) for path in self.calls}
        self.children: dict[str, list[Call]] = {"": []}
        for path, call in self.calls.items():
            self.children.setdefault(self.above[path], []).append(call)

    def _above(self, path: str) -> str:
        above = path.rpartition("/")[0]
        while above and above not in self.calls:
            above = above.rpartition("/")[0]
        return above

    def lineage(self, ref: Ref) -> list[Ref]:
        """Return a node and the containers that it is in, the outermost first."""
        found = [ref]
        above = self.above[ref[1]] if ref[0] == "call" else ""
        while above:
            found.append(("call", above))
            above = self.above[above]
        return found[::-1]

    def pieces(self, source: Ref, target: Ref) -> Iterator[tuple[str, Ref, Ref, bool]]:
        """Yield the flows that an edge is: the path of the level, the source and target, and whether it arrives there.

        What a container's own code makes of its input, or returns of what a call inside made, has no flow outside.
        """
        left, right = self.lineage(source), self.lineage(target)
        shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))
        apart = shared < len(left) and shared < len(right)
        arrives = shared >= len(right) - 1
        if apart:
            yield left[shared - 1][1] if shared else "", left[shared], right[shared], arrives
        for outer, inner in itertools.pairwise(left[shared - (not apart) :]):
            yield outer[1], inner, ("out", outer[1]), arrives
        for outer, inner in itertools.pairwise(right[shared - (not apart) :]):
            yield outer[1], ("in", outer[1]), inner, inner == target


def find_occurring(level: Level) -> tuple[set[FlowKind], set[str]]:
    """Return the kinds of flows and the effects of calls that there are, here and inside."""
    kinds: set[FlowKind] = {flow.kind for flow in level.flows}
    effects = {node.effect for node in level.nodes if node.call}
    for node in level.nodes:
        if node.level is not None:
            within = find_occurring(node.level)
            kinds, effects = kinds | within[0], effects | within[1]
    return kinds, effects
