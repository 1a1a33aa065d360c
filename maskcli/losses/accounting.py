"""Sums and means of losses, for any mask and any batches.

NumPy only, in float64. ``losses`` are ``(batch, timesteps)`` or ``(batch,)``; masks and weights have the same shape.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from maskcli.records.arrays import Bools, Floats, Ints
from maskcli.records.loss import Contribution, LengthGroup

GROUPS = 8
"""Most groups of sequences by length."""
CONTRIBUTORS = 10
"""Most timesteps that are listed with their share of the loss."""


@dataclasses.dataclass(frozen=True, eq=False)
class RowSums:
    """The part of each row in the loss of its batch.

    Both are ``(batch,)``. The loss of a batch is ``sum(above) / sum(below)``. ``below`` is None for a loss that is not
    divided: it is ``sum(above)``.
    """

    above: Floats
    below: Floats | None


@np.errstate(invalid="ignore")  # Infinity times zero is NaN, in Keras as well.
def sum_rows(losses: Floats, mask: Bools | None, weights: Floats | None, reduction: str | None) -> RowSums | None:
    """Sum the losses of each row as a Keras loss with that ``reduction`` does.

    Returns None for an unknown reduction.

    Source: ``reduce_weighted_values`` and ``apply_mask`` in ``keras/src/losses/loss.py``.
    """
    weights, mask = fill_weights(weights, losses), fill_mask(mask, losses)
    # Keras multiplies losses by the mask instead of selecting with it, so NaN at padding stays NaN.
    above = _sum_by_row(losses * weights * mask)
    if reduction in ("sum_over_batch_size", "mean"):
        # Keras divides by the timesteps that the mask keeps, not by the sum of their weights.
        return RowSums(above, _sum_by_row(mask))
    if reduction == "sum":
        return RowSums(above, None)
    if reduction in (None, "none"):
        # The loss stays an array. ``evaluate`` averages it over all timesteps, masked ones included.
        return RowSums(above, _sum_by_row(np.ones(losses.shape)))
    if reduction == "mean_with_sample_weight":
        return RowSums(above, _sum_by_row(weights * mask))
    return None


def fill_weights(weights: Floats | None, losses: Floats) -> Floats:
    """Return the weights, or ones if they are None."""
    return np.ones(losses.shape) if weights is None else weights


def fill_mask(mask: Bools | None, losses: Floats) -> Bools:
    """Return the mask, or one that is True everywhere if it is None."""
    return np.ones(losses.shape, bool) if mask is None else mask


def _sum_by_row(values: Floats | Bools) -> Floats:
    sums: Floats = values.reshape(len(values), -1).sum(axis=1, dtype=np.float64)
    return sums


@np.errstate(invalid="ignore")
def compute_batch_losses(sums: RowSums, batch_size: int, order: Ints | None = None) -> Floats:
    """Return the loss of each batch, ``(n_batches,)``.

    A batch in which nothing counts has the loss 0, as in Keras, unless its sum is NaN.
    """
    above = _sum_by_batch(sums.above, batch_size, order)
    if sums.below is None:
        return above
    below = _sum_by_batch(sums.below, batch_size, order)
    return np.divide(above, below, out=above * 0, where=below != 0)


def _sum_by_batch(values: Floats, batch_size: int, order: Ints | None) -> Floats:
    if order is not None:
        values = values[order]
    sums: Floats = np.add.reduceat(values, np.arange(0, len(values), batch_size))
    return sums


def simulate_evaluate(sums: RowSums, batch_size: int, order: Ints | None = None) -> float:
    """Return the loss that ``evaluate`` reports: the mean of the batch losses, weighted by their rows."""
    rows = len(sums.above)
    return float((compute_batch_losses(sums, batch_size, order) * count_batch_rows(rows, batch_size)).sum()) / rows


def count_batch_rows(rows: int, batch_size: int) -> Ints:
    """Return the number of rows in each batch; the last batch may be smaller."""
    starts = np.arange(0, rows, batch_size)
    return np.minimum(batch_size, rows - starts)


def compute_weight_ratio(sums: RowSums, batch_size: int) -> float | None:
    """Return the ratio of the largest to the smallest weight of a timestep between batches.

    Returns None if nothing counts in any batch.
    """
    if sums.below is None:
        return 1.0
    below = _sum_by_batch(sums.below, batch_size, None)
    # evaluate() gives a batch the weight of its rows, and the batch shares that among the timesteps that count.
    weights = count_batch_rows(len(sums.below), batch_size)[below > 0] / below[below > 0]
    return float(weights.max() / weights.min()) if len(weights) else None


def choose_batch_sizes(requested: Sequence[int], batch_size: int, rows: int) -> tuple[int, ...]:
    """Return the batch sizes to compare: those requested, or 1, that of ``evaluate``, and all rows."""
    return tuple(dict.fromkeys(requested)) or tuple(sorted({1, min(batch_size, rows), rows}))


def compute_mean(values: Floats) -> float | None:
    """Return the mean in float64. Returns None if there are no values."""
    return float(values.mean(dtype=np.float64)) if values.size else None


def average_by_sample(
    losses: Floats, included: Bools, everything: Bools
) -> tuple[tuple[float | None, float | None], ...]:
    """Return for each row its mean over ``included`` and over ``everything``; None for a mean of nothing."""
    return tuple(zip(_average_rows(losses, included), _average_rows(losses, everything), strict=True))


def _average_rows(losses: Floats, included: Bools) -> list[float | None]:
    sums, counts = _sum_by_row(np.where(included, losses, 0.0)), _sum_by_row(included)
    return [total / count if count else None for total, count in zip(sums.tolist(), counts.tolist(), strict=True)]


def compute_share(part: float, whole: float) -> float | None:
    """Return ``part / whole``. Returns None if ``whole`` is zero or negative, or if either is not finite."""
    return part / whole if np.isfinite(part) and np.isfinite(whole) and whole > 0 else None


def group_by_length(losses: Floats, included: Bools) -> tuple[LengthGroup, ...]:
    """Group sequences by the number of timesteps that count.

    There is one group for each length, or at most ``GROUPS`` groups with about equally many sequences.
    """
    lengths = included.sum(axis=1)
    total = float(losses[included].sum(dtype=np.float64))
    return tuple(_make_group(losses, included, lengths, total, low, high) for low, high in _find_spans(lengths))


def _find_spans(lengths: Ints) -> list[tuple[int, int]]:
    """Return the smallest and the largest length of each group."""
    different = np.unique(lengths)
    if len(different) <= GROUPS:
        return [(int(length), int(length)) for length in different]
    highs = np.unique(np.quantile(lengths, np.linspace(0, 1, GROUPS + 1)[1:], method="inverted_cdf"))
    lows = [int(different[0]), *(int(different[different > high][0]) for high in highs[:-1])]
    return list(zip(lows, map(int, highs), strict=True))


def _make_group(losses: Floats, included: Bools, lengths: Ints, total: float, low: int, high: int) -> LengthGroup:
    rows = (lengths >= low) & (lengths <= high)
    values = losses[rows][included[rows]]
    return LengthGroup(
        shortest=low,
        longest=high,
        sequences=int(rows.sum()),
        timesteps=values.size,
        mean=compute_mean(values),
        share=compute_share(float(values.sum(dtype=np.float64)), total),
    )


def rank_contributors(losses: Floats, included: Bools) -> tuple[Contribution, ...]:
    """Return the timesteps with the largest losses that count, the largest first.

    Returns an empty tuple if the sum of the losses is not positive and finite, as shares mean nothing then.
    """
    candidates = np.where(included, losses, -np.inf).ravel()
    total = float(losses[included].sum(dtype=np.float64))
    if not np.isfinite(total) or total <= 0:
        return ()
    count = min(CONTRIBUTORS, int(included.sum()))
    largest = np.argpartition(-candidates, count - 1)[:count]
    ordered = largest[np.lexsort((largest, -candidates[largest]))]
    return tuple(_make_contribution(losses, int(index), total) for index in ordered)


def _make_contribution(losses: Floats, index: int, total: float) -> Contribution:
    sample, *timestep = (int(axis) for axis in np.unravel_index(index, losses.shape))
    loss = float(losses.ravel()[index])
    return Contribution(sample, timestep[0] if timestep else None, loss, loss / total)


def simulate_shuffles(sums: Sequence[RowSums], weights: Sequence[float], batch_size: int, shuffles: int) -> Floats:
    """Return the losses that ``evaluate`` reports for seeded random orders of the rows, ``(shuffles,)``."""
    rng = np.random.default_rng(0)
    totals = np.zeros(shuffles)
    for index in range(shuffles):
        order = rng.permutation(len(sums[0].above))
        totals[index] = sum(
            weight * simulate_evaluate(row_sums, batch_size, order)
            for row_sums, weight in zip(sums, weights, strict=True)
        )
    return totals
