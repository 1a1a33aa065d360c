"""A whole batch at a glance: what is padding, what the mask says of it, what came out, and what it lost."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools, Floats
from maskcli.records.loss import LossOutput, LossReport
from maskcli.records.sequences import PaddedBatch
from maskcli.records.trace import Inspection, OutputValues
from maskcli.render.numbers import format_count, format_precise, format_short, format_significant
from maskcli.render.parts import HEAT, Cell, Heading, Heatmap, Limits, Part, Remarks, Resolution, Role, Scale, Text
from maskcli.render.views import pad
from maskcli.render.views.inspect import describe_mask_origin
from maskcli.render.views.loss_heat import (
    COUNTS,
    HIDDEN,
    LEFT_OUT,
    NOT_FINITE,
    PADDING,
    Kinds,
    describe_marks,
    make_heat,
)
from maskcli.render.views.outputs import describe_mask_shape
from maskcli.render.views.trace import LONGEST_NAME, shorten_middle
from maskcli.tolerance import SHOWN_CHANGE

LEVEL: Role = HEAT[-1]
Meanings = tuple[tuple[Role, str], ...]
TOKEN, FILLED, LIKE_PADDING = range(3)
"""What a timestep of a batch is, the last a token of the same id as padding."""


def view_batch(batch: PaddedBatch, resolution: Resolution, limits: Limits) -> list[Part]:
    """Return a padded batch: where its tokens are, and where padding is."""
    kinds = np.where(batch.mask, TOKEN, FILLED).astype(np.int8)
    kinds[batch.mask & (batch.tokens == batch.layout.value)] = LIKE_PADDING
    alike = _of(kinds, LIKE_PADDING, "token")
    heatmap = Heatmap(
        kinds=kinds,
        meanings=(
            ("on", "token"),
            ("padding", "padding"),
            ("warning", f"{alike} with the id of padding, {batch.layout.value}"),
        ),
        beside=(("length", tuple(map(str, batch.lengths.tolist()))),),
        resolution=resolution,
        limits=limits,
    )
    shown = pad.make_excerpt(batch)
    return [pad.make_heading(shown), heatmap, Text(pad.summarize_padding(shown))]


# What a model did.


def view_inspection(inspection: Inspection, resolution: Resolution, limits: Limits) -> list[Part]:
    """Return the mask against the truth, the size of the first output, and how far it moves without a mask."""
    return [
        *_mask(inspection, resolution, limits),
        *_output(inspection.outputs[0], resolution, limits),
        *_change(inspection, resolution, limits),
        *((Remarks(inspection.remarks),) if inspection.remarks else ()),
    ]


def _mask(inspection: Inspection, resolution: Resolution, limits: Limits) -> list[Part]:
    valid, mask = inspection.valid, inspection.mask
    if valid is None:
        return [_note("The inputs have no timesteps.")]
    told = np.ones_like(valid) if mask is None else mask if mask.shape == valid.shape else valid
    kinds = _kinds(valid, told)
    meanings: Meanings = (
        ("padding", f"{_of(kinds, LEFT_OUT, 'padded timestep')}{' of the inputs' if told is valid else ', masked'}"),
        ("on", _of(kinds, COUNTS, "real timestep")),
        ("dropped", f"{_of(kinds, HIDDEN, 'real timestep')} that the mask hides"),
        ("counted", f"{_of(kinds, PADDING, 'padded timestep')} that no mask hides"),
    )
    return [
        Heading(f"Mask and truth {valid.shape!s}", describe_mask_origin(inspection)),
        Heatmap(kinds=kinds, meanings=meanings, resolution=resolution, limits=limits),
        *describe_mask_shape(mask, valid, "The mask"),
    ]


def _of(kinds: Kinds, kind: int, noun: str) -> str:
    return format_count(int((kinds == kind).sum()), noun)


def _kinds(valid: Bools, mask: Bools) -> Kinds:
    """Return what each timestep is to the mask."""
    kinds = np.where(valid, COUNTS, LEFT_OUT).astype(np.int8)
    kinds[valid & ~mask] = HIDDEN
    kinds[~valid & mask] = PADDING
    return kinds


def _output(output: OutputValues, resolution: Resolution, limits: Limits) -> list[Part]:
    values, pooled = _numbers(output.values), output.valid is None
    heading = Heading(
        f"Output of {shorten_middle(output.call, LONGEST_NAME)} {output.shape!s}",
        "absolute values" if pooled else "the largest absolute value of each timestep",
    )
    if values is None:
        return [heading, _note(f"Values of dtype {output.values.dtype} have no size.")]
    return [heading, _sizes(_largest(np.abs(values), output.valid), output, "value", resolution, limits)]


def _change(inspection: Inspection, resolution: Resolution, limits: Limits) -> list[Part]:
    """Return how far outputs move without any mask; in words where what counts does not, up to rounding."""
    output, unmasked = inspection.outputs[0], inspection.unmasked
    if unmasked is None:
        return []
    values, without = _numbers(output.values), _numbers(unmasked.values)
    if values is None or without is None:
        return []
    heading = Heading("Without a mask", "how far each output of the same weights moves")
    moves = unmasked.max_abs_change_valid
    if moves <= SHOWN_CHANGE.value * np.abs(values[np.isfinite(values)]).max(initial=0.0):
        return [heading, _note(_unmoved(moves, unmasked.max_abs_change_padding))]
    with np.errstate(invalid="ignore"):
        change = np.abs(values - without)
    return [heading, _sizes(_largest(change, output.valid), output, "change", resolution, limits)]


def _unmoved(valid: float, padding: float | None) -> str:
    """Return how little moves, in words."""
    further = "" if padding is None else f"; padding moves by up to {format_short(padding)}"
    return f"What counts does not move{f' by more than rounding, {format_short(valid)}' if valid else ''}{further}."


def _numbers(values: NDArray[Any]) -> Floats | None:
    """Return numbers as float64, also those of a dtype that NumPy does not have; None of what is no number."""
    return values.astype(np.float64) if values.dtype.kind in "biufV" else None


def _largest(sizes: Floats, valid: Bools | None) -> Floats:
    """Return the largest of each timestep; of an output without timesteps each number, ``(batch, units)``."""
    places = sizes.shape[:1] if valid is None else valid.shape
    flat = sizes.reshape(*places, sizes.size // max(1, int(np.prod(places))))
    return flat if valid is None else flat.max(axis=-1, initial=0.0)


def _sizes(sizes: Floats, output: OutputValues, what: str, resolution: Resolution, limits: Limits) -> Heatmap:
    """Return sizes ``(batch, timesteps)``, or ``(batch, units)``, as parts of the largest where they count."""
    timed = output.valid is not None
    valid = np.ones(sizes.shape, bool) if output.valid is None else output.valid
    mask = output.mask
    kinds = _kinds(valid, mask if timed and mask is not None and mask.shape == valid.shape else np.ones_like(valid))
    kinds[~np.isfinite(sizes)] = NOT_FINITE
    largest = float(sizes[kinds == COUNTS].max(initial=0.0))
    levels = np.where(kinds == COUNTS, sizes, 0.0) / (largest or 1.0)
    return Heatmap(
        kinds=kinds,
        meanings=(
            ("padding", f"{_of(kinds, LEFT_OUT, 'padded timestep')}{_to(sizes, kinds, LEFT_OUT)}"),
            (LEVEL, ""),
            ("dropped", f"{_of(kinds, HIDDEN, 'real timestep')} masked{_to(sizes, kinds, HIDDEN)}"),
            ("counted", f"{_of(kinds, PADDING, 'padded timestep')} not masked{_to(sizes, kinds, PADDING)}"),
            ("error", f"{int((kinds == NOT_FINITE).sum()):,} NaN or infinite"),
        ),
        levels=levels,
        scale=Scale(what, "0", format_short(largest)),
        axes=("sample", "timestep" if timed else "unit"),
        resolution=resolution,
        limits=limits,
    )


def _to(sizes: Floats, kinds: Kinds, kind: int) -> str:
    """Return up to what the sizes of a kind go, which has no levels."""
    return f", to {format_short(float(sizes[kinds == kind].max(initial=0.0)))}"


# What it lost.


def view_loss(report: LossReport, resolution: Resolution, limits: Limits) -> list[Part]:
    """Return each timestep's part of the loss, for each output."""
    return [
        *(part for output in report.outputs for part in _loss(report, output, resolution, limits)),
        *((Remarks(report.remarks),) if report.remarks else ()),
    ]


