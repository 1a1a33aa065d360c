"""The facts of the data: counted as a loop counts them, and buckets that nothing beats."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskcli.records.data import Bucket, Occurrence
from maskcli.records.sequences import Layout, RaggedSequences
from maskcli.sequences.buckets import EXACT, MOST, choose_buckets
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


def tokens_of(row: list[int], layout: Layout) -> range:
    """Return the positions of a row between the padding that it came with."""
    inside = [position for position, value in enumerate(row) if value != layout.value or not layout.trim]
    return range(inside[0], inside[-1] + 1) if inside else range(0)


def kept_of(row: list[int], layout: Layout, maxlen: int) -> range:
    return range(min(len(row), maxlen)) if layout.truncating == "post" else range(max(0, len(row) - maxlen), len(row))


@given(rows=rows_of_ids, layout=layouts)
def test_tokens_that_are_cut_are_counted_as_a_loop_counts_them(rows: list[list[int]], layout: Layout) -> None:
    found = facts(rows, layout)
    lost = [set(tokens_of(row, layout)) - set(kept_of(row, layout, found.shape[1])) for row in rows]
    assert found.truncated_tokens == sum(map(len, lost))
    assert found.truncated_sequences == sum(map(bool, lost))
    # What is left of a row may end in padding ids that stood between its tokens, and count as padding from then on.
    assert found.truncated_tokens <= found.total_tokens <= sum(len(tokens_of(row, layout)) for row in rows)


@given(rows=rows_of_ids, layout=layouts)
def test_places_are_the_first_of_as_many(rows: list[list[int]], layout: Layout) -> None:
    found = facts(rows, layout)
    ragged = as_ragged(rows)
    batch = pad_ragged(ragged, layout)
    valid = find_valid_timesteps(batch)
    real = [(s, t, int(batch.tokens[s, t])) for s, t in zip(*map(np.ndarray.tolist, np.nonzero(valid)), strict=True)]
    ids = [value for _, _, value in real]
    for place, value in (
        (found.smallest, min(ids, default=None)),
        (found.largest, max(ids, default=None)),
        (found.inner_padding, layout.value),
    ):
        hits = [(s, t) for s, t, token in real if token == value]
        assert place == (Occurrence(len(hits), *hits[0], value) if hits else None)
    empty = np.flatnonzero(~valid.any(axis=1)).tolist()
    assert found.empty == (Occurrence(len(empty), empty[0], None) if empty else None)
    assert found.padded_timesteps == valid.size - len(ids)
    assert found.total_tokens == len(ids) + found.truncated_tokens


@given(rows=rows_of_ids, layout=layouts)
def test_buckets_never_cost_more_than_the_batch(rows: list[list[int]], layout: Layout) -> None:
    found = facts(rows, layout)
    assert 0 <= found.bucketed_timesteps <= found.padded_timesteps
    assert sum(bucket.sequences for bucket in found.buckets) == len(rows)
    maxlens = [bucket.maxlen for bucket in found.buckets]
    assert maxlens == sorted(set(maxlens))
    assert 1 <= len(maxlens) <= MOST
    assert maxlens[-1] <= found.shape[1]


def cost(found: tuple[Bucket, ...]) -> int:
    return sum(bucket.maxlen * bucket.sequences for bucket in found)


def by_brute_force(lengths: list[int], most: int) -> tuple[int, int]:
    """Return the least that any buckets cost, and how few cost that."""
    ends = sorted(set(lengths))
    tries = (
        (sum(min(end for end in (*chosen, ends[-1]) if end >= length) for length in lengths), count + 1)
        for count in range(most)
        for chosen in itertools.combinations(ends[:-1], count)
    )
    return min(tries)


@given(lengths=lengths_of_rows, most=st.integers(1, MOST))
def test_no_other_buckets_are_better(lengths: list[int], most: int) -> None:
    found = choose_buckets(np.array(lengths), most)
    assert (cost(found), len(found)) == by_brute_force(lengths, most)
    for lower, bucket in itertools.pairwise((Bucket(0, 0), *found)):
        assert bucket.sequences == sum(lower.maxlen < length <= bucket.maxlen for length in lengths)
        assert bucket.maxlen in lengths


def test_many_lengths_are_tried_by_quantiles() -> None:
    lengths = np.random.default_rng(0).integers(1, 5 * EXACT, 20_000)
    found = choose_buckets(lengths)
    assert found[-1].maxlen == lengths.max()
    assert sum(bucket.sequences for bucket in found) == len(lengths)
    # Four even steps are the best for lengths that are spread evenly.
    even = sum(int(np.ceil(length / (5 * EXACT / 4)) * (5 * EXACT / 4)) for length in lengths)
    assert cost(found) <= 1.01 * even


def test_one_row_and_equal_rows_need_one_bucket() -> None:
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
def test_padding_is_where_most_of_it_stands(rows: list[list[int]], layout: Layout, side: str) -> None:
    assert facts(rows, layout).padding == side


def test_arrays_with_holes_and_without_timesteps() -> None:
    valid = np.array([[False, True, False, True, False], [True, True, True, True, True]])
    found = collect_array_facts(np.arange(10).reshape(2, 5), valid, name="ids", value=3)
    assert (found.name, found.padding, found.padded_timesteps) == ("ids", "post", 3)
    assert found.inner_padding == Occurrence(1, 0, 3, 3)
    assert found.buckets == (Bucket(3, 1), Bucket(5, 1))
    assert found.bucketed_timesteps == 1
    assert (found.truncated_tokens, found.total_tokens) == (0, 7)
    for shape in ((0, 3), (3, 0), (0, 0)):
        none = collect_array_facts(np.zeros(shape, int), np.zeros(shape, bool))
        assert (none.smallest, none.largest, none.buckets == ()) == (None, None, True)
        assert (none.padded_timesteps, none.bucketed_timesteps) == (0, 0)
        assert (none.empty is None) == (shape[0] == 0)


@pytest.mark.slow(share=1)
def test_two_hundred_thousand_rows_take_seconds() -> None:
    lengths = np.random.default_rng(0).integers(0, 100, 200_000)
    splits = np.concatenate([[0], np.cumsum(lengths)])
    ragged = RaggedSequences(np.ones(splits[-1], np.int64), splits)
    batch = pad_ragged(ragged, Layout(maxlen=60))
    started = time.perf_counter()
    collect_facts(ragged, batch)
    assert time.perf_counter() - started < 10
