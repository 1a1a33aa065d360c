"""What the nodes and lines of a graph say, in words and for every kind of target."""

from __future__ import annotations

import html
from collections.abc import Iterator

from maskcli.records.arrays import Bools
from maskcli.records.trace import Call
from maskcli.render.graph.graph import Flow, FlowKind, Level, Node
from maskcli.render.text_flow import make_printable
from maskcli.render.views.trace import EFFECTS

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
"""What stands for an effect where only text can be drawn."""
FLOWS: dict[FlowKind, str] = {
    "mask": "carries a mask",
    "lost": "would carry a mask, had it not been lost",
    "plain": "has no mask",
    "argument": "is passed as a mask",
}
_DOES = {"creates": "creates the mask", "drops": "drops the mask", "computes": "computes a mask", "none": "no mask"}
_SHORT: dict[FlowKind, str] = {"mask": "with a mask", "lost": "mask lost", "plain": "no mask", "argument": "as a mask"}


def find_effect(call: Call) -> str:
    """Return what a call does to a mask, or ``computes`` where all that it does is making one for a later call."""
    return "computes" if call.computes_mask else call.effect


def describe_effect(node: Node) -> str:
    """Return what a call does to the mask, in a few words."""
    assert node.call is not None  # noqa: S101 - asked of calls only
    effect = find_effect(node.call)
    said = _DOES.get(effect, f"{effect} it")
    return f"{said}, and loses it" if node.effect not in (effect, "computes") else said


def escape_text(text: object) -> str:
    """Return text for XML and HTML, also within quotes."""
    return html.escape(make_printable(str(text)))


def describe_node(node: Node) -> str:
    """Return what a node does, in a sentence."""
    if node.call is None:
        return f"{node.place} of the model" if node.place in ("input", "output") else ""
    call = node.call
    said = [f"{find_effect(call)}: {EFFECTS[find_effect(call)]}"]
    said += [f"has lost its mask at {call.lost_at}"] if call.lost_at not in (None, call.call) else []
    said += ["takes the mask off its input too"] if call.takes_off else []
    said += ["calls behind it lack the mask"] if node.effect != find_effect(call) else []
    said += ["Keras warned"] if call.warning is not None else []
    return "; ".join(said)


def list_facts(node: Node, level: Level) -> Iterator[tuple[str, str]]:
    """Yield what is known of a node, each as a word and a text."""
    call = node.call
    if call is not None:
        if call.call != node.name:
            yield "call", call.call
        yield "effect", describe_node(node)
        yield "shape", format_shapes(call)
        yield "mask", f"in: {format_mask_share(call.mask_in)}; out: {format_mask_share(call.mask_out)}"
        if call.lost_after is not None:
            yield "had it last", call.lost_after
        if call.warning is not None:
            yield "warning", call.warning
    yield from list_flows(node, level)


def list_flows(node: Node, level: Level) -> Iterator[tuple[str, str]]:
    """Yield what a node takes and gives, as a word and a text."""
    own = level.nodes.index(node)
    taken = [f"{level.nodes[flow.source].name} ({describe_flow(flow)})" for flow in level.flows if flow.target == own]
    given = [f"{level.nodes[flow.target].name} ({describe_flow(flow)})" for flow in level.flows if flow.source == own]
    if taken:
        yield "takes", ", ".join(taken)
    if given:
        yield "goes to", ", ".join(given)


def describe_flow(flow: Flow) -> str:
    """Return in a word or two what flows."""
    return f"as {', '.join(flow.arguments)}" if flow.arguments else _SHORT[flow.kind]


def format_shapes(call: Call) -> str:
    """Return the shapes that come in and go out."""
    came, went = (", ".join(map(format_shape, given)) or "nothing" for given in (call.shapes_in, call.shapes_out))
    return f"{came} → {went}"


def format_shape(axes: tuple[int, ...]) -> str:
    """Return a shape as ``2 × 6 × 4``."""
    return " × ".join(map(str, axes)) or "scalar"


def format_mask_share(mask: Bools | None) -> str:
    """Return how much of a mask is True."""
    return "none" if mask is None else f"{int(mask.sum())} of {mask.size} True"


def describe_inside(level: Level) -> str:
    """Return how many calls a container has."""
    return f"{level.calls} call{'' if level.calls == 1 else 's'} inside"
