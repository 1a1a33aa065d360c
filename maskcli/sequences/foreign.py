"""Sequences that other libraries hold: lists of Arrow, of whatever library speaks its protocol, and ragged tensors.

Told by what they offer, so that neither library is imported for anyone who has none of its objects.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from maskcli.errors import InputError, UsageError
from maskcli.records.sequences import RaggedSequences

ARROW = ("__arrow_c_stream__", "__arrow_c_array__")
"""What offers an Arrow array; see the PyCapsule interface in Arrow's documentation of its C data interface."""


def convert_foreign(sequences: Any) -> RaggedSequences | np.ndarray | None:
    """Return Arrow lists or a ragged tensor as ragged sequences of their dtype, and other tensors as an array.

    None for anything else: lists, arrays of NumPy.

    Raises:
        InputError: for nulls, lists of anything but integers, and a tensor with more than one ragged dimension.
        UsageError: for an Arrow object of another library where pyarrow is not installed.
    """
    kind = type(sequences)
    if kind.__name__ == "RaggedTensor" and hasattr(sequences, "row_splits"):
        return _from_tensor(sequences)
    if any(hasattr(kind, name) for name in ARROW):
        return _from_arrow(sequences)
    if hasattr(kind, "__array__") and not isinstance(sequences, np.ndarray):
        return np.asarray(sequences)
    return None


def _from_tensor(tensor: Any) -> RaggedSequences:
    if tensor.shape.rank != 2 or tensor.ragged_rank != 1:
        raise InputError(
            expected="a RaggedTensor of shape (n_sequences, None)",
            received=f"shape {tensor.shape}",
            fix="A sequence is a row of ids; flatten what is inside it.",
        )
    return RaggedSequences(tensor.values.numpy(), tensor.row_splits.numpy().astype(np.int64))


def _from_arrow(data: Any) -> RaggedSequences:
    chunked = _chunked(data)
    values, lengths = [], []
    row = 0
    for chunk in chunked.chunks:
        flat, timesteps = _parts(chunk, row)
        values.append(flat)
        lengths.append(timesteps)
        row += len(chunk)
    splits = np.zeros(row + 1, np.int64)
    np.cumsum(np.concatenate([np.zeros(0, np.int64), *lengths]), out=splits[1:])
    flat = values[0] if len(values) == 1 else np.concatenate([np.zeros(0, np.int32), *values])
    return RaggedSequences(flat, splits)


def _chunked(data: Any) -> Any:
    """Return Arrow data as a ChunkedArray of lists of integers."""
    try:
        import pyarrow as pa
    except ImportError:
        raise UsageError(
            expected="pyarrow, to read an Arrow object",
            received=f"a {type(data).__name__}, and no pyarrow",
            fix="pip install 'maskcli[parquet]', or pass lists.",
        ) from None
    chunked = data
    if not isinstance(data, pa.ChunkedArray):
        try:
            chunked = pa.chunked_array([data] if isinstance(data, pa.Array) else data)
        except (TypeError, ValueError, pa.ArrowException):
            raise _no_lists(f"a {type(data).__name__}") from None
    kind = chunked.type
    views = (getattr(pa.types, f"is_{name}", None) for name in ("list_view", "large_list_view"))
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, *views)
    if not any(is_kind(kind) for is_kind in lists if is_kind) or not pa.types.is_integer(kind.value_type):
        raise _no_lists(str(kind))
    return chunked


def _parts(chunk: Any, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of a chunk of lists, and the lengths of its rows; ``first`` is its first row."""
    if chunk.null_count:
        raise _null(first + int(np.flatnonzero(chunk.is_null().to_numpy(zero_copy_only=False))[0]), None)
    from pyarrow.compute import list_value_length

    lengths = list_value_length(chunk).to_numpy(zero_copy_only=False).astype(np.int64)
    values = chunk.flatten()
    if values.null_count:
        splits = np.concatenate([[0], np.cumsum(lengths)])
        at = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
        row = int(np.searchsorted(splits, at, side="right")) - 1
        raise _null(first + row, at - int(splits[row]))
    return values.to_numpy(), lengths


def _null(row: int, value: int | None) -> InputError:
    return InputError(
        row=row,
        value=value,
        expected="a list of integers" if value is None else "an integer",
        received="null",
        fix="Drop nulls, or fill them with an id of their own.",
    )


def _no_lists(received: str) -> InputError:
    return InputError(
        expected="an Arrow array of lists of integers",
        received=received,
        fix="Pass the one column that holds the sequences, such as table['tokens'].",
    )
