"""JSON Lines: a list a line, or an object a line of which one field holds the sequence."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeVar

from maskcli.errors import InputError
from maskcli.records.sequences import Layout, RaggedSequences
from maskcli.sequences.blocks import WHITE, Block, find_line_end, split_lines
from maskcli.sequences.fast.parse import parse_json_lines
from maskcli.sequences.fast.rows import FastRows
from maskcli.sequences.formats import json_text
from maskcli.sequences.formats.base import Add, Chunk, Field, Format, ParsedRows, decode_text, write_text
from maskcli.sequences.formats.blockwise import LineReader, Where, complete_lines, read_blocks
from maskcli.sequences.sources import BOM, Source, Stream

T = TypeVar("T")
BLANKS = WHITE.decode()
"""Of JSON, and so of the blocks: Unicode has more, which are an error wherever they stand."""


def read_json_lines(data: bytes, name: str, field: Field) -> ParsedRows:
    """Return a row for each line; ``field`` is found when only one holds lists of integers."""
    found = _lines(decode_text(data.removeprefix(BOM), name))
    entries = [_parse(line, f"{name}:{number}") for number, line in enumerate(found, 1)]

    def where(row: int) -> str:
        return f"{name}:{row + 1}"

    if field.name is None and not any(isinstance(entry, dict) for entry in entries):
        return ParsedRows(entries, where)
    return ParsedRows(json_text.get_field_rows(entries, field, name, where), where)


def read_json_lines_chunks(source: Source, field: Field, made: Callable[[RaggedSequences], T]) -> Iterator[Chunk[T]]:
    """Yield what ``made`` makes of the rows of each block; see ``ReadChunks``."""
    return read_blocks(source, _Reader(source.name, field), made)


class _Reader(LineReader):
    def __init__(self, name: str, field: Field) -> None:
        super().__init__(name)
        self._field = field.name
        self._entries = json_text.Entries(field, name)

    def blocks(self, stream: Stream) -> Iterator[Block]:
        return split_lines(stream, blank=False)

    def parse_fast(self, block: Block) -> FastRows | None:
        whole = complete_lines(block)
        filled = whole[: find_line_end(whole, blank=False)]
        return parse_json_lines(filled, self._field)

    def continues(self, quick: FastRows) -> bool:
        return self._entries.take(quick.field, quick.records, bool(len(quick.rows.values)))

    def parse_strict(self, block: Block, where: Where, row: int) -> RaggedSequences | None:
        entries, error = self.parse_lines(block, row, _lines, _parse)
        return self.sound(self._entries.rows(entries, where), error, where)


@contextlib.contextmanager
def open_json_lines_writer(out: BinaryIO, _layout: Layout, _rows: int | None = None) -> Iterator[Add]:
    """Write the tokens, a list a line; see ``Format.writer``."""
    yield lambda batch: write_text(out, (json.dumps(row) for row in batch.tokens.tolist()))


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    while lines and not lines[-1].strip(BLANKS):
        lines.pop()
    return lines


def _parse(line: str, where: str) -> Any:
    if not line.strip():
        raise InputError(
            where=where,
            expected="a JSON value on every line",
            received="an empty line",
            fix="Write [] for an empty sequence, or remove the line.",
        )
    fix = "Look for a missing bracket, comma or quote. A document over several lines wants --input-format json."
    try:
        return json_text.parse_json(line, lambda error: f"{where}:{error.pos + 1}", fix)
    except InputError as error:
        raise error.at(where) from None


FORMATS = (
    Format(
        "jsonl",
        (".jsonl", ".ndjson"),
        read_json_lines,
        lambda data: data.startswith((b"[", b"{")),
        open_json_lines_writer,
        read_json_lines_chunks,
    ),
)
