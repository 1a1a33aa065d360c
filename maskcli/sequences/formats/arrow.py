"""Parquet and Arrow IPC, by pyarrow: a column of lists, or records with a field for each column."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from maskcli.errors import InputError
from maskcli.records import RaggedSequences
from maskcli.sequences.foreign import from_foreign
from maskcli.sequences.formats import json_text
from maskcli.sequences.formats.base import Field, Format, Parsed, quoted
from maskcli.sequences.sources import pyarrow

FILE, STREAM, PARQUET = b"ARROW1\x00\x00", b"\xff\xff\xff\xff", b"PAR1"
"""First bytes: of the two forms of Arrow IPC, and of Parquet."""


def read_parquet(data: bytes, name: str, field: Field) -> Parsed:
    """Return the rows of ``field``, or of the only column of lists of integers."""
    return _rows(_table(data, name, "a Parquet", _parquet), name, field)


def read_arrow(data: bytes, name: str, field: Field) -> Parsed:
    """Return the rows of ``field``, or of the only column of lists of integers, of an Arrow IPC file or stream."""
    return _rows(_table(data, name, "an Arrow IPC", _ipc), name, field)


def _parquet(source: Any) -> Any:
    from pyarrow.parquet import ParquetFile

    return ParquetFile(source).read()


def _ipc(source: Any) -> Any:
    from pyarrow import ipc

    opened = ipc.open_file if source.read(len(FILE)) == FILE else ipc.open_stream
    source.seek(0)
    return opened(source).read_all()


def _table(data: bytes, name: str, kind: str, read: Callable[[Any], Any]) -> Any:
    """Return the table of a file; whatever pyarrow says of one that it cannot read is for the user."""
    pa = pyarrow(name)
    try:
        table = read(pa.BufferReader(data))
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, NotImplementedError) as error:
        raise InputError(
            where=name,
            expected=f"{kind} file",
            received=f"one that pyarrow cannot read ({str(error).splitlines()[0].rstrip('.')})",
            fix="Fetch or write it again.",
        ) from None
    return table


def _rows(table: Any, name: str, field: Field) -> Parsed:
    names = table.column_names
    if len(set(names)) < len(names):
        raise InputError(
            where=name,
            expected="columns of different names",
            received=f"columns named {quoted(names)}",
            fix="Rename the columns.",
        )
    if field is json_text.WHOLE:
        return Parsed(table.to_pylist(), _row_of(name))
    chosen = field.name if field.name is not None else _only(table, field, name)
    if chosen not in names:
        raise InputError(
            where=name,
            expected=f"a column named {chosen!r}",
            received=f"columns named {quoted(names)}",
            fix=f"Name the column with {field.option}.",
        )
    return Parsed(_column(table[chosen], name), _row_of(name))


def _only(table: Any, field: Field, name: str) -> str:
    """Return the one column that can hold the sequences."""
    found = [each.name for each in table.schema if _is_list(each.type) and _is_number(each.type.value_type, field)]
    if len(found) == 1:
        return str(found[0])
    raise InputError(
        where=name,
        expected=f"one column of lists of {'numbers' if field.numbers else 'integers'}",
        received=f"{quoted(found)} among the columns {quoted(table.column_names)}",
        fix=f"Name the column with {field.option}.",
    )


def _column(column: Any, name: str) -> RaggedSequences | list[Any]:
    """Return a column of lists of integers as ragged sequences, and any other as what Python has for it."""
    if not (_is_list(column.type) and _is_number(column.type.value_type, Field())):
        return list(column.to_pylist())
    try:
        rows = from_foreign(column)
    except InputError as error:
        raise error.at(_row_of(name)(error.row) if error.row is not None else name) from None
    return rows if isinstance(rows, RaggedSequences) else np.asarray(rows).tolist()


def _is_list(kind: Any) -> bool:
    return hasattr(kind, "value_type") and "list" in str(kind)


def _is_number(kind: Any, field: Field) -> bool:
    from pyarrow import types

    numbers = field.numbers and (types.is_floating(kind) or types.is_boolean(kind) or _is_list(kind))
    return bool(types.is_integer(kind) or numbers)


def _row_of(name: str) -> Callable[[int], str]:
    return lambda row: f"{name}, row {row + 1}"


FORMATS = (
    Format("parquet", (".parquet", ".pq"), read_parquet, lambda data: data.startswith(PARQUET)),
    Format("arrow", (".arrow", ".feather", ".arrows"), read_arrow, lambda data: data.startswith((FILE, STREAM))),
)
