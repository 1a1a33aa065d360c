"""Convert objects of other libraries: Arrow lists, objects with the Arrow protocol, and tensors.

Objects are recognized by their attributes, so that no library is imported unless its objects are used.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from maskcli.errors import InputError, UsageError, suggest_install
from maskcli.records.sequences import RaggedSequences
from maskcli.sequences.splits import make_row_splits

ARROW = ("__arrow_c_stream__", "__arrow_c_array__")
"""Methods of objects that export Arrow data: the PyCapsule interface of Arrow's C data interface."""


def convert_foreign(sequences: Any) -> RaggedSequences | np.ndarray | None:
    """Return Arrow lists and ragged tensors as ragged sequences of their dtype, and other tensors as an array.

    Returns None for anything else, such as lists and NumPy arrays.

    Raises:
        InputError: for nulls, lists of other values than integers, and tensors with several ragged dimensions.
        UsageError: for an Arrow object of another library if pyarrow is not installed.
    """
    kind = type(sequences)
    if kind.__name__ == "RaggedTensor" and hasattr(sequences, "row_splits"):
        return _convert_tensor(sequences)
    if any(hasattr(kind, name) for name in ARROW):
        return _convert_arrow(sequences)
    if hasattr(kind, "__array__") and not isinstance(sequences, np.ndarray):
        return np.asarray(sequences)
    return None


def _convert_tensor(tensor: Any) -> RaggedSequences:
    if tensor.shape.rank != 2 or tensor.ragged_rank != 1:
        raise InputError(
            expected="a RaggedTensor of shape (n_sequences, None)",
            received=f"shape {tensor.shape}",
            fix="A sequence is a row of ids; flatten its further dimensions.",
        )
    return RaggedSequences(tensor.values.numpy(), tensor.row_splits.numpy().astype(np.int64))


def _convert_arrow(data: Any) -> RaggedSequences:
    chunked = _make_chunked_array(data)
    values, lengths = [], []
    row = 0
    for chunk in chunked.chunks:
        chunk_values, chunk_lengths = _split_chunk(chunk, row)
        values.append(chunk_values)
        lengths.append(chunk_lengths)
        row += len(chunk)
    splits = make_row_splits(np.concatenate([np.zeros(0, np.int64), *lengths]))
    # The values of a single chunk are not copied.
    flat = values[0] if len(values) == 1 else np.concatenate([np.zeros(0, np.int32), *values])
    return RaggedSequences(flat, splits)


def _make_chunked_array(data: Any) -> Any:
    """Return Arrow data as a ChunkedArray of lists of integers."""
    try:
        import pyarrow as pa
    except ImportError:
        raise UsageError(
            expected="pyarrow, which reads Arrow objects",
            received=f"a {type(data).__name__} without pyarrow installed",
            fix=f"{suggest_install('parquet')}, or pass lists.",
        ) from None
    chunked = data
    if not isinstance(data, pa.ChunkedArray):
        try:
            chunked = pa.chunked_array([data] if isinstance(data, pa.Array) else data)
        except (TypeError, ValueError, pa.ArrowException):
            raise _make_type_error(f"a {type(data).__name__}") from None
    kind = chunked.type
    # Older versions of pyarrow have no list views.
    names = ("is_list", "is_large_list", "is_fixed_size_list", "is_list_view", "is_large_list_view")
    tests = [getattr(pa.types, name) for name in names if hasattr(pa.types, name)]
    if not any(is_list(kind) for is_list in tests) or not pa.types.is_integer(kind.value_type):
        raise _make_type_error(str(kind))
    return chunked


def _split_chunk(chunk: Any, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the values and the lengths of a chunk of lists; its first row is row ``first`` of all."""
    if chunk.null_count:
        raise _make_null_error(first + _find_null(chunk), None)
    from pyarrow.compute import list_value_length

    lengths = list_value_length(chunk).to_numpy(zero_copy_only=False).astype(np.int64)
    values = chunk.flatten()
    if values.null_count:
        row, position = RaggedSequences(values, make_row_splits(lengths)).place(_find_null(values))
        raise _make_null_error(first + row, position)
    return values.to_numpy(), lengths


def _find_null(array: Any) -> int:
    return int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])


def _make_null_error(row: int, value: int | None) -> InputError:
    return InputError(
        row=row,
        value=value,
        expected="a list of integers" if value is None else "an integer",
        received="null",
        fix="Drop nulls, or replace them with an unused id.",
    )


def _make_type_error(received: str) -> InputError:
    return InputError(
        expected="an Arrow array of lists of integers",
        received=received,
        fix="Pass only the column with the sequences, such as table['tokens'].",
    )
