"""JSON: an array of sequences, an array of records, or a document that a maskcli command printed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from maskcli.errors import InputError, MaskcliError
from maskcli.records.layout import Layout
from maskcli.records.sequences import RaggedSequences
from maskcli.sequences.blocks import BLOCK, WHITE, Block, cut_blocks, skip_bom
from maskcli.sequences.fast import FastRows, parse_json_array
from maskcli.sequences.formats import json_text
from maskcli.sequences.formats.base import (
    Chunk,
    Field,
    Format,
    ParsedRows,
    check_rows,
    decode_text,
    make_chunk,
    quote_names,
)
from maskcli.sequences.formats.blockwise import Where, read_blocks
from maskcli.sequences.padding import check_layout, make_validity
from maskcli.sequences.ragged import describe_value, join_rows, unpad
from maskcli.sequences.sources import BOM, Source, Stream

T = TypeVar("T")


def read_json(data: bytes, name: str, field: Field) -> ParsedRows:
    """Return the sequences of one JSON document."""
    text = decode_text(data.removeprefix(BOM), name)
    document = _parse_document(text, name)
    if isinstance(document, dict):
        return _read_object(document, name, field)
    if not isinstance(document, list):
        raise InputError(
            where=name,
            expected="a JSON array of sequences",
            received=describe_value(document),
            fix="Write [[1, 2], [3]].",
        )

    def where(row: int) -> str:
        return f"{name}:{_find_line(text, row)} (sequence {row + 1})"

    if any(isinstance(entry, dict) for entry in document):
        return _select_field(document, field, name, where)
    if field.name is not None:
        raise _make_no_field_error(field, name, "an array of bare sequences")
    return ParsedRows(document, where)


def _read_object(document: dict[str, Any], name: str, field: Field) -> ParsedRows:
    if str(document.get("schema", "")).startswith("maskcli/"):
        if field.name is not None:
            raise _make_no_field_error(field, name, "a document that maskcli printed")
        return _read_maskcli_document(document, name)
    records = split_columns(document)
    if records is None:
        raise _make_columns_error(document, name)
    return _select_field(records, field, name, lambda row: f"{name} (sequence {row + 1})")


def _select_field(records: list[Any], field: Field, name: str, where: Callable[[int], str]) -> ParsedRows:
    rows, marked_by = json_text.get_field_rows(records, field, name, where)
    return ParsedRows(rows, where, marked_by=marked_by)


def split_columns(document: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return the records of an object of columns; None for any other object.

    A column is a list with an entry for each row, or an object of entries by the names of the rows, as pandas writes
    it. An object whose lists hold only numbers is a single record, as a tokenizer returns it for a single text.
    """
    columns = [list(value.values()) if isinstance(value, dict) else value for value in document.values()]
    if not columns or not all(isinstance(column, list) for column in columns):
        return None
    by_name = isinstance(next(iter(document.values())), dict)
    kinds = {type(entry) for column in columns for entry in column}
    if not by_name and kinds <= {int, float, bool}:
        return [document]
    if len({len(column) for column in columns}) > 1:
        return None
    return [dict(zip(document, row, strict=True)) for row in zip(*columns, strict=True)]


def read_json_chunks(source: Source, field: Field, convert: Callable[[RaggedSequences], T]) -> Iterator[Chunk[T]]:
    """Yield the results of ``convert`` for each block; see ``ReadChunks``.

    If a block cannot be parsed by itself, the file is read again as a whole, and all further rows are one chunk.
    """
    row, reader = 0, _Reader(source, field)
    try:
        for chunk in read_blocks(source, reader, convert):
            yield chunk
            row += chunk.rows
    except _UncutError:
        parsed = read_json(source.read(), source.name, reader.field)
        whole = check_rows(parsed, source.name)
        start = whole.row_splits[row]
        further = dataclasses.replace(whole, values=whole.values[start:], row_splits=whole.row_splits[row:] - start)
        if len(further):
            yield make_chunk(further, ParsedRows(further, lambda index: parsed.where(row + index)), convert)


class _UncutError(Exception):
    """A block does not consist of whole entries of the array, or the array is damaged."""


