"""The loss of each timestep, sample by sample, as heat; or of each sample, where it has no timesteps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Floats
from maskcli.records.loss import LossOutput
from maskcli.render.charts import Figure, Spec, printable
from maskcli.render.charts.grids import (
    Lane,
    cells,
    flat,
    frame,
    inner,
    lane,
    number,
    numbers,
    readable,
    rows_beside,
    said,
)
from maskcli.render.charts.looks import (
    AMBER,
    APART,
    BLUE,
    COUNTED,
    GRAY,
    HIDDEN,
    NOT_FINITE,
    PADDING,
    Entry,
    Look,
    assembled,
    gradient,
    legend,
    marks,
    ramp,
    rgba,
)
from maskcli.render.numbers import plural, precise, significant
from maskcli.render.views.loss_heat import COUNTS, kinds_of, weighted_of, weights_of
from maskcli.render.views.loss_heat import HIDDEN as IS_HIDDEN
from maskcli.render.views.loss_heat import LEFT_OUT as IS_LEFT_OUT
from maskcli.render.views.loss_heat import NOT_FINITE as IS_NOT_FINITE
from maskcli.render.views.loss_heat import PADDING as IS_PADDING

LOOKS: dict[int, Look] = {
    IS_LEFT_OUT: PADDING,
    COUNTS: Look(rgba(BLUE, 0.45)),
    IS_HIDDEN: HIDDEN,
    IS_PADDING: COUNTED,
    IS_NOT_FINITE: NOT_FINITE,
}
WHAT = ("left out", "counts", "real, but hidden by the mask", "padding, counted as data", "NaN or infinite")
HEIGHT = 180


def figure(output: LossOutput) -> Figure | None:
    """Return the figure of the loss of an output; None where the loss makes one number of a whole batch."""
    if output.per_timestep is None:
        return None
    losses = output.per_timestep.reshape(len(output.per_timestep), -1)
    kind = kinds_of(output, output.per_timestep).reshape(losses.shape)
    weights = weights_of(output, output.per_timestep).reshape(losses.shape)
    weighted = weighted_of(output, output.per_timestep).reshape(losses.shape)
    parts = {"loss": losses, "weight": weights, "amount": weighted, "share": _shares(output, weighted)}
    places = "timestep by timestep" if output.timed else "sample by sample"
    title = f"Loss {printable(output.loss)} of {printable(output.name)}, {places}"
    about = _about(output, kind)
    view, across, notes = (_grid if output.per_timestep.ndim > 1 else _bars)(output, kind, parts)
    spec = assembled([*legend(_entries(output, kind), across.pixels), view], about, notes)
    return Figure("losses", title, about, spec)


def _shares(output: LossOutput, weighted: Floats) -> Floats:
    """Return the part of the sum of all losses that ``masked`` counts, in percent; NaN where none is counted."""
    counted = np.ones(weighted.shape, bool) if output.counted is None else output.counted.reshape(weighted.shape)
    with np.errstate(all="ignore"):
        shares: Floats = np.where(counted, 100 * weighted / weighted[counted].sum(), np.nan)
    return shares


def _grid(output: LossOutput, kind: NDArray[np.int8], parts: dict[str, Floats]) -> tuple[Spec, Lane, list[str]]:
    """Return the view of ``(batch, timesteps)``."""
    across = lane("timestep", kind.shape[1])
    down = rows_beside(across, "sample", kind.shape[0])
    found = {is_: look for is_, look in LOOKS.items() if (kind == is_).any()}
    rows = [
        {
            "sample": row,
            "kind": kind[row, across.at].tolist(),
            **{name: numbers(values[row, across.at]) for name, values in parts.items()},
        }
        for row in down.at
    ]
    view = {
        "data": {"values": rows},
        "transform": [*flat(across, "kind", *parts), *_readable(parts)],
        **frame(across, down),
        "encoding": {"x": across.channel(orient="top"), "y": down.channel(), "tooltip": _tooltip(output)},
        "layer": cells(across, down, found, _heat(output, kind, parts["amount"])),
        "resolve": APART,
    }
    return view, across, [down.note, across.note]


def _bars(output: LossOutput, kind: NDArray[np.int8], parts: dict[str, Floats]) -> tuple[Spec, Lane, list[str]]:
    """Return the view of ``(batch,)``, whose losses stand as bars, with their marks at the foot."""
    across = lane("sample", len(kind))
    found = {is_: look for is_, look in LOOKS.items() if (kind == is_).any()}
    rows = [
        {"sample": row, "kind": int(kind[row, 0]), **{name: numbers(values[row])[0] for name, values in parts.items()}}
        for row in across.at
    ]
    bar = {"type": "bar", "width": inner(across.step), "fill": rgba(BLUE, 0.55)}
    dim = {"condition": {"test": f"datum.kind !== {COUNTS}", "value": rgba(GRAY, 0.4)}, "value": rgba(BLUE, 0.55)}
    height = {
        "field": "height",
        "type": "quantitative",
        "axis": {"title": _title(output), "grid": True, "tickCount": 5},
    }
    foot = [layer | {"encoding": {"y": {"value": HEIGHT - 9}, **layer["encoding"]}} for layer in marks(found, 14, 14)]
    view = {
        "data": {"values": rows},
        "transform": _readable(parts),
        "width": across.pixels,
        "height": HEIGHT,
        "encoding": {"x": across.channel(), "tooltip": _tooltip(output)},
        "layer": [{"mark": bar, "encoding": {"y": height, "fill": dim}}, *foot],
        "resolve": APART,
    }
    return view, across, [across.note]


def _readable(parts: dict[str, Floats]) -> list[Spec]:
    return [
        number("amount", "height"),
        *(readable(name, f"{name}_text") for name in parts),
        {"calculate": "isNumber(datum.share) ? format(datum.share, '.3~g') + ' %' : '–'", "as": "share_text"},
        {"calculate": said("datum.kind", WHAT), "as": "what"},
    ]


def _tooltip(output: LossOutput) -> list[Spec]:
    titles = {"sample": "sample", "timestep": "timestep", "what": "it is", "loss_text": "loss"}
    titles |= {"weight_text": "weight", "share_text": "share"}
    if output.weights is None:
        del titles["weight_text"]
    if output.per_timestep is not None and output.per_timestep.ndim == 1:
        del titles["timestep"]
    return [{"field": field, "title": title} for field, title in titles.items()]


def _title(output: LossOutput) -> str:
    return "loss" if output.weights is None else "weight × loss"


def _heat(output: LossOutput, kind: NDArray[np.int8], weighted: Floats) -> dict[int, Spec]:
    """Return the colour of what counts, and of padding that does, on scales of one length."""
    counted = weighted[np.isin(kind, (COUNTS, IS_PADDING))]
    low, high = min(0.0, float(counted.min(initial=0.0))), float(counted.max(initial=0.0))
    domain = [low, high if high > low else low + 1]
    of_padding = (IS_PADDING, AMBER, 0.65, f"{_title(output)} of padding")
    return {
        is_: {
            "field": "height",
            "type": "quantitative",
            "scale": {"domain": domain, "range": ramp(color, most), "clamp": True},
            "legend": gradient(title),
        }
        for is_, color, most, title in ((COUNTS, BLUE, 0.9, _title(output)), of_padding)
        if (kind == is_).any()
    }


def _entries(output: LossOutput, kind: NDArray[np.int8]) -> list[Entry]:
    counts = np.bincount(kind.ravel(), minlength=5).tolist()
    noun, real = ("timestep", "real token") if kind.shape[1] > 1 or output.timed else ("sample", "real sample")
    left_out = "left out" if output.weights is None else "left out, or of weight 0"
    texts = {
        COUNTS: f"{plural(counts[COUNTS], noun)} that count",
        IS_LEFT_OUT: f"{counts[IS_LEFT_OUT]:,} {left_out}",
        IS_HIDDEN: f"{plural(counts[IS_HIDDEN], real)} that the mask hides",
        IS_PADDING: f"{counts[IS_PADDING]:,} padded, counted as data",
        IS_NOT_FINITE: f"{counts[IS_NOT_FINITE]:,} NaN or infinite",
    }
    return [Entry(LOOKS[is_], text) for is_, text in texts.items() if counts[is_]]


def _about(output: LossOutput, kind: NDArray[Any]) -> str:
    counted = int(np.isin(kind, (COUNTS, IS_PADDING)).sum())
    noun = "timesteps" if output.timed else "losses"
    said = [
        f"Heat map of the loss {printable(output.loss)}: {counted:,} of {kind.size:,} {noun} count; the masked loss is"
    ]
    said.append(f"{precise(output.masked)}, over all of them {precise(output.unmasked)}.")
    if output.contributors:
        top = output.contributors[0]
        place = "" if top.timestep is None else f", timestep {top.timestep}"
        said.append(f"The largest is {significant(top.loss, 4)}, at sample {top.sample}{place}.")
    return " ".join(said)
