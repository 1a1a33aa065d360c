"""The expected cost of batches equals that of all orders of the sequences, or of a naive packing."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import maskcli
from maskcli.corpus.batches import compare_batches, count_packed_rows
from maskcli.corpus.merging import make_histogram
from maskcli.records.profile import BatchPlan

pytestmark = pytest.mark.quick

some_lengths = st.lists(st.integers(0, 9), min_size=1, max_size=40).filter(any)


def compare(lengths: list[int], batch_size: int = 4, **options: int) -> dict[str, BatchPlan]:
    rows = [[1] * length for length in lengths]
    corpus = maskcli.profile(rows, batch_size=batch_size, **options).corpus
    return {plan.name: plan for plan in corpus.batches}


def cost_of_order(lengths: list[int], batch_size: int) -> tuple[int, int]:
    """Return the timesteps of batches in this order, and the sum of the squares of the lengths of their rows."""
    batches = [lengths[start : start + batch_size] for start in range(0, len(lengths), batch_size)]
    longest = [(max(1, *batch), len(batch)) for batch in batches]
    return sum(length * rows for length, rows in longest), sum(length**2 * rows for length, rows in longest)


@pytest.mark.parametrize("lengths", [[1, 2, 3], [5, 5, 1, 2, 7], [0, 3, 3, 9, 4, 4], [6], [2, 2, 2, 8, 1, 0, 3]])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 10])
def test_random_batches_are_the_mean_of_all_orders(lengths: list[int], batch_size: int) -> None:
    costs = [cost_of_order(list(order), batch_size) for order in itertools.permutations(lengths)]
    plan = compare(lengths, batch_size)["random"]
    timesteps, squares = np.mean(costs, axis=0)
    assert plan.timesteps == pytest.approx(timesteps)
    longest, rows = max(1, *lengths, 1), len(lengths)
    assert plan.attention_speed_up == pytest.approx(longest**2 * rows / squares)
    assert plan.padding_share == pytest.approx(1 - sum(lengths) / timesteps)


@given(lengths=some_lengths, batch_size=st.integers(1, 12))
@settings(max_examples=40)
def test_sorted_batches_are_neighbours(lengths: list[int], batch_size: int) -> None:
    plan = compare(lengths, batch_size)["sorted"]
    timesteps, squares = cost_of_order(sorted(lengths), batch_size)
    assert plan.timesteps == timesteps
    assert plan.attention_speed_up == max(lengths) ** 2 * len(lengths) / squares


def pack_naively(lengths: list[int], maxlen: int) -> int:
    """Return the rows of a best-fit packing, the longest first, one sequence after the other."""
    rooms: list[int] = []
    for length in sorted((min(length, maxlen) for length in lengths if length), reverse=True):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            rooms.remove(min(fitting))
        rooms.append((min(fitting) if fitting else maxlen) - length)
    return len(rooms)


@given(lengths=some_lengths, maxlen=st.integers(1, 12))
@settings(max_examples=100)
def test_packing_equals_one_of_single_sequences(lengths: list[int], maxlen: int) -> None:
    rows = count_packed_rows(make_histogram(np.array(lengths)), maxlen)
    assert rows == pack_naively(lengths, maxlen)
    assert rows * maxlen >= sum(min(length, maxlen) for length in lengths)


def test_packing_of_many_sequences_takes_no_longer() -> None:
    histogram = make_histogram(np.arange(1, 2000))
    many = type(histogram)(histogram.lengths, histogram.counts * 10**9)
    rows = count_packed_rows(many, 2000)
    assert rows * 2000 <= 1.001 * many.tokens + 2000


@given(lengths=some_lengths, buckets=st.integers(1, 5), maxlen=st.integers(1, 9))
@settings(max_examples=40)
def test_buckets_pad_to_their_length(lengths: list[int], buckets: int, maxlen: int) -> None:
    rows = [[1] * length for length in lengths]
    corpus = maskcli.profile(rows, buckets=buckets, maxlen=maxlen).corpus
    ends = [bucket.maxlen for bucket in corpus.buckets]
    kept = [min(max(length, 1), maxlen) for length in lengths]
    counts = Counter(ends[int(np.searchsorted(ends, length))] for length in kept)
    assert [counts[end] for end in ends] == [bucket.sequences for bucket in corpus.buckets]
    assert corpus.batches[3].timesteps == sum(end * count for end, count in counts.items())
    assert len(ends) <= buckets


@given(lengths=some_lengths, batch_size=st.integers(1, 12))
@settings(max_examples=40)
def test_all_ways_keep_all_tokens(lengths: list[int], batch_size: int) -> None:
    plans = compare(lengths, batch_size)
    for plan in plans.values():
        assert plan.timesteps * (1 - plan.padding_share) == pytest.approx(sum(lengths))
        assert plan.speed_up == pytest.approx(plans["pad"].timesteps / plan.timesteps)
    if len(lengths) % batch_size == 0:  # Otherwise the last batch, which has the longest, is small.
        assert plans["sorted"].timesteps <= plans["random"].timesteps * (1 + 1e-12)
    assert plans["random"].timesteps <= plans["pad"].timesteps * (1 + 1e-12)


def test_names_are_those_of_the_documentation() -> None:
    histogram = make_histogram(np.array([1, 2, 3]))
    plans = compare_batches(histogram, 3, 2, maskcli.profile([[1], [1, 1], [1, 1, 1]]).corpus.buckets)
    assert [plan.name for plan in plans] == ["pad", "random", "sorted", "buckets", "packing"]
