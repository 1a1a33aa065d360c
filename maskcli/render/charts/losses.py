"""The loss of each timestep, sample by sample, as heat; or of each sample, where it has no timesteps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Floats
from maskcli.records.loss import LossOutput
from maskcli.render.charts import Figure, Spec, make_chart_name
from maskcli.render.charts.grids import (
    Axis,
    encode_numbers,
    make_axis,
    make_cell_layers,
    make_choice_expression,
    make_flatten_transform,
    make_frame,
    make_number_filter,
    make_row_axis,
    make_text_expression,
    measure_inner,
)
from maskcli.render.charts.looks import (
    AMBER,
    BLUE,
    COUNTED,
    GRAY,
    HIDDEN,
    NOT_FINITE,
    PADDING,
    SEPARATE_SCALES,
    CellStyle,
    LegendEntry,
    assemble_spec,
    make_chart_legend,
    make_gradient_legend,
    make_marks,
    make_ramp,
    make_rgba,
)
from maskcli.render.numbers import format_count, format_precise, format_significant
from maskcli.render.timesteps import TimestepKind
from maskcli.render.views.loss_heat import broadcast_weights, classify_losses, weigh_losses

IS_LEFT_OUT, COUNTS, IS_HIDDEN, IS_PADDING, IS_NOT_FINITE = map(int, TimestepKind)
LOOKS: dict[int, CellStyle] = {
    IS_LEFT_OUT: PADDING,
    COUNTS: CellStyle(make_rgba(BLUE, 0.45)),
    IS_HIDDEN: HIDDEN,
    IS_PADDING: COUNTED,
    IS_NOT_FINITE: NOT_FINITE,
}
WHAT = ("left out", "counts", "real, but hidden by the mask", "padding, counted as data", "NaN or infinite")
HEIGHT = 180


def make_figure(output: LossOutput) -> Figure | None:
    """Return the figure of the loss of an output; None where the loss makes one number of a whole batch."""
    if output.per_timestep is None:
        return None
    losses = output.per_timestep.reshape(len(output.per_timestep), -1)
    kind = classify_losses(output, output.per_timestep).reshape(losses.shape)
    weights = broadcast_weights(output, output.per_timestep).reshape(losses.shape)
    weighted = weigh_losses(output, output.per_timestep).reshape(losses.shape)
    parts = {"loss": losses, "weight": weights, "amount": weighted, "share": _shares(output, weighted)}
    places = "timestep by timestep" if output.timed else "sample by sample"
    title = f"Loss {make_chart_name(output.loss)} of {make_chart_name(output.name)}, {places}"
    about = _about(output, kind)
    view, across, notes = (_grid if output.per_timestep.ndim > 1 else _bars)(output, kind, parts)
    spec = assemble_spec([*make_chart_legend(_entries(output, kind), across.pixels), view], about, notes)
    return Figure("losses", title, about, spec)


def _shares(output: LossOutput, weighted: Floats) -> Floats:
    """Return the part of the sum of all losses that ``masked`` counts, in percent; NaN where none is counted."""
    counted = np.ones(weighted.shape, bool) if output.counted is None else output.counted.reshape(weighted.shape)
    with np.errstate(all="ignore"):
        shares: Floats = np.where(counted, 100 * weighted / weighted[counted].sum(), np.nan)
    return shares


def _grid(output: LossOutput, kind: NDArray[np.int8], parts: dict[str, Floats]) -> tuple[Spec, Axis, list[str]]:
    """Return the view of ``(batch, timesteps)``."""
    across = make_axis("timestep", kind.shape[1])
    down = make_row_axis(across, "sample", kind.shape[0])
    found = {is_: look for is_, look in LOOKS.items() if (kind == is_).any()}
    rows = [
        {
            "sample": row,
            "kind": kind[row, across.at].tolist(),
            **{name: encode_numbers(values[row, across.at]) for name, values in parts.items()},
        }
        for row in down.at
    ]
    view = {
        "data": {"values": rows},
        "transform": [*make_flatten_transform(across, "kind", *parts), *_readable(parts)],
        **make_frame(across, down),
        "encoding": {"x": across.channel(orient="top"), "y": down.channel(), "tooltip": _tooltip(output)},
        "layer": make_cell_layers(across, down, found, _heat(output, kind, parts["amount"])),
        "resolve": SEPARATE_SCALES,
    }
    return view, across, [down.note, across.note]


def _bars(output: LossOutput, kind: NDArray[np.int8], parts: dict[str, Floats]) -> tuple[Spec, Axis, list[str]]:
    """Return the view of ``(batch,)``, whose losses stand as bars, with their marks at the foot."""
    across = make_axis("sample", len(kind))
    found = {is_: look for is_, look in LOOKS.items() if (kind == is_).any()}
    rows = [
        {
            "sample": row,
            "kind": int(kind[row, 0]),
            **{name: encode_numbers(values[row])[0] for name, values in parts.items()},
        }
        for row in across.at
    ]
    bar = {"type": "bar", "width": measure_inner(across.step), "fill": make_rgba(BLUE, 0.55)}
    dim = {
        "condition": {"test": f"datum.kind !== {COUNTS}", "value": make_rgba(GRAY, 0.4)},
        "value": make_rgba(BLUE, 0.55),
    }
    height = {
        "field": "height",
        "type": "quantitative",
        "axis": {"title": _title(output), "grid": True, "tickCount": 5},
    }
    foot = [
        layer | {"encoding": {"y": {"value": HEIGHT - 9}, **layer["encoding"]}} for layer in make_marks(found, 14, 14)
    ]
    view = {
        "data": {"values": rows},
        "transform": _readable(parts),
        "width": across.pixels,
        "height": HEIGHT,
        "encoding": {"x": across.channel(), "tooltip": _tooltip(output)},
        "layer": [{"mark": bar, "encoding": {"y": height, "fill": dim}}, *foot],
        "resolve": SEPARATE_SCALES,
    }
    return view, across, [across.note]


def _readable(parts: dict[str, Floats]) -> list[Spec]:
    return [
        make_number_filter("amount", "height"),
        *(make_text_expression(name, f"{name}_text") for name in parts),
        {"calculate": "isNumber(datum.share) ? format(datum.share, '.3~g') + ' %' : '–'", "as": "share_text"},
        {"calculate": make_choice_expression("datum.kind", WHAT), "as": "what"},
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
            "scale": {"domain": domain, "range": make_ramp(color, most), "clamp": True},
            "legend": make_gradient_legend(title),
        }
        for is_, color, most, title in ((COUNTS, BLUE, 0.9, _title(output)), of_padding)
        if (kind == is_).any()
    }


def _entries(output: LossOutput, kind: NDArray[np.int8]) -> list[LegendEntry]:
    counts = np.bincount(kind.ravel(), minlength=5).tolist()
    noun, real = ("timestep", "real token") if kind.shape[1] > 1 or output.timed else ("sample", "real sample")
    left_out = "left out" if output.weights is None else "left out, or of weight 0"
    texts = {
        COUNTS: f"{format_count(counts[COUNTS], noun)} that count",
        IS_LEFT_OUT: f"{counts[IS_LEFT_OUT]:,} {left_out}",
        IS_HIDDEN: f"{format_count(counts[IS_HIDDEN], real)} that the mask hides",
        IS_PADDING: f"{counts[IS_PADDING]:,} padded, counted as data",
        IS_NOT_FINITE: f"{counts[IS_NOT_FINITE]:,} NaN or infinite",
    }
    return [LegendEntry(LOOKS[is_], text) for is_, text in texts.items() if counts[is_]]


def _about(output: LossOutput, kind: NDArray[Any]) -> str:
    counted = int(np.isin(kind, (COUNTS, IS_PADDING)).sum())
    noun = "timesteps" if output.timed else "losses"
    said = [
        f"Heat map of the loss {make_chart_name(output.loss)}: {counted:,} of {kind.size:,} {noun} count; the "
        "masked loss is"
    ]
    said.append(f"{format_precise(output.masked)}, over all of them {format_precise(output.unmasked)}.")
    if output.contributors:
        top = output.contributors[0]
        place = "" if top.timestep is None else f", timestep {top.timestep}"
        said.append(f"The largest is {format_significant(top.loss, 4)}, at sample {top.sample}{place}.")
    return " ".join(said)
