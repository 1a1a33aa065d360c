"""CSV and TSV: lines of integers, or a table with a header, whose columns are the fields of records.

A header is a first line with a cell that is not a number. A column may hold lists, as a JSON list, in the form that
NumPy prints, or as numbers separated by blanks; or a sequence lies in several columns of numbers, which a pattern
names.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from maskcli.errors import InputError
from maskcli.records.sequences import RaggedSequences
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
from maskcli.sequences.formats.text import open_csv_writer, parse_number, read_text, read_text_chunks
from maskcli.sequences.sources import BOM, Source

T = TypeVar("T")
DELIMITERS = ",\t;"
HEAD = 2**16
"""Bytes in which the first line ends, or it is no header."""
_BRACKETS = re.compile(r"\s*[\[(](.*)[\])]\s*\Z", re.DOTALL)
_GAP = re.compile(r"\s*,\s*|\s+")


def read_csv(data: bytes, name: str, field: Field) -> ParsedRows:
    """Return the rows of a file without a header, or the sequences in a column, or in several, of one with a header."""
    header = find_header(data, field)
    if header is None:
        return read_text(data, name, field)
    if field.name is None and not json_text.is_whole(field):
        raise _make_header_error(header, name, field)
    records, lines = _read_records(decode_text(data.removeprefix(BOM), name), header, name)

    def where(row: int) -> str:
        return f"{name}:{lines[row]}"

    rows, marked_by = json_text.get_field_rows(records, field, name, where)
    return ParsedRows(rows, where, marked_by=marked_by)


def read_csv_chunks(source: Source, field: Field, convert: Callable[[RaggedSequences], T]) -> Iterator[Chunk[T]]:
    """Yield the results of ``convert`` for each block, or for a file with a header as a whole; see ``ReadChunks``."""
    with source.open() as stream:
        header = find_header(stream.peek(HEAD), field)
    if header is None:
        yield from read_text_chunks(source, field, convert)
        return
    parsed = read_csv(source.read(EXPANSION), source.name, field)
    yield make_chunk(check_rows(parsed, source.name), parsed, convert)


def find_header(head: bytes, field: Field) -> list[str] | None:
    """Return the names of the columns; None if the first line holds numbers.

    A line of numbers is a header as well if ``field`` names one of its cells.
    """
    cells = _split_first_line(head)
    if not cells or cells[0].lstrip()[:1] in ("[", "{"):
        return None
    # An empty cell before another value is never data; pandas leaves the name of its index out.
    is_text = any(isinstance(parse_number(cell.strip()), str) for cell in cells if cell.strip()) or not cells[0].strip()
    names = [cell.strip() for cell in cells]
    is_named = field.name is not None and bool(json_text.match_names(field.name, names))
    return names if is_named or (is_text and any(names)) else None


def _split_first_line(head: bytes) -> list[str]:
    line = head.removeprefix(BOM).split(b"\n", 1)[0].decode("utf-8", "replace").rstrip("\r")
    try:
        return next(csv.reader([line], delimiter=_find_delimiter(line)), [])
    except csv.Error:  # A damaged line is no header; the reader of numbers names the fault.
        return []


def _find_delimiter(line: str) -> str:
    """Return the most frequent delimiter outside of quotes."""
    bare = re.sub(r'"[^"]*"', "", line)
    return max(DELIMITERS, key=bare.count)


def _make_header_error(header: list[str], name: str, field: Field) -> InputError:
    return InputError(
        where=f"{name}:1",
        expected=f"{field.option} COLUMN, because the file has a header",
        received=f"the columns {quote_names(header, most=24)}",
        fix=f"Name the column that holds lists, or columns of numbers by a pattern: {field.option} 'w*'. "
        "Only a model of your own, with a single FILE, takes columns by the names of its inputs.",
    )


def _read_records(text: str, header: list[str], name: str) -> tuple[list[dict[str, Any]], list[int]]:
    """Return the rows after the header as records, and the line on which each begins."""
    if len(set(header)) < len(header):
        raise InputError(
            where=f"{name}:1",
            expected="columns of different names",
            received=f"the columns {quote_names(header)}",
            fix="Rename the columns.",
        )
    delimiter = _find_delimiter(text.split("\n", 1)[0])
    limit = csv.field_size_limit(len(text) + 1)  # The default is shorter than a long sequence.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        line = 1
        for cells in reader:
            rows.append(cells)
            lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            where=f"{name}:{reader.line_num}",
            expected="cells of CSV",
            received=f"text that cannot be one ({error})",
            fix="Look for a quote that is not closed, or not doubled inside of a cell.",
        ) from None
    finally:
        csv.field_size_limit(limit)
    while rows and not rows[-1]:
        rows.pop()
    for cells, line in zip(rows, lines, strict=False):
        if len(cells) != len(header):
            raise InputError(
                where=f"{name}:{line}",
                expected=f"{len(header)} cells, as in the header",
                received=str(len(cells)),
                fix="Quote cells that contain the delimiter.",
            )
    columns = [_parse_column([cells[index] for cells in rows[1:]]) for index in range(len(header))]
    return [dict(zip(header, values, strict=True)) for values in zip(*columns, strict=True)], lines[1:]


def _parse_column(cells: list[str]) -> list[Any]:
    """Return the values of a column: lists if any cell is one, or else numbers, texts, and None for empty cells."""
    values = [parse_cell(cell.strip()) for cell in cells]
    if not any(isinstance(value, list) for value in values):
        return values
    return [_make_list(value) for value in values]


def _make_list(value: Any) -> Any:
    if value is None:
        return []
    return [value] if isinstance(value, int | float) else value


def parse_cell(cell: str) -> Any:
    """Return a number, a list of numbers, a nested list, the text itself, or None for an empty cell."""
    if not cell:
        return None
    number = parse_number(cell)
    if not isinstance(number, str):
        return number
    brackets = _BRACKETS.match(cell)
    if brackets is not None:
        try:
            return json.loads(f"[{brackets[1]}]")
        except (ValueError, RecursionError):
            cell = brackets[1].strip().removesuffix(",")  # The tuple of one number has a comma.
    entries = [parse_number(entry) for entry in _GAP.split(cell)] if cell else []
    if any(isinstance(entry, str) for entry in entries):
        return cell if brackets is None else brackets[0].strip()
    return entries


def _looks_like_csv(head: bytes) -> bool:
    cells = [cell.strip() for cell in _split_first_line(head)]
    are_names = all(isinstance(parse_number(cell), str) and " " not in cell for cell in cells)
    return len(cells) > 1 and are_names and find_header(head, Field()) is not None


EXPANSION = 20
"""Memory that a byte takes as an object of Python."""
FORMATS = (Format("csv", (".csv", ".tsv"), read_csv, _looks_like_csv, open_csv_writer, read_csv_chunks, is_text=True),)
