"""Choose the lengths to which groups of sequences are padded, with the least padding."""

from __future__ import annotations

import numpy as np

from maskcli.records.arrays import Ints
from maskcli.records.data import Bucket

MOST = 4
"""Buckets. More of them save little, and each needs enough rows for batches of its own."""
EXACT = 512
"""Different lengths up to which the result is optimal; of more lengths, only this many quantiles are tried."""


def choose_buckets(lengths: Ints, most: int = MOST) -> tuple[Bucket, ...]:
    """Return at most ``most`` buckets for sequences of ``lengths (n_sequences,)``, the shortest first.

    They leave the fewest padded timesteps. Of several such choices, the one with the fewest buckets is returned.
    """
    if not len(lengths):
        return ()
    ends, counts = np.unique(lengths, return_counts=True)
    n_up_to = np.cumsum(counts)
    if len(ends) > EXACT:
        quantiles = np.unique(np.searchsorted(n_up_to, np.linspace(1, n_up_to[-1], EXACT)))
        ends, n_up_to = ends[quantiles], n_up_to[quantiles]
    chosen = _choose_ends(ends, n_up_to, most)
    sequences = np.diff(n_up_to[chosen], prepend=0)
    return tuple(Bucket(int(end), int(count)) for end, count in zip(ends[chosen], sequences, strict=True))


def _choose_ends(ends: Ints, n_up_to: Ints, most: int) -> list[int]:
    """Return the indices of the bucket lengths in ``ends``, by dynamic programming.

    Args:
        ends: ``(n_lengths,)``: the different lengths, ascending.
        n_up_to: ``(n_lengths,)``: how many sequences are at most that long.
        most: buckets.
    """
    # cost[i, j]: timesteps of one bucket for the lengths ends[i:j], which all are padded to ends[j - 1].
    below = np.concatenate([[0], n_up_to]).astype(float)
    cost = np.concatenate([[0], ends]) * (below - below[:, None])
    cost[np.tril_indices(len(below))] = np.inf  # A bucket has at least one length, so i < j.
    # least[j]: the fewest timesteps of ends[:j] in k buckets. With no bucket, only no lengths are possible.
    least = np.full(len(below), np.inf)
    least[0] = 0.0
    totals, previous_ends = [], []
    for _ in range(most):
        # The last of k buckets begins at the best i: k - 1 buckets for ends[:i], and one for ends[i:j].
        candidates = least[:, None] + cost
        previous_ends.append(candidates.argmin(axis=0))
        least = candidates.min(axis=0)
        totals.append(least[-1])
    # ``argmin`` returns the first minimum: more buckets are used only if they save something.
    n_buckets = int(np.argmin(totals)) + 1
    return _trace_back(previous_ends[:n_buckets], len(ends))


def _trace_back(previous_ends: list[Ints], end: int) -> list[int]:
    """Return the indices of the bucket lengths, followed back from the last bucket to the first."""
    chosen: list[int] = []
    for previous in reversed(previous_ends):
        chosen.append(end - 1)
        end = int(previous[end])
    return chosen[::-1]
