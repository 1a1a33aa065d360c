"""The record of one output's loss, computed from the recorded losses of its timesteps."""

from __future__ import annotations

from typing import Any

import numpy as np

from maskcli.losses.accounting import (
    RowSums,
    average_by_sample,
    compute_mean,
    compute_share,
    fill_mask,
    fill_weights,
    group_by_length,
    rank_contributors,
    sum_rows,
)
from maskcli.losses.binding import OutputLoss
from maskcli.losses.evaluate import RecordedLoss
from maskcli.losses.reductions import compute_reductions
from maskcli.losses.registry import is_cross_entropy
from maskcli.records.arrays import Bools, Floats
from maskcli.records.loss import LossOutput


def read_reduction(loss: Any) -> str | None:
    """Return the reduction of a loss; Keras's default for one that is not a ``keras.losses.Loss``."""
    reduction: str | None = getattr(loss, "reduction", "sum_over_batch_size")
    return reduction


def sum_losses(output_loss: OutputLoss, recorded: RecordedLoss) -> RowSums | None:
    """Return the part of each row in the loss of its batch.

    Returns None for a loss that makes one number of a batch, and for an unknown reduction.
    """
    if recorded.losses is None:
        return None
    mask = intersect_masks(recorded.mask, recorded.own_mask)
    return sum_rows(recorded.losses, mask, output_loss.weights, read_reduction(output_loss.loss))


def intersect_masks(first: Bools | None, second: Bools | None) -> Bools | None:
    """Return where both masks are True; None hides nothing."""
    if first is None or second is None:
        return second if first is None else first
    return first & second


def make_loss_output(output_loss: OutputLoss, recorded: RecordedLoss, unmasked: RecordedLoss | None) -> LossOutput:
    """Return the record of one output from the losses recorded with masks, and without any."""
    output = output_loss.output
    common: dict[str, Any] = {
        "name": output.name,
        "loss": output_loss.name,
        "loss_weight": output_loss.loss_weight,
        "shape": (len(output_loss.targets.values), *output.sample.shape[1:]),
        "dtype": output.dtype,
        "targets": output_loss.targets.about,
        "valid": output_loss.valid,
        "mask": recorded.mask,
        "weights": output_loss.weights,
        "reported": recorded.reported,
        "lost_at": output.lost_at,
    }
    if recorded.losses is None:
        return LossOutput(**common, **UNKNOWN)
    return LossOutput(**common, **_count_losses(output_loss, recorded, recorded.losses, unmasked))


UNKNOWN: dict[str, Any] = {
    "ignored": None,
    "per_timestep": None,
    "per_sample": (),
    "counted": None,
    "masked": None,
    "exact": None,
    "unmasked": None,
    "unmasked_model": None,
    "weighted_mean": None,
    "padding_share": None,
    "not_finite": (0, 0),
    "by_length": (),
    "contributors": (),
    "reductions": (),
}
"""Fields that stay empty for a loss that makes one number of a batch."""


def _count_losses(
    output_loss: OutputLoss, recorded: RecordedLoss, losses: Floats, unmasked: RecordedLoss | None
) -> dict[str, Any]:
    """Return the fields that are sums and means of losses."""
    weights = output_loss.weights
    weighted = losses * fill_weights(weights, losses)
    # ``kept`` is everything that the loss does not ignore by itself. All sums below stay within it.
    kept = fill_mask(recorded.own_mask, losses)
    valid = _select_shape(output_loss.valid, losses)
    mask = _select_shape(recorded.mask, losses)
    if mask is None:  # Without a mask, "masked" counts the valid timesteps.
        mask = valid
    included = kept & fill_mask(mask, losses)
    fields: dict[str, Any] = {
        "ignored": None,
        "per_timestep": _restore_precision(losses),
        "per_sample": average_by_sample(weighted, included, kept),
        "counted": included,
        "masked": compute_mean(weighted[included]),
        "exact": None,
        "unmasked": compute_mean(weighted[kept]),
        "unmasked_model": _average_unmasked(unmasked, weights),
        "weighted_mean": None,
        "padding_share": None,
        "not_finite": _count_not_finite(recorded.not_finite, included),
        "by_length": (),
        "contributors": rank_contributors(weighted, included),
        "reductions": compute_reductions(losses, included, weights, cross_entropy=is_cross_entropy(output_loss.loss)),
    }
    if recorded.own_mask is not None:
        fields["ignored"] = ~recorded.own_mask
    if losses.ndim == 2:
        fields["by_length"] = group_by_length(weighted, included)
    if valid is not None:
        padding = weighted[~valid & kept].sum(dtype=np.float64)
        fields["exact"] = compute_mean(weighted[valid & kept])
        fields["padding_share"] = compute_share(float(padding), float(weighted[kept].sum()))
    elif not output_loss.output.timed or losses.ndim != 2:  # A loss of samples has no padding.
        fields["exact"] = compute_mean(weighted[kept])
    if weights is not None and weights[included].sum():
        fields["weighted_mean"] = float(weighted[included].sum() / weights[included].sum())
    return fields


def _restore_precision(losses: Floats) -> Floats:
    """Return losses in the precision that Keras computes with, single unless some need double."""
    with np.errstate(over="ignore"):
        single = losses.astype(np.float32)
    return single if np.array_equal(single, losses, equal_nan=True) else losses


def _select_shape(mask: Bools | None, losses: Floats) -> Bools | None:
    """Return a mask if it has the shape of the losses, else None."""
    return mask if mask is not None and mask.shape == losses.shape else None


def _average_unmasked(unmasked: RecordedLoss | None, weights: Floats | None) -> float | None:
    if unmasked is None or unmasked.losses is None:
        return None
    weighted = unmasked.losses * fill_weights(weights, unmasked.losses)
    if unmasked.own_mask is not None:
        weighted = weighted[unmasked.own_mask]
    return compute_mean(weighted)


def _count_not_finite(not_finite: Bools | None, included: Bools) -> tuple[int, int]:
    """Count such timesteps among those that count, and among the others."""
    if not_finite is None:
        return 0, 0
    if not_finite.shape != included.shape:
        return int(not_finite.sum()), 0
    return int((not_finite & included).sum()), int((not_finite & ~included).sum())
