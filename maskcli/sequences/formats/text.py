"""Text, CSV and TSV: a sequence a line, integers split by blanks, commas or tabs.

An empty line is an empty sequence, so that rows stay aligned with targets. Empty cells at the end of a line, which
spreadsheets write to make rows equally long, are no tokens; an empty cell between two values is an error.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from maskcli.errors import InputError
from maskcli.records import PaddedBatch
from maskcli.sequences.formats.base import Field, Format, Parsed, decode

_SEPARATOR = re.compile(r" *[,\t] *| +")
_INTEGER = re.compile(r"[+-]?[0-9]+\Z")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\Z")


def read(data: bytes, name: str, field: Field) -> Parsed:
    """Return a row for each line; a cell that is no number stays text, for the check to name."""
    if field.name is not None:
        raise InputError(
            where=name,
            expected="a format with fields (JSON Lines, JSON records or .npz) ",
            received="text, whose lines have none",
            fix=f"Leave {field.option} out, or name the format with --input-format.",
        )
    lines = decode(data, name).split("\n")
    if lines[-1] == "":
        lines.pop()
    rows = [_cells(line, f"{name}:{number}") for number, line in enumerate(lines, 1)]
    return Parsed(rows, lambda row: f"{name}:{row + 1}")


def write_csv(batch: PaddedBatch) -> bytes:
    """Return the tokens, a line a sequence, with commas."""
    return "".join(",".join(map(str, row)) + "\n" for row in batch.tokens.tolist()).encode()


def _cells(line: str, where: str) -> list[Any]:
    if line.lstrip()[:1] in ("[", "{"):
        raise InputError(
            where=where,
            expected="integers split by blanks, commas or tabs",
            received=f"{line.strip()[:20]!r}, which looks like JSON",
            fix="Name the format with --input-format json or jsonl.",
        )
    cells = _SEPARATOR.split(line.strip(" \r"))
    while cells and cells[-1] in ("", '""'):
        cells.pop()
    if "" in cells:
        raise InputError(
            where=where,
            value=cells.index(""),
            expected="an integer",
            received="an empty cell before another value",
            fix="Only cells at the end of a line may be empty.",
        )
    return [_number(cell) for cell in cells]


def _number(cell: str) -> int | float | str:
    bare = cell[1:-1] if len(cell) > 2 and cell[0] == cell[-1] == '"' else cell
    if _INTEGER.match(bare):
        return int(bare) if len(bare) < 100 else float(np.inf)
    return float(bare) if _NUMBER.match(bare) else cell


FORMATS = (
    Format("text", (".txt", ".text"), read, lambda _: True),
    Format("csv", (".csv", ".tsv"), read, lambda _: True, write_csv),
)
