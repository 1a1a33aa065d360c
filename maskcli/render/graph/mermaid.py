"""The graph as text of Mermaid, which GitHub and GitLab draw: containers are subgraphs, and lines go into them."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Collection, Iterator, Sequence

from maskcli.records.trace import Inspection
from maskcli.render.graph.folding import Folds, is_open, order_folding
from maskcli.render.graph.graph import KINDS, FlowKind, Level, Node, Ref, Tree, build_graph, classify_edge, find_ends
from maskcli.render.graph.looks import INK, LOOKS, STROKES
from maskcli.render.graph.words import SIGNS, describe_effect, describe_inside
from maskcli.render.tables import shorten_middle
from maskcli.render.text_flow import make_printable

MOST_EDGES, MOST_TEXT = 480, 49_000
"""A little less than Mermaid draws unless it is told otherwise: 500 edges, and 50,000 characters."""
LONGEST = 40
"""Characters of a name."""
ARROWS: dict[FlowKind, str] = {"mask": "==>", "lost": "-.->", "plain": "-->", "argument": "-->"}
SHAPES = {"creates": ("[[", "]]"), "drops": ("{{", "}}"), "input": ("([", "])"), "output": ("([", "])")}
"""What encloses the text of a node, where that is not a plain box."""
_ARROW = re.compile(r"^ +n\d+ (?:==>|-\.->|-->)", re.MULTILINE)
_MEANING = re.compile(r"(?<=\$)(?=\$)|(?<=:)(?=fa-)")
"""Where Mermaid would see a formula or an icon, whatever is escaped."""
_SPECIAL = re.compile(r"[^\w ,:()\x80-\U0010ffff]", re.ASCII)
MermaidLine = tuple[Ref, Ref, FlowKind]
MermaidLines = dict[MermaidLine, tuple[str, ...]]
"""From where to where, of which kind, and the names of the mask arguments."""


def render_mermaid(inspection: Inspection) -> str:
    """Return the graph of a model as Mermaid, no larger than what GitHub draws.

    Containers are folded until it is small enough; where that does not do, calls in the middle are left out.
    """
    root = build_graph(inspection)
    order = [each.path for each in order_folding(root)]
    flows = _Flows(inspection)

    def folded(count: int) -> str | None:
        folds = dict.fromkeys(order[:count], "")
        return _fitting(_text(root.nodes, flows.lines(folds), folds))

    def elided(left_out: int) -> str | None:
        return _elided(root, flows, left_out, dict.fromkeys(order, ""))

    text = _first(folded, len(order)) or _first(elided, len(root.nodes))
    return text if text is not None else "flowchart TD\n"


def _first(make: Callable[[int], str | None], most: int) -> str | None:
    """Return what ``make`` makes of the smallest number for which it makes something."""
    return make(bisect.bisect_left(range(most), True, key=lambda number: make(number) is not None))


def _fitting(text: str) -> str | None:
    return text if len(text) <= MOST_TEXT and len(_ARROW.findall(text)) <= MOST_EDGES else None


class _Flows:
    """What flows between the nodes that are drawn, whichever these are."""

    def __init__(self, inspection: Inspection) -> None:
        self.tree = Tree(inspection.trace)
        self.edges = [(*find_ends(edge), classify_edge(edge), edge.argument) for edge in inspection.edges]
        known = {("call", path) for path in self.tree.calls}
        known |= {("input", given.name) for given in inspection.inputs}
        known |= {("output", output.name) for output in inspection.outputs}
        self.edges = [edge for edge in self.edges if edge[0] in known and edge[1] in known]
        self.entering = {
            (source, container) for source, target, _, _ in self.edges for container in self.tree.lineage(target)[:-1]
        }

    def lines(self, folded: Collection[str], stands_for: Callable[[Ref], Ref] = lambda ref: ref) -> MermaidLines:
        """Return the lines to draw.

        Args:
            folded: the paths of containers that are drawn as one node.
            stands_for: what is drawn in the place of a node.
        """
        found: MermaidLines = {}
        for source, target, kind, argument in self.edges:
            left, right = self._seen(source, folded), self._seen(target, folded)
            if left == right or ((source, right) in self.entering and self._open(right, folded)):
                continue
            one = stands_for(self._port(left, right, folded, "out", "in"))
            other = stands_for(self._port(right, left, folded, "in", "out"))
            if one != other:
                names = found.get((one, other, kind), ())
                found[one, other, kind] = tuple(dict.fromkeys((*names, *((argument,) if argument else ()))))
        return found

    def _seen(self, ref: Ref, folded: Collection[str]) -> Ref:
        return next((each for each in self.tree.lineage(ref) if each[0] == "call" and each[1] in folded), ref)

    def _open(self, ref: Ref, folded: Collection[str]) -> bool:
        return ref[0] == "call" and ref[1] in self.tree.children and ref[1] not in folded

    def _port(self, ref: Ref, other: Ref, folded: Collection[str], outside: str, within: str) -> Ref:
        """Return a node, or the port of an open container: seen from outside, or from another node within it."""
        if not self._open(ref, folded):
            return ref
        place = within if ref in self.tree.lineage(other) else outside
        return ("in" if place == "in" else "out"), ref[1]


def _elided(root: Level, flows: _Flows, left_out: int, folded: Folds) -> str | None:
    """Return the text without ``left_out`` nodes in the middle."""
    first = (len(root.nodes) - left_out + 1) // 2
    middle = {node.ref for node in root.nodes[first : first + left_out]}
    gap = Node("call", "")
    lines = flows.lines(folded, lambda ref: gap.ref if ref in middle else ref)
    nodes = (*root.nodes[:first], gap, *root.nodes[first + left_out :])
    return _fitting(_text(nodes, lines, folded, left_out))


# Text.


def _text(nodes: Sequence[Node], lines: MermaidLines, folded: Folds, left_out: int = 0) -> str:
    ports = {ref for source, target, _ in lines for ref in (source, target) if ref[0] in ("in", "out")}
    names: dict[Ref, str] = {}
    body = list(_nodes(nodes, folded, ports, names, left_out, "  "))
    drawn = [line for kind in KINDS for line in lines if line[2] == kind]
    body += [_line(line, lines[line], names) for line in drawn]
    return "\n".join(("flowchart TD", *body, *_classes(nodes, folded), *_link_styles(drawn))) + "\n"


def _nodes(
    nodes: Sequence[Node], folded: Folds, ports: set[Ref], names: dict[Ref, str], left_out: int, indent: str
) -> Iterator[str]:
    """Yield a line for each node, and several for a container; ``names`` is filled with how each is called."""
    for node in nodes:
        own = names[node.ref] = f"n{len(names)}"
        if node.level is None or not is_open(node, folded):
            yield indent + _node(node, own, left_out)
            continue
        yield f'{indent}subgraph {own}["{_label([" · ".join(_words(node)[:3])])}"]'
        inner = [each for each in node.level.nodes if each.call is not None]
        yield from _nodes(inner, folded, ports, names, 0, f"{indent}  ")
        for ref in (("in", node.path), ("out", node.path)):
            if ref in ports:
                names[ref] = f"n{len(names)}"
                yield f'{indent}  {names[ref]}(("{ref[0]}"))'
        yield f"{indent}end"


def _node(node: Node, own: str, left_out: int) -> str:
    if node.place == "call" and node.call is None:
        return f'{own}["⋮<br/>{left_out} left out<br/>⋮"]:::none'
    style = node.effect
    before, behind = SHAPES.get(style, ("[", "]"))
    return f'{own}{before}"{_label(_words(node))}"{behind}:::{style}'


def _words(node: Node) -> list[str]:
    if node.call is None:
        return [f"{node.place} {shorten_middle(make_printable(node.name), LONGEST)}"]
    effect = node.effect
    words = [
        shorten_middle(make_printable(node.name), LONGEST),
        shorten_middle(make_printable(node.call.type), LONGEST),
    ]
    words += [f"{SIGNS[effect]} {describe_effect(node)}"]
    return words if node.level is None else [*words, describe_inside(node.level)]


def _label(words: Sequence[str]) -> str:
    return "<br/>".join(_SPECIAL.sub(_entity, _MEANING.sub("\N{ZERO WIDTH SPACE}", text)) for text in words)


def _entity(found: re.Match[str]) -> str:
    return "".join(f"#{ord(letter)};" for letter in found[0])


def _line(line: MermaidLine, arguments: tuple[str, ...], names: dict[Ref, str]) -> str:
    source, target, kind = line
    label = f'|"{_label([shorten_middle(make_printable(", ".join(arguments)), LONGEST)])}"|' if arguments else ""
    return f"  {names[source]} {ARROWS[kind]}{label} {names[target]}"


def _classes(nodes: Sequence[Node], folded: Folds) -> Iterator[str]:
    """Yield how the nodes look that there are."""
    used = set(_styles(nodes, folded))
    for style, look in LOOKS.items():
        if style in used:
            border = f"stroke:{look.color},stroke-width:{look.width:g}px"
            border += f",stroke-dasharray:{look.dash}" if look.dash else ""
            yield f"  classDef {style} fill:{look.fill},color:{INK},{border}"


def _styles(nodes: Sequence[Node], folded: Folds) -> Iterator[str]:
    for node in nodes:
        yield "none" if node.place == "call" and node.call is None else node.effect
        if node.level is not None and is_open(node, folded):
            yield from _styles(node.level.nodes, folded)


def _link_styles(drawn: Sequence[MermaidLine]) -> Iterator[str]:
    for kind in KINDS:
        numbers = ",".join(str(number) for number, line in enumerate(drawn) if line[2] == kind)
        if numbers:
            stroke = STROKES[kind]
            yield f"  linkStyle {numbers} stroke:{stroke.color},stroke-width:{stroke.width:g}px"