def _loss(report: LossReport, output: LossOutput, resolution: Resolution, limits: Limits) -> list[Part]:
    name = f" of {shorten_middle(output.name, LONGEST_NAME)}" if len(report.outputs) > 1 else ""
    heading = Heading(f"Loss {output.loss}{name}", _means(output))
    if output.per_timestep is None or not output.per_timestep.size:
        return [heading, _note("The loss makes one number of a whole batch.")]
    heat = make_heat(output, output.per_timestep)
    marks = describe_marks(output, heat)
    by_kind = {LEFT_OUT: marks[0], COUNTS: (LEVEL, ""), HIDDEN: marks[1], PADDING: marks[2], NOT_FINITE: marks[3]}
    means = tuple("–" if mean is None else format_significant(mean, 4) for mean, _ in output.per_sample)
    return [
        heading,
        Heatmap(
            kinds=heat.drawn,
            meanings=tuple(by_kind[kind] for kind in sorted(by_kind)),
            levels=heat.parts,
            scale=Scale(
                "loss" if output.weights is None else "weight × loss",
                format_significant(heat.smallest, 3),
                format_significant(heat.largest, 3),
            ),
            beside=(("masked", means),),
            resolution=resolution,
            limits=limits,
        ),
    ]


def _means(output: LossOutput) -> str:
    said = (("masked", output.masked), ("unmasked", output.unmasked))
    known = [f"{name} {format_precise(value)}" for name, value in said if value is not None]
    return ", ".join(known) or f"Keras evaluate {format_precise(output.reported)}"


def _note(why: str) -> Text:
    return Text((Cell(why, "muted"),))
