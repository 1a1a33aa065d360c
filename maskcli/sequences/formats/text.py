"""Text, and CSV without a header: one sequence per line, integers separated by blanks, commas or tabs.

An empty line is an empty sequence, so that rows stay aligned with targets. Spreadsheets write empty cells at the end of
a line to make rows equally long; these are not tokens. An empty cell between two values is an error.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeVar

import numpy as np

from maskcli.errors import InputError
from maskcli.records.layout import Layout
from maskcli.records.sequences import RaggedSequences
from maskcli.sequences.blocks import Block, split_lines
from maskcli.sequences.fast import FastRows, parse_text
from maskcli.sequences.formats.base import Add, Chunk, Field, Format, ParsedRows, decode_text, write_text
from maskcli.sequences.formats.blockwise import LineReader, Where, complete_lines, read_blocks
from maskcli.sequences.sources import BOM, Source, Stream

T = TypeVar("T")
_SEPARATOR = re.compile(r" *[,\t] *| +")
_INTEGER = re.compile(r"[+-]?[0-9]+\Z")
_MOST_DIGITS = 100
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\Z")


def read_text(data: bytes, name: str, field: Field) -> ParsedRows:
    """Return one row per line. A cell that is not a number stays text, and the later check reports it."""
    _reject_field(field, name)
    lines = _split_lines(decode_text(data.removeprefix(BOM), name))
    rows = [_parse_cells(line, f"{name}:{number}") for number, line in enumerate(lines, 1)]
    return ParsedRows(rows, lambda row: f"{name}:{row + 1}")


def read_text_chunks(source: Source, field: Field, convert: Callable[[RaggedSequences], T]) -> Iterator[Chunk[T]]:
    """Yield the results of ``convert`` for each block; see ``ReadChunks``."""
    _reject_field(field, source.name)
    return read_blocks(source, _Reader(source.name), convert)


class _Reader(LineReader):
    def blocks(self, stream: Stream) -> Iterator[Block]:
        return split_lines(stream)

    def parse_fast(self, block: Block) -> FastRows | None:
        return parse_text(complete_lines(block))

    def continues(self, _fast: FastRows) -> bool:
        return True

    def parse_strict(self, block: Block, where: Where, row: int) -> RaggedSequences | None:
        return self.check_lines(*self.parse_lines(block, row, _split_lines, _parse_cells), where)


def _reject_field(field: Field, name: str) -> None:
    if field.name is not None:
        raise InputError(
            where=name,
            expected="a format with fields (JSON Lines, JSON records or .npz)",
            received="text, which has no fields",
            fix=f"Leave {field.option} out, or set the format with --input-format.",
        )


def _split_lines(text: str) -> list[str]:
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return lines


@contextlib.contextmanager
def open_csv_writer(out: BinaryIO, _layout: Layout, _rows: int | None = None) -> Iterator[Add]:
    """Write one line of comma-separated tokens per sequence; see ``Format.writer``."""
    yield lambda batch: write_text(out, (",".join(map(str, row)) for row in batch.tokens.tolist()))


def _parse_cells(line: str, where: str) -> list[Any]:
    if line.lstrip()[:1] in ("[", "{"):
        raise InputError(
            where=where,
            expected="integers separated by blanks, commas or tabs",
            received=f"{line.strip()[:20]!r}, which looks like JSON",
            fix="Set the format with --input-format json or jsonl.",
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
    return [parse_number(cell) for cell in cells]


def parse_number(cell: str) -> int | float | str:
    """Return the number in a cell, quoted or not; the cell itself if it is not a number."""
    bare = cell[1:-1] if len(cell) > 2 and cell[0] == cell[-1] == '"' else cell
    if _INTEGER.match(bare):
        # Python refuses to convert thousands of digits. Infinity is reported as not an integer.
        return int(bare) if len(bare) < _MOST_DIGITS else float(np.inf)
    return float(bare) if _NUMBER.match(bare) else cell


FORMATS = (Format("text", (".txt", ".text"), read_text, lambda _: True, chunks=read_text_chunks, is_text=True),)
