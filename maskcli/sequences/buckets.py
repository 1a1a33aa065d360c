"""Lengths to which groups of sequences are padded, so that as little padding as can be is left."""

from __future__ import annotations

import numpy as np

from maskcli.records.arrays import Ints
from maskcli.records.data import Bucket

MOST = 4
"""Buckets; more of them save little, and each wants rows enough for batches of its own."""
EXACT = 512
"""Different lengths up to which the best buckets are found; of more, this many quantiles are tried."""


def choose_buckets(lengths: Ints, most: int = MOST) -> tuple[Bucket, ...]:
    """Return at most ``most`` buckets for sequences of ``lengths (n_sequences,)``, the shortest first.

    They leave the fewest padded timesteps, and are no more than that takes.
    """
    if not len(lengths):
        return ()
    ends, counts = np.unique(lengths, return_counts=True)
    upto = np.cumsum(counts)
    if len(ends) > EXACT:
        tried = np.unique(np.searchsorted(upto, np.linspace(1, upto[-1], EXACT)))
        ends, upto = ends[tried], upto[tried]
    chosen = _chosen(ends, upto, most)
    sequences = np.diff(upto[chosen], prepend=0)
    return tuple(Bucket(int(end), int(count)) for end, count in zip(ends[chosen], sequences, strict=True))


def _chosen(ends: Ints, upto: Ints, most: int) -> list[int]:
    """Return the indices of the bucket lengths among ``ends``.

    ``cost[i, j]`` is what a bucket for the lengths ``ends[i:j]`` computes: ends[j - 1] * (upto[j - 1] - upto[i - 1]).
    With k buckets, least[k][j] = min over i of least[k - 1][i] + cost[i, j].
    """
    below = np.concatenate([[0], upto]).astype(float)
    cost = np.concatenate([[0], ends]) * (below - below[:, None])
    cost[np.tril_indices(len(below))] = np.inf
    least = np.full(len(below), np.inf)
    least[0] = 0.0
    totals, steps = [], []
    for _ in range(most):
        candidates = least[:, None] + cost
        steps.append(candidates.argmin(axis=0))
        least = candidates.min(axis=0)
        totals.append(least[-1])
    return _walked(steps[: int(np.argmin(totals)) + 1], len(ends))


def _walked(steps: list[Ints], end: int) -> list[int]:
    """Return the ends of the buckets, walked back from the last."""
    chosen: list[int] = []
    for step in reversed(steps):
        chosen.append(end - 1)
        end = int(step[end])
    return chosen[::-1]
