"""The chart of an attention mask: queries by keys, with the attention weights."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from maskcli.records.trace import AttentionMask
from maskcli.records.wording import format_count
from maskcli.render.charts import Figure, Spec, make_chart_name
from maskcli.render.charts.grids import (
    WIDE,
    WIDEST,
    CellGrid,
    CellKind,
    make_axis,
    make_grid_views,
    make_matrix_axis,
    make_selection,
)
from maskcli.render.charts.looks import (
    COUNTED,
    GREEN,
    NOT_FINITE,
    PADDING,
    CellStyle,
    assemble_figure,
    make_heat_fill,
    make_ramp,
    make_rgba,
)
from maskcli.render.numbers import format_percent
from maskcli.render.tables import GAP

SIDE = 72
"""Most queries or keys on a side."""
ALLOWED, BLOCKED, TO_PADDING, NO_NUMBER = range(4)
"""Kinds of cells."""
LOOKS: dict[int, CellKind] = {
    ALLOWED: CellKind(CellStyle(make_rgba(GREEN, 0.45)), "allowed", "allowed"),
    BLOCKED: CellKind(PADDING, "blocked", "blocked"),
    TO_PADDING: CellKind(COUNTED, "allowed, though the key is padding", "allowed, though the key is padding"),
    NO_NUMBER: CellKind(NOT_FINITE, "allowed; its weight is NaN or infinite", "NaN or infinite weight"),
}


def make_figure(attention: AttentionMask, sample: int = 0, room: int = WIDE) -> Figure:
    """Return the figure of an attention mask; ``sample`` is selected first."""
    samples, queries, keys = attention.mask.shape
    across = make_axis("key", keys, limit=SIDE, room=room, most=WIDEST)
    down = make_matrix_axis(across, "query", queries, limit=SIDE)
    kinds = _classify_cells(attention)
    strips = {axis: valid for axis, valid in ((down, attention.queries), (across, attention.keys)) if valid is not None}
    tooltip = {"query": "query", "key": "key", "what": "it is"}
    tooltip |= {f"of_{axis.field}": f"the {axis.field} is" for axis in strips}
    looks, numbers = LOOKS, {}
    if attention.weights is not None:
        numbers["weight"] = attention.weights
        tooltip["text"] = "weight"
        # The scale of weights shows the allowed cells.
        looks = LOOKS | {ALLOWED: dataclasses.replace(LOOKS[ALLOWED], legend="")}
    grid = CellGrid(
        across=across,
        down=down,
        kinds=kinds,
        looks=looks,
        numbers=numbers,
        tooltip=tooltip,
        heat=_make_heat(attention, kinds),
        strips=strips,
    )
    layer = f"{make_chart_name(attention.type)}, {format_count(attention.heads, 'head')}"
    if attention.causal:
        layer += ", causal"
    title = f"Attention of {make_chart_name(attention.call)} ({layer})"
    notes = [down.note, across.note]
    if attention.all_pairs is not None:
        all_queries, all_keys = attention.all_pairs
        notes.append(f"{GAP} the first {queries:,} of {all_queries:,} queries and {keys:,} of {all_keys:,} keys")
    selection = make_selection(samples, sample)
    return assemble_figure("attention", title, _describe(attention), make_grid_views(grid), notes, [selection])


def _classify_cells(attention: AttentionMask) -> NDArray[np.int8]:
    """Return the kind of each cell, ``(samples, queries, keys)``."""
    kinds = np.where(attention.mask, ALLOWED, BLOCKED)
    if attention.keys is not None:
        queries = True if attention.queries is None else attention.queries[:, :, None]
        kinds[attention.mask & queries & ~attention.keys[:, None, :]] = TO_PADDING
    if attention.weights is not None:
        kinds[attention.mask & ~np.isfinite(attention.weights)] = NO_NUMBER
    return kinds.astype(np.int8)


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
