"""Flat values to a padded matrix, at the speed of memory.

A row of the matrix is first a *window*: as many values as it has timesteps, read from where its sequence stands in the
flat values. A sequence that is shorter brings its neighbours' values along, and these are replaced afterwards. Windows
overlap, and a strided view holds them all without a copy, each as one element, so that NumPy copies a row at once. What
to replace is looked up by length in a small table of bits, which are all set at tokens and none at padding, so that one
``and`` does it without a branch. Values of another dtype are looked at and converted before they are gathered, so that
memory is read once. All of it goes in chunks of rows that stay in the processor's cache, by two threads where there is
much to do, each of which takes many chunks at a time: NumPy lets others run while it copies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools, Ints
from maskcli.records.sequences import Side
from maskcli.sequences.threads import has_several_processors, map_in_order, map_items

CHUNK = 2**20
"""Bytes of the rows that are worked on at once."""
TABLE = 2**20
"""Bytes up to which there is a table by length."""
WIDEST = 2**20
"""Bytes of a row up to which it is gathered as one element; longer ones are copied one by one."""
MANY = 2**24
"""Bytes of a result from which two threads share the work."""
LARGEST = 2**40
"""Tokens of a matrix; no machine holds more."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """Where the tokens of rows stand.

    Attributes:
        starts: ``(n_rows,)``: the first token of each row that is kept, in the flat values.
        kept: ``(n_rows,)``: how many are, at most ``maxlen``.
        maxlen: timesteps of the matrix.
        padding: the side that padding goes to.
    """

    starts: NDArray[np.int64]
    kept: NDArray[np.int64]
    maxlen: int
    padding: Side

    @property
    def begins(self) -> NDArray[np.int64]:
        """``(n_rows,)``: where the window of each row begins, which may be before the first value."""
        return self.starts if self.padding == "post" else self.starts + self.kept - self.maxlen


class MisfitError(Exception):
    """A value is outside what the dtype of a matrix holds."""


class Matrix:
    """A padded matrix that is filled some rows at a time.

    Attributes:
        tokens: ``(n_rows, maxlen)``, the padding id at padding.
        mask: of the same shape, True at tokens.
    """

    def __init__(self, n_rows: int, maxlen: int, padding: Side, value: int, dtype: str) -> None:
        """Make room for it; raise MemoryError when there is none."""
        if n_rows * maxlen > LARGEST:
            raise MemoryError
        self.tokens: Ints = np.empty((n_rows, maxlen), dtype)
        self.mask: Bools = np.empty((n_rows, maxlen), bool)
        small = (maxlen + 1) * maxlen * self.tokens.itemsize <= TABLE
        self._finish = (_by_table if small else _by_mask)(self.tokens, self.mask, padding, value)

    def fill(self, at: slice, values: Ints, begins: NDArray[np.int64], kept: NDArray[np.int64]) -> None:
        """Put the windows of ``values`` that begin there into these rows, with their first or last ``kept`` tokens.

        ``begins`` do not fall. Raise MisfitError for a value of the windows that the dtype does not hold.
        """
        width = self.tokens.shape[1]
        first, end = int(begins[0]), int(begins[-1]) + width
        if values.dtype != self.tokens.dtype and end - first <= len(begins) * width:
            values, begins = _converted(values[first:end], self.tokens.dtype), begins - first
        self._finish(at, _windows(values, width)[begins].view(values.dtype).reshape(-1, width), kept)

    def parts(self, step: int) -> Iterator[slice]:
        """Yield all rows in order, ``step`` at a time, to be filled.

        To be given memory by the system takes about as long as to fill it. Where there is much of it, another thread
        asks for that of the rows that come next.
        """
        n_rows, width = self.tokens.shape
        if self.tokens.nbytes < MANY or not has_several_processors():
            yield from _slices(0, n_rows, step)
            return
        many = step * max(1, MANY // (step * width * self.tokens.itemsize))
        for rows, _ in map_in_order(self._touch, _slices(0, n_rows, many), alone=0):
            yield from _slices(rows.start, rows.stop, step)

    def _touch(self, rows: slice) -> None:
        self.tokens[rows] = 0
        self.mask[rows] = False


def fill_matrix(values: Ints, rows: Rows, value: int, dtype: str) -> tuple[Ints, Bools]:
    """Return tokens ``(n_rows, maxlen)`` of ``dtype``, ``value`` at padding, and the mask, True at tokens.

    Args:
        values: ``(n_tokens,)`` integers.
        rows: where the tokens of each row stand in them.
        value: the padding id.
        dtype: an integer dtype of NumPy.

    Raises:
        MemoryError: when the matrix does not fit.
        MisfitError: for a value that ``dtype`` does not hold, though it be cut off.
    """
    values = np.ascontiguousarray(values)
    matrix = Matrix(len(rows.kept), rows.maxlen, rows.padding, value, dtype)
    wide = is_wide(rows.maxlen, max(values.itemsize, matrix.tokens.itemsize))
    narrows = not np.can_cast(values.dtype, dtype)
    if narrows and (wide or rows.kept.sum() < len(values)) and not can_hold(dtype, values):
        raise MisfitError
    if wide:
        _copied(values, rows, value, matrix)
        return matrix.tokens, matrix.mask

    def work(chunk: tuple[slice, Ints, NDArray[np.int64]]) -> None:
        at, source, begins = chunk
        matrix.fill(at, source, begins, rows.kept[at])

    chunks = list(_chunks(values, rows, count_rows_at_once(rows.maxlen, matrix.tokens.itemsize)))
    if matrix.tokens.nbytes < MANY:
        for chunk in chunks:
            work(chunk)
    else:
        map_items(work, chunks)
    return matrix.tokens, matrix.mask


def can_hold(dtype: str, values: Ints) -> bool:
    """Return whether a dtype holds all of some integers, each part of which is read from memory once."""
    if np.can_cast(values.dtype, dtype):
        return True
    parts = [values[at] for at in _slices(0, len(values), count_rows_at_once(1, values.itemsize))]
    within = partial(_are_within, dtype)
    return all(map_items(within, parts) if values.nbytes >= MANY else map(within, parts))


def _are_within(dtype: str, values: Ints) -> bool:
    """Return whether integers are within the limits of a dtype."""
    limits: Any = np.iinfo(dtype)
    known: Any = np.iinfo(values.dtype)
    as_unsigned = np.maximum.reduce(values.view(f"u{values.itemsize}"), axis=None)
    if as_unsigned <= min(limits.max, known.max):  # Then none is negative, which would be large here.
        return True
    return bool(limits.min <= values.min() and values.max() <= limits.max)


def _converted(values: Ints, dtype: np.dtype[Any]) -> Ints:
    """Return integers as a dtype; raise MisfitError where it does not hold them all."""
    if not np.can_cast(values.dtype, dtype) and not _are_within(dtype.name, values):
        raise MisfitError
    return values.astype(dtype)


def _slices(first: int, end: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, end)) for start in range(first, end, step))


def is_wide(maxlen: int, itemsize: int) -> bool:
    """Return whether rows are too long to be gathered."""
    return maxlen * itemsize > WIDEST


def count_rows_at_once(maxlen: int, itemsize: int) -> int:
    """Return how many rows of so many values stay in the cache together, at least one."""
    return max(1, CHUNK // (maxlen * itemsize))


def _chunks(values: Ints, rows: Rows, step: int) -> Iterator[tuple[slice, Ints, NDArray[np.int64]]]:
    """Yield which rows, ``step`` at a time, the values they are gathered from, and where their windows begin there.

    Windows of the first and the last rows may reach past the ends of the values, and are read from copies of these ends
    that go on.
    """
    width, n_rows, begins = rows.maxlen, len(rows.kept), rows.begins
    beyond = np.zeros(width, values.dtype)
    if len(values) <= 2 * width:
        sources = [(0, n_rows, np.concatenate([beyond, values, beyond]), width)]
    else:
        last = len(values) - width
        first, end = int(np.searchsorted(begins, 0)), int(np.searchsorted(begins, last, side="right"))
        sources = [
            (0, first, np.concatenate([beyond, values[:width]]), width),
            (first, end, values, 0),
            (end, n_rows, np.concatenate([values[last:], beyond]), -last),
        ]
    for low, high, source, shift in sources:
        for at in _slices(low, high, step):
            yield at, source, begins[at] + shift if shift else begins[at]


def _windows(values: Ints, width: int) -> NDArray[np.void]:
    """Return a view whose element ``i`` is ``values[i : i + width]``."""
    size = values.itemsize
    return np.ndarray((len(values) - width + 1,), np.dtype((np.void, size * width)), values, strides=(size,))


Finish = Callable[[slice, Ints, NDArray[np.int64]], None]


def _by_table(tokens: Ints, mask: Bools, padding: Side, value: int) -> Finish:
    """Return what puts windows into rows: ``((window ^ value) & bits) ^ value``, with bits by length."""
    width, number = tokens.shape[1], tokens.dtype.type(value)
    valid = _valid(np.arange(width + 1), width, padding)
    bits = np.zeros(valid.shape, tokens.dtype)
    np.invert(bits, out=bits, where=valid)
    valid_rows, mask_rows = _as_elements(valid), _as_elements(mask)
    bits_rows, token_rows = _as_elements(bits), _as_elements(tokens)

    def finish(at: slice, windows: Ints, kept: NDArray[np.int64]) -> None:
        part = tokens[at]
        np.take(valid_rows, kept, out=mask_rows[at], mode="clip")
        if windows.dtype != part.dtype:
            windows = _converted(windows, part.dtype)
        if not value:
            np.take(bits_rows, kept, out=token_rows[at], mode="clip")
            np.bitwise_and(windows, part, out=part)
            return
        wanted = np.take(bits_rows, kept, mode="clip").view(tokens.dtype).reshape(part.shape)
        np.bitwise_xor(windows, number, out=windows)
        np.bitwise_and(windows, wanted, out=windows)
        np.bitwise_xor(windows, number, out=part)

    return finish


def _by_mask(tokens: Ints, mask: Bools, padding: Side, value: int) -> Finish:
    """Return what puts windows into rows too long for a table."""

    def finish(at: slice, windows: Ints, kept: NDArray[np.int64]) -> None:
        mask[at] = _valid(kept, tokens.shape[1], padding)
        np.copyto(tokens[at], _converted(windows, tokens.dtype))
        np.copyto(tokens[at], value, where=~mask[at])

    return finish


def _copied(values: Ints, rows: Rows, value: int, matrix: Matrix) -> None:
    tokens, mask = matrix.tokens, matrix.mask
    for row, (start, kept) in enumerate(zip(rows.starts.tolist(), rows.kept.tolist(), strict=True)):
        first = 0 if rows.padding == "post" else rows.maxlen - kept
        tokens[row], mask[row] = value, False
        tokens[row, first : first + kept], mask[row, first : first + kept] = values[start : start + kept], True


def _valid(kept: NDArray[np.int64], width: int, padding: Side) -> Bools:
    """Return ``(len(kept), width)``, True where tokens stand."""
    steps, kept = np.arange(width), kept[:, None]
    valid: Bools = steps < kept if padding == "post" else steps >= width - kept
    return valid


def _as_elements(matrix: NDArray[Any]) -> NDArray[np.void]:
    """Return a view of a matrix in which each row is one element."""
    return matrix.view(np.dtype((np.void, matrix.shape[1] * matrix.itemsize))).reshape(-1)
