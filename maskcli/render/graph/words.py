"""Texts of a graph: labels, descriptions and facts of nodes and flows, for every output format."""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.arrays import Bools
from maskcli.records.wording import format_count
from maskcli.render.graph.graph import Flow, FlowKind, Level, Node
from maskcli.render.tables import shorten_middle
from maskcli.render.text_flow import make_printable
from maskcli.render.views.trace import EFFECTS, find_effect

SIGNS = {
    "creates": "✚",
    "uses": "●",
    "passes": "↓",
    "changes": "△",
    "drops": "✖",
    "computes": "◇",
    "none": "○",
    "input": "▷",
    "output": "◁",
}
"""Sign of each effect, for formats with only text."""
FLOWS: dict[FlowKind, str] = {
    "mask": "carries a mask",
    "lost": "has lost its mask",
    "plain": "has no mask",
    "argument": "is passed as a mask",
}
"""Meaning of each kind of line, for legends."""
_EFFECT_LABELS = {
    "creates": "creates the mask",
    "drops": "drops the mask",
    "computes": "computes a mask",
    "none": "no mask",
    "uses": "uses the mask",
    "passes": "passes the mask on",
    "changes": "changes the mask",
}
_FLOW_LABELS: dict[FlowKind, str] = {
    "mask": "with a mask",
    "lost": "mask lost",
    "plain": "no mask",
    "argument": "as a mask",
}


def describe_effect(node: Node) -> str:
    """Return the effect of a call on the mask, as a short label."""
    assert node.call is not None  # noqa: S101 - asked of calls only
    effect = find_effect(node.call)
    label = _EFFECT_LABELS[effect]
    return label if node.effect == effect else f"{label}, then drops it"


def shorten_name(name: str, length: int) -> str:
    """Return a user's name as printable text of at most ``length`` characters."""
    return shorten_middle(make_printable(name), length)


def describe_node(node: Node) -> str:
    """Return the effect of a call as a sentence."""
    call = node.call
    assert call is not None  # noqa: S101 - asked of calls only
    effect = find_effect(call)
    clauses = {
        f"{effect}: {EFFECTS[effect]}": True,
        f"its mask was lost at {call.lost_at}": call.lost_at not in (None, call.call),
        "also removes the mask from its input": call.takes_off,
        "later calls lack the mask": node.effect != effect,
        "Keras warned": call.warning is not None,
    }
    return "; ".join(clause for clause, applies in clauses.items() if applies)


def list_facts(node: Node, level: Level) -> Iterator[tuple[str, str]]:
    """Yield the facts of a call, each as a label and a text."""
    call = node.call
    assert call is not None  # noqa: S101 - asked of calls only
    if call.call != node.name:
        yield "call", call.call
    yield "effect", describe_node(node)
    yield "shape", f"{_join_shapes(call.shapes_in)} → {_join_shapes(call.shapes_out)}"
    yield "mask", f"in: {format_mask_share(call.mask_in)}; out: {format_mask_share(call.mask_out)}"
    if call.lost_after is not None:
        yield "last mask", call.lost_after
    if call.warning is not None:
        yield "warning", call.warning
    yield from list_flows(node, level)


def list_flows(node: Node, level: Level) -> Iterator[tuple[str, str]]:
    """Yield the sources and the targets of a node, as a label and a text."""
    position = level.nodes.index(node)
    sources = [(flow.source, flow) for flow in level.flows if flow.target == position]
    targets = [(flow.target, flow) for flow in level.flows if flow.source == position]
    for label, ends in (("from", sources), ("to", targets)):
        if ends:
            yield label, ", ".join(f"{level.nodes[end].name} ({describe_flow(flow)})" for end, flow in ends)


def describe_flow(flow: Flow) -> str:
    """Return the kind of a flow in a few words."""
    return f"as {', '.join(flow.arguments)}" if flow.arguments else _FLOW_LABELS[flow.kind]


def _join_shapes(shapes: tuple[tuple[int, ...], ...]) -> str:
    return ", ".join(map(format_shape, shapes)) or "nothing"


def format_shape(axes: tuple[int, ...]) -> str:
    """Return a shape as ``2 × 6 × 4``."""
    return " × ".join(map(str, axes)) or "scalar"


def format_mask_share(mask: Bools | None) -> str:
    """Return the count of True in a mask, such as ``4 of 6 True``."""
    return "none" if mask is None else f"{int(mask.sum())} of {mask.size} True"


def describe_inside(level: Level) -> str:
    """Return the count of calls in a container."""
    return f"{format_count(level.calls, 'call')} inside"
