"""JSON Lines: one list per line, or one object per line with the sequence in one of its fields."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeVar

from maskcli.errors import InputError
from maskcli.records.layout import Layout
from maskcli.records.sequences import PaddedBatch, RaggedSequences
from maskcli.sequences.blocks import WHITE, Block, find_line_end, split_lines
from maskcli.sequences.fast import FastRows, parse_json_lines
from maskcli.sequences.formats import json_text
from maskcli.sequences.formats.base import Add, Chunk, Field, Format, ParsedRows, decode_text, write_text
from maskcli.sequences.formats.blockwise import LineReader, Where, complete_lines, read_blocks
from maskcli.sequences.sources import BOM, Source, Stream

T = TypeVar("T")
FEW = 2**16
"""Bytes at the start of a file that show the field of its rows."""
BLANKS = WHITE.decode()
"""The white space of JSON. Unicode has more kinds, and JSON allows none of them."""


def read_json_lines(data: bytes, name: str, field: Field) -> ParsedRows:
    """Return one row per line. Without a ``field``, the only field with lists of integers is used."""
    lines = _split_lines(decode_text(data.removeprefix(BOM), name))
    entries = [_parse_line(line, f"{name}:{number}") for number, line in enumerate(lines, 1)]

    def where(row: int) -> str:
        return f"{name}:{row + 1}"

    if field.name is None and not any(isinstance(entry, dict) for entry in entries):
        return ParsedRows(entries, where)
    rows, marked_by = json_text.get_field_rows(entries, field, name, where)
    return ParsedRows(rows, where, marked_by=marked_by)


def read_json_lines_chunks(source: Source, field: Field, convert: Callable[[RaggedSequences], T]) -> Iterator[Chunk[T]]:
    """Yield the results of ``convert`` for each block; see ``ReadChunks``."""
    return read_blocks(source, _Reader(source.name, field), convert)


def fix_field(source: Source, field: Field) -> Field:
    """Return the field of the rows at the start of a file, for its further rows; ``field`` if they do not show it."""
    reader = _Reader(source.name, field)
    with source.open() as stream:
        block = next(reader.blocks(stream), None)
    if block is None:
        return field
    # A few rows show it; the strict reader takes its time.
    block = Block(block.data[: find_line_end(block.data[:FEW]) or len(block.data)], block.start)
    try:
        reader.parse_strict(block, reader.where(block, 0), 0)
    except InputError:  # A worker finds it again, with its place.
        return field
    return reader.field


class _Reader(LineReader):
    def __init__(self, name: str, field: Field) -> None:
        super().__init__(name)
        self._field = field.name
        self._entries = json_text.Entries(field, name)

    @property
    def field(self) -> Field:
        """The field with the sequences of the rows so far."""
        return self._entries.field

    def blocks(self, stream: Stream) -> Iterator[Block]:
        return split_lines(stream, blank=False)

    def parse_fast(self, block: Block) -> FastRows | None:
        lines = complete_lines(block)
        return parse_json_lines(lines[: find_line_end(lines, blank=False)], self._field)

    def continues(self, fast: FastRows) -> bool:
        return self._entries.accept(fast.field, fast.records, bool(len(fast.rows.values)))

    def parse_strict(self, block: Block, where: Where, row: int) -> RaggedSequences | None:
        entries, error = self.parse_lines(block, row, _split_lines, _parse_line)
        rows, marked_by = self._entries.get_rows(entries, where)
        return self.check_lines(rows, error, where, marked_by)


@contextlib.contextmanager
def open_json_lines_writer(out: BinaryIO, _layout: Layout, _rows: int | None = None) -> Iterator[Add]:
    """Write one list of tokens per line; see ``Format.writer``."""
    yield lambda batch: write_text(out, (json.dumps(row) for row in batch.tokens.tolist()))


def _write_features(out: BinaryIO, batch: PaddedBatch, _packs: bool) -> None:
    with open_json_lines_writer(out, batch.layout) as add:
        add(batch)


def _split_lines(text: str) -> list[str]:
    """Return the lines of a text without the blank lines at its end."""
    lines = text.split("\n")
    while lines and not lines[-1].strip(BLANKS):
        lines.pop()
    return lines


def _parse_line(line: str, where: str) -> Any:
    if not line.strip():
        raise InputError(
            where=where,
            expected="a JSON value on every line",
            received="an empty line",
            fix="Write [] for an empty sequence, or remove the line.",
        )
    fix = "Look for a missing bracket, comma or quote. For a document over several lines, use --input-format json."
    try:
        return json_text.parse_json(line, lambda error: f"{where}:{error.pos + 1}", fix)
    except InputError as error:
        raise error.at(where) from None


def has_json_lines(head: bytes) -> bool:
    """Return whether content begins with a line that is an object or a list by itself, and another one after it."""
    first, _, further = head.removeprefix(BOM).lstrip(WHITE).partition(b"\n")
    further = further.lstrip(WHITE)
    if further[:1] not in (b"[", b"{") or further[:1] != first[:1]:
        return False
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return True


FORMATS = (
    Format(
        "jsonl",
        (".jsonl", ".ndjson"),
        read_json_lines,
        lambda data: data.startswith((b"[", b"{")),
        open_json_lines_writer,
        read_json_lines_chunks,
        is_text=True,
        write_features=_write_features,
    ),
)
