"""What losses add up to: laws, and Keras's own reductions."""

from __future__ import annotations

import itertools
import math
import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from maskcli.losses import accounting
from maskcli.losses.accounting import RowSums, compute_batch_losses, simulate_evaluate, simulate_shuffles, sum_rows
from maskcli.losses.gradients import compute_batch_coefficients

REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "none", None, "mean_with_sample_weight")
ROUNDING = {"rtol": 1e-9, "atol": 1e-12}


@st.composite
def batches(draw: Any) -> tuple[Any, Any, Any]:
    """Draw losses ``(batch, timesteps)`` or ``(batch,)`` with a mask and weights of that shape, or None."""
    shape = draw(st.sampled_from([(1,), (7,), (1, 1), (3, 4), (8, 2), (6, 5)]))
    numbers = st.floats(0, 100, width=16)
    mask = draw(st.none() | arrays(bool, shape))
    weights = draw(st.none() | arrays("float64", shape, elements=st.floats(0.125, 4, width=16)))
    return draw(arrays("float64", shape, elements=numbers)), mask, weights


@hypothesis.given(batches(), st.sampled_from(REDUCTIONS), st.integers(1, 9))
def test_evaluate_is_the_mean_of_batches_by_their_rows(batch: Any, reduction: str | None, size: int) -> None:
    losses, mask, weights = batch
    sums = sum_rows(losses, mask, weights, reduction)
    assert sums is not None
    total = 0.0
    for start in range(0, len(losses), size):
        part = slice(start, start + size)
        kept = np.ones(losses[part].shape) if mask is None else mask[part] * 1.0
        weight = np.ones(losses[part].shape) if weights is None else weights[part]
        added = (losses[part] * weight * kept).sum()
        divisor = {
            "sum": 1.0,
            "none": kept.size,
            None: kept.size,
            "mean_with_sample_weight": (weight * kept).sum(),
        }.get(reduction, kept.sum())
        total += (added / divisor if divisor else 0.0) * len(losses[part])
    assert simulate_evaluate(sums, size) == pytest.approx(total / len(losses), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_batches_are_those_of_keras(reduction: str | None, weighted: bool, masked: bool) -> None:
    import keras
    from keras.src.losses.loss import reduce_weighted_values

    chance = np.random.default_rng(0)
    losses, mask, weights = chance.random((5, 4)), chance.random((5, 4)) > 0.4, chance.random((5, 4))
    losses[0, 0], losses[3, 1] = np.nan, np.inf
    mask[:2], mask[3:, 1] = False, True
    given = (mask if masked else None), (weights if weighted else None)
    sums = sum_rows(losses, *given, reduction)
    assert sums is not None
    parts = [[None if one is None else one[row : row + 1] for one in (losses, *given)] for row in range(5)]
    each = [reduce_weighted_values(part[0], mask=part[1], sample_weight=part[2], reduction=reduction) for part in parts]
    found = [float(keras.ops.mean(one)) for one in each]
    if reduction == "mean_with_sample_weight" and masked:
        found[0] = np.nan  # Nothing divided by nothing is 0 to TensorFlow, NaN or not.
    np.testing.assert_allclose(compute_batch_losses(sums, 1), found, rtol=1e-6)


def test_unknown_reductions_add_up_to_nothing() -> None:
    assert sum_rows(np.ones((2, 2)), None, None, "median") is None


@hypothesis.given(batches(), st.integers(1, 9))
def test_one_batch_and_equal_lengths_do_not_depend_on_the_batch_size(batch: Any, size: int) -> None:
    losses, _, weights = batch
    sums = sum_rows(losses, None, weights, "sum_over_batch_size")
    assert sums is not None
    assert simulate_evaluate(sums, size) == pytest.approx(simulate_evaluate(sums, len(losses)), rel=1e-9, abs=1e-12)


@hypothesis.given(batches(), st.sampled_from(REDUCTIONS), st.integers(1, 9))
def test_coefficients_are_those_of_the_mean_over_batches(batch: Any, reduction: str | None, size: int) -> None:
    losses, mask, weights = batch
    sums = sum_rows(losses, mask, weights, reduction)
    assert sums is not None
    mean = compute_batch_losses(sums, size).mean()
    assert (compute_batch_coefficients(sums, size) * sums.above).sum() == pytest.approx(mean, rel=1e-9, abs=1e-12)


@hypothesis.given(batches(), st.integers(1, 9))
def test_shuffles_are_orders_of_the_rows(batch: Any, size: int) -> None:
    sums = sum_rows(*batch, "sum_over_batch_size")
    assert sums is not None
    found = simulate_shuffles([sums, sums], [1.0, 2.0], size, 3)
    again = simulate_shuffles([sums], [3.0], size, 3)
    np.testing.assert_allclose(found, again, **ROUNDING)
    whole = simulate_shuffles([sums], [1.0], len(sums.above), 3)
    np.testing.assert_allclose(whole, simulate_evaluate(sums, len(sums.above)), **ROUNDING)
    assert simulate_shuffles([sums], [1.0], size, 0).shape == (0,)


def test_an_order_is_that_of_the_rows() -> None:
    above, below = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0])
    order = np.array([2, 0, 1])
    assert compute_batch_losses(RowSums(above, below), 2, order).tolist() == [4 / 5, 1.0]
    assert compute_batch_losses(RowSums(above, None), 2, order).tolist() == [4.0, 2.0]
    assert simulate_evaluate(RowSums(above, below), 2, order) == pytest.approx((2 * 4 / 5 + 1) / 3)


