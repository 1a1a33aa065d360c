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
from maskcli.sequences.blocks import Block, split_lines
from maskcli.sequences.fast.parse import parse_text
from maskcli.sequences.fast.rows import FastRows
from maskcli.sequences.formats.base import Add, Chunk, Field, Format, ParsedRows, decode_text, write_text
from maskcli.sequences.formats.blockwise import LineReader, Where, complete_lines, read_blocks
from maskcli.sequences.sources import BOM, Source, Stream

T = TypeVar("T")
_SEPARATOR = re.compile(r" *[,\t] *| +")
_INTEGER = re.compile(r"[+-]?[0-9]+\Z")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\Z")


def read_text(data: bytes, name: str, field: Field) -> ParsedRows:
    """Return a row for each line; a cell that is no number stays text, for the check to name."""
    _check_field(field, name)
    lines = _lines(decode_text(data.removeprefix(BOM), name))
    rows = [_cells(line, f"{name}:{number}") for number, line in enumerate(lines, 1)]
    return ParsedRows(rows, lambda row: f"{name}:{row + 1}")


def read_text_chunks(source: Source, field: Field, made: Callable[[RaggedSequences], T]) -> Iterator[Chunk[T]]:
    """Yield what ``made`` makes of the rows of each block; see ``ReadChunks``."""
    _check_field(field, source.name)
    return read_blocks(source, _Reader(source.name), made)


class _Reader(LineReader):
    def blocks(self, stream: Stream) -> Iterator[Block]:
        return split_lines(stream)

    def parse_fast(self, block: Block) -> FastRows | None:
        return parse_text(complete_lines(block))

    def continues(self, _quick: FastRows) -> bool:
        return True

    def parse_strict(self, block: Block, where: Where, row: int) -> RaggedSequences | None:
        return self.sound(*self.parse_lines(block, row, _lines, _cells), where)


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
def open_csv_writer(out: BinaryIO, _layout: Layout, _rows: int | None = None) -> Iterator[Add]:
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
    Format("text", (".txt", ".text"), read_text, lambda _: True, chunks=read_text_chunks),
    Format("csv", (".csv", ".tsv"), read_text, lambda _: True, open_csv_writer, read_text_chunks),
)
