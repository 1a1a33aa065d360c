"""Hashes of rows, all rows of a chunk at once, the same in every process and on every machine.

The hash of a row is a polynomial: the sum of ``mix(id) * BASE ** position``, modulo 2**64. All products are made for
the whole chunk, with the position in the chunk as the power. The sum of a row is then divided by the power at its first
position, which is a product as well: an odd number has an inverse modulo 2**64.
"""

from __future__ import annotations

import numpy as np

from maskcli.records.arrays import Hashes, Ints

BASE = 0x9E3779B97F4A7C15
"""An odd number without structure: 2**64 divided by the golden ratio."""
_INVERSE = pow(BASE, -1, 2**64)
_ODD = np.uint64(0xD6E8FEB86659FD93)
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


class HashBuffers:
    """The arrays in which one thread works, reused for all chunks: memory from the system is slow at first use."""

    def __init__(self) -> None:
        """Begin with small arrays."""
        self._wide = np.empty(0, np.int64)
        self._products = np.empty(0, np.uint64)
        self._shifted = np.empty(0, np.uint64)

    def widen(self, values: Ints) -> Ints:
        """Return integers as int64, until the next call."""
        size = len(values)
        if size > len(self._wide):
            self._wide = np.empty(size, np.int64)
            self._products, self._shifted = np.empty(size, np.uint64), np.empty(size, np.uint64)
        wide = self._wide[:size]
        np.copyto(wide, values)
        return wide

    def hash_rows(self, wide: Ints, row_splits: Ints) -> Hashes:
        """Return a hash of each row ``(n_rows,)``; rows of other lengths or ids have others, but for chance.

        Args:
            wide: the ids of all rows, as ``widen`` returns them.
            row_splits: row ``i`` is ``wide[row_splits[i]:row_splits[i + 1]]``.
        """
        lengths = np.diff(row_splits)
        sums = np.zeros(len(lengths), np.uint64)
        filled = lengths > 0
        starts = row_splits[:-1][filled]
        if len(starts):
            sums[filled] = self._add_products(wide, starts)
        return _finish(sums + lengths.astype(np.uint64) * np.uint64(BASE))

    def _add_products(self, wide: Ints, starts: Ints) -> Hashes:
        """Return the polynomial of each row that is not empty."""
        powers, inverses = _POWERS.get(len(wide))
        products, shifted = self._products[: len(wide)], self._shifted[: len(wide)]
        np.multiply(wide.view(np.uint64), _ODD, out=products)
        # Without this step ids would enter linearly, and different rows could have equal sums.
        np.right_shift(products, _HALF, out=shifted)
        np.bitwise_xor(products, shifted, out=products)
        np.multiply(products, powers[: len(wide)], out=products)
        sums: Hashes = np.add.reduceat(products, starts) * inverses[starts]
        return sums


def _finish(hashes: Hashes) -> Hashes:
    """Return hashes whose every bit depends on all bits, as the sample of small hashes needs."""
    for factor in (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)):
        hashes = (hashes ^ (hashes >> np.uint64(33))) * factor
    return hashes ^ (hashes >> np.uint64(33))
