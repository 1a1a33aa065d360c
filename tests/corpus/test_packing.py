"""Packing is best fit, decreasing, and does not depend on how the sequences arrive."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskcli.corpus.packing import choose_rows_to_pack, cut_windows
from maskcli.records.sequences import RaggedSequences
from maskcli.sequences.splits import make_row_splits

pytestmark = pytest.mark.quick

CAPACITY = 24
lengths_of_sequences = st.lists(st.integers(1, CAPACITY), min_size=1, max_size=60)


def pack_naively(lengths: list[int]) -> list[int]:
    """Return the room that is left in each row."""
    room: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [index for index, left in enumerate(room) if left >= length]
        if not fitting:
            room.append(CAPACITY)
            fitting = [len(room) - 1]
        room[min(fitting, key=room.__getitem__)] -= length
    return sorted(room)


@given(lengths=lengths_of_sequences)
def test_packing_equals_a_naive_best_fit(lengths: list[int]) -> None:
    rows = choose_rows_to_pack(np.array(lengths), CAPACITY)
    used = np.bincount(rows, lengths).astype(int)
    assert sorted((CAPACITY - used).tolist()) == pack_naively(lengths)
    firsts = [rows.tolist().index(row) for row in range(len(used))]
    assert firsts == sorted(firsts)


@pytest.mark.parametrize(("name", "fill"), [("lognormal", 0.999), ("uniform", 0.99), ("geometric", 0.999)])
def test_packing_fills_rows(name: str, fill: float) -> None:
    rng = np.random.default_rng(0)
    lengths = {
        "lognormal": np.clip(rng.lognormal(4.5, 1, 40_000), 1, 512).astype(int),
        "uniform": rng.integers(1, 513, 16_000),
        "geometric": np.minimum(rng.geometric(1 / 60, 60_000), 512),
    }[name]
    rows = choose_rows_to_pack(lengths, 512)
    assert lengths.sum() / (512 * (rows.max() + 1)) > fill


@given(lengths=lengths_of_sequences, cuts=st.lists(st.integers(0, 60), max_size=5), window=st.integers(1, 100))
def test_windows_do_not_depend_on_chunks(lengths: list[int], cuts: list[int], window: int) -> None:
    values, splits = np.arange(sum(lengths)), make_row_splits(np.array(lengths))
    edges = sorted({0, len(lengths), *(min(cut, len(lengths)) for cut in cuts)})
    chunks = [
        RaggedSequences(values[splits[start] : splits[end]], splits[start : end + 1] - splits[start])
        for start, end in itertools.pairwise(edges)
    ]
    windows = list(cut_windows(chunks, window))
    assert np.array_equal(np.concatenate([part.values for part in windows]), values)
    assert np.array_equal(np.concatenate([part.lengths for part in windows]), lengths)
    for part in windows:
        assert len(part.values) - part.lengths[-1] < window
    assert all(len(part.values) >= window for part in windows[:-1])
