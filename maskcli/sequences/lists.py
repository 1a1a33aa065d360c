"""Lists of Python integers to ragged sequences, without a step of Python for each.

``marshal`` writes a list as a tag and its length, and an integer of 32 bits as a tag and its value: five bytes each. If
every fifth byte of what it wrote is one of these two tags, then all of it is such records, for each says where the next
begins; and if the lengths of the lists are the distances between them, then the rows are lists of integers and nothing
else. NumPy reads them in one go. For anything else (a word, ``True``, 2.5, an integer past 32 bits, an array) there is
no answer, and whoever asked looks at the values one by one.
"""

from __future__ import annotations

import marshal

import numpy as np

from maskcli.records import RaggedSequences

ROWS = 2000
"""Rows at once: what is written of them stays in the cache."""
VERSION = 2
"""Of the format: the last without references."""
INTEGER, LIST = b"i["
RECORD = np.dtype([("tag", "u1"), ("number", "<i4")])


def from_lists(rows: object) -> RaggedSequences | None:
    """Return lists of integers of 32 bits as ragged sequences of int32; None for anything else."""
    if not isinstance(rows, list):
        return None
    parts = []
    for start in range(0, len(rows), ROWS):
        part = _records(rows[start : start + ROWS])
        if part is None:
            return None
        parts.append(part)
    values, lengths = ([part[kind] for part in parts] for kind in (0, 1))
    splits = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(np.concatenate(lengths), out=splits[1:])
    return RaggedSequences(np.concatenate(values), splits)


def _records(rows: list[object]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the values of lists end to end, and their lengths."""
    try:
        data = marshal.dumps(rows, VERSION)
    except ValueError:
        return None
    if len(data) % RECORD.itemsize:
        return None
    records = np.frombuffer(data, RECORD)[1:]
    tags = np.ascontiguousarray(records["tag"])
    integers = tags == INTEGER
    lists = np.flatnonzero(~integers)
    if len(lists) != len(rows) or not (tags[lists] == LIST).all():
        return None
    lengths = records["number"][lists].astype(np.int64)
    if not np.array_equal(lengths, np.diff(lists, append=len(tags)) - 1):
        return None
    return records["number"][integers].astype(np.int32), lengths
