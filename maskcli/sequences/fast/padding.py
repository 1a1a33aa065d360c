"""Pad flat values into a matrix at the speed of memory.

The idea is to copy whole rows, and to repair the padding afterwards:

- A row of the matrix first becomes a *window*: ``maxlen`` consecutive values, beginning at its sequence. If the
  sequence is shorter, the window also contains values of its neighbours.
- Windows overlap. A strided view presents all possible windows as elements of one array, without a copy. So NumPy
  copies a whole window as one element.
- Neighbours' values are replaced with the padding id. A small table has a row of bits for each length: all bits set at
  tokens, none at padding. One ``and`` with it clears the padding, without a branch.

Values of another dtype are checked and converted before the windows are copied, so that memory is read once. All steps
run on chunks of rows that stay in the processor's cache. Two threads share the chunks of a large result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools, Ints
from maskcli.records.layout import Layout
from maskcli.records.options import Side
from maskcli.sequences.threads import has_several_processors, map_in_order, map_items

CHUNK = 2**20
"""Bytes of the rows that are worked on at once."""
TABLE = 2**20
"""Bytes up to which there is a table of bits by length."""
WIDEST = 2**20
"""Bytes of a row up to which it is copied as a window; longer rows are copied one by one, without a window."""
MANY = 2**24
"""Bytes of a result from which two threads share the work."""
LARGEST = 2**40
"""Tokens of a matrix; no machine has memory for more."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """The places of rows in flat values.

    Attributes:
        starts: ``(n_rows,)``: the first token of each row that truncation keeps.
        kept: ``(n_rows,)``: how many tokens truncation keeps, at most ``maxlen``.
        layout: of the matrix, with ``maxlen``.
    """

    starts: NDArray[np.int64]
    kept: NDArray[np.int64]
    layout: Layout

    @classmethod
    def truncate(cls, starts: NDArray[np.int64], lengths: NDArray[np.int64], layout: Layout) -> Rows:
        """Return the places of sequences that begin at ``starts`` and are truncated to the layout's ``maxlen``."""
        kept = np.minimum(lengths, get_maxlen(layout))
        if layout.truncating == "pre":
            starts = starts + lengths - kept
        return cls(starts, kept, layout)

    @property
    def begins(self) -> NDArray[np.int64]:
        """``(n_rows,)``: the beginning of the window of each row, which may be before the first value."""
        if self.layout.padding == "post":
            return self.starts
        # With pre-padding, a window ends with its sequence.
        return self.starts + self.kept - get_maxlen(self.layout)


class MisfitError(Exception):
    """A value is outside the limits of a dtype."""


