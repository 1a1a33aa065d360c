"""Convert rows of integers to ragged sequences. Every value is checked, and none is changed to fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from itertools import chain

import numpy as np

from maskcli.errors import InputError, NestedRowsError
from maskcli.records.arrays import Bools, Ints
from maskcli.records.sequences import RaggedSequences
from maskcli.sequences.bounds import check_memory
from maskcli.sequences.fast import convert_lists
from maskcli.sequences.foreign import convert_foreign
from maskcli.sequences.splits import make_row_splits

INT64 = np.iinfo(np.int64)
TEXT_FIX = "Text becomes ids with --tokenizer FILE: a tokenizer.json, or a vocabulary with one token per line."


def as_ragged(sequences: object) -> RaggedSequences:
    """Return ``sequences`` as ragged sequences.

    Args:
        sequences: ``RaggedSequences``, an integer array or tensor ``(n_sequences, timesteps)``, an Arrow array of
            lists, a ``tf.RaggedTensor``, or rows of integers, each a list, a tuple or a 1-D integer array.

    Raises:
        InputError: if there is no row, or a value is not an integer of int64.
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
            fix=_suggest_sequences(sequences),
        )
    return join_rows(list(sequences))


def _suggest_sequences(data: object) -> str:
    """Return the fix for data that has no rows."""
    if isinstance(data, str | bytes):
        return "Pass one list of token ids for each sample; maskcli on the command line reads files."
    return "Pass one list of token ids for each sample."


def join_rows(rows: Sequence[object]) -> RaggedSequences:
    """Return rows of integers as ragged sequences; see ``as_ragged``."""
    if not rows:
        raise make_no_sequences_error()
    ragged = convert_lists(rows)
    if ragged is not None:
        return ragged
    # ``convert_lists`` accepts only lists of integers of 32 bits. Check everything else value by value.
    for index, row in enumerate(rows):
        if not isinstance(row, list | tuple | np.ndarray):
            raise InputError(
                row=index,
                expected="a sequence (a list of integers)",
                received=describe_value(row),
                fix=suggest_sequence(row),
            )
    lists: list[Sequence[object]] = [
        list_row(row, index) if isinstance(row, np.ndarray) else row  # type: ignore[misc]
        for index, row in enumerate(rows)
    ]
    flat = list(chain.from_iterable(lists))
    if not set(map(type, flat)) <= {int}:
        for index, row in enumerate(lists):
            _check_row(row, index)
    splits = make_row_splits(np.fromiter(map(len, lists), np.int64, len(lists)))
    try:
        return RaggedSequences(np.array(flat, dtype=np.int64), splits)
    except OverflowError:
        raise _make_overflow_error(lists) from None


def list_row(row: np.ndarray, index: int) -> list[int]:
    """Return a 1-D integer array as a list."""
    if row.ndim != 1 or (row.dtype.kind not in "iu" and row.size):
        raise InputError(
            row=index,
            expected="a 1-D array of integers",
            received=f"shape {row.shape} of {row.dtype}",
            fix="Convert it first; maskcli does not truncate or round values.",
        )
    return row.tolist()  # type: ignore[no-any-return]


def split_matrix(matrix: np.ndarray) -> RaggedSequences:
    """Return each row of a 2-D integer array as a sequence of full length."""
    if matrix.ndim != 2:
        kind = NestedRowsError if matrix.ndim > 2 else InputError
        raise kind(
            expected="an array of shape (n_sequences, timesteps)",
            received=f"shape {matrix.shape}",
            fix="Pass a single sequence as array[None, :].",
        )
    if matrix.shape[0] == 0:
        raise make_no_sequences_error()
    n_rows, width = matrix.shape
    check_memory((n_rows + 1) * np.dtype(np.int64).itemsize, f"the lengths of {n_rows:,} rows")  # Rows may be empty.
    return RaggedSequences(as_int64(matrix).reshape(-1), np.arange(n_rows + 1, dtype=np.int64) * width)


def check_ragged(ragged: RaggedSequences) -> RaggedSequences:
    """Return ``ragged`` with values that are integers of int64; raise InputError for other values and bad splits."""
    values = np.asarray(ragged.values)
    # Smaller integers keep their dtype, which saves a copy.
    if not (values.dtype.isnative and values.dtype.kind in "iu" and np.can_cast(values.dtype, np.int64)):
        values = as_int64(values)
    return dataclasses.replace(ragged, values=values, row_splits=check_splits(ragged).row_splits)


def check_splits(ragged: RaggedSequences) -> RaggedSequences:
    """Return ``ragged``, with values of any dtype; raise InputError if its splits do not match them."""
    values, splits = np.asarray(ragged.values), as_int64(np.asarray(ragged.row_splits))
    if values.ndim != 1 or splits.ndim != 1:
        raise _make_splits_error(f"shapes {values.shape} and {splits.shape}")
    if len(splits) == 1 and splits[0] == 0 and not len(values):
        raise make_no_sequences_error()
    if not len(splits) or splits[0] != 0 or splits[-1] != len(values):
        ends = f"{splits[0]} to {splits[-1]}" if len(splits) else "no numbers"
        raise _make_splits_error(f"{ends} for {len(values)} values")
    decreases = splits[1:] < splits[:-1]
    if decreases.any():
        first = int(decreases.argmax())
        raise _make_splits_error(f"{splits[first]} followed by {splits[first + 1]}")
    return dataclasses.replace(ragged, values=values, row_splits=splits)


