"""Shards as TFRecord, without TensorFlow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from maskcli.records.arrays import Array
from maskcli.records.manifest import ShardColumn
from maskcli.sequences.formats.shards.columns import AddColumns, Columns, ShardTable
from maskcli.sequences.formats.shards.numpy_files import make_shard_error
from maskcli.sequences.formats.tfrecord import encode_examples, import_crc32c, list_examples, write_records


@contextlib.contextmanager
def open_tfrecord_columns(out: BinaryIO, table: ShardTable) -> Iterator[AddColumns]:
    """Write an Example for each row, with the columns as its features."""
    names = [column.name for column in table.columns]
    yield lambda columns: write_records(out, encode_examples({name: columns[name] for name in names}))


def read_tfrecord_columns(path: Path, name: str, table: ShardTable) -> Iterator[Columns]:
    """Yield the columns of a TFRecord file, in parts."""
    records = list_examples(path.read_bytes(), name)
    if len(records) != table.rows:
        raise make_shard_error(name, f"{len(records)} records")
    for start in range(0, table.rows, table.step):
        part = records[start : start + table.step]
        yield {column.name: join_features(part, column, name) for column in table.columns}


def join_features(records: list[dict[str, Array]], column: ShardColumn, name: str) -> Array:
    """Return a column of Examples; raise InputError for records without it."""
    try:
        joined = np.stack([record[column.name] for record in records]).astype(column.dtype)
        return joined.reshape(len(records), *column.shape[1:])
    except (KeyError, ValueError):
        raise make_shard_error(name, f"records without a {column.name!r} of shape {column.shape[1:]}") from None


def check_crc32c() -> None:
    """Raise UsageError if google-crc32c is not installed."""
    import_crc32c("--format tfrecord")
