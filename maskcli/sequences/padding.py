"""Ragged sequences to a padded batch: what ``keras.utils.pad_sequences`` does, checked and without a loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.errors import InputError, UsageError
from maskcli.records.arrays import Bools, Ints
from maskcli.records.sequences import Layout, PaddedBatch, RaggedSequences
from maskcli.sequences.fast.padding import MisfitError, Rows, can_hold, fill_matrix
from maskcli.sequences.ragged import INT64

SIDES = ("pre", "post")
PART = 2**22
"""Bytes of tokens in each part of a batch that is made in parts."""


def pad_ragged(ragged: RaggedSequences, layout: Layout) -> PaddedBatch:
    """Return ``ragged`` padded by ``layout``; see ``pad``."""
    layout = check_layout(layout)
    lengths = ragged.lengths
    longest = int(lengths.max())
    maxlen = longest if layout.maxlen is None else layout.maxlen
    if maxlen == 0:
        raise InputError(
            expected="at least one token",
            received=f"{len(ragged)} empty sequence{'s' if len(ragged) > 1 else ''}",
            fix="Give maxlen to pad them anyway, or check what wrote this input.",
        )
    resolved = dataclasses.replace(layout, maxlen=maxlen)
    try:
        kept = lengths if longest <= maxlen else np.minimum(lengths, maxlen)
        starts = ragged.row_splits[:-1] if layout.truncating == "post" else ragged.row_splits[1:] - kept
        tokens, mask = fill_matrix(
            ragged.values, Rows(starts, kept, maxlen, layout.padding), layout.value, layout.dtype
        )
    except MisfitError:
        raise _misfit(ragged, layout.dtype) from None
    except (MemoryError, ValueError, OverflowError) as error:
        raise _too_big(len(ragged), maxlen) from error
    return PaddedBatch(tokens, mask, lengths, resolved, truncated_tokens=len(ragged.values) - int(kept.sum()))


def pad_in_parts(ragged: RaggedSequences, layout: Layout) -> Iterable[PaddedBatch]:
    """Return sequences padded by a layout with ``maxlen``, in parts: made already, but for those after a large first.

    Raises:
        InputError: for a value that the dtype cannot hold, before any part is made.
    """
    check_fitting_values(ragged, layout)
    step = max(1, PART // (_maxlen(layout) * np.dtype(layout.dtype).itemsize))
    starts = range(0, len(ragged), step)
    parts = (pad_ragged(_rows(ragged, start, start + step), layout) for start in starts)
    return parts if len(starts) > 1 else list(parts)


def _rows(ragged: RaggedSequences, start: int, end: int) -> RaggedSequences:
    splits = ragged.row_splits[start : end + 1]
    return RaggedSequences(ragged.values[splits[0] : splits[-1]], splits - splits[0])


def check_layout(layout: Layout) -> Layout:
    """Return ``layout`` with its dtype by name; raise UsageError for one that no batch can have."""
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
            fix="Leave it out to take the longest sequence.",
        )
    dtype = _integer_dtype(layout.dtype)
    limits = np.iinfo(dtype)
    if not _is_integer(layout.value):
        raise UsageError(
            expected="an integer as padding value", received=repr(layout.value), fix="Padding is made of token ids."
        )
    if not limits.min <= layout.value <= limits.max:
        raise UsageError(
            expected=f"a padding value that {dtype} holds ({limits.min} to {limits.max})",
            received=str(layout.value),
            fix="Choose a smaller value, or dtype int64.",
        )
    return dataclasses.replace(layout, dtype=dtype)


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _integer_dtype(dtype: Any) -> str:
    try:
        known = np.dtype(dtype)
    except TypeError:
        known = np.dtype(object)
    if known.kind not in "iu":
        raise UsageError(
            expected="an integer dtype such as int32 or int64",
            received=str(dtype),
            fix="Pad as integers and convert the tokens afterwards.",
        )
    return str(known.name)


def find_valid_timesteps(batch: PaddedBatch) -> Bools:
    """Return ``(n_sequences, maxlen)``, False at padding: what pad added, and what rows had already.

    A row that comes padded from its file shows it by a run of the padding value at either end; the same value
    between other tokens is a real token.
    """
    if not batch.layout.trim:
        return batch.mask
    token = batch.tokens != batch.layout.value
    from_start = np.logical_or.accumulate(token, axis=1)
    from_end = np.logical_or.accumulate(token[:, ::-1], axis=1)[:, ::-1]
    valid: Bools = batch.mask & from_start & from_end
    return valid


def join_batches(parts: Sequence[PaddedBatch]) -> PaddedBatch:
    """Return parts of one layout, at least one, as one batch."""
    if len(parts) == 1:
        return parts[0]
    tokens, mask, lengths = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("tokens", "mask", "lengths")
    )
    return PaddedBatch(tokens, mask, lengths, parts[0].layout, sum(part.truncated_tokens for part in parts))


def take_first_rows(batch: PaddedBatch, rows: int) -> PaddedBatch:
    """Return the first rows of a batch, padded as they are."""
    return _part(batch, slice(0, rows))


def take_last_rows(batch: PaddedBatch, rows: int) -> PaddedBatch:
    """Return the last rows of a batch, padded as they are."""
    return _part(batch, slice(max(0, len(batch.tokens) - rows), None))


def _part(batch: PaddedBatch, few: slice) -> PaddedBatch:
    mask, lengths = batch.mask[few], batch.lengths[few]
    return PaddedBatch(batch.tokens[few], mask, lengths, batch.layout, int(lengths.sum()) - int(mask.sum()))


def make_validity(lengths: Ints, layout: Layout) -> Bools:
    """Return ``(n_sequences, maxlen)``, True where ``layout`` puts tokens of sequences of these lengths."""
    maxlen = _maxlen(layout)
    kept = np.minimum(lengths, maxlen)[:, None]
    timesteps = np.arange(maxlen)
    return timesteps < kept if layout.padding == "post" else timesteps >= maxlen - kept


def truncate_values(values: NDArray[Any], row_splits: Ints, layout: Layout) -> NDArray[Any]:
    """Return the entries of ``values (n_tokens, ...)`` that truncation leaves, in order."""
    lengths = np.diff(row_splits)
    kept = np.minimum(lengths, _maxlen(layout))
    if np.array_equal(lengths, kept):
        return values
    position = np.arange(len(values)) - np.repeat(row_splits[:-1], lengths)
    if layout.truncating == "post":
        return values[position < np.repeat(kept, lengths)]
    return values[position >= np.repeat(lengths - kept, lengths)]


def _maxlen(layout: Layout) -> int:
    assert layout.maxlen is not None  # noqa: S101 - a resolved layout has one
    return layout.maxlen


def check_fitting_values(ragged: RaggedSequences, layout: Layout) -> RaggedSequences:
    """Return sequences whose every value the dtype of ``layout`` holds; raise InputError for others."""
    if not can_hold(layout.dtype, ragged.values):
        raise _misfit(ragged, layout.dtype)
    return ragged


def _misfit(ragged: RaggedSequences, dtype: str) -> InputError:
    """Return the error for the first value that ``dtype`` does not hold."""
    limits: Any = np.iinfo(dtype)
    low, high = max(limits.min, INT64.min), min(limits.max, INT64.max)
    row, position = ragged.place(int(np.argmax((ragged.values < low) | (ragged.values > high))))
    return InputError(
        row=row,
        value=position,
        expected=f"an integer that {dtype} holds ({limits.min} to {limits.max})",
        received=str(ragged[row][position]),
        fix="Use dtype int64, or map ids to a smaller range.",
    )


def _too_big(n_sequences: int, maxlen: int) -> InputError:
    return InputError(
        expected="a batch that fits in memory",
        received=f"{n_sequences} sequence{'s' if n_sequences > 1 else ''} of {maxlen} timesteps",
        fix="Choose a smaller maxlen.",
    )
