"""Choose the lengths to which groups of sequences are padded, with the least padding: an exact optimum.

Let ``ends`` be the different lengths, ascending, and ``n_up_to[j]`` the number of sequences of ``ends[:j]``. A bucket
of ``ends[i:j]`` pads them to ``ends[j - 1]``, so that the least timesteps of ``ends[:j]`` in k buckets are

    least[k][j] = min over i < j of least[k - 1][i] + ends[j - 1] * (n_up_to[j] - n_up_to[i])

For one j this is the lowest of the lines ``least[k - 1][i] - n_up_to[i] * x`` at ``x = ends[j - 1]``. Both the slopes
and x grow with their index, so that only the lower hull of the lines is kept, and each line enters and leaves it once:
the work grows with the number of lengths, not with its square.
"""

from __future__ import annotations

import numpy as np

from maskcli.records.arrays import Ints
from maskcli.records.data import Bucket

MOST = 4
"""Buckets. More of them save little, and each needs enough rows for batches of its own."""


def choose_buckets(lengths: Ints, most: int = MOST) -> tuple[Bucket, ...]:
    """Return at most ``most`` buckets for sequences of ``lengths (n_sequences,)``, the shortest first.

    They leave the fewest padded timesteps. Of several such choices, one with the fewest buckets is returned.
    """
    return choose_histogram_buckets(*np.unique(lengths, return_counts=True), most)


def choose_histogram_buckets(lengths: Ints, counts: Ints, most: int = MOST) -> tuple[Bucket, ...]:
    """Return the same for ``counts`` sequences of each of the different ``lengths``, ascending."""
    if not len(lengths):
        return ()
    n_up_to = np.cumsum(counts)
    chosen = _choose_ends(lengths.tolist(), [0, *n_up_to.tolist()], min(most, len(lengths)))
    sequences = np.diff(n_up_to[chosen], prepend=0)
    return tuple(Bucket(int(end), int(count)) for end, count in zip(lengths[chosen], sequences, strict=True))


def _choose_ends(ends: list[int], n_up_to: list[int], most: int) -> list[int]:
    """Return the indices of the bucket lengths in ``ends``; Python's integers, because products may exceed int64."""
    # With one bucket, the only previous end is 0.
    least = [0, *(end * count for end, count in zip(ends, n_up_to[1:], strict=True))]
    previous_ends, totals = [[0] * len(least)], [least[-1]]
    for n_buckets in range(2, most + 1):
        least, previous = _add_bucket(ends, n_up_to, least, n_buckets)
        previous_ends.append(previous)
        totals.append(least[-1])
    # More buckets are used only if they save something.
    n_chosen = totals.index(min(totals)) + 1
    return _trace_back(previous_ends[:n_chosen], len(ends))


def _add_bucket(ends: list[int], n_up_to: list[int], least: list[int], n_buckets: int) -> tuple[list[int], list[int]]:
    """Return ``least`` and the previous ends with one more bucket; entries below ``n_buckets`` are not used."""
    fewest, previous = list(least), [0] * len(least)
    hull: list[int] = []
    first = 0
    for j in range(n_buckets, len(least)):
        _append_line(hull, j - 1, n_up_to, least)
        first = min(first, len(hull) - 1)
        x = ends[j - 1]
        while first + 1 < len(hull) and _evaluate(hull[first + 1], x, n_up_to, least) < _evaluate(
            hull[first], x, n_up_to, least
        ):
            first += 1
        previous[j] = hull[first]
        fewest[j] = _evaluate(hull[first], x, n_up_to, least) + x * n_up_to[j]
    return fewest, previous


def _evaluate(i: int, x: int, n_up_to: list[int], least: list[int]) -> int:
    return least[i] - n_up_to[i] * x


def _append_line(hull: list[int], i: int, n_up_to: list[int], least: list[int]) -> None:
    """Append line ``i``, whose slope is the steepest, and remove lines that are nowhere the lowest any more."""
    while len(hull) > 1 and _is_hidden(hull[-2], hull[-1], i, n_up_to, least):
        hull.pop()
    hull.append(i)


def _is_hidden(a: int, b: int, c: int, n_up_to: list[int], least: list[int]) -> bool:
    """Return whether line b is nowhere below both a and c: a meets c not after it meets b."""
    to_b, to_c = n_up_to[b] - n_up_to[a], n_up_to[c] - n_up_to[a]
    return (least[c] - least[a]) * to_b <= (least[b] - least[a]) * to_c


def _trace_back(previous_ends: list[list[int]], end: int) -> list[int]:
    """Return the indices of the bucket lengths, followed back from the last bucket to the first."""
    chosen: list[int] = []
    for previous in reversed(previous_ends):
        chosen.append(end - 1)
        end = previous[end]
    return chosen[::-1]
