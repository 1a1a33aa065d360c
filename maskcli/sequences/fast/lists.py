"""Lists of Python integers to ragged sequences or a padded batch, without a step of Python for each.

``marshal`` writes a list as a tag and its length, and an integer of 32 bits as a tag and its value: five bytes each.
So of lists of integers and nothing else it writes as many fives as they and their values are, and where one list
follows the values of the one before stands the tag of a list, elsewhere that of an integer. Whatever else a list holds
(a word, ``True``, 2.5, an integer past 32 bits, an array) has another tag, and all before it are where they should be.
NumPy reads the integers in one go. Where there is no such answer, whoever asked looks at the values one by one.
"""

from __future__ import annotations

import dataclasses
import marshal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools
from maskcli.records.sequences import Layout, PaddedBatch, RaggedSequences
from maskcli.sequences.fast.padding import Matrix, Rows, count_rows_at_once, is_wide

ROWS = 2000
"""Rows at once: what is written of them stays in the cache."""
VERSION = 2
"""Of the format: the last without references."""
INTEGER, LIST = ord("i"), ord("[")
RECORD = np.dtype([("tag", "u1"), ("number", "<i4")])
NUMBER = RECORD["number"]


@dataclasses.dataclass(frozen=True, eq=False)
class _Records:
    """What ``marshal`` wrote of some lists of integers.

    Attributes:
        numbers: of each list its length and then its values, int32, with a margin of anything on either side.
        starts: ``(n_rows,)``: where in ``numbers`` the values of each list begin.
        are_values: ``(n_numbers,)`` without margins, False at lengths.
    """

    numbers: NDArray[np.int32]
    starts: NDArray[np.int64]
    are_values: Bools

    @classmethod
    def of(cls, rows: list[list[object]], lengths: NDArray[np.int64], margin: int = 0) -> _Records | None:
        """Return the records of lists of these lengths, if these are of integers of 32 bits; else None."""
        try:
            data = marshal.dumps(rows, VERSION)
        except ValueError:
            return None
        ends = np.cumsum(lengths + 1)
        if len(data) != RECORD.itemsize * (1 + ends[-1]):
            return None
        records = np.frombuffer(data, RECORD)[1:]
        tags = np.ascontiguousarray(records["tag"])
        are_values: Bools = tags == INTEGER
        starts = ends - lengths
        if np.count_nonzero(are_values) + len(rows) != len(tags) or (tags[starts - 1] != LIST).any():
            return None
        numbers = np.empty(len(tags) + 2 * margin, np.int32)
        numbers[margin : margin + len(tags)] = records["number"]
        return cls(numbers, margin + starts, are_values)


def convert_lists(rows: Any) -> RaggedSequences | None:
    """Return lists of integers of 32 bits as ragged sequences of int32; None for anything else."""
    lengths = _lengths(rows)
    if lengths is None:
        return None
    splits = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=splits[1:])
    values = np.empty(splits[-1], np.int32)
    for start in range(0, len(rows), ROWS):
        records = _Records.of(rows[start : start + ROWS], lengths[start : start + ROWS])
        if records is None:
            return None
        places = splits[start : start + ROWS + 1]
        np.compress(records.are_values, records.numbers, out=values[places[0] : places[-1]])
    return RaggedSequences(values, splits)


def pad_lists(rows: Any, layout: Layout) -> PaddedBatch | None:
    """Return lists of integers of 32 bits padded by a layout that was checked, without making ragged sequences of them.

    None for anything else, and where there is nothing to pad, or the dtype may not hold the values, or a batch is so
    large that somebody has to say so.
    """
    lengths = _lengths(rows)
    if lengths is None:
        return None
    longest = int(lengths.max())
    maxlen = longest if layout.maxlen is None else layout.maxlen
    if not maxlen or is_wide(max(longest, maxlen), NUMBER.itemsize) or not np.can_cast(NUMBER, layout.dtype):
        return None
    try:
        matrix = Matrix(len(rows), maxlen, layout.padding, layout.value, layout.dtype)
    except (MemoryError, ValueError, OverflowError):
        return None
    every_kept = np.minimum(lengths, maxlen)
    step = count_rows_at_once(max(longest, maxlen), NUMBER.itemsize)
    for at in matrix.parts(step):
        records = _Records.of(rows[at], lengths[at], margin=maxlen)
        if records is None:
            return None
        kept = every_kept[at]
        starts = records.starts if layout.truncating == "post" else records.starts + lengths[at] - kept
        matrix.fill(at, records.numbers, Rows(starts, kept, maxlen, layout.padding).begins, kept)
    truncated = int(lengths.sum() - every_kept.sum())
    return PaddedBatch(matrix.tokens, matrix.mask, lengths, dataclasses.replace(layout, maxlen=maxlen), truncated)


def _lengths(rows: Any) -> NDArray[np.int64] | None:
    """Return how many values each of some lists has; None for anything but a list of lists."""
    if not isinstance(rows, list) or set(map(type, rows)) != {list}:
        return None
    return np.fromiter(map(len, rows), np.int64, len(rows))
