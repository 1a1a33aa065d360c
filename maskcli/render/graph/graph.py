"""Calls and the flows between them, lifted to nested levels: the model, and each call that makes further calls.

An edge from outside a container to a call inside becomes two flows: one to the container, and one from its port ``in``.
An edge out of a container becomes one flow to its port ``out`` and one from the container. This way a container can be
folded without cutting a path.
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
"""Kinds in the order of drawing: later ones lie above."""
Ref = tuple[NodePlace, str]
"""A node: its place, and the path of a call, the name of an input or output, or the path of a port's container."""


@dataclasses.dataclass(frozen=True, eq=False)
class Flow:
    """Tensors that go from one node of a level to another.

    Attributes:
        source: position of the node that they come from.
        target: position of the node that they go to.
        kind: whether they carry a mask, have lost their mask, have none, or are a mask argument themselves.
        arguments: names of the mask arguments.
        edges: positions of the edges.
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
        place: kind of node.
        path: path of the call, or of the port's container; name of an input or output.
        call: the call; None for other nodes.
        level: calls inside; None without any.
        loses: whether a later call lacks the mask because of this one.
    """

    place: NodePlace
    path: str
    call: Call | None = None
    level: Level | None = None
    loses: bool = False

    @property
    def ref(self) -> Ref:
        """Key of the node, unique in the graph."""
        return self.place, self.path

    @property
    def effect(self) -> str:
        """Effect of a call on the mask; for other nodes their place.

        A call that only makes a mask for a later call has ``computes``. A call that uses the mask, but leaves later
        calls without it, has ``drops``, which matters more.
        """
        if self.call is None:
            return self.place
        if self.call.computes_mask:
            return "computes"
        return "drops" if self.loses else self.call.effect

    @property
    def name(self) -> str:
        """Name without the path of its container."""
        if self.place == "call":
            return self.path.rpartition("/")[2]
        return self.place if self.place in ("in", "out") else self.path


@dataclasses.dataclass(frozen=True, eq=False)
class Level:
    """The nodes directly inside the model or one container.

    Attributes:
        path: path of the container; empty for the model.
        nodes: inputs or the port ``in``, the calls in the order of execution, then outputs or the port ``out``.
        flows: flows between the nodes, in the order of arrival.
    """

    path: str
    nodes: tuple[Node, ...]
    flows: tuple[Flow, ...]

    @property
    def calls(self) -> int:
        """Count of calls, including those inside containers."""
        calls = [node for node in self.nodes if node.call is not None]
        return len(calls) + sum(node.level.calls for node in calls if node.level is not None)


Pieces = dict[tuple[Ref, Ref], dict[FlowKind, list[tuple[int, "str | None", bool]]]]
"""Flows of a level in the making: for each edge its position, its mask argument, and whether its target is here."""


def build_graph(inspection: Inspection) -> Level:
    """Return the graph of a model."""
    inputs = [model_input.name for model_input in inspection.inputs]
    return lift_levels(inspection.trace, inspection.edges, inputs, [output.name for output in inspection.outputs])


def lift_levels(trace: Sequence[Call], edges: Sequence[Edge], inputs: Sequence[str], outputs: Sequence[str]) -> Level:
    """Return the level of the model, with the levels of all containers inside it."""
    tree = Tree(trace)
    refs: set[Ref] = {("call", call.call) for call in trace}
    refs |= {("input", name) for name in inputs} | {("output", name) for name in outputs}
    pieces: dict[str, Pieces] = {path: {} for path in tree.children}
    for position, edge in enumerate(edges):
        source, target = find_ends(edge)
        if source not in refs or target not in refs:
            continue
        for path, piece_source, piece_target, arrives in tree.split_edge(source, target):
            kinds = pieces[path].setdefault((piece_source, piece_target), {})
            kinds.setdefault(classify_edge(edge), []).append((position, edge.argument, arrives))
    above, below = [Node("input", name) for name in inputs], [Node("output", name) for name in outputs]
    return _make_level("", [*above, *_make_nodes("", tree, pieces), *below], pieces[""])


def _make_nodes(path: str, tree: Tree, pieces: dict[str, Pieces]) -> list[Node]:
    """Return the nodes of the calls directly inside a container, with their levels."""
    return [
        Node("call", call.call, call, _make_inside(call.call, tree, pieces), call.call in tree.losing)
        for call in tree.children[path]
    ]


