"""The attention mask: which query may look at which key, and how much it does."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools
from maskcli.records.trace import AttentionMask
from maskcli.render.charts import Figure, Spec, make_chart_name
from maskcli.render.charts.grids import (
    GROUND,
    STRIP_FIELD,
    Axis,
    encode_numbers,
    make_axis,
    make_cell_layers,
    make_choice_expression,
    make_flatten_transform,
    make_frame,
    make_number_filter,
    make_selection,
    make_strip,
    make_strip_transform,
    make_text_expression,
)
from maskcli.render.charts.looks import (
    COUNTED,
    GREEN,
    NOT_FINITE,
    PADDING,
    SEPARATE_SCALES,
    VALID,
    CellStyle,
    LegendEntry,
    assemble_spec,
    make_chart_legend,
    make_gradient_legend,
    make_ramp,
    make_rgba,
)
from maskcli.render.numbers import format_count, format_percent

SIDE = 72
"""Queries or keys that are drawn at most."""
ALLOWED = CellStyle(make_rgba(GREEN, 0.45))
LOOKS: dict[int, CellStyle] = {0: ALLOWED, 1: PADDING, 2: COUNTED, 3: NOT_FINITE}
WHAT = ("allowed", "blocked", "allowed, though the key is padding", "allowed; its weight is no number")
KINDS = ("valid", "padding")


def make_figure(attention: AttentionMask, sample: int = 0) -> Figure:
    """Return the figure of an attention mask; ``sample`` is the one that is shown first."""
    samples, queries, keys = attention.mask.shape
    across = make_axis("key", keys, limit=SIDE, room=760)
    down = make_axis("query", queries, limit=SIDE, room=760, most=min(26, across.step))
    kind = _kinds(attention)
    views = [*make_chart_legend(_entries(attention, kind), across.pixels), _view(attention, kind, across, down)]
    about = _about(attention, kind)
    causal = ", causal" if attention.causal else ""
    kind_of = f"{make_chart_name(attention.type)}, {format_count(attention.heads, 'head')}{causal}"
    title = f"Attention of {make_chart_name(attention.call)} ({kind_of})"
    spec = assemble_spec(views, about, [down.note, across.note], [make_selection(samples, sample)])
    return Figure("attention", title, about, spec)


def _kinds(attention: AttentionMask) -> NDArray[np.int8]:
    """Return what each cell is, ``(samples, queries, keys)``."""
    kind = np.where(attention.mask, 0, 1)
    if attention.keys is not None:
        queries = _known(attention.queries, attention.mask.shape[:2])
        kind[attention.mask & queries[:, :, None] & ~attention.keys[:, None, :]] = 2
    if attention.weights is not None:
        kind[attention.mask & ~np.isfinite(attention.weights)] = 3
    return kind.astype(np.int8)


def _known(valid: Bools | None, shape: tuple[int, ...]) -> Bools:
    """Return what is known of padding, or that all is valid."""
    return np.ones(shape, bool) if valid is None else valid


def _view(attention: AttentionMask, kind: NDArray[np.int8], across: Axis, down: Axis) -> Spec:
    found = {is_: look for is_, look in LOOKS.items() if (kind == is_).any()}
    picked: list[Spec] = [{"filter": "datum.sample === sample"}]
    main = {
        "transform": [*picked, *_transform(across, down, attention.weights is not None)],
        "encoding": {
            "x": across.channel(orient="top", **_aside(attention.keys)),
            "y": down.channel(**_aside(attention.queries)),
            "tooltip": _tooltip(attention),
        },
        "layer": make_cell_layers(across, down, found, _heat(attention, kind)),
        "resolve": SEPARATE_SCALES,
    }
    known = ((down, "left", attention.queries, "queries"), (across, "top", attention.keys, "keys"))
    strips = [
        make_strip(along, side, STRIP_FIELD, [*picked, *make_strip_transform(along, field, KINDS)])
        for along, side, valid, field in known
        if valid is not None
    ]
    return {
        "data": {"values": _data(attention, kind, across, down)},
        **make_frame(across, down),
        "view": GROUND,
        "layer": [main, *strips],
    }


def _aside(valid: Bools | None) -> Spec:
    """Return the room between an axis and the cells for the strip that says what is padding."""
    return {} if valid is None else {"offset": 14}


def _data(attention: AttentionMask, kind: NDArray[np.int8], across: Axis, down: Axis) -> list[Spec]:
    """Return a datum for each sample, with an array over the keys for each query."""
    queries, keys = (
        _known(valid, attention.mask.shape[:1] + attention.mask.shape[axis : axis + 1])
        for axis, valid in ((1, attention.queries), (2, attention.keys))
    )
    weights = attention.weights
    return [
        {
            "sample": row,
            "queries": (~queries[row, down.at]).astype(int).tolist(),
            "keys": (~keys[row, across.at]).astype(int).tolist(),
            "kind": [kind[row, at, across.at].tolist() for at in down.at],
            **({} if weights is None else {"weight": [encode_numbers(weights[row, at, across.at]) for at in down.at]}),
        }
        for row in range(len(kind))
    ]


def _transform(across: Axis, down: Axis, weighted: bool) -> list[Spec]:
    """Return what takes apart the queries, and then the keys of each."""
    parts = ["kind", "weight"] if weighted else ["kind"]
    return [
        *make_flatten_transform(down, "queries", *parts),
        *make_flatten_transform(across, "keys", *parts),
        *([make_number_filter("weight", "amount"), make_text_expression("weight", "text")] if weighted else []),
        {"calculate": make_choice_expression("datum.kind", WHAT), "as": "what"},
        {"calculate": make_choice_expression("datum.queries", KINDS), "as": "of_query"},
        {"calculate": make_choice_expression("datum.keys", KINDS), "as": "of_key"},
    ]


def _tooltip(attention: AttentionMask) -> list[Spec]:
    titles = {"query": "query", "key": "key", "what": "it is"}
    titles |= {"of_query": "the query is"} if attention.queries is not None else {}
    titles |= {"of_key": "the key is"} if attention.keys is not None else {}
    titles |= {"text": "weight"} if attention.weights is not None else {}
    return [{"field": field, "title": title} for field, title in titles.items()]


def _heat(attention: AttentionMask, kind: NDArray[np.int8]) -> dict[int, Spec]:
    """Return the colour of what is allowed, by its weight; of padding that is, the same."""
    if attention.weights is None:
        return {}
    seen = attention.weights[attention.mask & np.isfinite(attention.weights)]
    high = float(seen.max(initial=0.0)) or 1.0
    title = "weight" if attention.heads == 1 else f"weight, the mean over {attention.heads} heads"
    keys = [make_gradient_legend(title), None]
    fill = {"field": "amount", "type": "quantitative", "scale": {"domain": [0, high], "range": make_ramp(GREEN)}}
    return {is_: fill | {"legend": keys.pop(0)} for is_ in (0, 2) if (kind == is_).any()}


def _entries(attention: AttentionMask, kind: NDArray[np.int8]) -> list[LegendEntry]:
    counts = np.bincount(kind.ravel(), minlength=4)
    texts = ("allowed", "blocked", "allowed, though the key is padding", "NaN or infinite weight")
    entries = [LegendEntry(LOOKS[is_], text) for is_, text in enumerate(texts) if counts[is_]]
    return entries + _beside(attention)


def _beside(attention: AttentionMask) -> list[LegendEntry]:
    """Return what the strips along the axes mean."""
    if attention.queries is None and attention.keys is None:
        return []
    return [LegendEntry(VALID, "at the edge: valid"), LegendEntry(PADDING, "at the edge: padding")]


def _about(attention: AttentionMask, kind: NDArray[Any]) -> str:
    allowed = float(attention.mask.mean()) if attention.mask.size else 0.0
    grid = (
        f"{format_count(kind.shape[1], 'query').replace('querys', 'queries')} by {format_count(kind.shape[2], 'key')}"
    )
    shown = f"Grid of {grid}: {format_percent(allowed)} of the pairs are allowed, the others blocked"
    if attention.to_padding is None:
        return f"{shown}."
    return f"{shown}. Valid queries give padding at most {format_percent(attention.to_padding)} of their attention."
