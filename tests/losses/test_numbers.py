"""Parts of losses and metrics that need no model: weights, masks of two sources, means, and how gradients compare."""

from __future__ import annotations

import collections
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from maskcli.errors import InputError
from maskcli.losses.accounting import average_by_sample, choose_batch_sizes, compute_weight_ratio, sum_rows
from maskcli.losses.binding import _fit_weights, combine_counted, look_up_class_weights
from maskcli.losses.evaluate import _nest_arrays
from maskcli.losses.gradients import _compare
from maskcli.losses.metrics import _are_equal
from maskcli.losses.per_output import MetricTargets, _find_counted, mark_failed_loss
from maskcli.losses.reductions import compute_reductions
from maskcli.losses.registry import import_references
from maskcli.records.evidence import OutputEvidence

pytestmark = pytest.mark.quick

VALID = np.array([[True, True, False], [True, False, False]])
KEPT = np.array([[True, False, True], [True, True, True]])


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_weights_of_rows_are_repeated(shape: tuple[int, ...]) -> None:
    weights = np.array([0.5, 2.0]).reshape(shape)
    assert _fit_weights(weights, 2, ()).tolist() == [0.5, 2.0]
    assert _fit_weights(weights, 2, (3,)).tolist() == [[0.5] * 3, [2.0] * 3]


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1)])
def test_weights_of_timesteps_stay(shape: tuple[int, ...]) -> None:
    weights = np.arange(6.0).reshape(shape)
    assert _fit_weights(weights, 2, (3,)).tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]


@pytest.mark.parametrize(
    ("shape", "timesteps", "expected"),
    [
        ((3,), (), "weights (2,)"),
        ((2, 3), (), "weights (2,)"),
        ((2, 2), (3,), "weights (2,), or (2, 3)"),
        ((2, 3, 2), (3,), "weights (2,), or (2, 3)"),
        ((1, 3, 1), (3,), "weights (2,), or (2, 3)"),
    ],
)
def test_weights_of_another_shape_are_refused(
    shape: tuple[int, ...], timesteps: tuple[int, ...], expected: str
) -> None:
    with pytest.raises(InputError) as raised:
        _fit_weights(np.ones(shape), 2, timesteps)
    assert raised.value.expected == expected


def test_timesteps_count_if_both_masks_agree() -> None:
    assert combine_counted(None, None) is None
    assert combine_counted(VALID, None) is VALID
    assert combine_counted(None, KEPT) is KEPT
    np.testing.assert_array_equal(combine_counted(VALID, KEPT), VALID & KEPT)
    assert combine_counted(VALID, KEPT[:, 0]) is VALID


@pytest.mark.parametrize("form", ["ids", "ids with an axis", "vectors"])
def test_class_weights_in_each_form_of_targets(form: str) -> None:
    ids = np.array([[0, 2], [1, 2]])
    targets = {"ids": ids, "ids with an axis": ids[..., None], "vectors": np.eye(3)[ids]}[form]
    weights = look_up_class_weights(targets, (2, 2, 3), {2: 5.0, 0: 0.5})
    assert weights.tolist() == [[0.5, 5.0], [1.0, 5.0]]


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        (math.nan, math.nan, True),
        (math.nan, 1.0, False),
        (1.0, math.nan, False),
        (math.inf, math.inf, True),
        (0.0, 0.0, True),
        (1.0, 1.0 + 1e-12, True),
        (1.0, 1.1, False),
    ],
)
def test_equal_metrics(first: float, second: float, equal: bool) -> None:
    assert _are_equal(first, second) is equal


@pytest.mark.parametrize(
    ("exact", "gradient", "norm", "relative", "cosine"),
    [
        ([[3.0], [4.0]], [[3.0], [4.0]], 5.0, 1.0, 1.0),
        ([[3.0], [4.0]], [[-6.0], [-8.0]], 10.0, 2.0, -1.0),
        ([[3.0], [4.0]], [[4.0], [-3.0]], 5.0, 1.0, 0.0),
        ([[3.0, 4.0]], [[0.0, 0.0]], 0.0, 0.0, None),
        ([[0.0]], [[2.0]], 2.0, None, None),
    ],
)
def test_gradients_compare_by_length_and_angle(
    exact: Any, gradient: Any, norm: float, relative: float | None, cosine: float | None
) -> None:
    parts = [list(map(np.array, part)) for part in (exact, gradient)]
    result = _compare(parts[0], math.hypot(*(number for part in exact for number in part)), parts[1])
    assert (result.norm, result.relative, result.cosine) == (norm, relative, cosine)


