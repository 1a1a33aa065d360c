"""Parquet and Arrow IPC, by pyarrow: a column of lists, or records with a field for each column."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar

import numpy as np

from maskcli.errors import InputError, MaskcliError
from maskcli.records.sequences import RaggedSequences
from maskcli.sequences.foreign import convert_foreign
from maskcli.sequences.formats import json_text
from maskcli.sequences.formats.base import (
    Chunk,
    Field,
    Format,
    ParsedRows,
    check_rows,
    make_chunk,
    quote_names,
    raise_or_return,
)
from maskcli.sequences.ragged import check_ragged
from maskcli.sequences.sources import Source, import_pyarrow
from maskcli.sequences.threads import map_in_order, prefetch

T = TypeVar("T")
ROWS = 2**13
"""Rows at a time, fewer where these have more bytes than ``PART``."""
PART = 2**22
BUFFER = 2**20
"""Bytes of a file that are read at once."""

FILE, STREAM, PARQUET = b"ARROW1\x00\x00", b"\xff\xff\xff\xff", b"PAR1"
"""First bytes: of the two forms of Arrow IPC, and of Parquet."""


def read_parquet(data: bytes, name: str, field: Field) -> ParsedRows:
    """Return the rows of ``field``, or of the only column of lists of integers."""
    return _rows(_table(data, name, "a Parquet", _parquet), name, field)


def read_arrow(data: bytes, name: str, field: Field) -> ParsedRows:
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
    with _refusing(name, kind):
        table = read(import_pyarrow(name).BufferReader(data))
        table.validate(full=True)
    return table


def read_parquet_chunks(source: Source, field: Field, made: Callable[[RaggedSequences], T]) -> Iterator[Chunk[T]]:
    """Yield what ``made`` makes of some rows at a time; see ``ReadChunks``."""

    def batches(data: Any) -> Iterator[Any]:
        from pyarrow.parquet import ParquetFile

        file = ParquetFile(data, buffer_size=BUFFER, pre_buffer=False)  # Pages as they are read, not whole columns.
        yield file.schema_arrow
        yield from file.iter_batches(
            _rows_at_once(file.metadata), columns=_wanted(file.schema_arrow, field, source.name)
        )

    return _chunks(source, field, made, ("a Parquet", "OSFile"), batches, read_parquet)


def read_arrow_chunks(source: Source, field: Field, made: Callable[[RaggedSequences], T]) -> Iterator[Chunk[T]]:
    """Yield what ``made`` makes of some rows at a time; see ``ReadChunks``."""

    def batches(data: Any) -> Iterator[Any]:
        from pyarrow import ipc

        if data.read(len(FILE)) == FILE:
            file = ipc.open_file(data)
            yield file.schema
            found = map(file.get_batch, range(file.num_record_batches))
        else:
            data.seek(0)
            stream = ipc.open_stream(data)
            yield stream.schema
            found = iter(stream)
        yield from (batch.slice(start, ROWS) for batch in found for start in range(0, batch.num_rows, ROWS))

    return _chunks(source, field, made, ("an Arrow IPC", "memory_map"), batches, read_arrow)


def _rows_at_once(metadata: Any) -> int:
    size: int = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    return max(1, min(ROWS, PART * int(metadata.num_rows) // max(1, size)))


def _wanted(schema: Any, field: Field, name: str) -> list[str] | None:
    """Return the one column to read, or None where its name would be taken for a path into others."""
    chosen = _chosen(schema, field, name)
    return [chosen] if "." not in chosen else None


def _chunks(
    source: Source,
    field: Field,
    made: Callable[[RaggedSequences], T],
    opened: tuple[str, Literal["OSFile", "memory_map"]],
    batches: Callable[[Any], Iterator[Any]],
    read: Callable[[bytes, str, Field], ParsedRows],
) -> Iterator[Chunk[T]]:
    name, (kind, opener) = source.name, opened
    with _refusing(name, kind), _opened(source, opener) as data:
        found = batches(data)
        schema = next(found)
        chosen = _chosen(schema, field, name)
        if not _is_integers(schema.field(chosen).type, Field()):
            parsed = read(source.read(), name, field)
            yield make_chunk(check_rows(parsed, name), parsed, made)
            return

        def work(batch: Any) -> T | MaskcliError:
            try:
                batch.validate(full=True)
                rows = convert_foreign(batch.column(batch.schema.get_field_index(chosen)))
                assert isinstance(rows, RaggedSequences)  # noqa: S101 - what a column of lists is
                return made(check_ragged(rows))
            except MaskcliError as error:
                return error if error.row is not None else error.at(name)

        row = 0
        for batch, result in map_in_order(work, prefetch(found)):
            where = _row_of(name, row)
            yield Chunk(batch.num_rows, raise_or_return(result, where), where)
            row += batch.num_rows


@contextlib.contextmanager
def _opened(source: Source, opener: Literal["OSFile", "memory_map"]) -> Iterator[Any]:
    """Yield a file for pyarrow: read or mapped into memory, or unpacked where it is packed or a pipe."""
    pa = import_pyarrow(source.name)
    if source.file is not None and not source.is_packed:
        with getattr(pa, opener)(str(source.file)) as file:
            yield file
    else:
        yield pa.BufferReader(source.read())


@contextlib.contextmanager
def _refusing(name: str, kind: str) -> Iterator[None]:
    """Say of a file that pyarrow cannot read what it says."""
    pa = import_pyarrow(name)
    try:
        yield
    except MaskcliError:
        raise
    except (pa.ArrowException, OSError, ValueError, NotImplementedError) as error:
        raise InputError(
            where=name,
            expected=f"{kind} file",
            received=f"one that pyarrow cannot read ({str(error).splitlines()[0].rstrip('.')})",
            fix="Fetch or write it again.",
        ) from None


def _chosen(schema: Any, field: Field, name: str) -> str:
    """Return the name of the column that holds the sequences."""
    names = schema.names
    if len(set(names)) < len(names):
        raise InputError(
            where=name,
            expected="columns of different names",
            received=f"columns named {quote_names(names)}",
            fix="Rename the columns.",
        )
    chosen = field.name if field.name is not None else _only(schema, field, name)
    if chosen not in names:
        raise InputError(
            where=name,
            expected=f"a column named {chosen!r}",
            received=f"columns named {quote_names(names)}",
            fix=f"Name the column with {field.option}.",
        )
    return chosen


def _rows(table: Any, name: str, field: Field) -> ParsedRows:
    if field is json_text.WHOLE:
        _chosen(table.schema, Field(table.column_names[0]) if table.column_names else field, name)
        return ParsedRows(table.to_pylist(), _row_of(name))
    return ParsedRows(_column(table[_chosen(table.schema, field, name)], name), _row_of(name))


def _only(schema: Any, field: Field, name: str) -> str:
    """Return the one column that can hold the sequences."""
    found = [each.name for each in schema if _is_integers(each.type, field)]
    if len(found) == 1:
        return str(found[0])
    raise InputError(
        where=name,
        expected=f"one column of lists of {'numbers' if field.numbers else 'integers'}",
        received=f"{quote_names(found)} among the columns {quote_names(schema.names)}",
        fix=f"Name the column with {field.option}.",
    )


def _column(column: Any, name: str) -> RaggedSequences | list[Any]:
    """Return a column of lists of integers as ragged sequences, and any other as what Python has for it."""
    if not _is_integers(column.type, Field()):
        return list(column.to_pylist())
    try:
        rows = convert_foreign(column)
    except InputError as error:
        raise error.at(_row_of(name)(error.row) if error.row is not None else name) from None
    return rows if isinstance(rows, RaggedSequences) else np.asarray(rows).tolist()


def _is_integers(kind: Any, field: Field) -> bool:
    """Return whether a column is of lists of integers, or of whatever else will do for ``field``."""
    return _is_list(kind) and _is_number(kind.value_type, field)


def _is_list(kind: Any) -> bool:
    return hasattr(kind, "value_type") and "list" in str(kind)


def _is_number(kind: Any, field: Field) -> bool:
    from pyarrow import types

    numbers = field.numbers and (types.is_floating(kind) or types.is_boolean(kind) or _is_list(kind))
    return bool(types.is_integer(kind) or numbers)


def _row_of(name: str, first: int = 0) -> Callable[[int], str]:
    return lambda row: f"{name}, row {first + row + 1}"


def _looks_like_arrow(data: bytes) -> bool:
    return data.startswith((FILE, STREAM))


FORMATS = (
    Format(
        "parquet", (".parquet", ".pq"), read_parquet, lambda data: data.startswith(PARQUET), chunks=read_parquet_chunks
    ),
    Format("arrow", (".arrow", ".feather", ".arrows"), read_arrow, _looks_like_arrow, chunks=read_arrow_chunks),
)
