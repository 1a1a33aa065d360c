"""Facts of data, compared with plain loops, and optimal buckets."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskcli.records.data import Bucket, Occurrence
from maskcli.records.layout import Layout
from maskcli.records.sequences import RaggedSequences
from maskcli.sequences.buckets import MOST, choose_buckets, choose_histogram_buckets
from maskcli.sequences.facts import collect_array_facts, collect_facts
from maskcli.sequences.padding import find_valid_timesteps, pad_ragged
from maskcli.sequences.ragged import as_ragged

pytestmark = pytest.mark.quick

rows_of_ids = st.lists(st.lists(st.integers(-1, 5), max_size=7), min_size=1, max_size=8).filter(any)
layouts = st.builds(
    Layout,
    padding=st.sampled_from(["pre", "post"]),
    truncating=st.sampled_from(["pre", "post"]),
    maxlen=st.none() | st.integers(1, 9),
    value=st.integers(-1, 5),
    trim=st.booleans(),
)
lengths_of_rows = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def facts(rows: list[list[int]], layout: Layout) -> Any:
    ragged = as_ragged(rows)
    return collect_facts(ragged, pad_ragged(ragged, layout))


def find_tokens(row: list[int], layout: Layout, rows: list[list[int]]) -> range:
    """Return the positions of a row between the padding that it had before; only rows of one length had any."""
    trim = layout.trim and len(set(map(len, rows))) == 1
    inside = [position for position, value in enumerate(row) if value != layout.value or not trim]
    return range(inside[0], inside[-1] + 1) if inside else range(0)


def find_kept(row: list[int], layout: Layout, maxlen: int) -> range:
    return range(min(len(row), maxlen)) if layout.truncating == "post" else range(max(0, len(row) - maxlen), len(row))


@given(rows=rows_of_ids, layout=layouts)
def test_truncated_tokens_equal_a_loop(rows: list[list[int]], layout: Layout) -> None:
    data_facts = facts(rows, layout)
    truncated = [set(find_tokens(row, layout, rows)) - set(find_kept(row, layout, data_facts.shape[1])) for row in rows]
    assert data_facts.truncated_tokens == sum(map(len, truncated))
    assert data_facts.truncated_sequences == sum(map(bool, truncated))
    # After truncation, a row may end with padding ids that were between its tokens; these now count as padding.
    assert (
        data_facts.truncated_tokens
        <= data_facts.total_tokens
        <= sum(len(find_tokens(row, layout, rows)) for row in rows)
    )


@given(rows=rows_of_ids, layout=layouts)
def test_occurrences_equal_a_loop(rows: list[list[int]], layout: Layout) -> None:
    data_facts = facts(rows, layout)
    ragged = as_ragged(rows)
    batch = pad_ragged(ragged, layout)
    valid = find_valid_timesteps(batch)
    real = [(s, t, int(batch.tokens[s, t])) for s, t in zip(*map(np.ndarray.tolist, np.nonzero(valid)), strict=True)]
    ids = [value for _, _, value in real]
    for place, value in (
        (data_facts.smallest, min(ids, default=None)),
        (data_facts.largest, max(ids, default=None)),
        (data_facts.inner_padding, layout.value),
    ):
        hits = [(s, t) for s, t, token in real if token == value]
        assert place == (Occurrence(len(hits), *hits[0], value) if hits else None)
    empty = np.flatnonzero(~valid.any(axis=1)).tolist()
    assert data_facts.empty == (Occurrence(len(empty), empty[0], None) if empty else None)
    assert data_facts.padded_timesteps == valid.size - len(ids)
    assert data_facts.total_tokens == len(ids) + data_facts.truncated_tokens


@given(rows=rows_of_ids, layout=layouts)
def test_buckets_never_cost_more_than_the_batch(rows: list[list[int]], layout: Layout) -> None:
    data_facts = facts(rows, layout)
    assert 0 <= data_facts.bucketed_timesteps <= data_facts.padded_timesteps
    assert sum(bucket.sequences for bucket in data_facts.buckets) == len(rows)
    maxlens = [bucket.maxlen for bucket in data_facts.buckets]
    assert maxlens == sorted(set(maxlens))
    assert 1 <= len(maxlens) <= MOST
    assert maxlens[-1] <= data_facts.shape[1]


def compute_cost(buckets: tuple[Bucket, ...]) -> int:
    return sum(bucket.maxlen * bucket.sequences for bucket in buckets)


def find_best_cost(lengths: list[int], most: int) -> tuple[int, int]:
    """Return the smallest cost of any buckets, and the smallest number of buckets with that cost."""
    ends = sorted(set(lengths))
    tries = (
        (sum(min(end for end in (*chosen, ends[-1]) if end >= length) for length in lengths), count + 1)
        for count in range(most)
        for chosen in itertools.combinations(ends[:-1], count)
    )
    return min(tries)


@given(lengths=lengths_of_rows, most=st.integers(1, MOST))
def test_choose_buckets_is_optimal(lengths: list[int], most: int) -> None:
    buckets = choose_buckets(np.array(lengths), most)
    assert (compute_cost(buckets), len(buckets)) == find_best_cost(lengths, most)
    for lower, bucket in itertools.pairwise((Bucket(0, 0), *buckets)):
        assert bucket.sequences == sum(lower.maxlen < length <= bucket.maxlen for length in lengths)
        assert bucket.maxlen in lengths


def test_choose_buckets_of_many_lengths() -> None:
    # Each length once: four even steps are optimal.
    assert choose_buckets(np.arange(1, 4001)) == tuple(Bucket(end, 1000) for end in (1000, 2000, 3000, 4000))


def test_choose_buckets_of_counts_beyond_int64() -> None:
    lengths, counts = np.array([2**40, 2**40 + 1, 2**41]), np.array([2**30, 1, 2**30])
    assert choose_histogram_buckets(lengths, counts, 2) == (Bucket(2**40 + 1, 2**30 + 1), Bucket(2**41, 2**30))


def test_choose_buckets_of_equal_lengths() -> None:
    assert choose_buckets(np.array([7])) == (Bucket(7, 1),)
    assert choose_buckets(np.array([7] * 9)) == (Bucket(7, 9),)
    assert choose_buckets(np.array([], int)) == ()


@pytest.mark.parametrize(
    ("rows", "layout", "side"),
    [
        ([[1, 2], [3]], Layout(), "post"),
        ([[1, 2], [3]], Layout(padding="pre"), "pre"),
        ([[0, 0, 2], [3, 4, 5]], Layout(), "pre"),
        ([[0, 2, 3], [4, 0, 0]], Layout(), "post"),
        ([[1, 2], [3, 4]], Layout(padding="pre"), "pre"),
        ([[1, 2], []], Layout(), "post"),
    ],
)
def test_padding_side_is_the_one_with_most_padding(rows: list[list[int]], layout: Layout, side: str) -> None:
    assert facts(rows, layout).padding == side


def test_array_facts_with_gaps_and_without_timesteps() -> None:
    valid = np.array([[False, True, False, True, False], [True, True, True, True, True]])
    data_facts = collect_array_facts(np.arange(10).reshape(2, 5), valid, name="ids", value=3)
    assert (data_facts.name, data_facts.padding, data_facts.padded_timesteps) == ("ids", "post", 3)
    assert data_facts.inner_padding == Occurrence(1, 0, 3, 3)
    assert data_facts.buckets == (Bucket(3, 1), Bucket(5, 1))
    assert data_facts.bucketed_timesteps == 1
    assert (data_facts.truncated_tokens, data_facts.total_tokens) == (0, 7)
    for shape in ((0, 3), (3, 0), (0, 0)):
        none = collect_array_facts(np.zeros(shape, int), np.zeros(shape, bool))
        assert (none.smallest, none.largest, none.buckets == ()) == (None, None, True)
        assert (none.padded_timesteps, none.bucketed_timesteps) == (0, 0)
        assert (none.empty is None) == (shape[0] == 0)


@pytest.mark.slow(share=1)
def test_facts_of_200_000_rows_take_seconds() -> None:
    lengths = np.random.default_rng(0).integers(0, 100, 200_000)
    splits = np.concatenate([[0], np.cumsum(lengths)])
    ragged = RaggedSequences(np.ones(splits[-1], np.int64), splits)
    batch = pad_ragged(ragged, Layout(maxlen=60))
    started = time.perf_counter()
    collect_facts(ragged, batch)
    assert time.perf_counter() - started < 10
