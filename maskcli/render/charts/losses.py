"""The chart of a loss: a heat map of timesteps, or bars of samples without timesteps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Floats
from maskcli.records.loss import LossOutput
from maskcli.records.wording import format_count
from maskcli.render.charts import Figure, Spec, grids, looks, make_chart_name
from maskcli.render.charts.grids import CellGrid, CellKind
from maskcli.render.charts.looks import CellStyle, LegendEntry
from maskcli.render.numbers import format_precise, format_significant
from maskcli.render.timesteps import TimestepKind
from maskcli.render.views.loss_heat import broadcast_weights, classify_losses, name_quantity, weigh_losses

LOOKS: dict[int, CellStyle] = looks.STYLES | {TimestepKind.VALID: CellStyle(looks.make_rgba(looks.BLUE, 0.45))}
KINDS = ("left out", "counts", "real, but hidden by the mask", "padding, counted as data", "NaN or infinite")
"""Label of each kind of timestep in the tooltip."""
HEIGHT = 160


def make_figure(output: LossOutput, room: int = grids.WIDE) -> Figure | None:
    """Return the figure of the loss of an output.

    Returns None if the loss is one number for the whole batch.
    """
    if output.per_timestep is None:
        return None
    losses = output.per_timestep.reshape(len(output.per_timestep), -1)
    kinds = classify_losses(output, output.per_timestep).reshape(losses.shape)
    weights = broadcast_weights(output, output.per_timestep).reshape(losses.shape)
    weighted = weigh_losses(output, output.per_timestep).reshape(losses.shape)
    parts = {"weighted": weighted, "loss": losses, "weight": weights, "share": _compute_shares(output, weighted)}
    places = "timestep by timestep" if output.timed else "sample by sample"
    title = f"Loss {make_chart_name(output.loss)} of {make_chart_name(output.name)}, {places}"
    draw = _draw_grid if output.per_timestep.ndim > 1 else _draw_bars
    views, notes = draw(output, kinds, parts, room)
    return looks.assemble_figure("losses", title, _describe(output, kinds), views, notes)


def _compute_shares(output: LossOutput, weighted: Floats) -> Floats:
    """Return the percentage of each loss in the masked sum; NaN at timesteps outside the sum."""
    included = np.ones(weighted.shape, bool) if output.counted is None else output.counted.reshape(weighted.shape)
    with np.errstate(all="ignore"):
        shares: Floats = np.where(included, 100 * weighted / weighted[included].sum(), np.nan)
    return shares


def _draw_grid(
    output: LossOutput, kinds: NDArray[np.int8], parts: dict[str, Floats], room: int
) -> tuple[list[Spec], list[str]]:
    """Return the views of losses ``(batch, timesteps)``, and notes."""
    across = grids.make_axis("timestep", kinds.shape[1], room=room, most=grids.WIDEST)
    down = grids.make_row_axis(across, "sample", kinds.shape[0])
    labels = _label_kinds(output, kinds)
    grid = CellGrid(
        across=across,
        down=down,
        kinds=kinds,
        looks={kind: CellKind(LOOKS[kind], KINDS[kind], label) for kind, label in labels.items()},
        numbers=parts,
        tooltip=_label_tooltip(output, "sample", "timestep"),
        heat=_make_heat(output, kinds, parts["weighted"]),
        transform=_make_texts(parts),
    )
    return grids.make_grid_views(grid), [down.note, across.note]


def _draw_bars(
    output: LossOutput, kinds: NDArray[np.int8], parts: dict[str, Floats], room: int
) -> tuple[list[Spec], list[str]]:
    """Return the views of losses ``(batch,)`` as bars, with the marks at the foot, and notes."""
    across = grids.make_axis("sample", len(kinds), room=room, most=grids.WIDEST)
    data = [
        {
            "sample": row,
            "kind": int(kinds[row, 0]),
            **{name: grids.encode_numbers(values[row])[0] for name, values in parts.items()},
        }
        for row in across.kept
    ]
    blue, gray = looks.make_rgba(looks.BLUE, 0.55), looks.make_rgba(looks.GRAY, 0.4)
    axis = {"title": name_quantity(output), "grid": True, "tickCount": 5}
    encoding = {
        "y": {"field": "amount", "type": "quantitative", "axis": axis},
        "fill": {"condition": {"test": f"datum.kind !== {TimestepKind.VALID}", "value": gray}, "value": blue},
    }
    bars = looks.make_layer("bar", encoding, width=grids.measure_inner(across.step), fill=blue)
    marks = looks.make_marks(grids.select_occurring(LOOKS, kinds), 14, 14)
    for layer in marks:
        layer["encoding"]["y"] = {"value": HEIGHT - 9}
    view = {
        "data": {"values": data},
        "transform": [
            grids.make_number_filter("weighted", "amount"),
            grids.make_choice_transform("kind", KINDS, "what"),
            *_make_texts(parts),
        ],
        "width": across.pixels,
        "height": HEIGHT,
        "encoding": {"x": across.channel(), "tooltip": grids.make_tooltip(_label_tooltip(output, "sample"))},
        "layer": [bars, *marks],
        "resolve": looks.SEPARATE_SCALES,
    }
    labels = grids.select_occurring(_label_kinds(output, kinds), kinds)
    legend = looks.make_chart_legend([LegendEntry(LOOKS[kind], label) for kind, label in labels.items()], across.pixels)
    return [*legend, view], [across.note]


def _make_texts(parts: dict[str, Floats]) -> list[Spec]:
    """Return the transforms that make the texts of the tooltip."""
    return [
        *(grids.make_text_expression(name, f"{name}_text") for name in parts),
        {"calculate": "isNumber(datum.share) ? format(datum.share, '.3~g') + ' %' : '–'", "as": "share_text"},
    ]


def _label_tooltip(output: LossOutput, *places: str) -> dict[str, str]:
    titles = {place: place for place in places} | {"what": "it is", "loss_text": "loss"}
    if output.weights is not None:
        titles["weight_text"] = "weight"
    return titles | {"share_text": "share"}


def _make_heat(output: LossOutput, kinds: NDArray[np.int8], weighted: Floats) -> dict[int, Spec]:
    """Return the fills of valid timesteps and of counted padding, on equal scales."""
    amounts = weighted[np.isin(kinds, (TimestepKind.VALID, TimestepKind.COUNTED))]
    low, high = min(0.0, float(amounts.min(initial=0.0))), float(amounts.max(initial=0.0))
    domain = [low, high if high > low else low + 1]
    name = name_quantity(output)
    ramps: dict[int, tuple[list[str], str]] = {
        TimestepKind.VALID: (looks.make_ramp(looks.BLUE), name),
        TimestepKind.COUNTED: (looks.make_ramp(looks.AMBER, 0.65), f"{name} of padding"),
    }
    return {
        kind: looks.make_heat_fill("amount", {"domain": domain, "range": ramp, "clamp": True}, title)
        for kind, (ramp, title) in grids.select_occurring(ramps, kinds).items()
    }


def _label_kinds(output: LossOutput, kinds: NDArray[np.int8]) -> dict[int, str]:
    """Return the label of each kind in the legend, with its count."""
    left_out, valid, hidden, padded, not_finite = np.bincount(kinds.ravel(), minlength=len(TimestepKind)).tolist()
    noun, real = ("timestep", "real token") if kinds.shape[1] > 1 or output.timed else ("sample", "real sample")
    weight = "" if output.weights is None else ", or of weight 0"
    return {
        TimestepKind.VALID: f"{format_count(valid, noun)} that count",
        TimestepKind.PADDING: f"{left_out:,} left out{weight}",
        TimestepKind.HIDDEN: f"{format_count(hidden, real)} that the mask hides",
        TimestepKind.COUNTED: f"{padded:,} padded, counted as data",
        TimestepKind.NOT_FINITE: f"{not_finite:,} NaN or infinite",
    }


def _describe(output: LossOutput, kinds: NDArray[np.int8]) -> str:
    included = int(np.isin(kinds, (TimestepKind.VALID, TimestepKind.COUNTED)).sum())
    noun = "timesteps" if output.timed else "losses"
    about = (
        f"Heat map of the loss {make_chart_name(output.loss)}: {included:,} of {kinds.size:,} {noun} count. "
        f"The masked loss is {format_precise(output.masked)}; over all {noun} it is {format_precise(output.unmasked)}."
    )
    if not output.contributors:
        return about
    top = output.contributors[0]
    place = f"sample {top.sample}"
    if top.timestep is not None:
        place += f", timestep {top.timestep}"
    return f"{about} The largest is {format_significant(top.loss, 4)}, at {place}."
