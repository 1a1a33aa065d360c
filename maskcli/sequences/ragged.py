"""Rows of integers to ragged sequences: every value is looked at, none is bent to fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np

from maskcli.errors import InputError
from maskcli.records.arrays import Bools, Ints
from maskcli.records.sequences import RaggedSequences
from maskcli.sequences.fast.lists import convert_lists
from maskcli.sequences.foreign import convert_foreign

INT64 = np.iinfo(np.int64)


def as_ragged(sequences: object) -> RaggedSequences:
    """Return ``sequences`` as ragged sequences.

    Args:
        sequences: ``RaggedSequences``, an integer array or tensor ``(n_sequences, timesteps)``, an Arrow array of
            lists, a ``tf.RaggedTensor``, or rows of integers, each a list, a tuple or a 1-D integer array.

    Raises:
        InputError: when there is no row, or a value is not an integer that int64 holds.
    """
    if not isinstance(sequences, list | tuple | np.ndarray | RaggedSequences):
        foreign = convert_foreign(sequences)
        sequences = sequences if foreign is None else foreign
    if isinstance(sequences, RaggedSequences):
        return check_ragged(sequences)
    if isinstance(sequences, np.ndarray) and sequences.dtype != object:
        return split_matrix(sequences)
    if isinstance(sequences, str | bytes) or not isinstance(sequences, Iterable):
        raise InputError(
            expected="sequences: a list of lists of integers, an array or RaggedSequences",
            received=describe_value(sequences),
            fix="Pass one list of token ids for each sample.",
        )
    return join_rows(list(sequences))


def join_rows(rows: Sequence[object]) -> RaggedSequences:
    """Return rows of integers end to end; see ``as_ragged``."""
    if not rows:
        raise make_no_sequences_error()
    quick = convert_lists(rows)
    if quick is not None:
        return quick
    for index, row in enumerate(rows):
        if not isinstance(row, list | tuple | np.ndarray):
            raise InputError(
                row=index,
                expected="a sequence, that is a list of integers",
                received=describe_value(row),
                fix="One sequence alone is written [[1, 2, 3]].",
            )
    plain: list[Sequence[object]] = [
        list_row(row, index) if isinstance(row, np.ndarray) else row  # type: ignore[misc]
        for index, row in enumerate(rows)
    ]
    flat = list(chain.from_iterable(plain))
    if not set(map(type, flat)) <= {int}:
        for index, row in enumerate(plain):
            _check_row(row, index)
    splits = np.zeros(len(plain) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, plain), np.int64, len(plain)), out=splits[1:])
    try:
        return RaggedSequences(np.array(flat, dtype=np.int64), splits)
    except OverflowError:
        raise _too_large(plain) from None


def list_row(row: np.ndarray, index: int) -> list[int]:
    """Return a 1-D integer array as a list."""
    if row.ndim != 1 or (row.dtype.kind not in "iu" and row.size):
        raise InputError(
            row=index,
            expected="a 1-D array of integers",
            received=f"shape {row.shape} of {row.dtype}",
            fix="Convert it first; maskcli does not cut numbers to fit.",
        )
    return row.tolist()  # type: ignore[no-any-return]


def split_matrix(matrix: np.ndarray) -> RaggedSequences:
    """Return each row of a 2-D integer array as a sequence of full length."""
    if matrix.ndim != 2:
        raise InputError(
            expected="an array of shape (n_sequences, timesteps)",
            received=f"shape {matrix.shape}",
            fix="One sequence alone is array[None, :].",
        )
    if matrix.shape[0] == 0:
        raise make_no_sequences_error()
    n_rows, width = matrix.shape
    return RaggedSequences(as_int64(matrix).reshape(-1), np.arange(n_rows + 1, dtype=np.int64) * width)


def check_ragged(ragged: RaggedSequences) -> RaggedSequences:
    """Return ``ragged`` as integers that int64 holds when its splits frame its values; raise InputError otherwise."""
    values = np.asarray(ragged.values)
    fine = values.dtype.isnative and values.dtype.kind in "iu" and np.can_cast(values.dtype, np.int64)
    return RaggedSequences(values if fine else as_int64(values), check_splits(ragged).row_splits)


def check_splits(ragged: RaggedSequences) -> RaggedSequences:
    """Return ``ragged``, of whatever values, when its splits frame them; raise InputError otherwise."""
    values, splits = np.asarray(ragged.values), as_int64(np.asarray(ragged.row_splits))
    if values.ndim != 1 or splits.ndim != 1:
        raise _bad_splits(f"shapes {values.shape} and {splits.shape}")
    if len(splits) == 1 and splits[0] == 0 and not len(values):
        raise make_no_sequences_error()
    if not len(splits) or splits[0] != 0 or splits[-1] != len(values):
        ends = f"{splits[0]} to {splits[-1]}" if len(splits) else "no numbers"
        raise _bad_splits(f"{ends} for {len(values)} values")
    falls = splits[1:] < splits[:-1]
    if falls.any():
        first = int(falls.argmax())
        raise _bad_splits(f"{splits[first]} followed by {splits[first + 1]}")
    return RaggedSequences(values, splits)


def unpad(tokens: np.ndarray, mask: Bools) -> RaggedSequences:
    """Return the sequences of a padded batch, whose ``mask (n_sequences, maxlen)`` is True where a token stands."""
    values = as_int64(tokens)
    if values.ndim != 2 or values.shape != mask.shape:
        raise InputError(
            expected="tokens and mask of one shape (n_sequences, maxlen)",
            received=f"tokens {values.shape} and mask {mask.shape}",
            fix="Write both with `maskcli pad --output`.",
        )
    if not len(values):
        raise make_no_sequences_error()
    starts = mask[:, 1:] & ~mask[:, :-1]
    holes = np.flatnonzero(starts.sum(axis=1) + (mask[:, 0] if mask.shape[1] else 0) > 1)
    if len(holes):
        raise InputError(
            row=int(holes[0]),
            expected="valid timesteps that follow each other without a gap",
            received="a mask with a hole in it",
            fix="A sequence has no padding inside; remove those timesteps.",
        )
    return RaggedSequences(values[mask], np.concatenate([[0], np.cumsum(mask.sum(axis=1), dtype=np.int64)]))


def as_int64(values: np.ndarray) -> Ints:
    """Return an integer array as int64; raise InputError for floats, booleans and numbers past int64."""
    if values.dtype.kind not in "iu":
        raise InputError(
            expected="an array of integers",
            received=f"dtype {values.dtype}",
            fix="Convert it first, for example with .astype('int32'); maskcli does not cut numbers to fit.",
        )
    if values.dtype.kind == "u" and values.size and values.max() > INT64.max:
        raise InputError(
            expected=f"integers up to {INT64.max}", received=str(values.max()), fix="Map ids to a smaller range."
        )
    return values.astype(np.int64, copy=False)


def concatenate(parts: Sequence[RaggedSequences]) -> RaggedSequences:
    """Return the sequences of all parts, in order."""
    if len(parts) == 1:
        return parts[0]
    offsets = np.cumsum([0, *(len(part.values) for part in parts)])
    splits = [part.row_splits[1:] + offset for part, offset in zip(parts, offsets, strict=False)]
    return RaggedSequences(
        np.concatenate([part.values for part in parts]), np.concatenate([np.zeros(1, np.int64), *splits])
    )


def describe_value(value: object) -> str:
    """Return a short text that says what ``value`` is, for a message."""
    text = repr(value)
    if len(text) > 60:
        text = f"{text[:40]} ... {text[-12:]}"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str | int | float | list | dict):
        return text
    return f"{text} ({type(value).__name__})"


def make_no_sequences_error() -> InputError:
    """Return the error for input without a single sequence."""
    return InputError(
        expected="at least one sequence", received="no sequences", fix="Give one list of token ids for each sample."
    )


def _check_row(row: Sequence[object], index: int) -> None:
    for position, value in enumerate(row):
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
            raise InputError(
                row=index,
                value=position,
                expected="an integer",
                received=describe_value(value),
                fix="Map words to ids, and round floats yourself: maskcli does not cut numbers to fit.",
            )


def _too_large(rows: Sequence[Sequence[object]]) -> InputError:
    for index, row in enumerate(rows):
        for position, value in enumerate(row):
            if not INT64.min <= value <= INT64.max:  # type: ignore[operator]
                return InputError(
                    row=index,
                    value=position,
                    expected=f"an integer from {INT64.min} to {INT64.max} (int64)",
                    received=describe_value(value),
                    fix="Map ids to a smaller range.",
                )
    raise AssertionError("NumPy refused integers that int64 holds")


def _bad_splits(received: str) -> InputError:
    return InputError(
        expected="row_splits that start at 0, never fall and end at the number of values",
        received=received,
        fix="row_splits[i] and row_splits[i + 1] frame sequence i in values.",
    )