def unpad(tokens: np.ndarray, mask: Bools) -> RaggedSequences:
    """Return the sequences of a padded batch, of which ``mask (n_sequences, maxlen)`` is True at tokens."""
    values = as_int64(tokens)
    if values.ndim != 2 or values.shape != mask.shape:
        raise InputError(
            expected="tokens and mask of one shape (n_sequences, maxlen)",
            received=f"tokens {values.shape} and mask {mask.shape}",
            fix="Write both with `maskcli pad --output`.",
        )
    if not len(values):
        raise make_no_sequences_error()
    # A row with a gap has several runs of valid timesteps. A run starts where the timestep before is not valid.
    run_starts = mask[:, 1:] & ~mask[:, :-1]
    runs = run_starts.sum(axis=1)
    if mask.shape[1]:
        runs += mask[:, 0]
    gaps = np.flatnonzero(runs > 1)
    if len(gaps):
        raise InputError(
            row=int(gaps[0]),
            expected="valid timesteps without a gap between them",
            received="a mask with a gap",
            fix="A sequence has no padding inside; remove those timesteps.",
        )
    return RaggedSequences(values[mask], make_row_splits(mask.sum(axis=1)))


def drop_marked_padding(ragged: RaggedSequences, marks: RaggedSequences, name: str, marked_by: str) -> RaggedSequences:
    """Return sequences without the timesteps where ``marks`` is 0.

    Args:
        ragged: the sequences.
        marks: of the same lengths, 0 or 1; all 1 of a row are in one run.
        name: of the sequences, for messages.
        marked_by: the name of the marks.

    Raises:
        InputError: with the row of the first marks that do not fit.
    """
    lengths = ragged.lengths
    fits = lengths == marks.lengths
    if fits.all():
        bits = marks.values
        flags = bits.astype(bool)
        starts = flags.copy()
        starts[1:] &= ~flags[:-1]
        # A run goes on from the row before if both rows touch, so every row starts anew.
        first = ragged.row_splits[:-1][lengths > 0]
        starts[first] = flags[first]
        runs, strange = (_sum_rows(entries, ragged.row_splits) for entries in (starts, (bits != 0) & (bits != 1)))
        fits = (runs <= 1) & (strange == 0)
    if not fits.all():
        row = int(np.argmin(fits))
        raise make_marks_error(row, name, int(lengths[row]), marked_by, marks[row].tolist())
    return RaggedSequences(ragged.values[flags], make_row_splits(_sum_rows(flags, ragged.row_splits)), marked_by)


def find_common_marks(marks: Collection[str | None]) -> str | None:
    """Return the name of the marks that all parts of the data have; None if a part lacks them or has others."""
    names = set(marks)
    return names.pop() if len(names) == 1 else None


def _sum_rows(entries: Bools, row_splits: Ints) -> Ints:
    """Return ``(n_sequences,)``: how many entries of each row are True."""
    totals = make_row_splits(entries.astype(np.int64))
    return totals[row_splits[1:]] - totals[row_splits[:-1]]


def make_marks_error(row: int, name: str, length: int, marked_by: str, marks: list[object]) -> InputError:
    """Return the error for a row whose marks do not fit its sequence."""
    return InputError(
        row=row,
        expected=f"a 0 or 1 in {marked_by!r} for each of the {length} entries of {name!r}, with all 1 in one run",
        received=describe_value(marks),
        fix=f"Correct {marked_by!r}, or remove it from the data.",
    )


def as_int64(values: np.ndarray) -> Ints:
    """Return an integer array as int64; raise InputError for floats, booleans and integers above int64."""
    if values.dtype.kind not in "iu":
        raise InputError(
            expected="an array of integers",
            received=f"dtype {values.dtype}",
            fix="Convert it first, for example with .astype('int32'); maskcli does not truncate or round values.",
        )
    if values.dtype.kind == "u" and values.size and values.max() > INT64.max:
        raise InputError(
            expected=f"integers up to {INT64.max}", received=str(values.max()), fix="Map ids to a smaller range."
        )
    return values.astype(np.int64, copy=False)


def describe_value(value: object) -> str:
    """Describe a value in a short text for a message."""
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
    """Raise InputError for the first value of a row that is not an integer."""
    for position, value in enumerate(row):
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
            kind = NestedRowsError if isinstance(value, list | tuple | np.ndarray) else InputError
            raise kind(
                row=index,
                value=position,
                expected="an integer",
                received=describe_value(value),
                fix=_suggest_integer(value),
            )


def suggest_sequence(row: object) -> str:
    """Return the fix for a row that is not a sequence."""
    if isinstance(row, str):
        return TEXT_FIX
    if row is None:
        return "Write an empty sequence as [], or leave the row out."
    return "Write a single sequence as [[1, 2, 3]]; of records, choose a field that holds lists."


def _suggest_integer(value: object) -> str:
    """Return the fix for a value that is not an integer."""
    if isinstance(value, str):
        return TEXT_FIX
    if value is None:
        return "Leave missing values out, or give them an id of their own."
    if isinstance(value, float) and value.is_integer() and INT64.min <= value <= INT64.max:
        return (
            f"Write ids as integers, {int(value)}: a program that makes floats of them has missing values, or divides."
        )
    return "Map words to ids (with --tokenizer FILE, or before) and round floats: maskcli rounds no values."


def _make_overflow_error(rows: Sequence[Sequence[object]]) -> InputError:
    """Return the error for the first value that int64 cannot hold."""
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
    raise AssertionError("NumPy rejected integers that int64 can hold")


def _make_splits_error(received: str) -> InputError:
    return InputError(
        expected="row_splits that start at 0, never decrease and end at the number of values",
        received=received,
        fix="Sequence i must be values[row_splits[i]:row_splits[i + 1]].",
    )