@pytest.mark.parametrize(
    ("below", "size", "expected"),
    [([10, 1], 1, 10.0), ([10, 1], 2, 1.0), ([6, 0, 2, 2], 1, 3.0), ([4, 2, 3], 2, 1.0), ([0, 0], 1, None)],
)
def test_the_heaviest_timestep(below: list[float], size: int, expected: float | None) -> None:
    """Of batches ``rows / count`` is the weight: 2 / 6 and 1 / 3 in the fourth case."""
    assert accounting.compute_weight_ratio(RowSums(np.zeros(len(below)), np.array(below, float)), size) == expected


def test_a_sum_weighs_all_alike() -> None:
    assert accounting.compute_weight_ratio(RowSums(np.zeros(2), None), 1) == 1.0


@pytest.mark.parametrize(
    ("asked", "batch_size", "rows", "expected"),
    [((), 32, 5, (1, 5)), ((), 2, 5, (1, 2, 5)), ((8, 2, 8), 32, 5, (8, 2)), ((), 1, 1, (1,)), ((), 5, 5, (1, 5))],
)
def test_known_sizes(asked: tuple[int, ...], batch_size: int, rows: int, expected: tuple[int, ...]) -> None:
    assert accounting.choose_batch_sizes(asked, batch_size, rows) == expected


@hypothesis.given(batches())
def test_means_of_samples(batch: Any) -> None:
    losses, mask, _ = batch
    counted = np.ones(losses.shape, bool) if mask is None else mask
    found = accounting.average_by_sample(losses, counted, np.ones(losses.shape, bool))
    for row, own, (one, all_) in zip(losses, counted, found, strict=True):
        assert one == (None if not own.any() else pytest.approx(np.atleast_1d(row)[np.atleast_1d(own)].mean()))
        assert all_ == pytest.approx(row.mean())


def test_means_leave_out_what_does_not_count() -> None:
    losses, counted = np.array([[1.0, np.nan], [np.inf, 2.0]]), np.array([[True, False], [True, False]])
    assert accounting.average_by_sample(losses, counted, ~counted) == (
        (1.0, pytest.approx(np.nan, nan_ok=True)),
        (math.inf, 2.0),
    )
    assert accounting.compute_mean(np.array([])) is None


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [(1.0, 4.0, 0.25), (0.0, 4.0, 0.0), (1.0, 0.0, None), (1.0, -1.0, None), (np.nan, 1.0, None), (1.0, np.inf, None)],
)
def test_a_share_is_of_something(part: float, whole: float, expected: float | None) -> None:
    assert accounting.compute_share(part, whole) == expected


@hypothesis.given(arrays(bool, st.tuples(st.integers(1, 60), st.integers(1, 30))), st.integers(0, 9))
def test_groups_of_length_hold_every_row_once(counted: Any, seed: int) -> None:
    losses = np.random.default_rng(seed).random(counted.shape)
    groups = accounting.group_by_length(losses, counted)
    lengths = counted.sum(axis=1)
    assert len(groups) <= accounting.GROUPS
    assert sum(group.sequences for group in groups) == len(counted)
    assert sum(group.timesteps for group in groups) == counted.sum()
    assert groups[0].shortest == lengths.min()
    assert groups[-1].longest == lengths.max()
    for before, after in itertools.pairwise(groups):
        assert before.shortest <= before.longest < after.shortest
    for group in groups:
        rows = (lengths >= group.shortest) & (lengths <= group.longest)
        own = losses[rows][counted[rows]]
        assert group.sequences == rows.sum() > 0
        assert {group.shortest, group.longest} <= set(lengths.tolist())
        assert group.mean == (pytest.approx(own.mean()) if own.size else None)
    shares = [group.share for group in groups if group.share is not None]
    assert sum(shares) == pytest.approx(1) if counted.any() else not shares


@hypothesis.given(batches())
def test_contributors_are_the_largest_that_count(batch: Any) -> None:
    losses, mask, _ = batch
    counted = np.ones(losses.shape, bool) if mask is None else mask
    found = accounting.rank_contributors(losses, counted)
    total = losses[counted].sum()
    if total <= 0:
        assert found == ()
        return
    largest = np.sort(losses[counted])[::-1][: accounting.CONTRIBUTORS]
    assert [one.loss for one in found] == largest.tolist()
    places = [(one.sample,) if one.timestep is None else (one.sample, one.timestep) for one in found]
    assert len(set(places)) == len(places)
    for place, one in zip(places, found, strict=True):
        assert counted[place]
        assert losses[place] == one.loss
        assert one.share == pytest.approx(one.loss / total)


def test_no_contributors_of_what_has_no_shares() -> None:
    for losses in ([[np.nan, 1.0]], [[-1.0, -2.0]], [[np.inf, 1.0]], [[0.0, 0.0]]):
        assert accounting.rank_contributors(np.array(losses), np.ones((1, 2), bool)) == ()
    assert accounting.rank_contributors(np.ones((2, 2)), np.zeros((2, 2), bool)) == ()
    ties = accounting.rank_contributors(np.ones((2, 2)), np.ones((2, 2), bool))
    assert [(one.sample, one.timestep) for one in ties] == [(0, 0), (0, 1), (1, 0), (1, 1)]
