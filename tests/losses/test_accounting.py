"""Sums and means of losses: laws, and a comparison with Keras's own reductions."""

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

pytestmark = pytest.mark.slow(share=1 / 2)

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
def test_simulate_evaluate_weights_batches_by_rows(batch: Any, reduction: str | None, size: int) -> None:
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
def test_compute_batch_losses_equals_keras(reduction: str | None, weighted: bool, masked: bool) -> None:
    import keras
    from keras.src.losses.loss import reduce_weighted_values

    rng = np.random.default_rng(0)
    losses, mask, weights = rng.random((5, 4)), rng.random((5, 4)) > 0.4, rng.random((5, 4))
    losses[0, 0], losses[3, 1] = np.nan, np.inf
    mask[:2], mask[3:, 1] = False, True
    options = (mask if masked else None), (weights if weighted else None)
    sums = sum_rows(losses, *options, reduction)
    assert sums is not None
    parts = [[None if array is None else array[row : row + 1] for array in (losses, *options)] for row in range(5)]
    values = [
        reduce_weighted_values(part[0], mask=part[1], sample_weight=part[2], reduction=reduction) for part in parts
    ]
    expected = [float(keras.ops.mean(value)) for value in values]
    if reduction == "mean_with_sample_weight" and masked:
        expected[0] = np.nan  # Nothing divided by nothing is 0 to TensorFlow, NaN or not.
    np.testing.assert_allclose(compute_batch_losses(sums, 1), expected, rtol=1e-6)


def test_sum_rows_unknown_reduction() -> None:
    assert sum_rows(np.ones((2, 2)), None, None, "median") is None


@hypothesis.given(batches(), st.integers(1, 9))
def test_simulate_evaluate_equal_lengths(batch: Any, size: int) -> None:
    losses, _, weights = batch
    sums = sum_rows(losses, None, weights, "sum_over_batch_size")
    assert sums is not None
    assert simulate_evaluate(sums, size) == pytest.approx(simulate_evaluate(sums, len(losses)), rel=1e-9, abs=1e-12)


@hypothesis.given(batches(), st.sampled_from(REDUCTIONS), st.integers(1, 9))
def test_batch_coefficients_give_mean_of_batches(batch: Any, reduction: str | None, size: int) -> None:
    losses, mask, weights = batch
    sums = sum_rows(losses, mask, weights, reduction)
    assert sums is not None
    mean = compute_batch_losses(sums, size).mean()
    assert (compute_batch_coefficients(sums, size) * sums.above).sum() == pytest.approx(mean, rel=1e-9, abs=1e-12)


@hypothesis.given(batches(), st.integers(1, 9))
def test_simulate_shuffles_orders_rows(batch: Any, size: int) -> None:
    sums = sum_rows(*batch, "sum_over_batch_size")
    assert sums is not None
    result = simulate_shuffles([sums, sums], [1.0, 2.0], size, 3)
    again = simulate_shuffles([sums], [3.0], size, 3)
    np.testing.assert_allclose(result, again, **ROUNDING)
    whole = simulate_shuffles([sums], [1.0], len(sums.above), 3)
    np.testing.assert_allclose(whole, simulate_evaluate(sums, len(sums.above)), **ROUNDING)
    assert simulate_shuffles([sums], [1.0], size, 0).shape == (0,)


def test_compute_batch_losses_in_order() -> None:
    above, below = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0])
    order = np.array([2, 0, 1])
    assert compute_batch_losses(RowSums(above, below), 2, order).tolist() == [4 / 5, 1.0]
    assert compute_batch_losses(RowSums(above, None), 2, order).tolist() == [4.0, 2.0]
    assert simulate_evaluate(RowSums(above, below), 2, order) == pytest.approx((2 * 4 / 5 + 1) / 3)


@pytest.mark.parametrize(
    ("below", "size", "expected"),
    [([10, 1], 1, 10.0), ([10, 1], 2, 1.0), ([6, 0, 2, 2], 1, 3.0), ([4, 2, 3], 2, 1.0), ([0, 0], 1, None)],
)
def test_compute_weight_ratio(below: list[float], size: int, expected: float | None) -> None:
    """Of batches ``rows / count`` is the weight: 2 / 6 and 1 / 3 in the fourth case."""
    assert accounting.compute_weight_ratio(RowSums(np.zeros(len(below)), np.array(below, float)), size) == expected


def test_compute_weight_ratio_of_sum() -> None:
    assert accounting.compute_weight_ratio(RowSums(np.zeros(2), None), 1) == 1.0