class Matrix:
    """A padded matrix that is filled a few rows at a time.

    Attributes:
        tokens: ``(n_rows, maxlen)``, the padding id at padding.
        mask: of the same shape, True at tokens.
    """

    def __init__(self, n_rows: int, layout: Layout) -> None:
        """Allocate the matrix; raise MemoryError if it does not fit."""
        maxlen = get_maxlen(layout)
        if n_rows * maxlen > LARGEST:
            raise MemoryError
        self.tokens: Ints = np.empty((n_rows, maxlen), layout.dtype)
        self.mask: Bools = np.empty((n_rows, maxlen), bool)
        has_table = (maxlen + 1) * maxlen * self.tokens.itemsize <= TABLE
        make_finish = _finish_by_table if has_table else _finish_by_mask
        self._finish = make_finish(self.tokens, self.mask, layout.padding, layout.padding_id)

    def fill(self, at: slice, values: Ints, begins: NDArray[np.int64], kept: NDArray[np.int64]) -> None:
        """Fill rows from windows of ``values``.

        Args:
            at: the rows.
            values: flat values.
            begins: ``(n_rows,)``: the beginning of each window in ``values``, ascending.
            kept: ``(n_rows,)``: the tokens of each window, at its start or, with pre-padding, at its end.

        Raises:
            MisfitError: for a value in a window that the dtype cannot hold.
        """
        width = self.tokens.shape[1]
        first, end = int(begins[0]), int(begins[-1]) + width
        # The windows cover values[first:end]. Convert these before the windows are copied, unless the windows are far
        # apart and have fewer values in total.
        if values.dtype != self.tokens.dtype and end - first <= len(begins) * width:
            values, begins = _convert(values[first:end], self.tokens.dtype), begins - first
        self._finish(at, _view_windows(values, width)[begins].view(values.dtype).reshape(-1, width), kept)

    def parts(self, step: int) -> Iterator[slice]:
        """Yield slices of all rows in order, each of ``step`` rows, to be filled.

        The system hands out memory page by page, when a page is first written to. That takes about as long as filling
        it. For a large matrix, another thread therefore writes to the memory of the next rows in advance.
        """
        n_rows, width = self.tokens.shape
        if self.tokens.nbytes < MANY or not has_several_processors():
            yield from _iterate_slices(0, n_rows, step)
            return
        rows_in_advance = step * max(1, MANY // (step * width * self.tokens.itemsize))
        for rows, _ in map_in_order(self._touch, _iterate_slices(0, n_rows, rows_in_advance), before=0):
            yield from _iterate_slices(rows.start, rows.stop, step)

    def _touch(self, rows: slice) -> None:
        self.tokens[rows] = 0
        self.mask[rows] = False


def fill_matrix(values: Ints, rows: Rows) -> tuple[Ints, Bools]:
    """Return tokens ``(n_rows, maxlen)`` of the layout's dtype, and the mask of the same shape, True at tokens.

    Args:
        values: ``(n_tokens,)`` integers.
        rows: the places of the rows in them.

    Raises:
        MemoryError: if the matrix does not fit.
        MisfitError: for a value that the dtype cannot hold, even if it is truncated.
    """
    values = np.ascontiguousarray(values)
    layout = rows.layout
    matrix = Matrix(len(rows.kept), layout)
    width = matrix.tokens.shape[1]
    wide = is_wide(width, max(values.itemsize, matrix.tokens.itemsize))
    narrows = not np.can_cast(values.dtype, layout.dtype)
    # ``fill`` checks the values of all windows. Check the other values here, too: those that truncation may skip, and
    # all values of rows that are copied without windows.
    if narrows and (wide or rows.kept.sum() < len(values)) and not can_hold(layout.dtype, values):
        raise MisfitError
    if wide:
        _copy_rows(values, rows, matrix)
        return matrix.tokens, matrix.mask

    def work(chunk: tuple[slice, Ints, NDArray[np.int64]]) -> None:
        at, source, begins = chunk
        matrix.fill(at, source, begins, rows.kept[at])

    chunks = list(_iterate_chunks(values, rows, count_rows_at_once(width, matrix.tokens.itemsize)))
    if matrix.tokens.nbytes < MANY:
        for chunk in chunks:
            work(chunk)
    else:
        map_items(work, chunks)
    return matrix.tokens, matrix.mask


def get_maxlen(layout: Layout) -> int:
    """Return ``maxlen`` of a layout in which it is set."""
    assert layout.maxlen is not None  # noqa: S101 - the caller has set it
    return layout.maxlen


def mark_tokens(kept: NDArray[np.int64], width: int, padding: Side) -> Bools:
    """Return ``(n_rows, width)``, True at the ``kept (n_rows,)`` tokens of each row."""
    timesteps, kept = np.arange(width), kept[:, None]
    is_token: Bools = timesteps < kept if padding == "post" else timesteps >= width - kept
    return is_token


def can_hold(dtype: str, values: Ints) -> bool:
    """Return whether all values are within the limits of a dtype; each is read from memory once."""
    if np.can_cast(values.dtype, dtype):
        return True
    step = count_rows_at_once(1, values.itemsize)
    parts = [values[at] for at in _iterate_slices(0, len(values), step)]
    are_within = partial(_are_within, dtype)
    return all(map_items(are_within, parts) if values.nbytes >= MANY else map(are_within, parts))


def _are_within(dtype: str, values: Ints) -> bool:
    """Return whether integers are within the limits of a dtype."""
    limits: Any = np.iinfo(dtype)
    own_limits: Any = np.iinfo(values.dtype)
    # Negative integers are large when read as unsigned. So if the largest unsigned value is within the limits, there
    # are no negative ones, and one pass over the values is enough.
    as_unsigned = np.maximum.reduce(values.view(f"u{values.itemsize}"), axis=None)
    if as_unsigned <= min(limits.max, own_limits.max):
        return True
    return bool(limits.min <= values.min() and values.max() <= limits.max)


def _convert(values: Ints, dtype: np.dtype[Any]) -> Ints:
    """Return integers in a dtype; raise MisfitError if it cannot hold all of them."""
    if not np.can_cast(values.dtype, dtype) and not _are_within(dtype.name, values):
        raise MisfitError
    return values.astype(dtype)


def _iterate_slices(first: int, end: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, end)) for start in range(first, end, step))


def is_wide(maxlen: int, itemsize: int) -> bool:
    """Return whether rows are too long for windows."""
    return maxlen * itemsize > WIDEST


