"""Merge the states of parts of a corpus; every merge is associative, and exact in integers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from maskcli.errors import InputError
from maskcli.records.arrays import Array, Hashes, Ints
from maskcli.records.corpus import (
    CorpusState,
    Extreme,
    GroupState,
    Histogram,
    Hits,
    IdRanges,
    RowHashes,
    Spot,
)

MOST_RANGES = 2**22
"""Ranges of ids that are kept. Ids of a vocabulary make a few; random 64-bit numbers make one each."""
MOST_GROUPS = 1000
"""Different values of ``--by``; more are no labels or sources."""
TABLE_LENGTHS = 2**16
"""Lengths that are counted in a table, which costs less than to sort the lengths of a chunk."""
HITS = ("empty", "blank", "leading", "inner", "trailing", "outside")
"""The fields of a group with hits."""


def merge_states(states: Sequence[CorpusState]) -> CorpusState:
    """Return the state of consecutive parts; raises InputError for too many groups."""
    first, *further = states
    rows, last_file, last_rows = first.rows, first.last_file, first.last_rows
    groups: dict[str, list[GroupState]] = {name: [group] for name, group in first.groups.items()}
    for state in further:
        continues = last_file == state.first_file
        for name, group in state.groups.items():
            shifted = _shift_group(group, rows, state.first_file, last_rows if continues else 0)
            groups.setdefault(name, []).append(shifted)
        # A file that begins in an earlier part has the rows of that part, too.
        last_rows = state.last_rows + (last_rows if continues and state.last_file == last_file else 0)
        rows, last_file = rows + state.rows, state.last_file
    check_groups(groups)
    merged = {name: merge_groups(parts) for name, parts in sorted(groups.items())}
    return CorpusState(rows, first.first_file, last_file, last_rows, merged)


def check_groups(groups: Iterable[str]) -> None:
    """Raise InputError for more groups than a profile has."""
    names = list(groups)
    if len(names) > MOST_GROUPS:
        raise InputError(
            where="--by",
            expected=f"a field with at most {MOST_GROUPS:,} different values, such as a label or a source",
            received=f"more, among them {names[0]!r} and {names[-1]!r}",
            fix="Name another field.",
        )


def merge_groups(parts: Sequence[GroupState]) -> GroupState:
    """Return the state of all parts of a group, or of all groups."""
    if len(parts) == 1:
        return parts[0]
    return GroupState(
        lengths=merge_histograms([part.lengths for part in parts]),
        trimmed=merge_histograms([part.trimmed for part in parts]),
        smallest=merge_extremes([part.smallest for part in parts], -1),
        largest=merge_extremes([part.largest for part in parts], 1),
        ids=merge_ids([part.ids for part in parts]),
        hashes=merge_hashes([part.hashes for part in parts]),
        **{name: merge_hits([getattr(part, name) for part in parts]) for name in HITS},
    )


def _shift_group(group: GroupState, rows: int, first_file: int, file_rows: int) -> GroupState:
    """Return a group whose rows come after ``rows`` others, and after ``file_rows`` in its first file."""

    def shift(spot: Spot) -> Spot:
        row = spot.row + (file_rows if spot.file_index == first_file else 0)
        return dataclasses.replace(spot, sample=spot.sample + rows, row=row)

    changes: dict[str, Hits | Extreme] = {}
    for name in (*HITS, "smallest", "largest"):
        value = getattr(group, name)
        if value is not None and value.first is not None:
            changes[name] = dataclasses.replace(value, first=shift(value.first))
    return dataclasses.replace(group, **changes)  # type: ignore[arg-type]


def merge_histograms(parts: Sequence[Histogram]) -> Histogram:
    """Return the histogram of all rows."""
    lengths, counts = _sum_by_key(
        np.concatenate([part.lengths for part in parts]), np.concatenate([part.counts for part in parts])
    )
    return Histogram(lengths, counts)


def make_histogram(lengths: Ints) -> Histogram:
    """Return the histogram of rows with these lengths."""
    longest = int(lengths.max(initial=0))
    if longest < TABLE_LENGTHS:
        table = np.bincount(lengths)
        different = np.flatnonzero(table)
        return Histogram(different.astype(np.int64), table[different].astype(np.int64))
    different, counts = np.unique(lengths, return_counts=True)
    return Histogram(different.astype(np.int64), counts.astype(np.int64))


def _sum_by_key(keys: Array, counts: Ints) -> tuple[Array, Ints]:
    """Return the different keys, ascending, and the sum of the counts of each."""
    if not len(keys):
        return keys, counts.astype(np.int64)
    # The keys are ascending runs, which a stable sort merges in a single pass.
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    begins = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    return keys[begins], np.add.reduceat(counts[order], begins).astype(np.int64)


def merge_hits(parts: Sequence[Hits]) -> Hits:
    """Return the hits of all parts."""
    spots = [part.first for part in parts if part.first is not None]
    first = min(spots, key=_order, default=None)
    return Hits(sum(part.tokens for part in parts), sum(part.rows for part in parts), first)


def _order(spot: Spot) -> tuple[int, int]:
    return spot.sample, spot.timestep or 0


def merge_extremes(parts: Sequence[Extreme | None], sign: int) -> Extreme | None:
    """Return the largest of extremes for ``sign`` 1, or the smallest for -1."""
    extremes = [part for part in parts if part is not None]
    if not extremes:
        return None
    value = max((part.value for part in extremes), key=lambda number: sign * number)
    equal = [part for part in extremes if part.value == value]
    return Extreme(value, sum(part.count for part in equal), min((part.first for part in equal), key=_order))


def merge_ids(parts: Sequence[IdRanges]) -> IdRanges:
    """Return the union of ids."""
    starts = np.concatenate([part.starts for part in parts])
    ends = np.concatenate([part.ends for part in parts])
    complete = all(part.complete for part in parts)
    if not len(starts):
        return IdRanges(starts, ends, complete)
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], np.maximum.accumulate(ends[order])
    # A range begins where no range before it reaches or touches its start. Differences cannot overflow: a start is
    # compared with the end before it only where it is larger.
    begins = np.ones(len(starts), bool)
    begins[1:] = (starts[1:] > ends[:-1]) & (starts[1:] - 1 != ends[:-1])
    first = np.flatnonzero(begins)
    last = np.append(first[1:] - 1, len(starts) - 1)
    return _bound_ranges(IdRanges(starts[first], ends[last], complete))


def _bound_ranges(ids: IdRanges) -> IdRanges:
    """Return at most ``MOST_RANGES`` ranges: the first ones, so that the result does not depend on the order."""
    if len(ids.starts) <= MOST_RANGES:
        return ids
    return IdRanges(ids.starts[:MOST_RANGES], ids.ends[:MOST_RANGES], complete=False)


def make_id_ranges(ids: Ints) -> IdRanges:
    """Return the ranges of ids that are ascending and different."""
    if not len(ids):
        return IdRanges(np.zeros(0, np.int64), np.zeros(0, np.int64))
    ids = ids.astype(np.int64)
    ends = np.flatnonzero(np.append(ids[1:] != ids[:-1] + 1, True))
    starts = np.append(0, ends[:-1] + 1)
    return _bound_ranges(IdRanges(ids[starts], ids[ends]))


def merge_hashes(parts: Sequence[RowHashes]) -> RowHashes:
    """Return the hashes of the rows of all parts: of all rows, or of a sample that memory allows."""
    level, most = max(part.level for part in parts), min(part.most for part in parts)
    filled = [part for part in parts if len(part.hashes)]
    if len(filled) == 1 and (filled[0].level, filled[0].most) == (level, most):
        return filled[0]
    # At a higher level all hashes would fit, even if no two parts shared one. Beginning there, a merge of samples that
    # are too large for the memory takes the memory of two.
    high = level
    while sum(_count_sample(part.hashes, high) for part in parts) > most:
        high += 1
    trial = max(level, high - 1)
    merged = _merge_samples(parts, trial, most)
    while merged.level == trial > level:
        trial -= 1
        merged = _merge_samples(parts, trial, most)
    return merged


def _merge_samples(parts: Sequence[RowHashes], level: int, most: int) -> RowHashes:
    """Return the hashes of the rows of all parts that are in the sample of a level, or in a smaller one."""
    samples = [_count_sample(part.repeated, level) for part in parts]
    # Each part has a hash once, with further rows if it is repeated.
    repeated, further = _sum_by_key(
        np.concatenate([part.repeated[:size] for part, size in zip(parts, samples, strict=True)]),
        np.concatenate([part.counts[:size] - 1 for part, size in zip(parts, samples, strict=True)]),
    )
    hashes = np.concatenate([part.hashes[: _count_sample(part.hashes, level)] for part in parts])
    hashes.sort(kind="stable")  # The parts are ascending runs, which a stable sort merges in a single pass.
    return _count_sorted(hashes, repeated, further, level, most)


def count_hashes(hashes: Hashes, level: int, most: int) -> RowHashes:
    """Return the state of the hashes of rows: those in the sample of a level, or a smaller one of at most ``most``."""
    return _count_sorted(np.sort(hashes), np.zeros(0, np.uint64), np.zeros(0, np.int64), level, most)


def _count_sorted(hashes: Hashes, repeated: Hashes, further: Ints, level: int, most: int) -> RowHashes:
    """Return the state of ascending hashes, each of a row; ``repeated`` ones have ``further`` rows."""
    repeats = hashes[1:][hashes[1:] == hashes[:-1]]
    if len(repeats):
        hashes = hashes[np.append(True, hashes[1:] != hashes[:-1])]
        repeated, further = _sum_by_key(
            np.concatenate([repeated, repeats]), np.concatenate([further, np.ones(len(repeats), np.int64)])
        )
    # The sample is that of the lowest level that fits, whatever the parts were: all hashes of a level are kept.
    while _count_sample(hashes, level) > most:
        level += 1
    size, n_repeated = _count_sample(hashes, level), _count_sample(repeated, level)
    if size < len(hashes):
        hashes = hashes[:size].copy()  # A view would keep all of them in memory.
    return RowHashes(level, most, hashes, repeated[:n_repeated], further[:n_repeated] + 1)


def _count_sample(hashes: Hashes, level: int) -> int:
    """Return how many ascending hashes belong to the sample, which are the first ones."""
    return int(np.searchsorted(hashes, compute_limit(level))) if level else len(hashes)


def compute_limit(level: int) -> np.uint64:
    """Return the number that hashes in the sample are below; ``level`` is 1 or more."""
    return np.uint64(2 ** (64 - level))
