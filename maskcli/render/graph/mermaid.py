"""The graph as Mermaid text, which GitHub and GitLab draw; containers become subgraphs."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Collection, Iterator, Sequence

from maskcli.records.trace import Inspection
from maskcli.render.graph.folding import Folds, is_open, order_folding
from maskcli.render.graph.graph import (
    KINDS,
    FlowKind,
    Level,
    Node,
    NodePlace,
    Ref,
    Tree,
    build_graph,
    classify_edge,
    find_ends,
)
from maskcli.render.graph.looks import INK, LOOKS, STROKES
from maskcli.render.graph.words import SIGNS, describe_effect, describe_inside, shorten_name

MOST_EDGES, MOST_TEXT = 480, 49_000
"""A little below Mermaid's default limits: 500 edges and 50,000 characters."""
LONGEST = 40
"""Most characters of a name."""
ARROWS: dict[FlowKind, str] = {"mask": "==>", "lost": "-.->", "plain": "-->", "argument": "-->"}
SHAPES = {"creates": ("[[", "]]"), "drops": ("{{", "}}"), "input": ("([", "])"), "output": ("([", "])")}
"""Delimiters of nodes that are not plain boxes."""
GAP = Node("call", "")
"""Node in place of the calls left out in the middle."""
_ARROW = re.compile(r"^ +n\d+ (?:==>|-\.->|-->)", re.MULTILINE)
_MARKUP = re.compile(r"(?<=\$)(?=\$)|(?<=:)(?=fa-)")
"""Places inside formulas and icons, which Mermaid recognizes even in escaped text."""
_SPECIAL = re.compile(r"[^\w ,:()\x80-\U0010ffff]", re.ASCII)
MermaidLine = tuple[Ref, Ref, FlowKind]
MermaidLines = dict[MermaidLine, tuple[str, ...]]
"""Source, target and kind of each line, with the names of the mask arguments."""


def render_mermaid(inspection: Inspection) -> str:
    """Return the graph of a model as Mermaid, small enough for GitHub.

    Containers are folded until the text is small enough. If that is not enough, calls in the middle are left out.
    """
    root = build_graph(inspection)
    order = [container.path for container in order_folding(root)]
    flows = _Flows(inspection)

    def fold(count: int) -> str | None:
        folds = dict.fromkeys(order[:count], "")
        return _check_size(_render_text(root.nodes, flows.list_lines(folds), folds))

    def elide(left_out: int) -> str | None:
        return _elide_middle(root, flows, left_out, dict.fromkeys(order, ""))

    return _find_first(fold, len(order)) or _find_first(elide, len(root.nodes)) or "flowchart TD\n"


def _find_first(make: Callable[[int], str | None], most: int) -> str | None:
    """Return the text for the smallest number that has one."""
    return make(bisect.bisect_left(range(most), True, key=lambda number: make(number) is not None))


def _check_size(text: str) -> str | None:
    """Return the text, or None if it is too large."""
    return text if len(text) <= MOST_TEXT and len(_ARROW.findall(text)) <= MOST_EDGES else None


class _Flows:
    """The edges of a model, for any choice of folded containers.

    Attributes:
        tree: nesting of the calls.
        edges: source, target, kind and mask argument of each edge.
        entering: sources of edges, with each container that the edge enters.
    """

    def __init__(self, inspection: Inspection) -> None:
        self.tree = Tree(inspection.trace)
        refs = {("call", path) for path in self.tree.calls}
        refs |= {("input", model_input.name) for model_input in inspection.inputs}
        refs |= {("output", output.name) for output in inspection.outputs}
        edges = [(*find_ends(edge), classify_edge(edge), edge.argument) for edge in inspection.edges]
        self.edges = [edge for edge in edges if edge[0] in refs and edge[1] in refs]
        self.entering = {
            (source, container)
            for source, target, _, _ in self.edges
            for container in self.tree.list_lineage(target)[:-1]
        }

    def list_lines(self, folded: Collection[str], replace: Callable[[Ref], Ref] = lambda ref: ref) -> MermaidLines:
        """Return the lines to draw.

        Args:
            folded: paths of containers drawn as one node.
            replace: function from a node to the node drawn in its place.
        """
        lines: MermaidLines = {}
        for source, target, kind, argument in self.edges:
            left, right = self._find_visible(source, folded), self._find_visible(target, folded)
            # An edge to an open container is left out if its source also has an edge to a call inside.
            if left == right or ((source, right) in self.entering and self._is_open(right, folded)):
                continue
            start = replace(self._find_port(left, right, folded, "out", "in"))
            end = replace(self._find_port(right, left, folded, "in", "out"))
            if start != end:
                names = lines.setdefault((start, end, kind), ())
                if argument and argument not in names:
                    lines[start, end, kind] = (*names, argument)
        return lines

    def _find_visible(self, ref: Ref, folded: Collection[str]) -> Ref:
        """Return the outermost folded container of a node, or the node."""
        lineage = self.tree.list_lineage(ref)
        return next((outer for outer in lineage if outer[0] == "call" and outer[1] in folded), ref)

    def _is_open(self, ref: Ref, folded: Collection[str]) -> bool:
        return ref[0] == "call" and ref[1] in self.tree.children and ref[1] not in folded

    def _find_port(self, ref: Ref, end: Ref, folded: Collection[str], outside: NodePlace, within: NodePlace) -> Ref:
        """Return the node to draw for one end of a line: an open container is replaced with a port.

        Args:
            ref: this end.
            end: the opposite end.
            folded: paths of containers drawn as one node.
            outside: port for lines from and to nodes outside the container.
            within: port for lines from and to nodes inside it.
        """
        if not self._is_open(ref, folded):
            return ref
        return (within if ref in self.tree.list_lineage(end) else outside), ref[1]


