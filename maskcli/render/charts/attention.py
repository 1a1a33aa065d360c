"""The chart of an attention mask: queries by keys, with the attention weights."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from maskcli.records.trace import AttentionMask
from maskcli.records.wording import format_count
from maskcli.render.charts import Figure, Spec, grids, looks, make_chart_name
from maskcli.render.charts.grids import CellGrid, CellKind
from maskcli.render.charts.looks import CellStyle
from maskcli.render.numbers import format_percent
from maskcli.render.tables import GAP

SIDE = 72
"""Most queries or keys on a side."""
ALLOWED, BLOCKED, TO_PADDING, NO_NUMBER = range(4)
"""Kinds of cells."""
LOOKS: dict[int, CellKind] = {
    ALLOWED: CellKind(CellStyle(looks.make_rgba(looks.GREEN, 0.45)), "allowed", "allowed"),
    BLOCKED: CellKind(looks.PADDING, "blocked", "blocked"),
    TO_PADDING: CellKind(looks.COUNTED, "allowed, though the key is padding", "allowed, though the key is padding"),
    NO_NUMBER: CellKind(looks.NOT_FINITE, "allowed; its weight is NaN or infinite", "NaN or infinite weight"),
}


def make_figure(attention: AttentionMask, sample: int = 0, room: int = grids.WIDE) -> Figure:
    """Return the figure of an attention mask; ``sample`` is selected first."""
    samples, queries, keys = attention.mask.shape
    across = grids.make_axis("key", keys, limit=SIDE, room=room, most=grids.WIDEST)
    down = grids.make_matrix_axis(across, "query", queries, limit=SIDE)
    kinds = _classify_cells(attention)
    strips = {axis: valid for axis, valid in ((down, attention.queries), (across, attention.keys)) if valid is not None}
    tooltip = {"query": "query", "key": "key", "what": "it is"}
    tooltip |= {f"of_{axis.field}": f"the {axis.field} is" for axis in strips}
    cells, numbers = LOOKS, {}
    if attention.weights is not None:
        numbers["weight"] = attention.weights
        tooltip["text"] = "weight"
        # The scale of weights shows the allowed cells.
        cells = LOOKS | {ALLOWED: dataclasses.replace(LOOKS[ALLOWED], legend="")}
    grid = CellGrid(
        across=across,
        down=down,
        kinds=kinds,
        looks=cells,
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
    selection = grids.make_selection(samples, sample)
    return looks.assemble_figure(
        "attention", title, _describe(attention), grids.make_grid_views(grid), notes, [selection]
    )


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
    scale = {"domain": [0, float(weights.max(initial=0.0)) or 1.0], "range": looks.make_ramp(looks.GREEN)}
    title = "weight" if attention.heads == 1 else "mean weight of the heads"
    allowed = [kind for kind in (ALLOWED, TO_PADDING) if (kinds == kind).any()]
    # Both kinds share one legend, at the first one.
    titles = [title, ""]
    return {kind: looks.make_heat_fill("amount", scale, text) for kind, text in zip(allowed, titles, strict=False)}


def _describe(attention: AttentionMask) -> str:
    _, queries, keys = attention.mask.shape
    allowed = float(attention.mask.mean()) if attention.mask.size else 0.0
    noun = "query" if queries == 1 else "queries"
    grid = f"Grid of {queries:,} {noun} by {format_count(keys, 'key')}"
    about = f"{grid}: {format_percent(allowed)} of the pairs are allowed, the rest blocked."
    if attention.to_padding is None:
        return about
    return f"{about} Valid queries give padding at most {format_percent(attention.to_padding)} of their attention."
