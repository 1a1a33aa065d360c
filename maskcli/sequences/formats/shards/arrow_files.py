"""Shards as Parquet and Arrow IPC, by pyarrow."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from maskcli.records.arrays import Array
from maskcli.records.manifest import ShardColumn
from maskcli.sequences.formats.arrow import make_layout_metadata
from maskcli.sequences.formats.shards.columns import AddColumns, Columns, ShardTable, collect_rows
from maskcli.sequences.formats.shards.numpy_files import make_shard_error
from maskcli.sequences.sources import import_pyarrow


@contextlib.contextmanager
def open_parquet_columns(out: BinaryIO, table: ShardTable) -> Iterator[AddColumns]:
    """Write the columns as those of a Parquet file: lists, and numbers."""
    from pyarrow.parquet import ParquetWriter

    schema = _make_table_schema(table)
    with ParquetWriter(out, schema) as writer:
        add, flush = collect_rows(lambda columns: writer.write_batch(_convert_columns(columns, schema)), table.step)
        yield add
        flush()


@contextlib.contextmanager
def open_arrow_columns(out: BinaryIO, table: ShardTable) -> Iterator[AddColumns]:
    """Write the columns as those of an Arrow IPC file."""
    from pyarrow import ipc

    schema = _make_table_schema(table)
    with ipc.new_file(out, schema) as writer:
        add, flush = collect_rows(lambda columns: writer.write_batch(_convert_columns(columns, schema)), table.step)
        yield add
        flush()


def _make_table_schema(table: ShardTable) -> Any:
    pa = import_pyarrow("--format")

    def choose_type(column: ShardColumn) -> Any:
        kind = pa.from_numpy_dtype(np.dtype(column.dtype))
        return pa.list_(kind) if len(column.shape) > 1 else kind

    fields = [(column.name, choose_type(column)) for column in table.columns]
    return pa.schema(fields, metadata=make_layout_metadata(table.layout))


def _convert_columns(columns: Columns, schema: Any) -> Any:
    pa = import_pyarrow("--format")
    arrays = []
    for name in schema.names:
        column = np.ascontiguousarray(columns[name])
        values = pa.array(column.reshape(-1))
        if column.ndim > 1:
            offsets = np.arange(len(column) + 1, dtype=np.int32) * column.shape[1]
            values = pa.ListArray.from_arrays(offsets, values)
        arrays.append(values)
    return pa.record_batch(arrays, schema=schema)


def read_parquet_columns(path: Path, name: str, table: ShardTable) -> Iterator[Columns]:
    """Yield the columns of a Parquet file, in parts."""

    def read_batches(file: Any) -> Iterator[Any]:
        from pyarrow.parquet import ParquetFile

        return ParquetFile(file).iter_batches(table.step, columns=[column.name for column in table.columns])  # type: ignore[no-any-return]

    return _read_batches(path, name, table, read_batches)


def read_arrow_columns(path: Path, name: str, table: ShardTable) -> Iterator[Columns]:
    """Yield the columns of an Arrow IPC file, in parts."""

    def read_batches(file: Any) -> Iterator[Any]:
        from pyarrow import ipc

        reader = ipc.open_file(file)
        return map(reader.get_batch, range(reader.num_record_batches))

    return _read_batches(path, name, table, read_batches)


def _read_batches(
    path: Path, name: str, table: ShardTable, read_batches: Callable[[Any], Iterator[Any]]
) -> Iterator[Columns]:
    pa = import_pyarrow(name)
    rows = 0
    try:
        with pa.OSFile(str(path)) as file:
            for batch in read_batches(file):
                yield {column.name: _restore_column(batch, column) for column in table.columns}
                rows += batch.num_rows
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise make_shard_error(name, f"one that pyarrow cannot read ({str(error).splitlines()[0]})") from None
    if rows != table.rows:
        raise make_shard_error(name, f"{rows} rows")


def _restore_column(batch: Any, column: ShardColumn) -> Array:
    array = batch.column(batch.schema.get_field_index(column.name))
    array.validate(full=True)
    if len(column.shape) > 1:
        array = array.flatten()
    values: Array = array.to_numpy(zero_copy_only=False)
    if values.dtype.name != column.dtype:
        raise ValueError(f"column {column.name!r} of {values.dtype}")
    return values.reshape(batch.num_rows, *column.shape[1:])


def check_pyarrow() -> None:
    """Raise UsageError if pyarrow is not installed."""
    import_pyarrow("--format")