def _make_inside(path: str, tree: Tree, pieces: dict[str, Pieces]) -> Level | None:
    if path not in tree.children:
        return None
    ends = set(itertools.chain.from_iterable(pieces[path]))
    nodes = [Node("in", path), *_make_nodes(path, tree, pieces), Node("out", path)]
    return _make_level(path, [node for node in nodes if node.call is not None or node.ref in ends], pieces[path])


def _make_level(path: str, nodes: list[Node], pieces: Pieces) -> Level:
    at = {node.ref: position for position, node in enumerate(nodes)}
    flows = (flow for (source, target), kinds in pieces.items() for flow in _make_flows(at[source], at[target], kinds))
    return Level(path, tuple(nodes), tuple(flows))


def _make_flows(source: int, target: int, kinds: dict[FlowKind, list[tuple[int, str | None, bool]]]) -> Iterator[Flow]:
    """Yield the flows between two nodes, one per kind.

    If an edge arrives here, edges to calls further inside the target are not drawn as flows of their own: the level of
    the target has them. Their positions are added to the first flow.
    """
    arriving = {kind: edges for kind, edges in kinds.items() if any(arrives for _, _, arrives in edges)} or kinds
    further = [position for kind, edges in kinds.items() if kind not in arriving for position, _, _ in edges]
    for kind, edges in arriving.items():
        names = dict.fromkeys(name for _, name, arrives in edges if name is not None and arrives)
        yield Flow(source, target, kind, tuple(names), (*(position for position, _, _ in edges), *further))
        further = []


def find_ends(edge: Edge) -> tuple[Ref, Ref]:
    """Return the source and the target of an edge."""
    source: Ref = ("input" if edge.from_input else "call", edge.source)
    target: Ref = ("output" if edge.to_output else "call", edge.target)
    return source, target


def classify_edge(edge: Edge) -> FlowKind:
    """Return the kind of an edge."""
    if edge.argument is not None:
        return "argument"
    if edge.mask is not None:
        return "mask"
    return "lost" if edge.lost else "plain"


class Tree:
    """The nesting of calls.

    Attributes:
        calls: each call by its path.
        above: path of the container of each call; empty for the model.
        children: calls directly inside each container, by its path; those of the model by an empty path.
        losing: paths of calls at which later calls lost their mask.
    """

    def __init__(self, trace: Sequence[Call]) -> None:
        """Sort calls by their container."""
        self.calls: dict[str, Call] = {call.call: call for call in trace}
        self.losing: set[str | None] = {call.lost_at for call in trace}
        self.above: dict[str, str] = {path: self._find_container(path) for path in self.calls}
        self.children: dict[str, list[Call]] = {"": []}
        for path, call in self.calls.items():
            self.children.setdefault(self.above[path], []).append(call)

    def _find_container(self, path: str) -> str:
        above = path.rpartition("/")[0]
        while above and above not in self.calls:
            above = above.rpartition("/")[0]
        return above

    def list_lineage(self, ref: Ref) -> list[Ref]:
        """Return the containers of a node, the outermost first, then the node."""
        lineage = [ref]
        above = self.above[ref[1]] if ref[0] == "call" else ""
        while above:
            lineage.append(("call", above))
            above = self.above[above]
        return lineage[::-1]

    def split_edge(self, source: Ref, target: Ref) -> Iterator[tuple[str, Ref, Ref, bool]]:
        """Yield the pieces of an edge, one per level that it crosses.

        A piece is the path of the level, its source and target there, and whether the edge arrives at this target.
        Between a container and a call inside it, the edge stays inside: the container's own code uses its input, or
        returns the result of the call.
        """
        left, right = self.list_lineage(source), self.list_lineage(target)
        shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))
        # If one end contains the other, that end is the last shared node. Its ports belong to its own level.
        separate = shared < len(left) and shared < len(right)
        start = shared if separate else shared - 1
        if separate:
            path = left[shared - 1][1] if shared else ""
            yield path, left[shared], right[shared], shared >= len(right) - 1
        for outer, inner in itertools.pairwise(left[start:]):
            yield outer[1], inner, ("out", outer[1]), shared >= len(right) - 1
        for outer, inner in itertools.pairwise(right[start:]):
            yield outer[1], ("in", outer[1]), inner, inner == target


def find_occurring(level: Level) -> tuple[set[FlowKind], set[str]]:
    """Return the kinds of flows and the effects of calls on a level and inside it."""
    kinds: set[FlowKind] = {flow.kind for flow in level.flows}
    effects = {node.effect for node in level.nodes if node.call}
    for node in level.nodes:
        if node.level is not None:
            inner_kinds, inner_effects = find_occurring(node.level)
            kinds, effects = kinds | inner_kinds, effects | inner_effects
    return kinds, effects
