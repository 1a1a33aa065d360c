"""Shards as ``.npy``, with a file for each column, and as ``.npz``."""

from __future__ import annotations

import contextlib
import io
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from maskcli.errors import InputError
from maskcli.records.arrays import Array
from maskcli.records.manifest import ShardColumn
from maskcli.sequences.formats.numpy_arrays import load_arrays
from maskcli.sequences.formats.shards.columns import PART, AddColumns, Columns, ShardTable


@contextlib.contextmanager
def open_npy_columns(out: BinaryIO, table: ShardTable) -> Iterator[AddColumns]:
    """Write the only column of a table as one array."""
    (column,) = table.columns
    _write_column_header(out, column)
    yield lambda columns: _write_rows(out, column, columns)


@contextlib.contextmanager
def open_npz_columns(out: BinaryIO, table: ShardTable) -> Iterator[AddColumns]:
    """Write all columns as the arrays of an archive."""
    method = zipfile.ZIP_DEFLATED if table.compress else zipfile.ZIP_STORED
    first, *others = table.columns
    folder = Path(str(out.name)).parent  # The temporary directory may be small.
    # An archive is written one array after the other, so that all columns but the first wait in files.
    with zipfile.ZipFile(out, "w", method) as archive, contextlib.ExitStack() as stack:
        spools: list[tuple[ShardColumn, IO[bytes]]] = [
            (column, stack.enter_context(tempfile.TemporaryFile(dir=folder))) for column in others
        ]
        with archive.open(f"{first.name}.npy", "w", force_zip64=True) as member:
            _write_column_header(member, first)

            def add(columns: Columns) -> None:
                _write_rows(member, first, columns)
                for column, spool in spools:
                    _write_rows(spool, column, columns)

            yield add
        for column, spool in spools:
            spool.seek(0)
            with archive.open(f"{column.name}.npy", "w", force_zip64=True) as member:
                _write_column_header(member, column)
                while piece := spool.read(PART):
                    member.write(piece)


def _write_column_header(out: IO[bytes], column: ShardColumn) -> None:
    header = io.BytesIO()
    description = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(column.dtype)),
        "fortran_order": False,
        "shape": column.shape,
    }
    np.lib.format.write_array_header_1_0(header, description)
    out.write(header.getvalue())


def _write_rows(out: IO[bytes], column: ShardColumn, columns: Columns) -> None:
    out.write(np.ascontiguousarray(columns[column.name], column.dtype).data)


def read_npy_columns(path: Path, name: str, table: ShardTable) -> Iterator[Columns]:
    """Yield the only column of a table, in parts."""
    (column,) = table.columns
    with path.open("rb") as file:
        expected = io.BytesIO()
        _write_column_header(expected, column)
        if file.read(len(expected.getvalue())) != expected.getvalue():
            raise make_shard_error(name, "another header")
        for start in range(0, table.rows, table.step):
            shape = (min(table.step, table.rows - start), *column.shape[1:])
            # The file is read, not mapped: reading a mapped file that someone cuts short kills the process.
            part: Array = np.empty(shape, column.dtype)
            if file.readinto(part.reshape(-1).view(np.uint8).data) != part.nbytes:
                raise make_shard_error(name, "a file that ends early")
            yield {column.name: part}


def read_npz_columns(path: Path, name: str, table: ShardTable) -> Iterator[Columns]:
    """Yield the columns of an archive, in parts."""
    arrays = load_arrays(path.read_bytes(), name)
    for column in table.columns:
        array: Any = arrays.get(column.name)
        if array is None or (array.dtype.name, array.shape) != (column.dtype, column.shape):
            raise make_shard_error(name, f"another array {column.name!r}")
    for start in range(0, table.rows, table.step):
        yield {column.name: arrays[column.name][start : start + table.step] for column in table.columns}


def make_shard_error(name: str, received: str) -> InputError:
    """Return the error for a file that differs from its manifest."""
    return InputError(
        where=name,
        expected="the file that the manifest lists",
        received=received,
        fix="Run the command that wrote the directory again: it replaces shards that have changed.",
    )