@pytest.mark.parametrize(
    ("requested", "batch_size", "rows", "expected"),
    [((), 32, 5, (1, 5)), ((), 2, 5, (1, 2, 5)), ((8, 2, 8), 32, 5, (8, 2)), ((), 1, 1, (1,)), ((), 5, 5, (1, 5))],
)
def test_choose_batch_sizes(requested: tuple[int, ...], batch_size: int, rows: int, expected: tuple[int, ...]) -> None:
    assert accounting.choose_batch_sizes(requested, batch_size, rows) == expected


@hypothesis.given(batches())
def test_average_by_sample(batch: Any) -> None:
    losses, mask, _ = batch
    included = np.ones(losses.shape, bool) if mask is None else mask
    result = accounting.average_by_sample(losses, included, np.ones(losses.shape, bool))
    for row, mask_row, (mean, all_) in zip(losses, included, result, strict=True):
        assert mean == (
            None if not mask_row.any() else pytest.approx(np.atleast_1d(row)[np.atleast_1d(mask_row)].mean())
        )
        assert all_ == pytest.approx(row.mean())


def test_average_by_sample_not_finite() -> None:
    losses, included = np.array([[1.0, np.nan], [np.inf, 2.0]]), np.array([[True, False], [True, False]])
    assert accounting.average_by_sample(losses, included, ~included) == (
        (1.0, pytest.approx(np.nan, nan_ok=True)),
        (math.inf, 2.0),
    )
    assert accounting.compute_mean(np.array([])) is None


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [(1.0, 4.0, 0.25), (0.0, 4.0, 0.0), (1.0, 0.0, None), (1.0, -1.0, None), (np.nan, 1.0, None), (1.0, np.inf, None)],
)
def test_compute_share(part: float, whole: float, expected: float | None) -> None:
    assert accounting.compute_share(part, whole) == expected


@hypothesis.given(arrays(bool, st.tuples(st.integers(1, 60), st.integers(1, 30))), st.integers(0, 9))
def test_group_by_length_has_every_row_once(included: Any, seed: int) -> None:
    losses = np.random.default_rng(seed).random(included.shape)
    groups = accounting.group_by_length(losses, included)
    lengths = included.sum(axis=1)
    assert len(groups) <= accounting.GROUPS
    assert sum(group.sequences for group in groups) == len(included)
    assert sum(group.timesteps for group in groups) == included.sum()
    assert groups[0].shortest == lengths.min()
    assert groups[-1].longest == lengths.max()
    for before, after in itertools.pairwise(groups):
        assert before.shortest <= before.longest < after.shortest
    for group in groups:
        rows = (lengths >= group.shortest) & (lengths <= group.longest)
        values = losses[rows][included[rows]]
        assert group.sequences == rows.sum() > 0
        assert {group.shortest, group.longest} <= set(lengths.tolist())
        assert group.mean == (pytest.approx(values.mean()) if values.size else None)
    shares = [group.share for group in groups if group.share is not None]
    assert sum(shares) == pytest.approx(1) if included.any() else not shares


@hypothesis.given(batches())
def test_rank_contributors_largest_first(batch: Any) -> None:
    losses, mask, _ = batch
    included = np.ones(losses.shape, bool) if mask is None else mask
    result = accounting.rank_contributors(losses, included)
    total = losses[included].sum()
    if total <= 0:
        assert result == ()
        return
    largest = np.sort(losses[included])[::-1][: accounting.CONTRIBUTORS]
    assert [item.loss for item in result] == largest.tolist()
    places = [(item.sample,) if item.timestep is None else (item.sample, item.timestep) for item in result]
    assert len(set(places)) == len(places)
    for place, item in zip(places, result, strict=True):
        assert included[place]
        assert losses[place] == item.loss
        assert item.share == pytest.approx(item.loss / total)


def test_rank_contributors_without_shares() -> None:
    for losses in ([[np.nan, 1.0]], [[-1.0, -2.0]], [[np.inf, 1.0]], [[0.0, 0.0]]):
        assert accounting.rank_contributors(np.array(losses), np.ones((1, 2), bool)) == ()
    assert accounting.rank_contributors(np.ones((2, 2)), np.zeros((2, 2), bool)) == ()
    ties = accounting.rank_contributors(np.ones((2, 2)), np.ones((2, 2), bool))
    assert [(item.sample, item.timestep) for item in ties] == [(0, 0), (0, 1), (1, 0), (1, 1)]
