"""Convert or pad lists of Python integers without a Python step for each integer.

``marshal`` writes a list as a tag and its length, and an integer of 32 bits as a tag and its value. Each of these
*records* has five bytes: one for the tag, four for the number. So NumPy can read all numbers at once.

Other objects have other tags. That proves whether there is nothing but lists of integers:

- lists of integers take exactly one record for each list and each value;
- the tag of a list is exactly at the places that follow from the lengths, and all other tags are those of integers.

Anything else in a list (a word, ``True``, 2.5, an integer of more than 32 bits, an array) has another tag, and all
records before it are at their places. Then the result is None, and the caller checks value by value.
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
from maskcli.sequences.splits import make_row_splits

ROWS = 2000
"""Rows that are marshalled at once: their bytes stay in the processor's cache."""
VERSION = 2
"""Of the format of ``marshal``: the last one without references to objects that were written before."""
INTEGER, LIST = ord("i"), ord("[")
RECORD = np.dtype([("tag", "u1"), ("number", "<i4")])
NUMBER = RECORD["number"]


@dataclasses.dataclass(frozen=True, eq=False)
class _Records:
    """The marshalled records of some lists of integers.

    Attributes:
        numbers: int32: for each list, its length and then its values; with an unused margin at both ends.
        starts: ``(n_rows,)``: the place in ``numbers`` of the first value of each list.
        are_values: without the margins, False at lengths.
    """

    numbers: NDArray[np.int32]
    starts: NDArray[np.int64]
    are_values: Bools

    @classmethod
    def read(cls, rows: list[list[object]], lengths: NDArray[np.int64], margin: int = 0) -> _Records | None:
        """Return the records of lists with these lengths; None if they hold anything but integers of 32 bits."""
        try:
            data = marshal.dumps(rows, VERSION)
        except ValueError:  # Some objects cannot be marshalled.
            return None
        # One record for the outer list, and for each inner list one for itself and one for each value.
        ends = np.cumsum(lengths + 1)
        if len(data) != RECORD.itemsize * (1 + ends[-1]):
            return None
        records = np.frombuffer(data, RECORD)[1:]
        tags = np.ascontiguousarray(records["tag"])
        are_values: Bools = tags == INTEGER
        starts = ends - lengths
        # Before the values of each list there must be the record of that list; all other records must be integers. If
        # there is any other object, look at the first one: all records before it have five bytes, so its tag is read
        # from the right place, and it is neither the tag of an integer nor that of a list that belongs there.
        if np.count_nonzero(are_values) + len(rows) != len(tags) or (tags[starts - 1] != LIST).any():
            return None
        numbers = np.empty(len(tags) + 2 * margin, np.int32)
        numbers[margin : margin + len(tags)] = records["number"]
        return cls(numbers, margin + starts, are_values)


def convert_lists(rows: Any) -> RaggedSequences | None:
    """Return lists of integers of 32 bits as ragged sequences of int32; None for anything else."""
    lengths = _get_lengths(rows)
    if lengths is None:
        return None
    splits = make_row_splits(lengths)
    values = np.empty(splits[-1], np.int32)
    for start in range(0, len(rows), ROWS):
        records = _Records.read(rows[start : start + ROWS], lengths[start : start + ROWS])
        if records is None:
            return None
        part_splits = splits[start : start + ROWS + 1]
        np.compress(records.are_values, records.numbers, out=values[part_splits[0] : part_splits[-1]])
    return RaggedSequences(values, splits)


def pad_lists(rows: Any, layout: Layout) -> PaddedBatch | None:
    """Return lists of integers of 32 bits padded by a checked layout, without ragged sequences in between.

    Returns None for anything else, and in all cases that may need an error message: if there are no tokens, if the
    dtype may not hold the values, or if the batch may not fit in memory.
    """
    lengths = _get_lengths(rows)
    if lengths is None:
        return None
    longest = int(lengths.max())
    multiple = layout.pad_to_multiple_of or 1
    maxlen = -(-longest // multiple) * multiple if layout.maxlen is None else layout.maxlen
    layout = dataclasses.replace(layout, maxlen=maxlen)
    if not maxlen or is_wide(max(longest, maxlen), NUMBER.itemsize) or not np.can_cast(NUMBER, layout.dtype):
        return None
    try:
        matrix = Matrix(len(rows), layout)
    except (MemoryError, ValueError, OverflowError):
        return None
    for at in matrix.parts(count_rows_at_once(max(longest, maxlen), NUMBER.itemsize)):
        # The numbers of the records are the flat values of the windows. The lengths between the lists are replaced like
        # all values of neighbours. The margins let the first and the last windows reach beyond the numbers.
        records = _Records.read(rows[at], lengths[at], margin=maxlen)
        if records is None:
            return None
        places = Rows.truncate(records.starts, lengths[at], layout)
        matrix.fill(at, records.numbers, places.begins, places.kept)
    truncated = int(np.maximum(lengths - maxlen, 0).sum())
    return PaddedBatch(matrix.tokens, matrix.mask, lengths, layout, truncated)


def _get_lengths(rows: Any) -> NDArray[np.int64] | None:
    """Return the lengths of lists; None for anything but a list of lists."""
    if not isinstance(rows, list) or set(map(type, rows)) != {list}:
        return None
    return np.fromiter(map(len, rows), np.int64, len(rows))
