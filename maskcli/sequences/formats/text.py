"""Text, CSV and TSV: a sequence a line, integers split by blanks, commas or tabs.

An empty line is an empty sequence, so that rows stay aligned with targets. Empty cells at the end of a line, which
spreadsheets write to make rows equally long, are no tokens; an empty cell between two values is an error.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeVar

import numpy as np

from maskcli.errors import InputError
from maskcli.records.sequences import Layout, RaggedSequences
from maskcli.sequences.blocks import Block, lines
from maskcli.sequences.fast.parse import parse_text
from maskcli.sequences.fast.rows import FastRows
from maskcli.sequences.formats.base import Add, Chunk, Field, Format, Parsed, decode, write_text
from maskcli.sequences.formats.blockwise import LineReader, Where, read_blocks, whole_lines
from maskcli.sequences.sources import BOM, Source, Stream

T = TypeVar("T")
_SEPARATOR = re.compile(r" *[,\t] *| +")
_INTEGER = re.compile(r"[+-]?[0-9]+\Z")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\Z")


def read(data: bytes, name: str, field: Field) -> Parsed:
    """Return a row for each line; a cell that is no number stays text, for the check to name."""
    _check_field(field, name)
    lines = _lines(decode(data.removeprefix(BOM), name))
    rows = [_cells(line, f"{name}:{number}") for number, line in enumerate(lines, 1)]
    return Parsed(rows, lambda row: f"{name}:{row + 1}")


def chunks(source: Source, field: Field, made: Callable[[RaggedSequences], T]) -> Iterator[Chunk[T]]:
    """Yield what ``made`` makes of the rows of each block; see ``ReadChunks``."""
    _check_field(field, source.name)
    return read_blocks(source, _Reader(source.name), made)


class _Reader(LineReader):
    def blocks(self, stream: Stream) -> Iterator[Block]:
        return lines(stream)

    def quick(self, block: Block) -> FastRows | None:
        return parse_text(whole_lines(block))

    def goes_on(self, _quick: FastRows) -> bool:
        return True

    def plain(self, block: Block, where: Where, row: int) -> RaggedSequences | None:
        return self.sound(*self.plainly(block, row, _lines, _cells), where)


def _check_field(field: Field, name: str) -> None:
    if field.name is not None:
        raise InputError(
            where=name,
            expected="a format with fields (JSON Lines, JSON records or .npz) ",
            received="text, whose lines have none",
            fix=f"Leave {field.option} out, or name the format with --input-format.",
        )


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return lines


@contextlib.contextmanager
def csv_writer(out: BinaryIO, _layout: Layout, _rows: int | None = None) -> Iterator[Add]:
    """Write the tokens, a line a sequence, with commas; see ``Format.writer``."""
    yield lambda batch: write_text(out, (",".join(map(str, row)) for row in batch.tokens.tolist()))


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
    Format("text", (".txt", ".text"), read, lambda _: True, chunks=chunks),
    Format("csv", (".csv", ".tsv"), read, lambda _: True, csv_writer, chunks),
)