class _Reader:
    """Reads the entries of an array; each block has a comma before its first entry."""

    def __init__(self, source: Source, field: Field) -> None:
        self._source = source
        self._needs_records = field.name is not None
        self._entries = json_text.Entries(field, source.name)

    @property
    def field(self) -> Field:
        """The field with the sequences of the rows so far."""
        return self._entries.field

    def blocks(self, stream: Stream) -> Iterator[Block]:
        start = skip_bom(stream)
        head = stream.read(stream.peek(BLOCK).index(b"[") + 1)
        close = b"}" if stream.peek(BLOCK).lstrip(WHITE).startswith(b"{") else b"]"
        # The last block must lose the bracket that closes the array, so each block waits for the next one.
        waiting: Block | None = None
        for block in cut_blocks(stream, lambda data: _find_entry_end(data, close), start + len(head)):
            if waiting is None:
                # A comma replaces the bracket that opens the array: all other blocks begin with one.
                waiting = Block(head[:-1] + b"," + block.data, start)
            else:
                yield waiting
                waiting = block
        if waiting is None:
            raise _UncutError
        yield Block(_strip_bracket(waiting.data), waiting.start)

    def parse_fast(self, block: Block) -> FastRows | None:
        return parse_json_array(block.data)

    def continues(self, fast: FastRows) -> bool:
        return self._entries.accept(fast.field)

    def parse_strict(self, block: Block, where: Where, _row: int) -> RaggedSequences | None:
        data = block.data.lstrip(WHITE)
        if not data.startswith(b","):
            raise _UncutError
        # Any error leads to reading the whole file, which finds the error again, with its place in the file.
        try:
            entries = json.loads(f"[{data[1:].decode()}]")
        except (ValueError, RecursionError):
            raise _UncutError from None
        if not entries or (self._needs_records and not any(isinstance(entry, dict) for entry in entries)):
            raise _UncutError
        rows, marked_by = self._entries.get_rows(entries, where)
        return check_rows(ParsedRows(rows, where, marked_by=marked_by), self._source.name)

    def where(self, block: Block, row: int) -> Where:
        start, size = block.start, len(block.data)

        def where(index: int) -> str:
            with self._source.open() as stream:
                line = _find_line_in_block(stream, start, size, index)
            return f"{self._source.name}:{line} (sequence {row + index + 1})"

        return where


def _find_entry_end(data: bytes, close: bytes) -> int:
    """Return the end of the last entry that is followed by a comma; 0 if there is none."""
    at = len(data)
    while (at := data.rfind(close, 0, at)) >= 0:
        if data[at + 1 :].lstrip(WHITE).startswith(b","):
            return at + 1
    return 0


def _strip_bracket(data: bytes) -> bytes:
    """Return the last entries without the bracket that closes the array."""
    stripped = data.rstrip(WHITE)
    if not stripped.endswith(b"]"):
        raise _UncutError
    return stripped[:-1].rstrip(WHITE)


def _find_line_in_block(stream: Stream, start: int, size: int, index: int) -> int:
    """Return the line of entry ``index`` of a block.

    Reads the file again up to that entry, which is only done for a message.
    """
    line = 1
    while start and (piece := stream.read(min(start, BLOCK))):
        start -= len(piece)
        line += piece.count(b"\n")
    text = stream.peek(size).decode()
    comma = len(text) - len(text.lstrip())
    return line - 1 + _find_line(f"{text[:comma]}[{text[comma + 1 :]}]", index)


def _make_no_field_error(field: Field, name: str, received: str) -> InputError:
    return InputError(
        where=name,
        expected=f"records with the field {field.name!r}",
        received=received,
        fix=f"Leave {field.option} out.",
    )


def looks_like_json(data: bytes) -> bool:
    """Return whether content is one document: an array of arrays or objects, or an object over several lines."""
    if data.startswith(b"["):
        inside = data[1:].lstrip()
        return inside[:1] in (b"[", b"{") or inside.strip() == b"]"
    if not data.startswith(b"{"):
        return False
    try:
        first = json.loads(data.split(b"\n", 1)[0])
    except ValueError:
        return True
    if not isinstance(first, dict):
        return False
    is_only_line = not data.partition(b"\n")[2].strip()
    return str(first.get("schema", "")).startswith("maskcli/") or (is_only_line and _holds_columns(first))


