"""The graph for a page: nested HTML, complete without a script. A script adds the lines."""

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
    format_shape,
    list_facts,
    list_flows,
)
from maskcli.render.text_flow import escape_html
from maskcli.render.views.trace import EFFECTS

_FILES = importlib.resources.files(__package__)
STYLE = _FILES.joinpath("graph.css").read_text("utf-8")
SCRIPT = _FILES.joinpath("graph.js").read_text("utf-8")
OPEN = 14
"""Nodes above which containers are folded at first."""


def render_graph_html(inspection: Inspection, ids: str = "mk") -> str:
    """Return the graph of a model as part of a page.

    The page needs ``STYLE`` once, and ``SCRIPT`` for the lines.

    Args:
        inspection: record of the model's calls.
        ids: prefix of every ``id``; several graphs on one page need several.

    Raises:
        UsageError: if igraph is missing.
    """
    root = build_graph(inspection)
    numbers = (f"{ids}-tip-{number}" for number in itertools.count())
    graph = _render_level(root, choose_folds(root, OPEN, keep_drops=True), numbers)
    name = escape_html(inspection.model.name)
    return (
        '<div class="maskcli mk-graph"><div class="mk-tools" hidden>'
        '<button type="button" data-mk-fold="open">Unfold all</button>'
        '<button type="button" data-mk-fold="">Fold all</button></div>'
        f'{_render_legend(root)}<div class="mk-scroll" tabindex="0" role="region" aria-label="Graph of {name}">{graph}'
        "</div></div>"
    )


def _render_legend(root: Level) -> str:
    """Return the legend of the lines and signs that occur."""
    kinds, effects = find_occurring(root)
    entries = [
        '<li><svg width="36" height="10" aria-hidden="true">'
        f'<g class="mk-{kind}"><path class="mk-line" d="M1 5H35"/></g></svg><span>{FLOWS[kind]}</span></li>'
        for kind in KINDS[::-1]
        if kind in kinds
    ]
    entries += [
        f'<li class="mk-{effect}">{_render_sign(effect)}<span>{effect}: {meaning}</span></li>'
        for effect, meaning in EFFECTS.items()
        if effect in effects
    ]
    return f'<ul class="mk-key">{"".join(entries)}</ul>'


def _render_sign(effect: str) -> str:
    sign = draw_sign(effect, "currentColor", "var(--mk-paper)")
    return f'<svg class="mk-sign" width="18" height="18" viewBox="-9 -9 18 18" aria-hidden="true">{sign}</svg>'


def _render_level(level: Level, folded: Folds, ids: Iterator[str]) -> str:
    layout = lay_out_level(level)
    order = [cell for row in layout.layers for cell in row]
    at = {cell: place for place, cell in enumerate(order)}
    flows = [
        {"route": [at[cell] for cell in route], "kind": flow.kind, "label": ", ".join(flow.arguments)}
        for flow, route in zip(level.flows, layout.routes, strict=True)
    ]
    items = []
    for cell in (layout.cells[position] for position in order):
        place = f'style="grid-row:{cell.layer + 1};grid-column:{cell.slot + 1}/span 2"'
        if cell.node is None:
            items.append(f'<li class="mk-spacer" aria-hidden="true" {place}></li>')
        else:
            items.append(f"<li {place}>{_render_node(level.nodes[cell.node], level, folded, ids)}</li>")
    return (
        f'<div class="mk-level" data-mk-flows="{escape_html(json.dumps(flows))}">'
        '<svg class="mk-lines" aria-hidden="true" focusable="false"></svg>'
        f'<ol class="mk-rows">{"".join(items)}</ol></div>'
    )


def _render_node(node: Node, level: Level, folded: Folds, ids: Iterator[str]) -> str:
    if node.place in ("in", "out"):
        flows = "; ".join(f"{label} {text}" for label, text in list_flows(node, level))
        return f'<div class="mk-port"><span class="mk-hidden">{node.place}: {escape_html(flows)}</span></div>'
    if node.call is None:
        return f'<div class="mk-pill"><span>{node.place}</span> <b>{escape_html(node.name)}</b></div>'
    facts = "".join(
        f"<div><dt>{label}</dt><dd>{escape_html(text)}</dd></div>" for label, text in list_facts(node, level)
    )
    facts = f'<dl class="mk-facts">{facts}</dl>'
    path = f' data-mk-call="{escape_html(node.path)}"'
    if node.level is None:
        return f'<details class="mk-node mk-{node.effect}"{path}>{_render_summary(node, next(ids))}{facts}</details>'
    attribute = " open" if is_open(node, folded) else ""
    return (
        f'<details class="mk-box mk-{node.effect}"{path}{attribute}>{_render_summary(node, next(ids))}'
        f'<details class="mk-more"><summary>more on {escape_html(node.name)}</summary>{facts}</details>'
        f"{_render_level(node.level, folded, ids)}</details>"
    )


def _render_summary(node: Node, tip: str) -> str:
    """Return the summary of a call; ``tip`` is the ``id`` of its tooltip."""
    assert node.call is not None  # noqa: S101 - only calls have one
    size = count = ""
    if node.call.shapes_out:
        size = f'<span class="mk-size">{escape_html(format_shape(node.call.shapes_out[0]))}</span>'
    if node.level is not None:
        alarm = ', <span class="mk-alarm">one drops the mask</span>' if has_drop_inside(node.level) else ""
        count = f'<span class="mk-count">{escape_html(describe_inside(node.level))}{alarm}</span>'
    effect = escape_html(describe_effect(node))
    return (
        f'<summary aria-describedby="{tip}"><span class="mk-head">{_render_sign(node.effect)}'
        f'<span class="mk-name">{escape_html(node.name)}</span> '
        f'<span class="mk-say">{escape_html(node.call.type)} · <b>{effect}</b></span> {size} {count}</span>'
        f'<span class="mk-tip" role="tooltip" id="{tip}">{escape_html(describe_node(node))}</span></summary>'
    )