def count_rows_at_once(maxlen: int, itemsize: int) -> int:
    """Return how many rows of this size stay in the cache together, at least one."""
    return max(1, CHUNK // (maxlen * itemsize))


def _iterate_chunks(values: Ints, rows: Rows, step: int) -> Iterator[tuple[slice, Ints, NDArray[np.int64]]]:
    """Yield ``(rows, source, begins)`` for ``step`` rows at a time, where windows begin at ``begins`` in ``source``.

    Windows of the first and the last rows may reach beyond the values. Their source is a copy of that end of the
    values, extended by zeros.
    """
    width, n_rows, begins = get_maxlen(rows.layout), len(rows.kept), rows.begins
    zeros = np.zeros(width, values.dtype)
    if len(values) <= 2 * width:
        # Few values: one extended copy is the source of all windows.
        sources = [(0, n_rows, np.concatenate([zeros, values, zeros]), width)]
    else:
        last = len(values) - width
        # Rows before ``first`` begin before the values; rows from ``end`` on reach beyond them.
        first, end = int(np.searchsorted(begins, 0)), int(np.searchsorted(begins, last, side="right"))
        sources = [
            (0, first, np.concatenate([zeros, values[:width]]), width),
            (first, end, values, 0),
            (end, n_rows, np.concatenate([values[last:], zeros]), -last),
        ]
    for low, high, source, shift in sources:
        for at in _iterate_slices(low, high, step):
            yield at, source, begins[at] + shift if shift else begins[at]


def _view_windows(values: Ints, width: int) -> NDArray[np.void]:
    """Return a view with ``values[i : i + width]`` as element ``i``."""
    size = values.itemsize
    return np.ndarray((len(values) - width + 1,), np.dtype((np.void, size * width)), values, strides=(size,))


Finish = Callable[[slice, Ints, NDArray[np.int64]], None]
"""Writes windows into rows of the matrix, with the padding id after their ``kept`` tokens."""


def _finish_by_table(tokens: Ints, mask: Bools, padding: Side, value: int) -> Finish:
    """Return a function that replaces padding with a table of bits by length."""
    width, padding_id = tokens.shape[1], tokens.dtype.type(value)
    # Row k of the tables is for k tokens.
    is_token = mark_tokens(np.arange(width + 1), width, padding)
    bits = np.zeros(is_token.shape, tokens.dtype)
    np.invert(bits, out=bits, where=is_token)
    mask_table, mask_rows = _view_rows(is_token), _view_rows(mask)
    bits_table, token_rows = _view_rows(bits), _view_rows(tokens)

    def finish(at: slice, windows: Ints, kept: NDArray[np.int64]) -> None:
        part = tokens[at]
        np.take(mask_table, kept, out=mask_rows[at], mode="clip")
        if windows.dtype != part.dtype:
            windows = _convert(windows, part.dtype)
        if not value:
            # For id 0: tokens = windows & bits. The bits are looked up into the result itself.
            np.take(bits_table, kept, out=token_rows[at], mode="clip")
            np.bitwise_and(windows, part, out=part)
            return
        # For another id: tokens = ((windows ^ id) & bits) ^ id. Where the bits are set, both ``^ id`` cancel out;
        # where they are not, only the last one remains.
        row_bits = np.take(bits_table, kept, mode="clip").view(tokens.dtype).reshape(part.shape)
        np.bitwise_xor(windows, padding_id, out=windows)
        np.bitwise_and(windows, row_bits, out=windows)
        np.bitwise_xor(windows, padding_id, out=part)

    return finish


def _finish_by_mask(tokens: Ints, mask: Bools, padding: Side, value: int) -> Finish:
    """Return a function that replaces padding by the mask, for rows too long for a table."""

    def finish(at: slice, windows: Ints, kept: NDArray[np.int64]) -> None:
        mask[at] = mark_tokens(kept, tokens.shape[1], padding)
        np.copyto(tokens[at], _convert(windows, tokens.dtype))
        np.copyto(tokens[at], value, where=~mask[at])

    return finish


def _copy_rows(values: Ints, rows: Rows, matrix: Matrix) -> None:
    """Fill a matrix row by row, for rows too long for windows."""
    tokens, mask, layout = matrix.tokens, matrix.mask, rows.layout
    for row, (start, kept) in enumerate(zip(rows.starts.tolist(), rows.kept.tolist(), strict=True)):
        first = 0 if layout.padding == "post" else tokens.shape[1] - kept
        tokens[row], mask[row] = layout.value, False
        tokens[row, first : first + kept], mask[row, first : first + kept] = values[start : start + kept], True


def _view_rows(matrix: NDArray[Any]) -> NDArray[np.void]:
    """Return a view of a matrix with each row as one element."""
    return matrix.view(np.dtype((np.void, matrix.shape[1] * matrix.itemsize))).reshape(-1)
