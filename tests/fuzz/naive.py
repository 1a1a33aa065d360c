"""The most naive reader of each format: it knows nothing of maskcli, reads everything at once, and refuses all doubt."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np

Rows = list[list[int]]
FIELD = "ids"
"""The field, column or array with the sequences."""


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault
    """The data is not a list of sequences of integers."""


def read_naively(data: bytes, entry: str) -> Rows | None:
    """Return the sequences in data of a format; None if they cannot be read."""
    try:
        rows = READERS[entry](data)
    except (Refused, ValueError, RecursionError, KeyError, TypeError, csv.Error, EOFError, OSError):
        return None
    return [[check_integer(value) for value in row] for row in rows] if are_integers(rows) else None


def are_integers(rows: Any) -> bool:
    """Return whether rows are lists of integers of 64 bits, and there is a token."""
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows) or not any(rows):
        return False
    values = [value for row in rows for value in row]
    return all(type(value) in (int, float) and value == value // 1 and -(2**63) <= value < 2**63 for value in values)


def check_integer(value: float) -> int:
    """Return a whole number as an integer."""
    return int(value)


def decode(data: bytes) -> str:
    """Return text without the mark of its byte order."""
    return data.decode("utf-8").removeprefix("\ufeff")


def parse_json(text: str) -> Any:
    """Return the value of a JSON document in which no key occurs twice."""

    def make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(pairs)

    return json.loads(text, object_pairs_hook=make_object)


def select(entries: list[Any]) -> list[Any]:
    """Return lists as they are, and the field of records."""
    if entries and all(isinstance(entry, dict) for entry in entries):
        return [entry[FIELD] for entry in entries]
    return entries


def read_json(data: bytes) -> list[Any]:
    """Read one array of lists or of records."""
    document = parse_json(decode(data))
    if not isinstance(document, list):
        raise Refused
    return select(document)


def read_jsonl(data: bytes) -> list[Any]:
    """Read one list or record per line."""
    return select([parse_json(line) for line in decode(data).split("\n") if line.strip()])


def read_text(data: bytes) -> list[Any]:
    """Read numbers between blanks, tabs or commas."""
    lines = decode(data).split("\n")
    return [
        [int(cell) for cell in re.split(r"[ ,\t]+", line.rstrip(" ,\t\r").lstrip(" ")) if cell]
        for line in lines[: len(lines) - (not lines[-1])]
    ]


def read_csv(data: bytes) -> list[Any]:
    """Read a table whose header has the field, in which each cell is a JSON list."""
    header, *table = csv.reader(io.StringIO(decode(data), newline=""), strict=True)
    column = [name.strip() for name in header].index(FIELD)
    while table and not table[-1]:
        table.pop()
    return [json.loads(cells[column]) for cells in table]


def read_npy(data: bytes) -> list[Any]:
    """Read an array of two dimensions."""
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.ndim != 2 or array.dtype.kind not in "iuf":
        raise Refused
    return list(array.tolist())


def read_npz(data: bytes) -> list[Any]:
    """Read an array of an archive."""
    archive = np.load(io.BytesIO(data), allow_pickle=False)
    array = archive[FIELD]
    if f"{FIELD}.mask" in archive:  # It marks padding, which a naive reader would take for tokens.
        raise Refused
    if array.ndim != 2 or array.dtype.kind not in "iuf":
        raise Refused
    return list(array.tolist())


def read_arrow(data: bytes) -> list[Any]:
    """Read a column of lists of an IPC file."""
    import pyarrow as pa

    return list(pa.ipc.open_file(pa.BufferReader(data)).read_all()[FIELD].to_pylist())


def read_parquet(data: bytes) -> list[Any]:
    """Read a column of lists of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    return list(pq.read_table(pa.BufferReader(data))[FIELD].to_pylist())


READERS: dict[str, Callable[[bytes], list[Any]]] = {
    "json": read_json,
    "jsonl": read_jsonl,
    "text": read_text,
    "csv": read_csv,
    "npy": read_npy,
    "npz": read_npz,
    "arrow": read_arrow,
    "parquet": read_parquet,
}


def pad_naively(rows: Rows, padding: str, truncating: str, maxlen: int | None, value: int) -> Rows:
    """Return rows of one length."""
    length = max(map(len, rows)) if maxlen is None else maxlen
    padded = []
    for row in rows:
        kept = row if len(row) <= length else (row[:length] if truncating == "post" else row[len(row) - length :])
        filling = [value] * (length - len(kept))
        padded.append(kept + filling if padding == "post" else filling + kept)
    return padded
