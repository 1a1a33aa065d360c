"""The expected cost of batches, computed from the histogram of lengths."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence

import numpy as np

from maskcli.records.arrays import Ints
from maskcli.records.corpus import Histogram
from maskcli.records.data import Bucket
from maskcli.records.profile import BatchPlan, SweepEntry

Cost = tuple[float, float]
"""Timesteps of all batches, and the sum of the squares of the lengths of their rows."""


def sweep_maxlen(histogram: Histogram, maxlens: Sequence[int], itemsizes: dict[str, int]) -> tuple[SweepEntry, ...]:
    """Return the cost of each ``maxlen``, ascending.

    Args:
        histogram: of the lengths.
        maxlens: at least 1 each.
        itemsizes: bytes of a token, by dtype.
    """
    rows, tokens = histogram.rows, histogram.tokens
    return tuple(_price_maxlen(histogram, maxlen, rows, tokens, itemsizes) for maxlen in sorted(set(maxlens)))


def _price_maxlen(histogram: Histogram, maxlen: int, rows: int, tokens: int, itemsizes: dict[str, int]) -> SweepEntry:
    kept = int((np.minimum(histogram.lengths, maxlen) * histogram.counts).sum())
    cut_sequences = int(histogram.counts[histogram.lengths > maxlen].sum())
    padded = rows * maxlen - kept
    return SweepEntry(
        maxlen=maxlen,
        cut_tokens=tokens - kept,
        cut_token_share=(tokens - kept) / max(1, tokens),
        cut_sequences=cut_sequences,
        cut_sequence_share=cut_sequences / max(1, rows),
        padded_timesteps=padded,
        padding_share=padded / max(1, rows * maxlen),
        bytes={dtype: rows * maxlen * size for dtype, size in itemsizes.items()},
    )


def cut_lengths(histogram: Histogram, maxlen: int) -> Histogram:
    """Return the timesteps that sequences need in a batch: at least one, and at most ``maxlen``."""
    lengths, inverse = np.unique(np.clip(histogram.lengths, 1, maxlen), return_inverse=True)
    counts = np.zeros(len(lengths), np.int64)
    np.add.at(counts, inverse, histogram.counts)
    return Histogram(lengths, counts)


def compare_batches(
    histogram: Histogram, maxlen: int, batch_size: int, buckets: tuple[Bucket, ...]
) -> tuple[BatchPlan, ...]:
    """Return the cost of each way to make batches.

    Args:
        histogram: of the lengths; there is at least one sequence.
        maxlen: the length of ``pad`` and of packed rows.
        batch_size: sequences in a batch; the last one has fewer.
        buckets: of these lengths, cut to ``maxlen``.
    """
    needed, rows = cut_lengths(histogram, maxlen), histogram.rows
    tokens = int((np.minimum(histogram.lengths, maxlen) * histogram.counts).sum())
    packed = count_packed_rows(histogram, maxlen)
    whole = _cost_of_rows(((maxlen, rows),))
    costs = {
        "pad": whole,
        "random": _cost_random(needed, batch_size),
        "sorted": _cost_sorted(needed, batch_size),
        "buckets": _cost_of_rows((bucket.maxlen, bucket.sequences) for bucket in buckets),
        "packing": _cost_of_rows(((maxlen, packed),)),
    }
    return tuple(
        BatchPlan(
            name=name,
            timesteps=timesteps,
            padding_share=1 - tokens / timesteps,
            speed_up=whole[0] / timesteps,
            attention_speed_up=whole[1] / squares,
        )
        for name, (timesteps, squares) in costs.items()
    )


def _cost_of_rows(rows: Iterator[tuple[int, int]] | Sequence[tuple[int, int]]) -> Cost:
    """Return the cost of ``count`` rows of each length."""
    timesteps = squares = 0
    for length, count in rows:
        timesteps += length * count
        squares += length**2 * count
    return float(timesteps), float(squares)


def _cost_random(histogram: Histogram, batch_size: int) -> Cost:
    """Return the expected cost of batches in random order, each as long as its longest sequence."""
    whole, last = divmod(histogram.rows, batch_size)
    timesteps = squares = 0.0
    for size, batches in ((batch_size, whole), (last, 1)):
        if size and batches:
            share = _expect_longest(histogram, size)
            timesteps += batches * size * float((histogram.lengths * share).sum())
            squares += batches * size * float((histogram.lengths.astype(float) ** 2 * share).sum())
    return timesteps, squares


def _expect_longest(histogram: Histogram, size: int) -> np.ndarray:
    """Return the probability of each length to be the longest of ``size`` sequences, drawn without replacement."""
    rows, up_to = histogram.rows, np.cumsum(histogram.counts)
    not_longer = np.ones(len(up_to))
    # All are at most this long: the first of them with probability up_to / rows, the next of those left, and so on.
    for taken in range(size):
        not_longer *= np.maximum(up_to - taken, 0) / (rows - taken)
    return np.diff(not_longer, prepend=0)


def _cost_sorted(histogram: Histogram, batch_size: int) -> Cost:
    """Return the cost of batches of neighbours in the order of their lengths."""
    rows, up_to = histogram.rows, np.cumsum(histogram.counts)
    # A batch is as long as its last sequence. Count the batches that end among the sequences of each length.
    ends = np.diff(up_to // batch_size, prepend=0)
    batches = [(int(length), int(count) * batch_size) for length, count in zip(histogram.lengths, ends, strict=True)]
    return _cost_of_rows([*batches, (int(histogram.lengths[-1]), rows % batch_size)])


def count_packed_rows(histogram: Histogram, maxlen: int) -> int:
    """Return the rows of ``maxlen`` that hold all sequences, by best fit, the longest first.

    Works on the histogram: sequences of one length are placed together, in the fullest rows that have room for them.
    Empty sequences need no row.
    """
    needed = [(int(length), int(count)) for length, count in _list_lengths(histogram, maxlen)]
    rooms: list[int] = []  # The different free room of rows, ascending,
    rows_with: dict[int, int] = {}  # and how many rows have it.
    n_rows = 0
    for length, count in reversed(needed):
        while count and (place := bisect.bisect_left(rooms, length)) < len(rooms):
            room = rooms[place]
            placed = min(count, rows_with[room])
            _move_rows(rooms, rows_with, room, room - length, placed)
            count -= placed
        if count:
            fitting = maxlen // length
            whole, last = divmod(count, fitting)
            n_rows += whole + bool(last)
            _move_rows(rooms, rows_with, None, maxlen - fitting * length, whole)
            _move_rows(rooms, rows_with, None, maxlen - last * length, int(bool(last)))
    return max(1, n_rows)


def _list_lengths(histogram: Histogram, maxlen: int) -> Iterator[tuple[Ints, Ints]]:
    kept = histogram.lengths > 0
    needed = cut_lengths(Histogram(histogram.lengths[kept], histogram.counts[kept]), maxlen)
    yield from zip(needed.lengths, needed.counts, strict=True)


def _move_rows(rooms: list[int], rows_with: dict[int, int], before: int | None, after: int, count: int) -> None:
    """Change the free room of ``count`` rows; ``before`` is None for new rows."""
    if not count:
        return
    if before is not None:
        rows_with[before] -= count
        if not rows_with[before]:
            del rows_with[before]
            rooms.remove(before)
    if after and after not in rows_with:
        bisect.insort(rooms, after)
        rows_with[after] = 0
    if after:
        rows_with[after] += count
