"""The graph for a page: nested HTML that says everything by itself, on which a script draws the lines."""

from __future__ import annotations

import importlib.resources
import itertools
import json
from collections.abc import Iterator

from maskcli.records.trace import Inspection
from maskcli.render.graph.folding import Folds, choose_folds, has_drop_inside, is_open
from maskcli.render.graph.graph import KINDS, Level, Node, build_graph, find_occurring
from maskcli.render.graph.layout import lay_out_level
from maskcli.render.graph.looks import draw_sign
from maskcli.render.graph.words import (
    FLOWS,
    describe_effect,
    describe_inside,
    describe_node,
    escape_text,
    format_shape,
    list_facts,
    list_flows,
)
from maskcli.render.views.trace import EFFECTS

_FILES = importlib.resources.files(__package__)
STYLE = _FILES.joinpath("graph.css").read_text("utf-8")
SCRIPT = _FILES.joinpath("graph.js").read_text("utf-8")
OPEN = 40
"""Nodes beyond which containers are folded at first."""


def render_graph_html(inspection: Inspection, ids: str = "mk") -> str:
    """Return the graph of a model as a piece of a page, which needs ``STYLE`` once, and ``SCRIPT`` for its lines.

    Args:
        inspection: what happened inside the model.
        ids: what all ``id`` of the piece begin with; several pieces of one page need several.

    Raises:
        UsageError: when igraph is missing.
    """
    root = build_graph(inspection)
    numbers = (f"{ids}-tip-{number}" for number in itertools.count())
    graph = _level(root, choose_folds(root, OPEN, keep_drops=True), numbers)
    name = escape_text(inspection.model.name)
    return (
        '<div class="maskcli mk-graph"><div class="mk-tools" hidden>'
        '<button type="button" data-mk-fold="open">Unfold all</button>'
        '<button type="button" data-mk-fold="">Fold all</button></div>'
        f'{_key(root)}<div class="mk-scroll" tabindex="0" role="region" aria-label="Graph of {name}">{graph}'
        "</div></div>"
    )


def _key(root: Level) -> str:
    """Return what lines and signs mean, of those that occur."""
    kinds, effects = find_occurring(root)
    lines = [f"<li>{_sample(kind)}<span>{FLOWS[kind]}</span></li>" for kind in KINDS[::-1] if kind in kinds]
    signs = [
        f'<li class="mk-{effect}">{_sign(effect)}<span>{effect}: {gloss}</span></li>'
        for effect, gloss in EFFECTS.items()
        if effect in effects
    ]
    return f'<ul class="mk-key">{"".join((*lines, *signs))}</ul>'


def _sample(kind: str) -> str:
    line = f'<g class="mk-{kind}"><path class="mk-line" d="M1 5H35"/></g>'
    return f'<svg width="36" height="10" aria-hidden="true">{line}</svg>'


def _sign(effect: str) -> str:
    drawn = draw_sign(effect, "currentColor", "var(--mk-paper)")
    return f'<svg class="mk-sign" width="18" height="18" viewBox="-9 -9 18 18" aria-hidden="true">{drawn}</svg>'


def _level(level: Level, folded: Folds, ids: Iterator[str]) -> str:
    layout = lay_out_level(level)
    places = [cell for row in layout.layers for cell in row]
    at = {cell: place for place, cell in enumerate(places)}
    flows = [
        {"route": [at[cell] for cell in route], "kind": flow.kind, "label": ", ".join(flow.arguments)}
        for flow, route in zip(level.flows, layout.routes, strict=True)
    ]
    items = []
    for cell in (layout.cells[place] for place in places):
        where = f'style="grid-row:{cell.layer + 1};grid-column:{cell.slot + 1}/span 2"'
        if cell.node is None:
            items.append(f'<li class="mk-spacer" aria-hidden="true" {where}></li>')
        else:
            items.append(f"<li {where}>{_node(level.nodes[cell.node], level, folded, ids)}</li>")
    return (
        f'<div class="mk-level" data-mk-flows="{escape_text(json.dumps(flows))}">'
        '<svg class="mk-lines" aria-hidden="true" focusable="false"></svg>'
        f'<ol class="mk-rows">{"".join(items)}</ol></div>'
    )


def _node(node: Node, level: Level, folded: Folds, ids: Iterator[str]) -> str:
    if node.place in ("in", "out"):
        flows = "; ".join(f"{word} {text}" for word, text in list_flows(node, level))
        return f'<div class="mk-port"><span class="mk-hidden">{node.place}: {escape_text(flows)}</span></div>'
    if node.call is None:
        return f'<div class="mk-pill"><span>{node.place}</span> <b>{escape_text(node.name)}</b></div>'
    effect, known = node.effect, _facts(node, level)
    if node.level is None:
        return f'<details class="mk-node mk-{effect}">{_summary(node, "", next(ids))}{known}</details>'
    open_ = " open" if is_open(node, folded) else ""
    count = escape_text(describe_inside(node.level))
    if has_drop_inside(node.level):
        count += ', <span class="mk-alarm">one drops the mask</span>'
    return (
        f'<details class="mk-box mk-{effect}"{open_}>{_summary(node, count, next(ids))}'
        f'<details class="mk-more"><summary>more on {escape_text(node.name)}</summary>{known}</details>'
        f"{_level(node.level, folded, ids)}</details>"
    )


def _summary(node: Node, count: str, tip: str) -> str:
    assert node.call is not None  # noqa: S101 - only calls have one
    kind, done = escape_text(node.call.type), escape_text(describe_effect(node))
    size = (
        f'<span class="mk-size">{escape_text(format_shape(node.call.shapes_out[0]))}</span>'
        if node.call.shapes_out
        else ""
    )
    counted = f'<span class="mk-count">{count}</span>' if count else ""
    return (
        f'<summary aria-describedby="{tip}"><span class="mk-head">{_sign(node.effect)}'
        f'<span class="mk-name">{escape_text(node.name)}</span> '
        f'<span class="mk-say">{kind} · <b>{done}</b></span> {size} {counted}</span>'
        f'<span class="mk-tip" role="tooltip" id="{tip}">{escape_text(describe_node(node))}</span></summary>'
    )


def _facts(node: Node, level: Level) -> str:
    rows = "".join(f"<div><dt>{word}</dt><dd>{escape_text(text)}</dd></div>" for word, text in list_facts(node, level))
    return f'<dl class="mk-facts">{rows}</dl>'
