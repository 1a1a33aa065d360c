"""Lists of Python integers to ragged sequences or a padded batch, without a step of Python for each.

``marshal`` writes a list as a tag and its length, and an integer of 32 bits as a tag and its value: five bytes each.
Cut in fives, what it wrote of some lists has as many parts without the tag of an integer as there are lists, and
behind each of these as many integers as it says, only if the rows are lists of integers and nothing else: whatever
else a list holds (a word, ``True``, 2.5, an integer past 32 bits, an array) has another tag, before all that were
promised have come. NumPy reads the integers in one go. Where there is no such answer, whoever asked looks at the
values one by one.
"""

from __future__ import annotations

import dataclasses
import marshal
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from maskcli.records import Bools, Layout, PaddedBatch, RaggedSequences
from maskcli.sequences.windows import Matrix, Rows, is_wide, rows_at_once

ROWS = 2000
"""Rows at once: what is written of them stays in the cache."""
VERSION = 2
"""Of the format: the last without references."""
INTEGER = ord("i")
RECORD = np.dtype([("tag", "u1"), ("number", "<i4")])
NUMBER = RECORD["number"]


@dataclasses.dataclass(frozen=True, eq=False)
class _Records:
    """What ``marshal`` wrote of some lists of integers.

    Attributes:
        numbers: of each list its length and then its values, int32, with a margin of anything on either side.
        lengths: ``(n_rows,)``.
        starts: ``(n_rows,)``: where in ``numbers`` the values of each list begin.
        are_values: ``(n_numbers,)`` without margins, False at lengths.
    """

    numbers: NDArray[np.int32]
    lengths: NDArray[np.int64]
    starts: NDArray[np.int64]
    are_values: Bools

    @classmethod
    def of(cls, rows: list[list[object]], margin: int = 0) -> _Records | None:
        """Return the records of lists, if these are of integers of 32 bits; else None."""
        try:
            data = marshal.dumps(rows, VERSION)
        except ValueError:
            return None
        if len(data) % RECORD.itemsize:
            return None
        records = np.frombuffer(data, RECORD)[1:]
        tags = np.ascontiguousarray(records["tag"])
        are_values: Bools = tags == INTEGER
        heads = np.flatnonzero(~are_values)
        if len(heads) != len(rows):
            return None
        lengths = records["number"][heads].astype(np.int64)
        if not np.array_equal(lengths, np.diff(heads, append=len(tags)) - 1):
            return None
        numbers = np.empty(len(tags) + 2 * margin, np.int32)
        numbers[margin : margin + len(tags)] = records["number"]
        return cls(numbers, lengths, margin + heads + 1, are_values)


def from_lists(rows: object) -> RaggedSequences | None:
    """Return lists of integers of 32 bits as ragged sequences of int32; None for anything else."""
    if not _are_lists(rows):
        return None
    splits = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, rows), np.int64, len(rows)), out=splits[1:])
    values = np.empty(splits[-1], np.int32)
    for start in range(0, len(rows), ROWS):
        records = _Records.of(rows[start : start + ROWS])
        if records is None:
            return None
        places = splits[start : start + ROWS + 1]
        np.compress(records.are_values, records.numbers, out=values[places[0] : places[-1]])
    return RaggedSequences(values, splits)


def pad_lists(rows: object, layout: Layout) -> PaddedBatch | None:
    """Return lists of integers of 32 bits padded by a layout that was checked, without making ragged sequences of them.

    None for anything else, and where there is nothing to pad, or the dtype may not hold the values, or a batch is so
    large that somebody has to say so.
    """
    if not _are_lists(rows):
        return None
    longest = max(map(len, rows))
    maxlen = longest if layout.maxlen is None else layout.maxlen
    if not maxlen or is_wide(max(longest, maxlen), NUMBER.itemsize) or not np.can_cast(NUMBER, layout.dtype):
        return None
    try:
        matrix = Matrix(len(rows), maxlen, layout.padding, layout.value, layout.dtype)
    except (MemoryError, ValueError, OverflowError):
        return None
    lengths = np.empty(len(rows), np.int64)
    step = rows_at_once(max(longest, maxlen), NUMBER.itemsize)
    for at in matrix.parts(step):
        records = _Records.of(rows[at], margin=maxlen)
        if records is None:
            return None
        kept = np.minimum(records.lengths, maxlen)
        starts = records.starts if layout.truncating == "post" else records.starts + records.lengths - kept
        matrix.fill(at, records.numbers, Rows(starts, kept, maxlen, layout.padding).begins, kept)
        lengths[at] = records.lengths
    truncated = int(lengths.sum() - np.minimum(lengths, maxlen).sum())
    return PaddedBatch(matrix.tokens, matrix.mask, lengths, dataclasses.replace(layout, maxlen=maxlen), truncated)


def _are_lists(rows: Any) -> TypeGuard[list[list[object]]]:
    return isinstance(rows, list) and set(map(type, rows)) == {list}
