"""Heat maps of a whole batch: padding and mask, sizes of outputs, and losses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools, Floats
from maskcli.records.loss import LossOutput, LossReport
from maskcli.records.sequences import PaddedBatch
from maskcli.records.trace import Inspection, OutputValues
from maskcli.render.numbers import format_count, format_precise, format_short, format_significant
from maskcli.render.parts import (
    HEAT,
    KIND_ROLES,
    Heading,
    Heatmap,
    Limits,
    Part,
    Remarks,
    Resolution,
    Role,
    Scale,
    Section,
    Text,
)
from maskcli.render.tables import LONGEST_NAME, make_note, shorten_middle
from maskcli.render.timesteps import KindArray, TimestepKind, count_kinds, find_timestep_kinds
from maskcli.render.views import pad
from maskcli.render.views.inspect import describe_mask_origin
from maskcli.render.views.loss import make_output_suffix
from maskcli.render.views.loss_heat import make_loss_heatmap
from maskcli.render.views.outputs import note_other_shape

LEVEL: Role = HEAT[-1]
ROUNDING = 1e-6
"""Part of the largest output up to which a change is attributed to rounding."""
PADDING_ID = len(TimestepKind)
"""A kind of this view: a token that is equal to the padding id."""


def view_batch(batch: PaddedBatch, resolution: Resolution, limits: Limits) -> list[Section]:
    """Return a padded batch: its tokens and its padding."""
    kinds = find_timestep_kinds(batch.mask, None)
    kinds[batch.mask & (batch.tokens == batch.layout.value)] = PADDING_ID
    lookalikes = format_count(int((kinds == PADDING_ID).sum()), "token")
    roles = tuple((KIND_ROLES[kind], kind.label) for kind in TimestepKind)
    heatmap = Heatmap(
        kinds=kinds,
        meanings=(*roles, ("warning", f"{lookalikes} with the padding id, {batch.layout.value}")),
        margin=(("length", tuple(map(str, batch.lengths.tolist()))),),
        resolution=resolution,
        limits=limits,
    )
    excerpt = pad.make_excerpt(batch)
    return [Section("batch", (pad.make_heading(excerpt), heatmap, Text(pad.summarize_padding(excerpt))))]


# A model.


def view_inspection(inspection: Inspection, resolution: Resolution, limits: Limits) -> list[Section]:
    """Return the mask compared with the padding, the first output, and its change without a mask."""
    return [
        Section("batch", tuple(_view_mask(inspection, resolution, limits))),
        Section("outputs", tuple(_view_output(inspection.outputs[0], resolution, limits))),
        *_view_change(inspection, resolution, limits),
        *([Section("remarks", (Remarks(inspection.remarks),))] if inspection.remarks else []),
    ]


def _view_mask(inspection: Inspection, resolution: Resolution, limits: Limits) -> list[Part]:
    valid, mask = inspection.valid, inspection.mask
    if valid is None:
        return [make_note("The inputs have no timesteps.")]
    # Without a mask, every timestep counts. A mask of another shape cannot be compared.
    kinds = find_timestep_kinds(valid, np.ones_like(valid) if mask is None else mask)
    counts = count_kinds(kinds)
    meanings = tuple((KIND_ROLES[kind], kind.describe(counts.get(kind, 0))) for kind in TimestepKind)
    return [
        Heading(f"Mask and padding {valid.shape!s}", describe_mask_origin(inspection)),
        Heatmap(kinds=kinds, meanings=meanings, resolution=resolution, limits=limits),
        *note_other_shape(mask, valid, "The mask"),
    ]


def _view_output(output: OutputValues, resolution: Resolution, limits: Limits) -> list[Part]:
    heading = Heading(
        f"Output of {shorten_middle(output.call, LONGEST_NAME)} {output.shape!s}",
        "absolute values" if output.valid is None else "the largest absolute value of each timestep",
    )
    values = _convert_numbers(output.values)
    if values is None:
        return [heading, make_note(f"Values of dtype {output.values.dtype} have no size.")]
    sizes = _reduce_features(np.abs(values), output.valid)
    return [heading, _make_size_heatmap(sizes, output, "value", resolution, limits)]


def _view_change(inspection: Inspection, resolution: Resolution, limits: Limits) -> list[Section]:
    """Return the change of the first output without a mask; in words if valid outputs do not change."""
    output, unmasked = inspection.outputs[0], inspection.unmasked
    if unmasked is None:
        return []
    values, without_mask = _convert_numbers(output.values), _convert_numbers(unmasked.values)
    if values is None or without_mask is None:
        return []
    heading = Heading("Without a mask", "change of each output, with the same weights")
    largest = np.abs(values[np.isfinite(values)]).max(initial=0.0)
    if unmasked.max_abs_change_valid <= ROUNDING * largest:
        note = _describe_unchanged(unmasked.max_abs_change_valid, unmasked.max_abs_change_padding)
        return [Section("outputs", (heading, make_note(note)))]
    with np.errstate(invalid="ignore"):
        changes = np.abs(values - without_mask)
    heatmap = _make_size_heatmap(_reduce_features(changes, output.valid), output, "change", resolution, limits)
    return [Section("outputs", (heading, heatmap))]


def _describe_unchanged(valid: float, padding: float | None) -> str:
    rounding = f" beyond rounding error ({format_short(valid)})" if valid else ""
    padded = "" if padding is None else f"; padding changes by up to {format_short(padding)}"
    return f"Valid outputs do not change{rounding}{padded}."


def _convert_numbers(values: NDArray[Any]) -> Floats | None:
    """Return numbers as float64, also those of a dtype that NumPy lacks; None for other types."""
    return values.astype(np.float64) if values.dtype.kind in "biufV" else None


def _reduce_features(sizes: Floats, valid: Bools | None) -> Floats:
    """Return the largest size of each timestep, or ``(batch, units)`` without timesteps."""
    places = sizes.shape[:1] if valid is None else valid.shape
    flat = sizes.reshape(*places, sizes.size // max(1, int(np.prod(places))))
    return flat if valid is None else flat.max(axis=-1, initial=0.0)


def _make_size_heatmap(
    sizes: Floats, output: OutputValues, quantity: str, resolution: Resolution, limits: Limits
) -> Heatmap:
    """Return sizes ``(batch, timesteps)`` or ``(batch, units)`` as parts of the largest that counts."""
    has_timesteps = output.valid is not None
    valid = np.ones(sizes.shape, bool) if output.valid is None else output.valid
    kinds = find_timestep_kinds(valid, _choose_mask(output, valid))
    kinds[~np.isfinite(sizes)] = TimestepKind.NOT_FINITE
    is_valid = kinds == TimestepKind.VALID
    largest = float(sizes[is_valid].max(initial=0.0))
    return Heatmap(
        kinds=kinds,
        meanings=tuple(_describe_sizes(sizes, kinds, kind) for kind in TimestepKind),
        levels=np.where(is_valid, sizes, 0.0) / (largest or 1.0),
        scale=Scale(quantity, "0", format_short(largest)),
        axes=("sample", "timestep" if has_timesteps else "unit"),
        resolution=resolution,
        limits=limits,
    )


def _choose_mask(output: OutputValues, valid: Bools) -> Bools:
    """Return the mask of an output; without one of its shape, every timestep counts."""
    mask = output.mask
    if output.valid is None or mask is None or mask.shape != valid.shape:
        return np.ones_like(valid)
    return mask


def _describe_sizes(sizes: Floats, kinds: KindArray, kind: TimestepKind) -> tuple[Role, str]:
    """Return the role and the description of a kind, with its largest size, since only valid sizes have levels."""
    if kind == TimestepKind.VALID:
        return LEVEL, ""
    is_kind = kinds == kind
    description = kind.describe(int(is_kind.sum()))
    if kind == TimestepKind.NOT_FINITE:
        return KIND_ROLES[kind], description
    return KIND_ROLES[kind], f"{description}, to {format_short(float(sizes[is_kind].max(initial=0.0)))}"


# A loss.


def view_loss(report: LossReport, resolution: Resolution, limits: Limits) -> list[Section]:
    """Return each timestep's part of the loss, for each output."""
    return [
        *(Section("losses", _view_losses(report, output, resolution, limits)) for output in report.outputs),
        *([Section("remarks", (Remarks(report.remarks),))] if report.remarks else []),
    ]


def _view_losses(report: LossReport, output: LossOutput, resolution: Resolution, limits: Limits) -> tuple[Part, ...]:
    heading = Heading(f"Loss {output.loss}{make_output_suffix(report, output)}", _format_means(output))
    if output.per_timestep is None or not output.per_timestep.size:
        return (heading, make_note("The loss is a single number per batch."))
    means = tuple("–" if mean is None else format_significant(mean, 4) for mean, _ in output.per_sample)
    return (
        heading,
        make_loss_heatmap(output, limits, resolution=resolution, margin=(("masked", means),)),
    )


def _format_means(output: LossOutput) -> str:
    means = (("masked", output.masked), ("unmasked", output.unmasked))
    texts = [f"{name} {format_precise(value)}" for name, value in means if value is not None]
    return ", ".join(texts) or f"Keras evaluate {format_precise(output.reported)}"