def _elide_middle(root: Level, flows: _Flows, left_out: int, folded: Folds) -> str | None:
    """Return the text without ``left_out`` nodes in the middle, or None if it is too large."""
    first = (len(root.nodes) - left_out + 1) // 2
    middle = {node.ref for node in root.nodes[first : first + left_out]}
    lines = flows.list_lines(folded, lambda ref: GAP.ref if ref in middle else ref)
    nodes = (*root.nodes[:first], GAP, *root.nodes[first + left_out :])
    return _check_size(_render_text(nodes, lines, folded, left_out))


# Text.


def _render_text(nodes: Sequence[Node], lines: MermaidLines, folded: Folds, left_out: int = 0) -> str:
    ports = {ref for source, target, _ in lines for ref in (source, target) if ref[0] in ("in", "out")}
    names: dict[Ref, str] = {}
    body = list(_render_nodes(nodes, folded, ports, names, left_out, "  "))
    order = [line for kind in KINDS for line in lines if line[2] == kind]
    body += [_render_line(line, lines[line], names) for line in order]
    return "\n".join(("flowchart TD", *body, *_render_classes(nodes, folded), *_render_link_styles(order))) + "\n"


def _render_nodes(
    nodes: Sequence[Node], folded: Folds, ports: set[Ref], names: dict[Ref, str], left_out: int, indent: str
) -> Iterator[str]:
    """Yield a line for each node, several for an open container; adds the nodes to ``names``."""
    for node in nodes:
        name = names[node.ref] = f"n{len(names)}"
        if node.level is None or not is_open(node, folded):
            yield indent + _render_node(node, name, left_out)
            continue
        yield f'{indent}subgraph {name}["{_escape_label(" · ".join(_list_texts(node)[:3]))}"]'
        calls = [inner for inner in node.level.nodes if inner.call is not None]
        yield from _render_nodes(calls, folded, ports, names, 0, f"{indent}  ")
        for ref in (("in", node.path), ("out", node.path)):
            if ref in ports:
                names[ref] = f"n{len(names)}"
                yield f'{indent}  {names[ref]}(("{ref[0]}"))'
        yield f"{indent}end"


def _render_node(node: Node, name: str, left_out: int) -> str:
    if node is GAP:
        return f'{name}["⋮<br/>{left_out} left out<br/>⋮"]:::none'
    start, end = SHAPES.get(node.effect, ("[", "]"))
    return f'{name}{start}"{_escape_label(*_list_texts(node))}"{end}:::{node.effect}'


def _list_texts(node: Node) -> list[str]:
    """Return the lines of text in a node."""
    if node.call is None:
        return [f"{node.place} {shorten_name(node.name, LONGEST)}"]
    texts = [shorten_name(node.name, LONGEST), shorten_name(node.call.type, LONGEST)]
    texts.append(f"{SIGNS[node.effect]} {describe_effect(node)}")
    return texts if node.level is None else [*texts, describe_inside(node.level)]


def _escape_label(*texts: str) -> str:
    # A zero width space breaks up markup that Mermaid would recognize before it decodes the entities.
    broken = (_MARKUP.sub("\N{ZERO WIDTH SPACE}", text) for text in texts)
    return "<br/>".join(_SPECIAL.sub(lambda match: f"#{ord(match[0])};", text) for text in broken)


def _render_line(line: MermaidLine, arguments: tuple[str, ...], names: dict[Ref, str]) -> str:
    source, target, kind = line
    label = f'|"{_escape_label(shorten_name(", ".join(arguments), LONGEST))}"|' if arguments else ""
    return f"  {names[source]} {ARROWS[kind]}{label} {names[target]}"


def _render_classes(nodes: Sequence[Node], folded: Folds) -> Iterator[str]:
    """Yield the styles of the nodes that occur."""
    effects = set(_list_effects(nodes, folded))
    for effect, look in LOOKS.items():
        if effect in effects:
            style = f"fill:{look.fill},color:{INK},stroke:{look.color},stroke-width:{look.width:g}px"
            if look.dash:
                style += f",stroke-dasharray:{look.dash}"
            yield f"  classDef {effect} {style}"


def _list_effects(nodes: Sequence[Node], folded: Folds) -> Iterator[str]:
    for node in nodes:
        yield "none" if node is GAP else node.effect
        if node.level is not None and is_open(node, folded):
            yield from _list_effects(node.level.nodes, folded)


def _render_link_styles(lines: Sequence[MermaidLine]) -> Iterator[str]:
    for kind in KINDS:
        numbers = ",".join(str(number) for number, line in enumerate(lines) if line[2] == kind)
        if numbers:
            yield f"  linkStyle {numbers} stroke:{STROKES[kind].color},stroke-width:{STROKES[kind].width:g}px"
