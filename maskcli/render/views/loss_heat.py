"""The kind of each timestep to a loss, and the part of the loss that it makes, as a matrix of characters."""

from __future__ import annotations

import math

import numpy as np

from maskcli.records.arrays import Bools, Floats
from maskcli.records.loss import LossOutput
from maskcli.records.wording import format_count
from maskcli.render.numbers import format_significant
from maskcli.render.parts import HEAT, KIND_ROLES, Heatmap, Limits, Resolution, Role, Scale
from maskcli.render.timesteps import KindArray, TimestepKind, count_kinds


def make_loss_heatmap(
    output: LossOutput,
    limits: Limits,
    room: int | None = None,
    resolution: Resolution = "full",
    margin: tuple[tuple[str, tuple[str, ...]], ...] = (),
) -> Heatmap:
    """Return the losses of an output as levels from the smallest to the largest.

    Args:
        output: with losses ``(batch, timesteps)``, or ``(batch,)``, which is one column.
        limits: how much of the matrix is displayed.
        room: most columns; if there are more timesteps, neighbours share a column.
        resolution: rows per line.
        margin: columns of text on the right.
    """
    losses = get_losses(output)
    kinds = classify_losses(output, losses).reshape(len(losses), -1)
    weighted = weigh_losses(output, losses).reshape(kinds.shape)
    group = count_shared(kinds.shape[1], room)
    columns, means = _group_timesteps(kinds, weighted, group)
    is_valid = columns == TimestepKind.VALID
    valid = means[is_valid]
    smallest, largest = min(0.0, valid.min(initial=0.0)), valid.max(initial=-np.inf)
    return Heatmap(
        kinds=columns,
        meanings=_describe_kinds(output, kinds),
        levels=_scale(np.where(is_valid, means, smallest), smallest, largest),
        scale=Scale(
            name_quantity(output) if group == 1 else "mean",
            format_significant(float(smallest), 3),
            format_significant(float(largest), 3),
        ),
        limits=limits,
        resolution=resolution,
        margin=margin,
    )


def get_losses(output: LossOutput) -> Floats:
    """Return the loss of each timestep or sample in float64; only for losses that have one."""
    assert output.per_timestep is not None  # noqa: S101 - views ask for losses only if there are some
    return output.per_timestep.astype(np.float64)


def name_unit(output: LossOutput) -> str:
    """Return the noun for a place that has a loss."""
    return "timestep" if output.timed else "sample"


def name_quantity(output: LossOutput) -> str:
    """Return the name of the quantity that is displayed."""
    return "loss" if output.weights is None else "weight × loss"


def count_shared(timesteps: int, room: int | None) -> int:
    """Return how many timesteps share a column if there is room for ``room`` columns."""
    if room is None:
        return 1
    return max(1, math.ceil(timesteps / room))


def _group_timesteps(kinds: KindArray, weighted: Floats, group: int) -> tuple[KindArray, Floats]:
    """Return the highest kind of each group of neighbours, and the mean of its valid losses."""
    filler = ((0, 0), (0, -kinds.shape[1] % group))
    kinds = np.pad(kinds, filler, constant_values=TimestepKind.PADDING).reshape(len(kinds), -1, group)
    weighted = np.pad(weighted, filler).reshape(kinds.shape)
    is_valid = kinds == TimestepKind.VALID
    total = np.where(is_valid, weighted, 0.0).sum(axis=2)
    return kinds.max(axis=2), total / np.maximum(1, is_valid.sum(axis=2))


def _scale(values: Floats, smallest: float, largest: float) -> Floats:
    """Return values as parts of the range; zero if the range is empty or infinite."""
    span = largest - smallest
    if not 0 < span < np.inf:
        return np.zeros(values.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        levels: Floats = (values - smallest) / span
    return levels


def classify_losses(output: LossOutput, losses: Floats) -> KindArray:
    """Return the kind of each place of ``losses``; ``PADDING`` is any place that the loss leaves out."""
    ignored = _select(output.ignored, losses, default=False)
    counts = _select(output.counted, losses, default=True) & ~ignored
    valid = _select(output.valid, losses, default=True)
    has_weight = broadcast_weights(output, losses) != 0
    kinds = np.where(counts & has_weight, TimestepKind.VALID, TimestepKind.PADDING).astype(np.int8)
    # Without a mask, Keras averages padding, too.
    counts_padding = _select(output.mask, losses, default=output.mask is None)
    kinds[counts_padding & ~valid & ~ignored & has_weight] = TimestepKind.COUNTED
    kinds[~_select(output.mask, losses, default=True) & valid & ~ignored & has_weight] = TimestepKind.HIDDEN
    kinds[~np.isfinite(weigh_losses(output, losses))] = TimestepKind.NOT_FINITE
    return kinds


def _select(mask: Bools | None, losses: Floats, default: bool) -> Bools:
    """Return a mask if it has the shape of the losses, or else an array of the default."""
    if mask is None or mask.shape != losses.shape:
        return np.full(losses.shape, default)
    return mask


def broadcast_weights(output: LossOutput, losses: Floats) -> Floats:
    """Return a weight for each place of ``losses``."""
    weights = output.weights
    if weights is None or weights.shape != losses.shape[: weights.ndim]:
        return np.ones(losses.shape)
    return np.broadcast_to(weights.reshape(weights.shape + (1,) * (losses.ndim - weights.ndim)), losses.shape)


def weigh_losses(output: LossOutput, losses: Floats) -> Floats:
    """Return each loss times its weight, in float64; an infinite loss of weight zero is NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        weighted: Floats = losses.astype(np.float64) * broadcast_weights(output, losses)
    return weighted


def _describe_kinds(output: LossOutput, kinds: KindArray) -> tuple[tuple[Role, str], ...]:
    """Return role and description of each kind, with counts; valid losses have levels."""
    counts = count_kinds(kinds)
    descriptions = {kind: kind.describe(counts[kind], name_unit(output)) for kind in TimestepKind}
    left_out = f"{format_count(counts[TimestepKind.PADDING], name_unit(output))} left out"
    if output.weights is not None:
        left_out += ", or of weight 0"
    descriptions[TimestepKind.PADDING] = left_out
    roles = KIND_ROLES | {TimestepKind.VALID: HEAT[-1]}
    return tuple((roles[kind], descriptions[kind]) for kind in TimestepKind)
