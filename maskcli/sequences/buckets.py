"""Choose the lengths to which groups of sequences are padded, with the least padding."""

from __future__ import annotations

import numpy as np

from maskcli.records.arrays import Ints
from maskcli.records.data import Bucket

MOST = 4
"""Buckets. More of them save little, and each needs enough rows for batches of its own."""


def choose_buckets(lengths: Ints, most: int = MOST) -> tuple[Bucket, ...]:
    """Return at most ``most`` buckets for sequences of ``lengths (n_sequences,)``, the shortest first.

    They leave the fewest padded timesteps. Of several such choices, the one with the fewest buckets is returned.
    """
    ends, counts = np.unique(lengths, return_counts=True)
    return choose_bucket_lengths(ends, counts, most)


def choose_bucket_lengths(ends: Ints, counts: Ints, most: int = MOST) -> tuple[Bucket, ...]:
    """Return the buckets of a histogram: ``counts (n_lengths,)`` sequences of the ascending lengths ``ends``.

    See ``choose_buckets``.
    """
    if not len(ends):
        return ()
    n_up_to = np.cumsum(counts)
    chosen = _choose_ends(ends.tolist(), n_up_to.tolist(), most)
    sequences = np.diff(n_up_to[chosen], prepend=0)
    return tuple(Bucket(int(end), int(count)) for end, count in zip(ends[chosen], sequences, strict=True))


def _choose_ends(ends: list[int], n_up_to: list[int], most: int) -> list[int]:
    """Return the indices of the bucket lengths in ``ends``, by dynamic programming.

    Args:
        ends: the different lengths, ascending.
        n_up_to: how many sequences are at most that long.
        most: buckets.
    """
    # least[j]: the fewest timesteps of ends[:j] in k buckets; one bucket pads all of them to ends[j - 1].
    least = [0, *(end * count for end, count in zip(ends, n_up_to, strict=True))]
    totals, previous_ends = [least[-1]], [[0] * len(least)]
    for _ in range(most - 1):
        least, previous = _add_bucket(least, ends, [0, *n_up_to])
        totals.append(least[-1])
        previous_ends.append(previous)
    # ``index`` returns the first minimum: more buckets are used only if they save something.
    n_buckets = totals.index(min(totals)) + 1
    return _trace_back(previous_ends[:n_buckets], len(ends))


def _add_bucket(least: list[int], ends: list[int], below: list[int]) -> tuple[list[int], list[int]]:
    """Return the fewest timesteps of ``ends[:j]`` with one more bucket, for each j, and where the last one begins.

    A bucket that begins at i pads ``below[j] - below[i]`` sequences to ``ends[j - 1]``. Up to a term of j, the total is
    ``least[i] - below[i] * ends[j - 1]``: a line for each i, at the place ``ends[j - 1]``. Later lines fall faster, and
    the places ascend, so that the lowest line is found by moving forward over the lower envelope of the lines.
    """
    totals, begins = least[:1], [0]
    envelope: list[int] = []
    best = 0
    for j in range(1, len(least)):
        while len(envelope) > best + 1 and _is_above(envelope[-2], envelope[-1], j - 1, least, below):
            envelope.pop()
        envelope.append(j - 1)
        place = ends[j - 1]
        while best + 1 < len(envelope) and _get_line(envelope[best + 1], place, least, below) < _get_line(
            envelope[best], place, least, below
        ):
            best += 1
        begin = envelope[best]
        totals.append(_get_line(begin, place, least, below) + below[j] * place)
        begins.append(begin)
    return totals, begins


def _get_line(begin: int, place: int, least: list[int], below: list[int]) -> int:
    return least[begin] - below[begin] * place


def _is_above(first: int, middle: int, last: int, least: list[int], below: list[int]) -> bool:
    """Return whether the middle of three lines, ordered by their slopes, is nowhere lower than both of the others."""
    # The middle line is useful between its crossings with the first and the last line, if these are in that order.
    return (least[last] - least[first]) * (below[middle] - below[first]) <= (least[middle] - least[first]) * (
        below[last] - below[first]
    )


def _trace_back(previous_ends: list[list[int]], end: int) -> list[int]:
    """Return the indices of the bucket lengths, followed back from the last bucket to the first."""
    chosen: list[int] = []
    for previous in reversed(previous_ends):
        chosen.append(end - 1)
        end = int(previous[end])
    return chosen[::-1]
