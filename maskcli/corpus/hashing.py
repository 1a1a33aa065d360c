"""Hashes of rows, all rows of a chunk at once, the same in every process and on every machine.

The hash of a row is a polynomial: the sum of ``_mix(id) * BASE ** position``, modulo 2**64. All products are made for
the whole chunk, with the position in the chunk as the power. The sum of a row is then divided by the power at its first
position, which is a product as well: an odd number has an inverse modulo 2**64.
"""

from __future__ import annotations

import numpy as np

from maskcli.records.arrays import Bools, Hashes, Ints

BASE = 0x9E3779B97F4A7C15
"""An odd number without structure: 2**64 divided by the golden ratio."""
_INVERSE = pow(BASE, -1, 2**64)
_ODD = np.uint64(0xD6E8FEB86659FD93)
_OFFSET = np.uint64(0xA0761D6478BD642F)
_HALF = np.uint64(32)


class _Powers:
    """Powers of ``BASE`` and of its inverse, as many as the longest chunk so far needs."""

    def __init__(self) -> None:
        self._tables = np.ones((2, 1), np.uint64)

    def get(self, count: int) -> np.ndarray:
        """Return ``(2, count)`` or more: powers from the power 0 on."""
        tables = self._tables  # Another thread may replace it.
        while tables.shape[1] < count:
            n_powers = tables.shape[1]
            factors = np.array([[pow(base, n_powers, 2**64)] for base in (BASE, _INVERSE)], np.uint64)
            tables = np.concatenate([tables, tables * factors], axis=1)
            self._tables = tables
        return tables


_POWERS = _Powers()


PIECE = 2**14
"""Ids that are worked on at once: few enough that the arrays of all steps stay in the cache of a processor."""


class HashBuffers:
    """The arrays in which one thread works, reused for all chunks: memory from the system is slow at first use."""

    def __init__(self) -> None:
        """Begin with arrays for one piece."""
        self._wide = np.empty(PIECE, np.int64)
        self._shifted = np.empty(PIECE, np.uint64)
        self._products = np.empty(0, np.uint64)

    def hash_rows(self, values: Ints, row_splits: Ints, id_marks: Bools | None = None) -> Hashes:
        """Return a hash of each row ``(n_rows,)``; rows of other lengths or ids have others, but for chance.

        Args:
            values: the ids of all rows.
            row_splits: row ``i`` is ``values[row_splits[i]:row_splits[i + 1]]``.
            id_marks: set to True at the index of each id, if all ids are indices of it; None to mark nothing.
        """
        lengths = np.diff(row_splits)
        sums = np.zeros(len(lengths), np.uint64)
        filled = lengths > 0
        starts = row_splits[:-1][filled]
        if len(starts):
            powers, inverses = _POWERS.get(len(values))
            products = self._multiply(values, powers, id_marks)
            sums[filled] = np.add.reduceat(products, starts) * inverses[starts]
        return _finish(sums + lengths.astype(np.uint64) * np.uint64(BASE))

    def _multiply(self, values: Ints, powers: Hashes, id_marks: Bools | None) -> Hashes:
        """Return the summands of the polynomials ``(n_tokens,)``, until the next call."""
        size = len(values)
        if size > len(self._products):
            self._products = np.empty(size, np.uint64)
        for start in range(0, size, PIECE):
            end = min(start + PIECE, size)
            wide, products = self._wide[: end - start], self._products[start:end]
            np.copyto(wide, values[start:end])
            if id_marks is not None:
                # Both passes cost half of a table of ``mix``: 8 bytes for each id do not stay in the cache.
                id_marks[wide] = True
            _mix(wide, products, self._shifted[: end - start])
            np.multiply(products, powers[start:end], out=products)
        return self._products[:size]


def _mix(ids: Ints, out: Hashes, shifted: Hashes) -> None:
    """Write numbers of 64 bits without structure for ids ``(n,)``, int64, into ``out``; ``shifted`` is for the work."""
    # Without the last step ids would enter the polynomial linearly, and different rows could have equal sums.
    np.multiply(ids.view(np.uint64), _ODD, out=out)
    np.add(out, _OFFSET, out=out)
    np.right_shift(out, _HALF, out=shifted)
    np.bitwise_xor(out, shifted, out=out)


def _finish(hashes: Hashes) -> Hashes:
    """Return hashes whose every bit depends on all bits, as the sample of small hashes needs."""
    for factor in (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)):
        hashes = (hashes ^ (hashes >> np.uint64(33))) * factor
    return hashes ^ (hashes >> np.uint64(33))
