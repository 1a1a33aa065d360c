"""Inputs of the benchmarks: random ids with a fixed seed, and files of several kinds with these ids."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

Rows = tuple[np.ndarray, np.ndarray]
"""``values``, and ``row_splits`` in int64."""
LONGEST = 60
SLICE = 10_000
"""Rows that are converted to lists at once, because lists take ten times the memory."""


class Ids:
    """Ragged ids of 1 to 5 digits, always the same; 1 to 60 per row, and exactly 60 in the first row."""

    def __init__(self, rows: int, dtype: str = "int32") -> None:
        """Draw the ids; ids of int64 have up to ten digits, and half of them are negative."""
        rng = np.random.default_rng(0)
        lengths = rng.integers(1, LONGEST + 1, rows)
        lengths[0] = LONGEST
        self.row_splits = np.concatenate([[0], np.cumsum(lengths)])
        tens = 10 ** rng.integers(0, 10 if dtype == "int64" else 5, self.row_splits[-1])
        values = rng.integers(tens, 10 * tens)
        self.values = (values * rng.choice([-1, 1], len(values)) if dtype == "int64" else values).astype(dtype)

    def lists(self) -> Iterator[list[int]]:
        """Yield each row."""
        for start in range(0, len(self.row_splits) - 1, SLICE):
            splits = self.row_splits[start : start + SLICE + 1]
            flat = self.values[splits[0] : splits[-1]].tolist()
            yield from (flat[begin:end] for begin, end in itertools.pairwise((splits - splits[0]).tolist()))


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        suffix: of the file name.
        form: each line is a ``list``, an ``object`` or ``cells``, or the file is one ``array`` of lists.
        row: returns the text of a row.
        separator: between two ids.
        around: the text at the start of the file, between two rows, and at the end.
        dtype: of the values; int64 have up to ten digits and a sign.
    """

    suffix: str
    form: Literal["list", "object", "cells", "array"]
    row: Callable[[list[int]], str]
    separator: str = ", "
    around: tuple[str, str, str] = ("", "\n", "\n")
    dtype: str = "int32"

    def write(self, path: Path, rows: int) -> None:
        """Write a file."""
        begin, between, end = self.around
        with path.open("w") as out:
            out.write(begin)
            for index, row in enumerate(Ids(rows, self.dtype).lists()):
                out.write((between if index else "") + self.row(row))
            out.write(end)

    def is_right(self, result: Rows, rows: int) -> bool:
        """Return whether ``result`` equals the ids that were written."""
        ids = Ids(rows, self.dtype)
        triples = zip(result, (ids.values, ids.row_splits), (self.dtype, "int64"), strict=True)
        return all(array.dtype == dtype and np.array_equal(array, expected) for array, expected, dtype in triples)


MAIN = {
    "lists": Kind(".jsonl", "list", json.dumps),
    '`{"ids": [...]}`': Kind(".jsonl", "object", lambda row: json.dumps({"ids": row})),
    "one array": Kind(".json", "array", json.dumps, around=("[", ", ", "]")),
    "text": Kind(".txt", "cells", lambda row: " ".join(map(str, row)), " "),
    "CSV": Kind(".csv", "cells", lambda row: ",".join(map(str, row)), ","),
}
HARDER = {
    "negative, up to ten digits": Kind(".jsonl", "list", json.dumps, dtype="int64"),
    "spaced `[ 1 , 2 ]`": Kind(".jsonl", "list", lambda row: f"[ {' , '.join(map(str, row))} ]", " , "),
    '`{"label": 3, "ids": [...]}`': Kind(".jsonl", "object", lambda row: json.dumps({"label": 3, "ids": row})),
    "CSV, empty cells at the end": Kind(
        ".csv", "cells", lambda row: ",".join(map(str, row)) + "," * (LONGEST - len(row)), ","
    ),
}
KINDS = MAIN | HARDER
