"""Hashes of rows: equal for equal rows in any chunk, and different for rows that differ in anything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskcli.corpus.hashing import PIECE, HashBuffers
from maskcli.corpus.merging import count_hashes, merge_hashes
from maskcli.sequences.ragged import as_ragged

pytestmark = pytest.mark.quick


def hash_lists(rows: list[list[int]], dtype: str = "int64", id_marks: np.ndarray | None = None) -> list[int]:
    ragged = as_ragged(rows)
    return HashBuffers().hash_rows(ragged.values.astype(dtype), ragged.row_splits, id_marks).tolist()


@given(rows=st.lists(st.lists(st.integers(0, 99), max_size=6), min_size=1, max_size=30), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_hash_depends_only_on_the_row(rows: list[list[int]], seed: int) -> None:
    expected = {tuple(row): hash_lists([row])[0] for row in rows}
    order = np.random.default_rng(seed).permutation(len(rows))
    shuffled = [rows[index] for index in order]
    for dtype in ("int64", "int32", "uint8"):
        for id_marks in (None, np.zeros(100, bool)):
            assert hash_lists(shuffled, dtype, id_marks) == [expected[tuple(row)] for row in shuffled]
            assert id_marks is None or set(np.flatnonzero(id_marks).tolist()) == {
                token for row in rows for token in row
            }
    assert len(set(expected.values())) == len(expected)


def test_small_rows_have_different_hashes() -> None:
    """Rows of few small ids are those that a weak hash confuses."""
    rows = [list(row) for length in range(7) for row in itertools.product(range(-2, 4), repeat=length)]
    assert len(set(hash_lists(rows))) == len(rows) == 55_987


def test_every_bit_of_a_hash_is_even() -> None:
    hashes = np.array(hash_lists([[index] for index in range(20_000)]), np.uint64)
    shares = [(hashes >> np.uint64(bit) & np.uint64(1)).mean() for bit in range(64)]
    assert 0.48 < min(shares) <= max(shares) < 0.52


def test_row_longer_than_a_piece() -> None:
    row = (np.arange(3 * PIECE + 5) % 1000).tolist()
    first, again, other = hash_lists([row, [1], row[:-1]])[0], hash_lists([[9] * 77, row])[1], hash_lists([row[:-1]])[0]
    assert first == again != other


def test_hashes_stay_those_of_earlier_parts() -> None:
    """Parts that other versions wrote hold these numbers."""
    assert hash_lists([[], [0], [1, 2, 3]]) == KNOWN


@given(seed=st.integers(0, 2**32), rows=st.integers(1, 300), most=st.integers(1, 60), parts=st.integers(1, 16))
@settings(max_examples=100)
def test_merged_hashes_are_those_of_all_rows(seed: int, rows: int, most: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    hashes = rng.choice(rng.integers(0, 2**64, rng.integers(1, rows + 1), np.uint64), rows)
    different, counts = np.unique(hashes, return_counts=True)
    level = next(level for level in range(65) if np.count_nonzero(different < 2 ** (64 - level)) <= most)
    kept = different < 2 ** (64 - level)
    for began in {0, level}:
        states = [count_hashes(part, began, most) for part in np.array_split(hashes, parts)]
        merged = merge_hashes([merge_hashes(states[:3]), *states[3:]])
        assert (merged.level, merged.most) == (level, most)
        assert merged.hashes.tolist() == different[kept].tolist()
        assert merged.repeated.tolist() == different[kept & (counts > 1)].tolist()
        assert merged.counts.tolist() == counts[kept & (counts > 1)].tolist()


KNOWN = [0, 10388960310243486029, 9145960644110133658]
