"""The attention mask: which query may look at which key, and how much it does."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools
from maskcli.records.trace import AttentionMask
from maskcli.render.charts import Figure, Spec, printable
from maskcli.render.charts.grids import (
    BESIDE,
    GROUND,
    Lane,
    beside,
    cells,
    chosen,
    flat,
    frame,
    lane,
    number,
    numbers,
    readable,
    said,
    strip,
)
from maskcli.render.charts.looks import (
    APART,
    COUNTED,
    GREEN,
    NOT_FINITE,
    PADDING,
    VALID,
    Entry,
    Look,
    assembled,
    gradient,
    legend,
    ramp,
    rgba,
)
from maskcli.render.numbers import percent, plural

SIDE = 72
"""Queries or keys that are drawn at most."""
ALLOWED = Look(rgba(GREEN, 0.45))
LOOKS: dict[int, Look] = {0: ALLOWED, 1: PADDING, 2: COUNTED, 3: NOT_FINITE}
WHAT = ("allowed", "blocked", "allowed, though the key is padding", "allowed; its weight is no number")
KINDS = ("valid", "padding")


def figure(attention: AttentionMask, sample: int = 0) -> Figure:
    """Return the figure of an attention mask; ``sample`` is the one that is shown first."""
    samples, queries, keys = attention.mask.shape
    across = lane("key", keys, limit=SIDE, room=760)
    down = lane("query", queries, limit=SIDE, room=760, most=min(26, across.step))
    kind = _kinds(attention)
    views = [*legend(_entries(attention, kind), across.pixels), _view(attention, kind, across, down)]
    about = _about(attention, kind)
    causal = ", causal" if attention.causal else ""
    kind_of = f"{printable(attention.type)}, {plural(attention.heads, 'head')}{causal}"
    title = f"Attention of {printable(attention.call)} ({kind_of})"
    spec = assembled(views, about, [down.note, across.note], [chosen(samples, sample)])
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


def _view(attention: AttentionMask, kind: NDArray[np.int8], across: Lane, down: Lane) -> Spec:
    found = {is_: look for is_, look in LOOKS.items() if (kind == is_).any()}
    picked: list[Spec] = [{"filter": "datum.sample === sample"}]
    main = {
        "transform": [*picked, *_transform(across, down, attention.weights is not None)],
        "encoding": {
            "x": across.channel(orient="top", **_aside(attention.keys)),
            "y": down.channel(**_aside(attention.queries)),
            "tooltip": _tooltip(attention),
        },
        "layer": cells(across, down, found, _heat(attention, kind)),
        "resolve": APART,
    }
    known = ((down, "left", attention.queries, "queries"), (across, "top", attention.keys, "keys"))
    strips = [
        strip(along, side, BESIDE, [*picked, *beside(along, field, KINDS)])
        for along, side, valid, field in known
        if valid is not None
    ]
    return {
        "data": {"values": _data(attention, kind, across, down)},
        **frame(across, down),
        "view": GROUND,
        "layer": [main, *strips],
    }


def _aside(valid: Bools | None) -> Spec:
    """Return the room between an axis and the cells for the strip that says what is padding."""
    return {} if valid is None else {"offset": 14}


def _data(attention: AttentionMask, kind: NDArray[np.int8], across: Lane, down: Lane) -> list[Spec]:
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
            **({} if weights is None else {"weight": [numbers(weights[row, at, across.at]) for at in down.at]}),
        }
        for row in range(len(kind))
    ]


def _transform(across: Lane, down: Lane, weighted: bool) -> list[Spec]:
    """Return what takes apart the queries, and then the keys of each."""
    parts = ["kind", "weight"] if weighted else ["kind"]
    return [
        *flat(down, "queries", *parts),
        *flat(across, "keys", *parts),
        *([number("weight", "amount"), readable("weight", "text")] if weighted else []),
        {"calculate": said("datum.kind", WHAT), "as": "what"},
        {"calculate": said("datum.queries", KINDS), "as": "of_query"},
        {"calculate": said("datum.keys", KINDS), "as": "of_key"},
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
    keys = [gradient(title), None]
    fill = {"field": "amount", "type": "quantitative", "scale": {"domain": [0, high], "range": ramp(GREEN)}}
    return {is_: fill | {"legend": keys.pop(0)} for is_ in (0, 2) if (kind == is_).any()}


def _entries(attention: AttentionMask, kind: NDArray[np.int8]) -> list[Entry]:
    counts = np.bincount(kind.ravel(), minlength=4)
    texts = ("allowed", "blocked", "allowed, though the key is padding", "NaN or infinite weight")
    entries = [Entry(LOOKS[is_], text) for is_, text in enumerate(texts) if counts[is_]]
    return entries + _beside(attention)


def _beside(attention: AttentionMask) -> list[Entry]:
    """Return what the strips along the axes mean."""
    if attention.queries is None and attention.keys is None:
        return []
    return [Entry(VALID, "at the edge: valid"), Entry(PADDING, "at the edge: padding")]


def _about(attention: AttentionMask, kind: NDArray[Any]) -> str:
    allowed = float(attention.mask.mean()) if attention.mask.size else 0.0
    grid = f"{plural(kind.shape[1], 'query').replace('querys', 'queries')} by {plural(kind.shape[2], 'key')}"
    shown = f"Grid of {grid}: {percent(allowed)} of the pairs are allowed, the others blocked"
    if attention.to_padding is None:
        return f"{shown}."
    return f"{shown}. Valid queries give padding at most {percent(attention.to_padding)} of their attention."