def _holds_columns(document: dict[str, Any]) -> bool:
    """Return whether one line is an object of columns, not a record: some of its lists hold lists of integers."""
    records = split_columns(document)
    entries = [value for record in records or () for value in record.values() if isinstance(value, list)]
    return document not in (records or ()) and any(type(item) is int for entry in entries for item in entry)


def _parse_document(text: str, name: str) -> Any:
    if not text.strip():
        raise InputError(
            where=name, expected="a JSON array of sequences", received="only white space", fix="Write [[1, 2], [3]]."
        )
    fix = "Look for a missing bracket, comma or quote there or just before. For JSON Lines, use --input-format jsonl."
    try:
        return json_text.parse_json(text, lambda error: f"{name}:{error.lineno}:{error.colno}", fix)
    except InputError as error:
        raise error.at(name) from None


def _find_line(text: str, row: int) -> int:
    """Return the line on which entry ``row`` of the outer array starts; only needed for a message."""
    decoder, position = json.JSONDecoder(), text.index("[") + 1
    for _ in range(row + 1):
        while text[position] in " \t\r\n,":
            position += 1
        start = position
        _, position = decoder.raw_decode(text, position)
    return text.count("\n", 0, start) + 1


def _make_columns_error(document: dict[str, Any], name: str) -> InputError:
    return InputError(
        where=name,
        expected="a JSON array of sequences, an object of columns with as many entries in each, or a document that "
        "maskcli printed",
        received=f"an object with the fields {quote_names(list(document))}",
        fix="Write [[1, 2], [3]]. For one object per line, use --input-format jsonl.",
    )


def _read_maskcli_document(document: dict[str, Any], name: str) -> ParsedRows:
    """Return the padded batch of a maskcli document: its own fields, or those of its ``batch``."""
    schema = str(document["schema"])
    try:
        padded = document.get("batch", document)
        layout = Layout(**{key: padded[key] for key in ("padding", "truncating", "maxlen", "value", "dtype")})
        layout = check_layout(layout)
        return ParsedRows(_unpad_document(padded, layout), lambda row: f"{name} (sequence {row + 1})", layout)
    except MaskcliError as error:
        raise InputError(where=name, expected=error.expected, received=error.received, fix=error.fix) from None
    except (KeyError, TypeError) as error:
        raise InputError(
            where=name,
            expected=f"the padded batch of a {schema} document",
            received=f"a document without {error}" if isinstance(error, KeyError) else str(error),
            fix="Pass the output of `maskcli pad`, `inspect` or `loss` unchanged.",
        ) from None


def _unpad_document(padded: dict[str, Any], layout: Layout) -> RaggedSequences:
    """Return the sequences of a padded batch; each of its rows must have ``maxlen`` tokens."""
    tokens, lengths = join_rows(padded["tokens"]), join_rows([padded["lengths"]]).values
    if set(tokens.lengths.tolist()) != {layout.maxlen} or len(lengths) != len(tokens) or (lengths < 0).any():
        raise InputError(
            expected=f"rows of {layout.maxlen} tokens, and a length for each",
            received=f"rows of {sorted(set(tokens.lengths.tolist()))} tokens, and {len(lengths)} lengths",
            fix="Pass the output of maskcli unchanged.",
        )
    return unpad(tokens.values.reshape(len(tokens), -1), make_validity(lengths, layout))


def _is_array(head: bytes) -> bool:
    """Return whether content begins like an array of arrays or objects."""
    head = head.removeprefix(BOM).lstrip(WHITE)
    return head.startswith(b"[") and head[1:].lstrip(WHITE)[:1] in (b"[", b"{")


FORMATS = (
    Format(
        "json",
        (".json",),
        read_json,
        looks_like_json,
        chunks=read_json_chunks,
        in_chunks=_is_array,
        is_text=True,
        expansion=10,  # Lists of small numbers as objects of Python.
    ),
)
