"""What benchmarks read: seeded ids, and files of them of several kinds."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

Rows = tuple[np.ndarray, np.ndarray]
"""``values``, and int64 ``row_splits``."""
LONGEST = 60
SLICE = 10_000
"""Rows at a time that are made lists of, which take ten times the memory."""


class Ids:
    """Ragged ids, 1 to 60 a row and the first row of 60, of 1 to 5 digits mixed; the same ones each time."""

    def __init__(self, rows: int, dtype: str = "int32") -> None:
        """Draw them; those of int64 have up to ten digits, and a sign every other time."""
        chance = np.random.default_rng(0)
        lengths = chance.integers(1, LONGEST + 1, rows)
        lengths[0] = LONGEST
        self.row_splits = np.concatenate([[0], np.cumsum(lengths)])
        tens = 10 ** chance.integers(0, 10 if dtype == "int64" else 5, self.row_splits[-1])
        values = chance.integers(tens, 10 * tens)
        self.values = (values * chance.choice([-1, 1], len(values)) if dtype == "int64" else values).astype(dtype)

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
        suffix: of its name.
        form: what it is made of: lines that are a ``list``, an ``object`` or ``cells``, or one ``array`` of lists.
        row: returns the text of a row.
        separator: between two ids.
        around: what the file begins with, what is between two rows, and what it ends with.
        dtype: of the values; int64 have up to ten digits, and signs.
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
            for place, row in enumerate(Ids(rows, self.dtype).lists()):
                out.write((between if place else "") + self.row(row))
            out.write(end)

    def is_in(self, found: Rows, rows: int) -> bool:
        """Return whether this is what was written."""
        ids = Ids(rows, self.dtype)
        pairs = zip(found, (ids.values, ids.row_splits), (self.dtype, "int64"), strict=True)
        return all(got.dtype == dtype and np.array_equal(got, expected) for got, expected, dtype in pairs)


MAIN = {
    "lists": Kind(".jsonl", "list", json.dumps),
    '`{"ids": [...]}`': Kind(".jsonl", "object", lambda row: json.dumps({"ids": row})),
    "one array": Kind(".json", "array", json.dumps, around=("[", ", ", "]")),
    "text": Kind(".txt", "cells", lambda row: " ".join(map(str, row)), " "),
    "CSV": Kind(".csv", "cells", lambda row: ",".join(map(str, row)), ","),
}
OTHERS = {
    "negative, up to ten digits": Kind(".jsonl", "list", json.dumps, dtype="int64"),
    "spaced `[ 1 , 2 ]`": Kind(".jsonl", "list", lambda row: f"[ {' , '.join(map(str, row))} ]", " , "),
    '`{"label": 3, "ids": [...]}`': Kind(".jsonl", "object", lambda row: json.dumps({"label": 3, "ids": row})),
    "CSV, empty cells at the end": Kind(
        ".csv", "cells", lambda row: ",".join(map(str, row)) + "," * (LONGEST - len(row)), ","
    ),
}
KINDS = MAIN | OTHERS