def test_cosine_is_in_its_range() -> None:
    """Rounding takes the products of parallel vectors beyond those of their lengths."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        exact = rng.normal(size=3)
        norm = math.sqrt(float(exact @ exact))
        for factor in (3.0, -3.0):
            cosine = _compare([exact], norm, [factor * exact]).cosine
            assert cosine == pytest.approx(math.copysign(1, factor))
            assert cosine is not None
            assert -1 <= cosine <= 1


def test_means_of_rows() -> None:
    losses = np.array([[1.0, 2.0, 9.0], [4.0, 8.0, 3.0], [5.0, 5.0, 5.0]])
    included = np.array([[True, True, False], [True, False, False], [False] * 3])
    means = average_by_sample(losses, included, np.ones_like(included))
    assert means == ((1.5, 4.0), (4.0, 5.0), (None, 5.0))


def test_weight_of_a_timestep_depends_on_its_batch() -> None:
    """In batches of one row, a timestep of the shortest row weighs most; in one batch, all weigh the same."""
    lengths = np.arange(4) < np.array([[4], [2], [1]])
    sums = sum_rows(np.ones((3, 4)), lengths, None, "sum_over_batch_size")
    assert sums is not None
    assert [compute_weight_ratio(sums, size) for size in (1, 2, 3)] == [4.0, 3.0, 1.0]
    nothing = sum_rows(np.ones((2, 3)), np.zeros_like(VALID), None, "sum_over_batch_size")
    assert nothing is not None
    assert compute_weight_ratio(nothing, 1) is None


@pytest.mark.parametrize(
    ("requested", "batch_size", "sizes"),
    [((), 32, (1, 6)), ((), 4, (1, 4, 6)), ((), 1, (1, 6)), ((3, 2, 3), 4, (3, 2))],
)
def test_batch_sizes_to_compare(requested: tuple[int, ...], batch_size: int, sizes: tuple[int, ...]) -> None:
    assert choose_batch_sizes(requested, batch_size, 6) == sizes


@pytest.mark.parametrize("cross_entropy", [True, False])
@pytest.mark.parametrize("timed", [True, False])
def test_reductions_that_losses_have(timed: bool, cross_entropy: bool) -> None:
    """Only losses of timesteps have means of samples, and only cross-entropies a perplexity."""
    losses, mask = (np.ones((2, 3)), VALID) if timed else (np.ones(2), VALID[:, 0])
    names = [item.name.lower() for item in compute_reductions(losses, mask, None, cross_entropy=cross_entropy)]
    assert any("perplexity" in name for name in names) is cross_entropy
    without = [
        item.name.lower() for item in compute_reductions(np.ones(2), VALID[:, 0], None, cross_entropy=cross_entropy)
    ]
    assert len(names) == len(without) + timed
    formulas = " ".join(item.formula for item in compute_reductions(losses, mask))
    assert ("(batch, timesteps)" in formulas) is timed


def test_references_inside_of_settings_are_imported() -> None:
    name = "collections:Counter"
    assert import_references(name, "a loss") is collections.Counter
    assert import_references([name, ("mse", name)], "a loss") == [collections.Counter, ["mse", collections.Counter]]
    assert import_references({"tags": [name]}, "a loss") == {"tags": [collections.Counter]}
    assert import_references("mse", "a loss") == "mse"
    assert import_references(3, "a loss") == 3


@pytest.mark.parametrize(
    ("mask", "kept", "counted"),
    [
        (None, None, None),
        (None, np.ones_like(VALID), None),
        (None, KEPT, KEPT & VALID),
        (None, KEPT[:, :2], None),
        (VALID[:, :2], KEPT, KEPT & VALID),
        (VALID, None, VALID),
        (VALID, KEPT, VALID & KEPT),
        (VALID, KEPT[:, :2], VALID),
    ],
)
def test_timesteps_that_a_metric_counts(mask: Any, kept: Any, counted: Any) -> None:
    output = OutputEvidence("tags", (2, 3, 1), mask, VALID, "tags", None)
    targets = None if kept is None else MetricTargets(np.zeros((2, 3)), kept)
    found = _find_counted(output, targets)
    assert (found is None) == (counted is None)
    if counted is not None:
        np.testing.assert_array_equal(found, counted)


@pytest.mark.parametrize(("mask", "counted"), [(None, 3), (VALID, 0), (np.ones_like(VALID), 3), (VALID[:, :2], 3)])
def test_failed_loss_counts_padding_without_a_mask(mask: Any, counted: int) -> None:
    output = OutputEvidence("tags", (2, 3, 1), mask, VALID, "tags", None)
    loss = mark_failed_loss("mse", output, "no", "Fix it.")
    assert (loss.counted_padding, loss.timesteps, loss.error) == (counted, 6, "no")
    pooled = mark_failed_loss("mse", OutputEvidence("score", (2, 1), None, None, "score", None), "no", "Fix it.")
    assert (pooled.counted_padding, pooled.timesteps) == (0, 0)


@pytest.mark.parametrize(
    ("names", "nested"),
    [
        (["output"], "first"),
        (["tags", "class"], {"tags": "first", "class": "second"}),
        (["tags/0", "tags/1"], ["first", "second"]),
        (["0", "1"], ["first", "second"]),
        (["tags", "1"], ["first", "second"]),
    ],
)
def test_targets_are_nested_as_outputs(names: list[str], nested: Any) -> None:
    losses: Any = [SimpleNamespace(output=SimpleNamespace(name=name)) for name in names]
    assert _nest_arrays(losses, ["first", "second"][: len(names)]) == nested
