"""Pad ragged sequences like ``keras.utils.pad_sequences``, but with checks and without a loop over rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.errors import InputError, UsageError
from maskcli.records.arrays import Bools, Ints
from maskcli.records.layout import Layout
from maskcli.records.sequences import PaddedBatch, RaggedSequences, have_lengths
from maskcli.records.wording import format_count
from maskcli.sequences.bounds import check_memory
from maskcli.sequences.fast import MisfitError, Rows, can_hold, fill_matrix, get_maxlen, mark_tokens
from maskcli.sequences.ragged import INT64

SIDES = ("pre", "post")
PART = 2**22
"""Bytes of tokens in each part of a batch that is padded in parts."""


def pad_ragged(ragged: RaggedSequences, layout: Layout) -> PaddedBatch:
    """Return ``ragged`` padded by ``layout``; see ``maskcli.pad``."""
    layout = check_layout(layout)
    if ragged.marked_by is not None:  # The marks have shown all padding, so any value that is left is a token.
        layout = dataclasses.replace(layout, trim=False)
    lengths = ragged.lengths
    longest = int(lengths.max())
    if not longest and layout.maxlen is None:
        raise InputError(
            expected="at least one token",
            received=format_count(len(ragged), "empty sequence"),
            fix="Set maxlen to pad them anyway, or check the program that wrote this input.",
        )
    layout = resolve_maxlen(layout, longest)
    maxlen = get_maxlen(layout)
    size = len(ragged) * maxlen * (np.dtype(layout.dtype).itemsize + 1)  # Tokens and mask.
    check_memory(size, f"a batch of {len(ragged):,} rows of {maxlen:,} timesteps")
    try:
        rows = Rows.truncate(ragged.row_splits[:-1], lengths, layout)
        tokens, mask = fill_matrix(ragged.values, rows)
    except MisfitError:
        raise _make_misfit_error(ragged, layout.dtype) from None
    except (MemoryError, ValueError, OverflowError) as error:
        raise _make_memory_error(len(ragged), maxlen) from error
    truncated = len(ragged.values) - int(rows.kept.sum())
    return PaddedBatch(tokens, mask, lengths, layout, truncated, marked_by=ragged.marked_by)


def pad_in_parts(ragged: RaggedSequences, layout: Layout) -> Iterable[PaddedBatch]:
    """Return sequences padded by a layout with ``maxlen``, in parts.

    Raises:
        InputError: for a value that the dtype cannot hold, before any part is padded.
    """
    check_fitting_values(ragged, layout)
    step = max(1, PART // (get_maxlen(layout) * np.dtype(layout.dtype).itemsize))
    starts = range(0, len(ragged), step)
    parts = (pad_ragged(_slice_rows(ragged, start, start + step), layout) for start in starts)
    # A single part is padded now, which may be in a second thread. Several parts are padded as the caller takes them,
    # because together they may be much larger than the sequences.
    return parts if len(starts) > 1 else list(parts)


def _slice_rows(ragged: RaggedSequences, start: int, end: int) -> RaggedSequences:
    splits = ragged.row_splits[start : end + 1]
    return dataclasses.replace(ragged, values=ragged.values[splits[0] : splits[-1]], row_splits=splits - splits[0])


def resolve_maxlen(layout: Layout, longest: int) -> Layout:
    """Return the layout with its ``maxlen``: by default the longest sequence, rounded up to the requested multiple."""
    if layout.maxlen is not None:
        return layout
    multiple = layout.pad_to_multiple_of or 1
    return dataclasses.replace(layout, maxlen=-(-longest // multiple) * multiple)


def check_layout(layout: Layout) -> Layout:
    """Return ``layout`` with the name of its dtype; raise UsageError for an invalid layout."""
    for name in ("padding", "truncating"):
        if getattr(layout, name) not in SIDES:
            raise UsageError(
                expected=f"{name} 'pre' or 'post'",
                received=repr(getattr(layout, name)),
                fix="'pre' is the start of a sequence, 'post' its end.",
            )
    if layout.maxlen is not None and (not _is_integer(layout.maxlen) or layout.maxlen < 1):
        raise UsageError(
            expected="maxlen of at least 1",
            received=str(layout.maxlen),
            fix="Leave it out to pad to the longest sequence.",
        )
    _check_multiple(layout)
    dtype = _check_dtype(layout.dtype)
    limits = np.iinfo(dtype)
    if not _is_integer(layout.value):
        raise UsageError(
            expected="an integer as padding value", received=repr(layout.value), fix="Padding consists of token ids."
        )
    if not limits.min <= layout.value <= limits.max:
        raise UsageError(
            expected=f"a padding value that {dtype} holds ({limits.min} to {limits.max})",
            received=str(layout.value),
            fix="Choose another value, or a wider dtype.",
        )
    return dataclasses.replace(layout, dtype=dtype)


def _check_multiple(layout: Layout) -> None:
    multiple = layout.pad_to_multiple_of
    if multiple is None:
        return
    if not _is_integer(multiple) or multiple < 1:
        raise UsageError(
            expected="pad_to_multiple_of of at least 1", received=str(multiple), fix="Leave it out for any length."
        )
    if layout.maxlen is not None and layout.maxlen % multiple:
        raise UsageError(
            expected=f"a maxlen that is a multiple of {multiple}, for pad_to_multiple_of",
            received=f"maxlen {layout.maxlen}",
            fix="Leave out one of the two: maxlen is the exact number of timesteps.",
        )


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _check_dtype(dtype: Any) -> str:
    """Return the name of an integer dtype; raise UsageError for any other."""
    try:
        numpy_dtype = np.dtype(dtype)
    except TypeError:
        numpy_dtype = np.dtype(object)
    if numpy_dtype.kind not in "iu":
        raise UsageError(
            expected="an integer dtype such as int32 or int64",
            received=str(dtype),
            fix="Pad as integers and convert the tokens afterwards.",
        )
    return str(numpy_dtype.name)


def find_valid_timesteps(batch: PaddedBatch) -> Bools:
    """Return ``(n_sequences, maxlen)``, False at padding, also at padding that rows had before.

    Rows of different lengths were not padded before: every value in them is a token. Rows of one length may have been:
    a run of the padding value at either end is padding, and the same value between other tokens is a token.
    """
    if not batch.layout.trim or have_lengths(batch.lengths):
        return batch.mask
    differs = batch.tokens != batch.layout.value
    # False in the run of padding values at the start of each row, and at the end of each row.
    after_start = np.logical_or.accumulate(differs, axis=1)
    before_end = np.logical_or.accumulate(differs[:, ::-1], axis=1)[:, ::-1]
    valid: Bools = batch.mask & after_start & before_end
    return valid


def join_batches(parts: Sequence[PaddedBatch]) -> PaddedBatch:
    """Return one or more parts with the same layout as one batch."""
    if len(parts) == 1:
        return parts[0]
    tokens, mask, lengths = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("tokens", "mask", "lengths")
    )
    return PaddedBatch(tokens, mask, lengths, parts[0].layout, sum(part.truncated_tokens for part in parts))


def take_first_rows(batch: PaddedBatch, rows: int) -> PaddedBatch:
    """Return the first rows of a batch with their padding."""
    return _slice_batch(batch, slice(0, rows))


def take_last_rows(batch: PaddedBatch, rows: int) -> PaddedBatch:
    """Return the last rows of a batch with their padding."""
    return _slice_batch(batch, slice(max(0, len(batch.tokens) - rows), None))


def _slice_batch(batch: PaddedBatch, rows: slice) -> PaddedBatch:
    mask, lengths = batch.mask[rows], batch.lengths[rows]
    truncated = int(lengths.sum()) - int(mask.sum())
    return PaddedBatch(batch.tokens[rows], mask, lengths, batch.layout, truncated, marked_by=batch.marked_by)


def make_validity(lengths: Ints, layout: Layout) -> Bools:
    """Return ``(n_sequences, maxlen)``, True where ``layout`` puts tokens of sequences of these lengths."""
    maxlen = get_maxlen(layout)
    return mark_tokens(np.minimum(lengths, maxlen), maxlen, layout.padding)


def truncate_values(values: NDArray[Any], row_splits: Ints, layout: Layout) -> NDArray[Any]:
    """Return the entries of ``values (n_tokens, ...)`` that truncation keeps, in order."""
    lengths = np.diff(row_splits)
    kept = np.minimum(lengths, get_maxlen(layout))
    if np.array_equal(lengths, kept):
        return values
    position = np.arange(len(values)) - np.repeat(row_splits[:-1], lengths)
    if layout.truncating == "post":
        return values[position < np.repeat(kept, lengths)]
    return values[position >= np.repeat(lengths - kept, lengths)]


def check_fitting_values(ragged: RaggedSequences, layout: Layout) -> RaggedSequences:
    """Return the sequences; raise InputError for a value that the dtype of ``layout`` cannot hold."""
    if not can_hold(layout.dtype, ragged.values):
        raise _make_misfit_error(ragged, layout.dtype)
    return ragged


def _make_misfit_error(ragged: RaggedSequences, dtype: str) -> InputError:
    """Return the error for the first value that ``dtype`` cannot hold."""
    limits: Any = np.iinfo(dtype)
    low, high = max(limits.min, INT64.min), min(limits.max, INT64.max)
    row, position = ragged.place(int(np.argmax((ragged.values < low) | (ragged.values > high))))
    return InputError(
        row=row,
        value=position,
        expected=f"an integer that {dtype} holds ({limits.min} to {limits.max})",
        received=str(ragged[row][position]),
        fix="Use a wider dtype, such as int64, or map ids to a smaller range.",
    )


def _make_memory_error(n_sequences: int, maxlen: int) -> InputError:
    return InputError(
        expected="a batch that fits in memory",
        received=f"{format_count(n_sequences, 'sequence')} of {maxlen} timesteps",
        fix="Choose a smaller maxlen.",
    )
