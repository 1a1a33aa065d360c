"""What losses of timesteps add up to, however they are counted and cut into batches; NumPy alone, in float64.

``losses`` are ``(batch, timesteps)`` or ``(batch,)``, ``counted`` and ``weights`` of the same shape.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from maskcli.records.arrays import Bools, Floats, Ints
from maskcli.records.loss import Contribution, LengthGroup

GROUPS = 8
"""Groups of sequences by length, at the most."""
CONTRIBUTORS = 10
"""Timesteps with the largest shares that are named."""


@dataclasses.dataclass(frozen=True, eq=False)
class RowSums:
    """What each row adds to the loss of its batch, ``(batch,)``: the loss is ``sum(above) / sum(below)``.

    ``below`` is None where nothing is divided by: the loss is the sum alone.
    """

    above: Floats
    below: Floats | None


@np.errstate(invalid="ignore")  # Infinity times zero is NaN, to Keras as well.
def sum_rows(losses: Floats, mask: Bools | None, weights: Floats | None, reduction: str | None) -> RowSums | None:
    """Return what a Keras loss with that ``reduction`` adds up of each row; None for a reduction that is not known.

    Source: ``reduce_weighted_values`` and ``apply_mask`` in ``keras/src/losses/loss.py``. Losses are multiplied by the
    mask, not selected by it, so that NaN at padding stays NaN.
    """
    weighted = losses if weights is None else losses * weights
    kept = weighted if mask is None else weighted * mask
    above, size = _by_row(kept), _by_row(np.ones(losses.shape))
    if reduction in ("sum_over_batch_size", "mean"):
        return RowSums(above, size if mask is None else _by_row(mask))
    if reduction == "sum":
        return RowSums(above, None)
    if reduction in (None, "none"):
        return RowSums(above, size)
    if reduction == "mean_with_sample_weight":
        given = np.ones(losses.shape) if weights is None else np.broadcast_to(weights, losses.shape)
        return RowSums(above, _by_row(given if mask is None else given * mask))
    return None


def _by_row(values: Floats | Bools) -> Floats:
    sums: Floats = values.reshape(len(values), -1).sum(axis=1, dtype=np.float64)
    return sums


@np.errstate(invalid="ignore")
def compute_batch_losses(sums: RowSums, batch_size: int, order: Ints | None = None) -> Floats:
    """Return the loss of each batch, ``(n_batches,)``; 0 of a batch in which nothing counts, but NaN stays NaN."""
    above, below = _per_batch(sums.above, batch_size, order), None
    if sums.below is not None:
        below = _per_batch(sums.below, batch_size, order)
    if below is None:
        return above
    return np.divide(above, below, out=above * 0, where=below != 0)


def _per_batch(values: Floats, batch_size: int, order: Ints | None) -> Floats:
    added: Floats = np.add.reduceat(values if order is None else values[order], np.arange(0, len(values), batch_size))
    return added


def simulate_evaluate(sums: RowSums, batch_size: int, order: Ints | None = None) -> float:
    """Return what ``evaluate`` makes of the batches: the mean of their losses, weighted by the samples they have."""
    return float(
        (compute_batch_losses(sums, batch_size, order) * count_batch_rows(len(sums.above), batch_size)).sum()
    ) / len(sums.above)


def count_batch_rows(rows: int, batch_size: int) -> Ints:
    """Return how many rows each batch has: the last one what is left."""
    starts = np.arange(0, rows, batch_size)
    return np.minimum(batch_size, rows - starts)


def compute_weight_ratio(sums: RowSums, batch_size: int) -> float | None:
    """Return how many times as much a timestep weighs in one batch as in another, at the most; None of nothing."""
    if sums.below is None:
        return 1.0
    below = _per_batch(sums.below, batch_size, None)
    weighs = count_batch_rows(len(sums.below), batch_size)[below > 0] / below[below > 0]
    return float(weighs.max() / weighs.min()) if len(weighs) else None


def choose_batch_sizes(asked: Sequence[int], batch_size: int, rows: int) -> tuple[int, ...]:
    """Return the batch sizes to set side by side: those asked for, or else 1, that of ``evaluate``, and all rows."""
    return tuple(dict.fromkeys(asked)) if asked else tuple(sorted({1, min(batch_size, rows), rows}))


def compute_mean(values: Floats) -> float | None:
    """Return the mean in float64, or None of nothing."""
    return float(values.mean(dtype=np.float64)) if values.size else None


def average_by_sample(losses: Floats, counted: Bools, all_: Bools) -> tuple[tuple[float | None, float | None], ...]:
    """Return a row each: the mean over what is ``counted``, and over ``all_``; None of nothing."""
    return tuple(zip(_row_means(losses, counted), _row_means(losses, all_), strict=True))


def _row_means(losses: Floats, kept: Bools) -> list[float | None]:
    sums, counts = _by_row(np.where(kept, losses, 0.0)), _by_row(kept)
    return [total / count if count else None for total, count in zip(sums.tolist(), counts.tolist(), strict=True)]


def compute_share(part: float, whole: float) -> float | None:
    """Return a part of a whole; None where the whole is nothing, negative or not finite."""
    return part / whole if np.isfinite(part) and np.isfinite(whole) and whole > 0 else None


def group_by_length(losses: Floats, counted: Bools) -> tuple[LengthGroup, ...]:
    """Return groups of sequences by how many timesteps count: one a length, or at most ``GROUPS`` of like size."""
    lengths = counted.sum(axis=1)
    total = float(losses[counted].sum(dtype=np.float64))
    return tuple(_group(losses, counted, lengths, total, low, high) for low, high in _spans(lengths))


def _spans(lengths: Ints) -> list[tuple[int, int]]:
    """Return the least and the greatest length of each group."""
    different = np.unique(lengths)
    if len(different) <= GROUPS:
        return [(int(length), int(length)) for length in different]
    cuts = np.unique(np.quantile(lengths, np.linspace(0, 1, GROUPS + 1)[1:], method="inverted_cdf"))
    lows = [int(different[0]), *(int(different[different > cut][0]) for cut in cuts[:-1])]
    return list(zip(lows, map(int, cuts), strict=True))


def _group(losses: Floats, counted: Bools, lengths: Ints, total: float, low: int, high: int) -> LengthGroup:
    rows = (lengths >= low) & (lengths <= high)
    own = losses[rows][counted[rows]]
    return LengthGroup(
        shortest=low,
        longest=high,
        sequences=int(rows.sum()),
        timesteps=own.size,
        mean=compute_mean(own),
        share=compute_share(float(own.sum(dtype=np.float64)), total),
    )


def rank_contributors(losses: Floats, counted: Bools) -> tuple[Contribution, ...]:
    """Return the places with the largest losses that count, the largest first."""
    kept = np.where(counted, losses, -np.inf).ravel()
    total = float(losses[counted].sum(dtype=np.float64))
    if not np.isfinite(total) or total <= 0:
        return ()
    few = min(CONTRIBUTORS, int(counted.sum()))
    largest = np.argpartition(-kept, few - 1)[:few]
    ordered = largest[np.lexsort((largest, -kept[largest]))]
    return tuple(_place(losses, int(index), total) for index in ordered)


def _place(losses: Floats, index: int, total: float) -> Contribution:
    sample, *timestep = (int(axis) for axis in np.unravel_index(index, losses.shape))
    loss = float(losses.ravel()[index])
    return Contribution(sample, timestep[0] if timestep else None, loss, loss / total)


def simulate_shuffles(sums: Sequence[RowSums], weights: Sequence[float], batch_size: int, shuffles: int) -> Floats:
    """Return what ``evaluate`` would report, ``(shuffles,)``, with the rows in so many seeded orders."""
    chance = np.random.default_rng(0)
    found = np.zeros(shuffles)
    for index in range(shuffles):
        order = chance.permutation(len(sums[0].above))
        found[index] = sum(
            weight * simulate_evaluate(one, batch_size, order) for one, weight in zip(sums, weights, strict=True)
        )
    return found
