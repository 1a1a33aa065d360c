"""The chart of a padded batch: samples by timesteps, with values, padding and mask."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.records.sequences import PaddedBatch
from maskcli.records.trace import Inspection
from maskcli.records.wording import format_count
from maskcli.render.charts import Figure, grids, looks, make_chart_name
from maskcli.render.charts.grids import CellGrid, CellKind
from maskcli.render.timesteps import TimestepKind, find_timestep_kinds
from maskcli.render.views.outputs import convert_ids, has_timesteps

VALIDITY = ("padding", "valid", "valid", "padding", "valid")
"""Label of each kind of timestep, without the mask."""
MASK_LABELS = ("False: masked", "True: counts", "False: masked", "True: counts", "True: counts")
"""Value of the mask at each kind of timestep."""


def make_batch_figure(batch: PaddedBatch) -> Figure:
    """Return the figure of a batch without a model."""
    title = f"Padded batch ({batch.layout.dtype}, padding {batch.layout.padding})"
    return _make_figure(batch.tokens, "token", batch.mask, None, batch.layout.value, title, grids.WIDE)


def make_inspection_figure(inspection: Inspection, room: int = grids.WIDE) -> Figure | None:
    """Return the figure of the main input and its mask.

    Returns None if the input has no timesteps.
    """
    primary = inspection.primary
    if primary is None or primary.valid is None:
        return None
    name = f" of {make_chart_name(primary.name)}" if len(inspection.inputs) > 1 else ""
    if has_timesteps(inspection.mask, primary.valid):
        return _make_input_figure(primary, primary.valid, inspection.mask, f"and mask{name}", room)
    reason = "no call creates a mask" if inspection.mask is None else "the mask has another shape"
    return _make_input_figure(primary, primary.valid, None, f"and padding{name}; {reason}", room)


def make_further_figures(inspection: Inspection, room: int = grids.WIDE) -> list[Figure]:
    """Return the figures of the other inputs with timesteps, without a mask."""
    return [
        _make_input_figure(further, further.valid, None, f"and padding of {make_chart_name(further.name)}", room)
        for further in inspection.inputs
        if further is not inspection.primary and further.valid is not None
    ]


def _make_input_figure(model_input: ModelInput, valid: Bools, mask: Bools | None, subject: str, room: int) -> Figure:
    if model_input.kind == "ids":
        return _make_figure(
            convert_ids(model_input), "token", valid, mask, model_input.padding, f"Tokens {subject}", room
        )
    vectors = model_input.values.astype(np.float64).reshape(*valid.shape, -1)
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt((vectors**2).sum(axis=-1))
    return _make_figure(norms, "L2 norm", valid, mask, model_input.padding, f"Vectors {subject}", room)


def _make_figure(
    values: NDArray[Any], noun: str, valid: Bools, mask: Bools | None, padding: float, title: str, room: int
) -> Figure:
    """Return the figure of values, validity and mask, ``(batch, timesteps)`` each."""
    kinds = find_timestep_kinds(valid, mask)
    if values.dtype.kind == "f":
        kinds[valid & ~np.isfinite(values)] = TimestepKind.NOT_FINITE
    counts = np.bincount(kinds.ravel(), minlength=len(TimestepKind)).tolist()
    across = grids.make_axis("timestep", valid.shape[1], room=room, most=grids.WIDEST)
    down = grids.make_row_axis(across, "sample", valid.shape[0])
    labels = _label_kinds(counts, mask, padding, noun)
    grid = CellGrid(
        across=across,
        down=down,
        kinds=kinds,
        looks={kind: CellKind(looks.STYLES[kind], VALIDITY[kind], label) for kind, label in labels.items()},
        numbers={"value": values},
        tooltip={"sample": "sample", "timestep": "timestep", "text": noun, "what": "it is"},
    )
    if mask is not None:
        choice = grids.make_choice_transform("kind", MASK_LABELS, "mask")
        grid = dataclasses.replace(grid, tooltip={**grid.tooltip, "mask": "the mask"}, transform=[choice])
    # Ids are names: a larger id is not more of anything, so that only norms are drawn as heat.
    if noun != "token":
        scale = {"range": looks.make_ramp(looks.BLUE, 0.6), "zero": False, "nice": False}
        grid = dataclasses.replace(grid, heat={TimestepKind.VALID: looks.make_heat_fill("amount", scale, noun)})
    elif down.step >= 14:
        grid = dataclasses.replace(grid, layers=grids.make_token_layers(values, "text", across.step))
    about = _describe(valid, mask, counts)
    return looks.assemble_figure("batch", title, about, grids.make_grid_views(grid), [down.note, across.note])


def _label_kinds(counts: list[int], mask: Bools | None, padding: float, noun: str) -> dict[int, str]:
    """Return the label of each kind in the legend, with its count."""
    real, padded = "timestep", "padding"
    if noun == "token":
        real, padded = "token", f"padding (id {padding})"
    valid, hidden, unmasked, not_finite = (counts[kind] for kind in list(TimestepKind)[1:])
    counting, masked = (" that count", ", masked") if mask is not None else ("", "")
    return {
        TimestepKind.VALID: f"{format_count(valid, real)}{counting}",
        TimestepKind.PADDING: f"{counts[TimestepKind.PADDING]:,} {padded}{masked}",
        TimestepKind.HIDDEN: f"{hidden:,} valid, but masked",
        TimestepKind.COUNTED: f"{unmasked:,} {padded}, not masked",
        TimestepKind.NOT_FINITE: f"{not_finite:,} NaN or infinite",
    }


def _describe(valid: Bools, mask: Bools | None, counts: list[int]) -> str:
    grid = " by ".join(map(format_count, valid.shape, ("sample", "timestep")))
    about = f"Grid of {grid}: {int(valid.sum()):,} valid and {int((~valid).sum()):,} padding."
    if mask is None:
        return about
    hidden, unmasked = counts[TimestepKind.HIDDEN], counts[TimestepKind.COUNTED]
    return f"{about} The mask hides {hidden:,} valid timesteps and counts {unmasked:,} of padding."
