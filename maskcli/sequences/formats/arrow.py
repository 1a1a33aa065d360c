"""Parquet and Arrow IPC, read by pyarrow: a column of lists, or records with a field for each column."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, TypeVar

import numpy as np

from maskcli.errors import InputError, MaskcliError
from maskcli.records.arrays import Array
from maskcli.records.layout import Layout
from maskcli.records.sequences import PaddedBatch, RaggedSequences
from maskcli.sequences.foreign import convert_foreign
from maskcli.sequences.formats import json_text
from maskcli.sequences.formats.base import (
    MASK,
    Add,
    Chunk,
    Field,
    Format,
    ParsedRows,
    check_rows,
    locate_error,
    make_chunk,
    name_rows,
    quote_names,
    raise_or_return,
)
from maskcli.sequences.formats.json_text import find_marks, is_marks_name, match_names
from maskcli.sequences.padding import check_layout
from maskcli.sequences.ragged import check_ragged, check_splits, drop_marked_padding
from maskcli.sequences.remote import RemoteFile
from maskcli.sequences.sources import Source, import_pyarrow
from maskcli.sequences.threads import map_in_order, prefetch

T = TypeVar("T")
ROWS = 2**13
"""Rows of a chunk, or fewer if these have more bytes than ``PART``."""
PART = 2**22
BUFFER = 2**20
"""Bytes that pyarrow reads at once."""

FILE, STREAM, PARQUET = b"ARROW1\x00\x00", b"\xff\xff\xff\xff", b"PAR1"
"""First bytes of the two forms of Arrow IPC, and of Parquet."""


def read_parquet(data: bytes, name: str, field: Field) -> ParsedRows:
    """Return the rows of ``field``, or of the only column of lists of integers."""
    return _select_rows(_read_table(data, name, "a Parquet", _read_parquet_table), name, field)


def read_arrow(data: bytes, name: str, field: Field) -> ParsedRows:
    """Return the rows of ``field``, or of the only column of lists of integers, of Arrow IPC."""
    return _select_rows(_read_table(data, name, "an Arrow IPC", _read_ipc_table), name, field)


def _read_parquet_table(source: Any) -> Any:
    from pyarrow.parquet import ParquetFile

    return ParquetFile(source).read()


def _read_ipc_table(source: Any) -> Any:
    return _open_ipc(source).read_all()


def _read_table(data: bytes, name: str, kind: str, read: Callable[[Any], Any]) -> Any:
    with _convert_errors(name, kind):
        table = read(import_pyarrow(name).BufferReader(data))
        table.validate(full=True)
    return table


def read_parquet_chunks(source: Source, field: Field, convert: Callable[[RaggedSequences], T]) -> Iterator[Chunk[T]]:
    """Yield the results of ``convert`` for parts of a column; see ``ReadChunks``."""

    def batches(data: Any) -> Iterator[Any]:
        from pyarrow.parquet import ParquetFile

        # With a buffer, pyarrow reads page by page; otherwise a whole column of a row group at once.
        file = ParquetFile(data, buffer_size=BUFFER, pre_buffer=False)
        yield file.schema_arrow
        column = _choose_column(file.schema_arrow, field, source.name)
        if column not in file.schema_arrow.names:
            return  # A pattern of columns: the file is read as a whole.
        marked_by = _find_marks(file.schema_arrow, column, field)
        # pyarrow reads a name with a dot as a path into nested columns. Then all columns are read.
        columns = None if "." in column else [name for name in (column, marked_by) if name is not None]
        yield from _read_batches(file, source, _count_rows_of_chunk(file.metadata), columns)

    return _read_chunks(source, field, convert, "a Parquet", batches, read_parquet)


def read_arrow_chunks(source: Source, field: Field, convert: Callable[[RaggedSequences], T]) -> Iterator[Chunk[T]]:
    """Yield the results of ``convert`` for parts of a column; see ``ReadChunks``."""

    def batches(data: Any) -> Iterator[Any]:
        reader = _open_ipc(data)
        yield reader.schema
        if hasattr(reader, "num_record_batches"):
            whole_batches = map(reader.get_batch, range(reader.num_record_batches))
        else:
            whole_batches = iter(reader)
        yield from (batch.slice(start, ROWS) for batch in whole_batches for start in range(0, batch.num_rows, ROWS))

    return _read_chunks(source, field, convert, "an Arrow IPC", batches, read_arrow)


def read_column(source: Source, name: str, option: str) -> Iterator[list[Any]]:
    """Yield the values of a column of any type, some rows at a time; ``option`` names it, for messages."""
    from pyarrow.parquet import ParquetFile

    with _convert_errors(source.name, "an Arrow or Parquet"), _open_source(source) as data:
        if data.read(len(PARQUET)) == PARQUET:
            file = ParquetFile(data, pre_buffer=False)
            _choose_column(file.schema_arrow, Field(name, option), source.name)
            batches = _read_batches(file, source, ROWS, None if "." in name else [name])
        else:
            data.seek(0)
            batches = _open_ipc(data).read_all().to_batches()
        for batch in batches:
            _choose_column(batch.schema, Field(name, option), source.name)
            yield batch.column(batch.schema.get_field_index(name)).to_pylist()


def _read_batches(file: Any, source: Source, rows: int, columns: Sequence[str] | None) -> Iterator[Any]:
    """Yield batches of up to ``rows`` rows of the part of a Parquet file that a source is.

    Each row group is read by itself: a damaged one may hold more rows than it states, which pyarrow would take for rows
    of the next one.
    """
    groups = range(file.num_row_groups) if source.part is None else range(source.part.start, source.part.stop)
    for group in groups:
        yield from file.iter_batches(rows, columns=columns, row_groups=[group])


def count_group_rows(source: Source) -> list[int]:
    """Return the number of rows of each row group of a Parquet file."""
    from pyarrow.parquet import ParquetFile

    with _convert_errors(source.name, "a Parquet"), _open_source(source) as data:
        metadata = ParquetFile(data).metadata
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def _count_rows_of_chunk(metadata: Any) -> int:
    """Return how many rows of a Parquet file are about ``PART`` bytes, at most ``ROWS``."""
    size: int = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    return max(1, min(ROWS, PART * int(metadata.num_rows) // max(1, size)))


def _read_chunks(
    source: Source,
    field: Field,
    convert: Callable[[RaggedSequences], T],
    kind: str,
    read_batches: Callable[[Any], Iterator[Any]],
    read: Callable[[bytes, str, Field], ParsedRows],
) -> Iterator[Chunk[T]]:
    """Yield the results of ``convert`` for each record batch.

    Args:
        source: the file.
        field: the column.
        convert: see ``ReadChunks``.
        kind: the kind of file, for messages.
        read_batches: yields the schema and then the record batches of an open file.
        read: reads the file as a whole, which is done if the column does not hold lists of integers.
    """
    name = source.name
    with _convert_errors(name, kind), _open_source(source) as data:
        batches = read_batches(data)
        schema = next(batches)
        column = _choose_column(schema, field, name)
        if column not in schema.names or not _holds_integers(schema.field(column).type, Field()):
            parsed = read(source.read(), name, field)
            yield make_chunk(check_rows(parsed, name), parsed, convert)
            return

        marked_by, layout = _find_marks(schema, column, field), _read_metadata(schema, column)

        def work(batch: Any) -> T | MaskcliError:
            try:
                batch.validate(full=True)
                return convert(check_ragged(_convert_marked(batch, column, marked_by)))
            except MaskcliError as error:
                # The row is counted from the start of this batch: only the loop below knows its place.
                return error if error.row is not None else error.at(name)

        row = 0 if source.part is None else source.part.first_row
        for batch, result in map_in_order(work, prefetch(batches)):
            where = name_rows(name, row)
            yield Chunk(batch.num_rows, raise_or_return(result, where), where, layout)
            row += batch.num_rows


@contextlib.contextmanager
def _open_source(source: Source) -> Iterator[Any]:
    """Yield a file for pyarrow; a compressed file or a pipe is read into memory first."""
    pa = import_pyarrow(source.name)
    if source.file is not None and not source.is_packed:
        # The file is read, not mapped: reading a mapped file that someone cuts short kills the process.
        with pa.OSFile(str(source.file)) as file:
            yield file
    elif source.is_remote and not source.is_packed:
        with RemoteFile(source.path) as remote, pa.PythonFile(remote, "r") as file:
            yield file
    else:
        yield pa.BufferReader(source.read())


@contextlib.contextmanager
def _convert_errors(name: str, kind: str) -> Iterator[None]:
    """Convert errors of pyarrow to InputError."""
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


def _choose_column(schema: Any, field: Field, name: str) -> str:
    """Return the name of the column with the sequences."""
    names = schema.names
    if len(set(names)) < len(names):
        raise InputError(
            where=name,
            expected="columns of different names",
            received=f"columns named {quote_names(names)}",
            fix="Rename the columns.",
        )
    column = field.name if field.name is not None else _find_only_column(schema, field, name)
    if not match_names(column, names):
        raise InputError(
            where=name,
            expected=f"a column named {column!r}",
            received=f"columns named {quote_names(names)}",
            fix=f"Name the column with {field.option}.",
        )
    return column


def _select_rows(table: Any, name: str, field: Field) -> ParsedRows:
    """Return the rows of one column, or whole records for ``json_text.WHOLE``."""
    if field is json_text.WHOLE:
        # Records need different column names; if there are any columns, this checks only that.
        _choose_column(table.schema, Field(table.column_names[0]) if table.column_names else field, name)
        return ParsedRows(table.to_pylist(), name_rows(name))
    column = _choose_column(table.schema, field, name)
    if column not in table.column_names:
        records = table.select(match_names(column, table.column_names)).to_pylist()
        return ParsedRows(json_text.get_field_rows(records, field, name, name_rows(name)).rows, name_rows(name))
    marked_by = _find_marks(table.schema, column, field)
    if marked_by is None or not _holds_integers(table.schema.field(column).type, Field()):
        return ParsedRows(_convert_column(table[column], name), name_rows(name))
    try:
        rows = _convert_marked(table, column, marked_by)
    except InputError as error:
        raise locate_error(error, name_rows(name), name) from None
    return ParsedRows(rows, name_rows(name), _read_metadata(table.schema, column))


def _find_marks(schema: Any, column: str, field: Field) -> str | None:
    """Return the column of lists that marks the valid timesteps of another; None for targets, or without one."""
    marked_by = None if field.numbers else find_marks(schema.names, column)
    return marked_by if marked_by is not None and _is_list(schema.field(marked_by).type) else None


def _convert_marked(data: Any, column: str, marked_by: str | None) -> RaggedSequences:
    """Return a column of lists of integers without the timesteps that another column marks as padding."""
    rows = _convert_lists(data.column(data.schema.get_field_index(column)))
    if marked_by is None:
        return rows
    import pyarrow as pa

    marks = data.column(data.schema.get_field_index(marked_by))
    if pa.types.is_boolean(marks.type.value_type):
        marks = marks.cast(pa.list_(pa.int8()))
    return drop_marked_padding(check_splits(rows), _convert_lists(marks), column, marked_by)


def _convert_lists(column: Any) -> RaggedSequences:
    rows = convert_foreign(column)
    assert isinstance(rows, RaggedSequences)  # noqa: S101 - the column holds lists
    return rows


def _read_metadata(schema: Any, column: str) -> Layout | None:
    """Return the layout that maskcli recorded for the tokens; None in other files."""
    recorded = (schema.metadata or {}).get(LAYOUT)
    if recorded is None or column != TOKENS:
        return None
    try:
        return check_layout(Layout(**json.loads(recorded), trim=False))
    except (TypeError, ValueError):  # Another program has changed it. A UsageError is a ValueError as well.
        return None


def read_parquet_layout(source: Source) -> Layout | None:
    """Return the layout that a Parquet file records for its tokens; see ``Format.read_layout``."""
    from pyarrow.parquet import ParquetFile

    with _convert_errors(source.name, "a Parquet"), _open_source(source) as data:
        return _read_metadata(ParquetFile(data).schema_arrow, TOKENS)


def read_arrow_layout(source: Source) -> Layout | None:
    """Return the layout that an Arrow file records for its tokens; see ``Format.read_layout``."""
    with _convert_errors(source.name, "an Arrow IPC"), _open_source(source) as data:
        return _read_metadata(_open_ipc(data).schema, TOKENS)


def _open_ipc(data: Any) -> Any:
    """Return the reader of the file form or of the stream form of Arrow IPC."""
    from pyarrow import ipc

    is_file = data.read(len(FILE)) == FILE
    data.seek(0)
    return ipc.open_file(data) if is_file else ipc.open_stream(data)


def _find_only_column(schema: Any, field: Field, name: str) -> str:
    """Return the only column that can hold the sequences."""
    candidates = [column.name for column in schema if _holds_integers(column.type, field)]
    if not field.numbers:  # The mask of another column holds integers as well.
        candidates = [name for name in candidates if not is_marks_name(name)] or candidates
    if len(candidates) == 1:
        return str(candidates[0])
    content = "numbers" if field.numbers else "integers"
    raise InputError(
        where=name,
        expected=f"one column of lists of {content}",
        received=f"{quote_names(candidates)} among the columns {quote_names(schema.names)}",
        fix=f"Name the column with {field.option}.",
    )


def _convert_column(column: Any, name: str) -> RaggedSequences | list[Any]:
    """Return a column of lists of integers as ragged sequences, any other column as Python objects."""
    if not _holds_integers(column.type, Field()):
        return list(column.to_pylist())
    try:
        rows = convert_foreign(column)
    except InputError as error:
        raise locate_error(error, name_rows(name), name) from None
    return rows if isinstance(rows, RaggedSequences) else np.asarray(rows).tolist()


def _holds_integers(kind: Any, field: Field) -> bool:
    """Return whether a column holds lists of integers, or of floats or vectors if ``field`` allows them."""
    return _is_list(kind) and _is_number(kind.value_type, field)


def _is_list(kind: Any) -> bool:
    return hasattr(kind, "value_type") and "list" in str(kind)


def _is_number(kind: Any, field: Field) -> bool:
    from pyarrow import types

    numbers = field.numbers and (types.is_floating(kind) or types.is_boolean(kind) or _is_list(kind))
    return bool(types.is_integer(kind) or numbers)


TOKENS = "tokens"
LAYOUT = b"maskcli"
"""Where the metadata of a written schema has the layout of the batch."""


def make_layout_metadata(layout: Layout) -> dict[bytes, str]:
    """Return the metadata of a schema that records a layout."""
    names = ("padding", "truncating", "maxlen", "value", "dtype")
    return {LAYOUT: json.dumps({name: getattr(layout, name) for name in names})}


def _make_schema(layout: Layout) -> Any:
    """Return the schema of a written batch: its tokens, their mask, and its layout as metadata."""
    pa = import_pyarrow("--output")
    tokens, mask = pa.list_(pa.from_numpy_dtype(np.dtype(layout.dtype))), pa.list_(pa.bool_())
    return pa.schema([(TOKENS, tokens), (TOKENS + MASK, mask)], metadata=make_layout_metadata(layout))


def _make_record_batch(batch: PaddedBatch, schema: Any) -> Any:
    pa = import_pyarrow("--output")
    columns = [_convert_rows(pa, batch.tokens), _convert_rows(pa, batch.mask)]
    return pa.record_batch(columns, schema=schema)


def _convert_rows(pa: Any, rows: Array) -> Any:
    """Return ``(n, timesteps)`` as lists."""
    n_rows, width = rows.shape
    offsets = np.arange(n_rows + 1, dtype=np.int32) * width
    return pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(rows).reshape(-1)))


@contextlib.contextmanager
def open_parquet_writer(out: BinaryIO, layout: Layout, _rows: int | None = None) -> Iterator[Add]:
    """Write the columns ``tokens`` and ``tokens.mask``; see ``Format.writer``."""
    from pyarrow.parquet import ParquetWriter

    schema = _make_schema(layout)
    with ParquetWriter(out, schema) as writer:
        yield lambda batch: writer.write_batch(_make_record_batch(batch, schema))


@contextlib.contextmanager
def open_arrow_writer(out: BinaryIO, layout: Layout, _rows: int | None = None) -> Iterator[Add]:
    """Write the columns ``tokens`` and ``tokens.mask``; see ``Format.writer``."""
    from pyarrow import ipc

    schema = _make_schema(layout)
    with ipc.new_file(out, schema) as writer:
        yield lambda batch: writer.write_batch(_make_record_batch(batch, schema))


def _looks_like_arrow(data: bytes) -> bool:
    return data.startswith((FILE, STREAM))


FORMATS = (
    Format(
        "parquet",
        (".parquet", ".pq"),
        read_parquet,
        lambda data: data.startswith(PARQUET),
        open_parquet_writer,
        read_parquet_chunks,
        read_layout=read_parquet_layout,
        needs_pyarrow=True,
    ),
    Format(
        "arrow",
        (".arrow", ".feather", ".arrows"),
        read_arrow,
        _looks_like_arrow,
        open_arrow_writer,
        read_arrow_chunks,
        read_layout=read_arrow_layout,
        needs_pyarrow=True,
    ),
)
