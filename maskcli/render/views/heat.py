"""Heat maps of a whole batch: padding and mask, sizes of outputs, and losses."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools, Floats
from maskcli.records.loss import LossOutput, LossReport
from maskcli.records.sequences import PaddedBatch
from maskcli.records.trace import Inspection, OutputValues
from maskcli.records.wording import format_count
from maskcli.render.numbers import format_optional, format_precise, format_short, format_significant
from maskcli.render.parts import (
    HEAT,
    KIND_ROLES,
    Heading,
    Heatmap,
    Limits,
    Part,
    Resolution,
    Role,
    Scale,
    Section,
    Text,
    make_sections,
)
from maskcli.render.tables import LONGEST_NAME, make_note, shorten_middle
from maskcli.render.timesteps import KindArray, TimestepKind, count_kinds, find_timestep_kinds
from maskcli.render.views import pad
from maskcli.render.views.answers import answer_inspection, answer_loss, introduce_model, select_further_remarks
from maskcli.render.views.inspect import describe_mask_origin
from maskcli.render.views.loss import make_output_suffix
from maskcli.render.views.loss_heat import make_loss_heatmap
from maskcli.render.views.outputs import note_other_shape
from maskcli.render.views.validity import view_validity
from maskcli.tolerance import SHOWN_CHANGE

LEVEL: Role = HEAT[-1]
PADDING_ID = len(TimestepKind)
"""A kind of this view: a token that is equal to the padding id."""


def view_batch(batch: PaddedBatch, resolution: Resolution, limits: Limits) -> list[Section]:
    """Return a padded batch: its tokens and its padding."""
    kinds = find_timestep_kinds(batch.mask, None)
    is_padding = (batch.tokens == batch.layout.value).reshape(*kinds.shape, -1).all(axis=-1)
    kinds[batch.mask & is_padding] = PADDING_ID
    lookalikes = format_count(int((kinds == PADDING_ID).sum()), "token")
    labels = {kind: kind.label for kind in TimestepKind} | {TimestepKind.VALID: "token"}
    roles = tuple((KIND_ROLES[kind], label) for kind, label in labels.items())
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
    return make_sections(
        ("about", [introduce_model(inspection.model)]),
        ("answer", answer_inspection(inspection)),
        ("batch", _view_mask(inspection, resolution, limits)),
        ("validity", view_validity(inspection.inputs)),
        ("outputs", _view_output(inspection.outputs[0], resolution, limits)),
        ("outputs", _view_change(inspection, resolution, limits)),
        ("remarks", select_further_remarks(inspection.remarks)),
    )


def _view_mask(inspection: Inspection, resolution: Resolution, limits: Limits) -> list[Part]:
    valid, mask = inspection.valid, inspection.mask
    if valid is None:
        return [make_note("The inputs have no timesteps.")]
    # Without a mask, every timestep counts. A mask of another shape cannot be compared.
    if mask is None:
        mask = np.ones_like(valid)
    kinds = find_timestep_kinds(valid, mask)
    counts = count_kinds(kinds)
    meanings = tuple((KIND_ROLES[kind], kind.describe(counts[kind])) for kind in TimestepKind)
    return [
        Heading(f"Mask and padding {valid.shape!s}", describe_mask_origin(inspection)),
        Heatmap(kinds=kinds, meanings=meanings, resolution=resolution, limits=limits),
        *note_other_shape(inspection.mask, valid, "The mask"),
    ]


def _view_output(output: OutputValues, resolution: Resolution, limits: Limits) -> list[Part]:
    detail = "the largest absolute value of each timestep" if output.valid is not None else "absolute values"
    heading = Heading(f"Output of {shorten_middle(output.call, LONGEST_NAME)} {output.shape!s}", detail)
    values = _convert_numbers(output.values)
    if values is None:
        return [heading, make_note(f"Values of dtype {output.values.dtype} have no size.")]
    sizes = _reduce_features(np.abs(values), output.valid)
    return [heading, _make_size_heatmap(sizes, output, "value", resolution, limits)]


def _view_change(inspection: Inspection, resolution: Resolution, limits: Limits) -> list[Part]:
    """Return the change of the first output without a mask; in words if valid outputs do not change."""
    output, unmasked = inspection.outputs[0], inspection.unmasked
    if unmasked is None:
        return []
    values, without_mask = _convert_numbers(output.values), _convert_numbers(unmasked.values)
    if values is None or without_mask is None:
        return []
    heading = Heading("Without a mask", "change of each output, with the same weights")
    largest = np.abs(values[np.isfinite(values)]).max(initial=0.0)
    if unmasked.max_abs_change_valid <= SHOWN_CHANGE.value * largest:
        note = _describe_unchanged(unmasked.max_abs_change_valid, unmasked.max_abs_change_padding)
        return [heading, make_note(note)]
    with np.errstate(invalid="ignore"):
        changes = np.abs(values - without_mask)
    heatmap = _make_size_heatmap(_reduce_features(changes, output.valid), output, "change", resolution, limits)
    return [heading, heatmap]


def _describe_unchanged(valid: float, padding: float | None) -> str:
    text = "Valid outputs do not change"
    if valid:
        text += f" beyond rounding error ({format_short(valid)})"
    if padding is not None:
        text += f"; padding changes by up to {format_short(padding)}"
    return f"{text}."


def _convert_numbers(values: NDArray[Any]) -> Floats | None:
    """Return numbers as float64, also those of a dtype that NumPy lacks; None for other types."""
    if values.dtype.kind not in "biufV":
        return None
    return values.astype(np.float64)


def _reduce_features(sizes: Floats, valid: Bools | None) -> Floats:
    """Return the largest size of each timestep, or ``(batch, units)`` without timesteps."""
    if valid is None:
        return sizes.reshape(len(sizes), sizes.size // max(1, len(sizes)))
    features = sizes.reshape(*valid.shape, sizes.size // max(1, valid.size))
    largest: Floats = features.max(axis=-1, initial=0.0)
    return largest


def _make_size_heatmap(
    sizes: Floats, output: OutputValues, quantity: str, resolution: Resolution, limits: Limits
) -> Heatmap:
    """Return sizes ``(batch, timesteps)`` or ``(batch, units)`` as parts of the largest that counts."""
    kinds = _find_output_kinds(output, sizes)
    kinds[~np.isfinite(sizes)] = TimestepKind.NOT_FINITE
    is_valid = kinds == TimestepKind.VALID
    largest = float(sizes[is_valid].max(initial=0.0))
    return Heatmap(
        kinds=kinds,
        meanings=tuple(_describe_sizes(sizes, kinds, kind) for kind in TimestepKind),
        levels=np.where(is_valid, sizes, 0.0) / (largest or 1.0),
        scale=Scale(quantity, "0", format_short(largest)),
        axes=("sample", "timestep" if output.valid is not None else "unit"),
        resolution=resolution,
        limits=limits,
    )


def _find_output_kinds(output: OutputValues, sizes: Floats) -> KindArray:
    """Return the kind of each size; without a mask of its shape, every timestep counts."""
    if output.valid is None:
        return np.full(sizes.shape, TimestepKind.VALID, np.int8)
    if output.mask is None or output.mask.shape != output.valid.shape:
        return find_timestep_kinds(output.valid, np.ones_like(output.valid))
    return find_timestep_kinds(output.valid, output.mask)


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
    return make_sections(
        ("about", [introduce_model(report.model)]),
        ("answer", answer_loss(report)),
        *(("losses", _view_losses(report, output, resolution, limits)) for output in report.outputs),
        ("remarks", select_further_remarks(report.remarks)),
    )


def _view_losses(report: LossReport, output: LossOutput, resolution: Resolution, limits: Limits) -> tuple[Part, ...]:
    heading = Heading(f"Loss {output.loss}{make_output_suffix(report, output)}", _format_means(output))
    if output.per_timestep is None or not output.per_timestep.size:
        return (heading, make_note("The loss is a single number per batch."))
    means = tuple(format_optional(mean, partial(format_significant, digits=4)) for mean, _ in output.per_sample)
    return (
        heading,
        make_loss_heatmap(output, limits, resolution=resolution, margin=(("masked", means),)),
    )


def _format_means(output: LossOutput) -> str:
    means = (("masked", output.masked), ("unmasked", output.unmasked))
    texts = [f"{name} {format_precise(value)}" for name, value in means if value is not None]
    return ", ".join(texts) or f"Keras evaluate {format_precise(output.reported)}"
