"""The chart of an attention mask: queries by keys, with the attention weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools
from maskcli.records.trace import AttentionMask
from maskcli.records.wording import format_count
from maskcli.render.charts import Figure, Spec, make_chart_name
from maskcli.render.charts.grids import (
    GAP,
    WIDE,
    WIDEST,
    Axis,
    encode_numbers,
    encode_padding,
    list_entries,
    make_axis,
    make_cell_layers,
    make_cell_view,
    make_choice_transform,
    make_flatten_transform,
    make_number_filter,
    make_selected_view,
    make_selection,
    make_strip,
    make_text_expression,
    select_occurring,
)
from maskcli.render.charts.looks import (
    COUNTED,
    GREEN,
    NOT_FINITE,
    PADDING,
    CellStyle,
    LegendEntry,
    assemble_figure,
    make_chart_legend,
    make_heat_fill,
    make_ramp,
    make_rgba,
)
from maskcli.render.numbers import format_percent

SIDE = 72
"""Most queries or keys on a side."""
HEIGHT = 340
"""Pixels of the queries, unless they then become too thin."""
ALLOWED, BLOCKED, TO_PADDING, NO_NUMBER = range(4)
"""Kinds of cells."""
LOOKS: dict[int, CellStyle] = {
    ALLOWED: CellStyle(make_rgba(GREEN, 0.45)),
    BLOCKED: PADDING,
    TO_PADDING: COUNTED,
    NO_NUMBER: NOT_FINITE,
}
KINDS = ("allowed", "blocked", "allowed, though the key is padding", "allowed; its weight is NaN or infinite")
"""Label of each kind of cell in the tooltip."""
TIMESTEPS = ("padding", "valid")


def make_figure(attention: AttentionMask, sample: int = 0, room: int = WIDE) -> Figure:
    """Return the figure of an attention mask; ``sample`` is selected first."""
    samples, queries, keys = attention.mask.shape
    across = make_axis("key", keys, limit=SIDE, room=room, most=WIDEST)
    down = make_axis("query", queries, limit=SIDE, most=min(24, across.step, max(5, HEIGHT // min(queries, SIDE))))
    kinds = _classify_cells(attention)
    texts = dict(enumerate((*KINDS[:NO_NUMBER], "NaN or infinite weight")))
    if attention.weights is not None:
        del texts[ALLOWED]  # The scale of weights shows it.
    entries = list_entries(LOOKS, texts, kinds)
    if not all(valid is None or valid.all() for valid in (attention.queries, attention.keys)):
        entries += [LegendEntry(PADDING, "at the edge: padding")]
    views = [*make_chart_legend(entries, across.pixels), _make_view(attention, kinds, across, down)]
    about = _describe(attention)
    layer = f"{make_chart_name(attention.type)}, {format_count(attention.heads, 'head')}"
    if attention.causal:
        layer += ", causal"
    title = f"Attention of {make_chart_name(attention.call)} ({layer})"
    notes, params = [down.note, across.note], [make_selection(samples, sample)]
    if attention.all_pairs is not None:
        all_queries, all_keys = attention.all_pairs
        notes.append(f"{GAP} the first {queries:,} of {all_queries:,} queries and {keys:,} of {all_keys:,} keys")
    return assemble_figure("attention", title, about, views, notes, params)


def _classify_cells(attention: AttentionMask) -> NDArray[np.int8]:
    """Return the kind of each cell, ``(samples, queries, keys)``."""
    kinds = np.where(attention.mask, ALLOWED, BLOCKED)
    if attention.keys is not None:
        queries = _fill_unknown(attention.queries, attention.mask.shape[:2])
        kinds[attention.mask & queries[:, :, None] & ~attention.keys[:, None, :]] = TO_PADDING
    if attention.weights is not None:
        kinds[attention.mask & ~np.isfinite(attention.weights)] = NO_NUMBER
    return kinds.astype(np.int8)


def _fill_unknown(valid: Bools | None, shape: tuple[int, ...]) -> Bools:
    """Return the valid timesteps, all of them if padding is unknown."""
    return np.ones(shape, bool) if valid is None else valid


def _make_view(attention: AttentionMask, kinds: NDArray[np.int8], across: Axis, down: Axis) -> Spec:
    """Return the view of the cells, with strips that mark padding where it is known."""
    tooltip = {"query": "query", "key": "key", "what": "it is"}
    arrays = ["kind"]
    texts = []
    if attention.queries is not None:
        tooltip["of_query"] = "the query is"
    if attention.keys is not None:
        tooltip["of_key"] = "the key is"
    if attention.weights is not None:
        tooltip["text"] = "weight"
        arrays.append("weight")
        texts = [make_number_filter("weight", "amount"), make_text_expression("weight", "text")]
    transform = [
        *make_flatten_transform(down, "queries", *arrays),
        *make_flatten_transform(across, "keys", *arrays),
        *texts,
        make_choice_transform("kind", KINDS, "what"),
        make_choice_transform("queries", TIMESTEPS, "of_query"),
        make_choice_transform("keys", TIMESTEPS, "of_key"),
    ]
    layers = make_cell_layers(across, down, select_occurring(LOOKS, kinds), _make_heat(attention, kinds))
    view = make_cell_view(across, down, layers, tooltip, transform)
    strips = []
    # The offset leaves room for the strip between the axis and the cells.
    if attention.queries is not None:
        view["encoding"]["y"]["axis"]["offset"] = 14
        strips.append(make_strip(down, "left", "queries", TIMESTEPS))
    if attention.keys is not None:
        view["encoding"]["x"]["axis"]["offset"] = 14
        strips.append(make_strip(across, "top", "keys", TIMESTEPS))
    return make_selected_view(view, _list_data(attention, kinds, across, down), strips)


def _list_data(attention: AttentionMask, kinds: NDArray[np.int8], across: Axis, down: Axis) -> list[Spec]:
    """Return a datum for each sample, with an array over the keys for each query."""
    samples, count_queries, count_keys = attention.mask.shape
    queries = _fill_unknown(attention.queries, (samples, count_queries))
    keys = _fill_unknown(attention.keys, (samples, count_keys))
    data: list[Spec] = []
    for row in range(samples):
        datum: Spec = {
            "sample": row,
            "queries": encode_padding(queries[row, down.at]),
            "keys": encode_padding(keys[row, across.at]),
            "kind": [kinds[row, at, across.at].tolist() for at in down.at],
        }
        if attention.weights is not None:
            datum["weight"] = [encode_numbers(attention.weights[row, at, across.at]) for at in down.at]
        data.append(datum)
    return data


def _make_heat(attention: AttentionMask, kinds: NDArray[np.int8]) -> dict[int, Spec]:
    """Return the fill by weight of allowed cells, the same for keys that are padding."""
    if attention.weights is None:
        return {}
    weights = attention.weights[attention.mask & np.isfinite(attention.weights)]
    scale = {"domain": [0, float(weights.max(initial=0.0)) or 1.0], "range": make_ramp(GREEN)}
    title = "weight" if attention.heads == 1 else "mean weight of the heads"
    allowed = [kind for kind in (ALLOWED, TO_PADDING) if (kinds == kind).any()]
    # Both kinds share one legend, at the first one.
    titles = [title, ""]
    return {kind: make_heat_fill("amount", scale, text) for kind, text in zip(allowed, titles, strict=False)}


def _describe(attention: AttentionMask) -> str:
    _, queries, keys = attention.mask.shape
    allowed = float(attention.mask.mean()) if attention.mask.size else 0.0
    noun = "query" if queries == 1 else "queries"
    grid = f"Grid of {queries:,} {noun} by {format_count(keys, 'key')}"
    about = f"{grid}: {format_percent(allowed)} of the pairs are allowed, the rest blocked."
    if attention.to_padding is None:
        return about
    return f"{about} Valid queries give padding at most {format_percent(attention.to_padding)} of their attention."
