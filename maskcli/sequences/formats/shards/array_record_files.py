"""Shards as ArrayRecord, whose rows are read in any order: a ``tf.train.Example`` for each, without TensorFlow."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from maskcli.errors import UsageError, suggest_install, summarize_error
from maskcli.sequences.formats.shards.columns import AddColumns, Columns, ShardTable
from maskcli.sequences.formats.shards.numpy_files import make_shard_error
from maskcli.sequences.formats.shards.tfrecord_files import join_features
from maskcli.sequences.formats.tfrecord import decode_example, encode_examples

T = TypeVar("T")
OPTIONS = "group_size:1"
"""Each record is compressed by itself, so that reading one decompresses no other."""


def check_array_record() -> Any:
    """Return the module that reads and writes ArrayRecord; raise UsageError if it is not installed."""
    try:
        from array_record.python import array_record_module
    except ImportError:
        raise UsageError(
            where="--format array_record",
            expected="the package array_record, which reads and writes such files",
            received="a Python without array_record",
            fix=suggest_install("arrayrecord"),
        ) from None
    return array_record_module


@contextlib.contextmanager
def open_array_record_columns(out: BinaryIO, table: ShardTable) -> Iterator[AddColumns]:
    """Write an Example for each row, with the columns as its features."""
    names = [column.name for column in table.columns]
    # The library opens a file by its path only.
    writer = _call(check_array_record().ArrayRecordWriter, f"/dev/fd/{out.fileno()}", OPTIONS)

    def add(columns: Columns) -> None:
        for message in encode_examples({name: columns[name] for name in names}):
            _call(writer.write, message)

    yield add
    _call(writer.close)


def _call(function: Callable[..., T], *arguments: object) -> T:
    """Return the result of a function of the library; raise OSError for its errors."""
    try:
        return function(*arguments)
    except RuntimeError as error:
        full = os.strerror(errno.ENOSPC)
        raise OSError(full if full in str(error) else summarize_error(error)) from None


def read_array_record_columns(path: Path, name: str, table: ShardTable) -> Iterator[Columns]:
    """Yield the columns of an ArrayRecord file, in parts."""
    try:
        with contextlib.closing(check_array_record().ArrayRecordReader(str(path))) as reader:
            if reader.num_records() != table.rows:
                raise make_shard_error(name, f"{reader.num_records()} records")
            for start in range(0, table.rows, table.step):
                messages = reader.read(list(range(start, min(start + table.step, table.rows))))
                records = [decode_example(memoryview(message)) for message in messages]
                yield {column.name: join_features(records, column, name) for column in table.columns}
    except (RuntimeError, IndexError, KeyError, OverflowError) as error:
        raise make_shard_error(name, f"a damaged file ({summarize_error(error)})") from None
