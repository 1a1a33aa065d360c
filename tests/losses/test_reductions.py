"""Reductions: laws, values computed by hand, and comparisons with Keras, tf_keras and torch.

tf_keras and torch may be missing. With ``MASKCLI_PEERS=1``, as ``.ci/run`` sets it, a missing one is a failure.
"""

from __future__ import annotations

import importlib
import itertools
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from maskcli.losses.reductions import compute_reductions

pytestmark = pytest.mark.slow(share=1 / 2)

KERAS = {"keras-3": "sum_over_batch_size", "sum": "sum", "mean-with-sample-weight": "mean_with_sample_weight"}
MULTIPLIED = (*KERAS, "keras-2-masked-mean", "all-timesteps")
"""Reductions that multiply by the mask."""
SELECTED = (
    "torch-ignore-index-mean",
    "torch-ignore-index-sum",
    "mean-of-sample-means",
    "perplexity",
    "bits-per-token",
)
"""Reductions that remove timesteps that do not count."""
SUMS = ("sum", "torch-ignore-index-sum")
UNWEIGHTED = ("perplexity", "bits-per-token")

LOSSES = np.array([[1.0, 4.0], [9.0, 16.0]])
MASK = np.array([[True, True], [True, False]])


def values(losses: Any, mask: Any, weights: Any = None) -> dict[str, float | None]:
    result = compute_reductions(losses, mask, weights, cross_entropy=True)
    return {item.name: item.value for item in result if item.name != "none"}


@st.composite
def batches(draw: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw losses, a mask with at least one True, and weights, some of which are zero."""
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 5)))
    mask = draw(arrays(bool, shape).filter(np.any))
    weight = st.just(0.0) | st.floats(0.1, 10)
    return draw(arrays(float, shape, elements=st.floats(0, 100))), mask, draw(arrays(float, shape, elements=weight))


def assert_close(actual: dict[str, float | None], expected: dict[str, float | None]) -> None:
    assert list(actual) == list(expected)
    for name, value in expected.items():
        assert actual[name] == (None if value is None else pytest.approx(value, rel=1e-9, abs=1e-300)), name


# Laws


@given(batches())
def test_means_agree_without_mask_and_weights(batch: Any) -> None:
    losses = batch[0]
    result = values(losses, np.ones(losses.shape, bool))
    for name in set(result) - {*SUMS, *UNWEIGHTED}:
        assert result[name] == pytest.approx(losses.mean()), name
    assert result["sum"] == result["torch-ignore-index-sum"] == pytest.approx(losses.sum())


@given(batches())
def test_means_of_masked_losses(batch: Any) -> None:
    losses, mask, _ = batch
    result, kept = values(losses, mask), losses[mask]
    assert result["keras-3"] == pytest.approx(kept.mean())
    assert result["keras-3"] == result["mean-with-sample-weight"] == result["keras-2-masked-mean"]
    assert result["torch-ignore-index-mean"] == pytest.approx(kept.mean())
    assert result["all-timesteps"] == pytest.approx(kept.sum() / losses.size)
    rows = [row[keep].mean() for row, keep in zip(losses, mask, strict=True) if keep.any()]
    assert result["mean-of-sample-means"] == pytest.approx(np.mean(rows))


@given(batches())
def test_mean_times_divisor_is_sum(batch: Any) -> None:
    losses, mask, weights = batch
    assume((weights * mask).any())
    result = values(losses, mask, weights)
    assert result["sum"] == pytest.approx((losses * weights)[mask].sum())
    for name, divisor in (
        ("keras-3", mask.sum()),
        ("mean-with-sample-weight", weights[mask].sum()),
        ("torch-ignore-index-mean", weights[mask].sum()),
        ("all-timesteps", losses.size),
    ):
        assert result[name] * divisor == pytest.approx(result["sum"]), name  # type: ignore[operator]


@given(batches())
def test_weights_of_one_change_nothing(batch: Any) -> None:
    losses, mask, _ = batch
    expected = values(losses, mask)
    assert_close(values(losses, mask, np.ones(losses.shape)), expected)
    assert_close(values(losses, mask, np.ones(len(losses))), expected)


@given(batches(), st.floats(0.1, 10))
def test_larger_weights_scale_unweighted_means(batch: Any, factor: float) -> None:
    losses, mask, weights = batch
    before, after = values(losses, mask, weights), values(losses, mask, weights * factor)
    for name, value in before.items():
        constant = name in ("mean-with-sample-weight", "torch-ignore-index-mean", *UNWEIGHTED)
        expected = value if constant or value is None else value * factor
        assert after[name] == pytest.approx(expected), name


@given(batches())
def test_weights_of_samples_apply_to_timesteps(batch: Any) -> None:
    losses, mask, weights = batch
    weights = weights[:, 0]
    spread = np.repeat(weights[:, np.newaxis], losses.shape[1], axis=1)
    expected = values(losses, mask, spread)
    assert_close(values(losses, mask, weights), expected)
    assert_close(values(losses, mask, weights[:, np.newaxis]), expected)


@given(batches(), st.floats(0, 100))
def test_finite_loss_at_padding_changes_nothing(batch: Any, padding_loss: float) -> None:
    losses, mask, weights = batch
    assert_close(values(np.where(mask, losses, padding_loss), mask, weights), values(losses, mask, weights))


@given(batches())
def test_losses_of_samples_as_one_timestep(batch: Any) -> None:
    losses, mask, weights = (array[:, 0] for array in batch)
    expected = values(losses[:, np.newaxis], mask[:, np.newaxis], weights)
    del expected["mean-of-sample-means"]
    assert_close(values(losses, mask, weights), expected)


@given(batches())
def test_perplexity_is_two_to_the_bits(batch: Any) -> None:
    result = values(batch[0], batch[1])
    assert result["perplexity"] == pytest.approx(2 ** result["bits-per-token"])  # type: ignore[operator]
    assert result["perplexity"] == pytest.approx(np.exp(batch[0][batch[1]].mean()))


@pytest.mark.parametrize("weights", [None, [[1, 0.5], [2, 0]], [[2, 2], [0, 2]]])
def test_formula_gives_value(weights: list[list[float]] | None) -> None:
    """Run each formula as NumPy code."""
    weight_array = None if weights is None else np.array(weights, float)
    words: dict[str, Any] = {"loss": LOSSES, "weight": weight_array, "mask": MASK, "all": np.ones((2, 2))}
    words |= {"sum": np.sum, "count": np.sum, "mean": np.mean, "exp": np.exp, "ln2": np.log(2)}
    words["keras3"] = values(LOSSES, MASK, weight_array)["keras-3"]
    for item in compute_reductions(LOSSES, MASK, weight_array, cross_entropy=True):
        assert len(item.formula) <= 46
        assert ("weight" in item.formula) == (weights is not None and item.name not in UNWEIGHTED)
        if item.name not in ("none", "mean-of-sample-means"):
            text = item.formula.replace("×", "*").replace("≠", "!=").replace("ln 2", "ln2").replace("keras-3", "keras3")
            assert item.value == pytest.approx(eval(text, {}, words)), item.name  # noqa: S307


# Numbers


def test_values_by_hand() -> None:
    result = compute_reductions(LOSSES, MASK, cross_entropy=True)
    assert [(item.name, item.formula) for item in result] == [
        ("keras-3", "sum(loss × mask) / count(mask)"),
        ("sum", "sum(loss × mask)"),
        ("mean-with-sample-weight", "sum(loss × mask) / count(mask)"),
        ("none", "loss × mask, as (batch, timesteps)"),
        ("keras-2-masked-mean", "mean(loss × mask) / mean(mask)"),
        ("all-timesteps", "sum(loss × mask) / count(all)"),
        ("torch-ignore-index-mean", "sum(loss[mask]) / count(mask)"),
        ("torch-ignore-index-sum", "sum(loss[mask])"),
        ("mean-of-sample-means", "mean of samples' mean(loss[mask])"),
        ("perplexity", "exp(mean(loss[mask]))"),
        ("bits-per-token", "mean(loss[mask]) / ln 2"),
    ]
    third = 14 / 3
    numbers = [third, 14, third, None, third, 3.5, third, 14, (2.5 + 9) / 2, np.exp(third), third / np.log(2)]
    assert [item.value for item in result] == pytest.approx(numbers)
    assert all(item.source for item in result)


def test_values_by_hand_with_weights() -> None:
    result = values(LOSSES, MASK, np.array([[1, 0.5], [2, 4]]))
    assert_close(
        result,
        {
            "keras-3": 21 / 3,
            "sum": 21.0,
            "mean-with-sample-weight": 21 / 3.5,
            "keras-2-masked-mean": 7.0,
            "all-timesteps": 21 / 4,
            "torch-ignore-index-mean": 21 / 3.5,
            "torch-ignore-index-sum": 21.0,
            "mean-of-sample-means": (3 / 2 + 18) / 2,
            "perplexity": float(np.exp(14 / 3)),
            "bits-per-token": 14 / 3 / float(np.log(2)),
        },
    )


MEASURED = [
    (None, 4.666667, 3.5),
    ([1, 3], 10.666667, 8.0),
    ([0, 1], 6.0, 2.25),
    ([2, 2], 9.333334, 7.0),
    ([[1, 0.5], [2, 4]], 7.0, 5.25),
    ([[0, 0.5], [2, 4]], 8.888889, 5.0),
    ([[1, 0.5], [2, 0]], 9.333333, 5.25),
]
"""The loss that ``evaluate`` of a Masking layer reported for LOSSES and MASK: with Keras 2.2.4, and, the same in all three,
with Keras 2.3.1 and the tf.keras of TensorFlow 1.15.5 and 2.10.1. TensorFlow 2.11.1 reported ``keras-3``."""


@pytest.mark.parametrize(("weights", "keras_2", "tf_keras"), MEASURED)
def test_older_keras_as_measured(weights: Any, keras_2: float, tf_keras: float) -> None:
    result = values(LOSSES, MASK, None if weights is None else np.array(weights))
    assert result["keras-2-masked-mean"] == pytest.approx(keras_2, rel=1e-6)
    assert result["all-timesteps"] == pytest.approx(tf_keras, rel=1e-6)


def test_keras_2_divides_twice_at_zero_weights() -> None:
    once = values(LOSSES, MASK, np.array([[1.0, 1.0], [1.0, 1.0]]))
    twice = values(LOSSES, MASK, np.array([[1.0, 1.0], [1.0, 0.0]]))
    assert once["keras-3"] == twice["keras-3"] == once["keras-2-masked-mean"] == pytest.approx(14 / 3)
    assert twice["keras-2-masked-mean"] == pytest.approx(14 / 3 / 0.75)


def test_values_when_nothing_counts() -> None:
    result = values(LOSSES, np.zeros((2, 2), bool), np.ones(2))
    assert result["all-timesteps"] == 0
    assert {name for name, value in result.items() if value is None} == set(result) - {*SUMS, "all-timesteps"}
    assert [result[name] for name in SUMS] == [0, 0]
    assert_close(values(LOSSES, np.zeros((2, 2), bool)), result)


def test_values_when_weights_are_zero() -> None:
    result = values(LOSSES, MASK, np.array([[0.0, 0.0], [0.0, 4.0]]))
    assert result["keras-3"] == result["keras-2-masked-mean"] == result["mean-of-sample-means"] == 0
    assert result["mean-with-sample-weight"] is result["torch-ignore-index-mean"] is None
    assert values(LOSSES, MASK, np.zeros(2))["keras-2-masked-mean"] is None


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
def test_values_without_losses(shape: tuple[int, ...]) -> None:
    result = values(np.ones(shape), np.ones(shape, bool), np.ones(shape))
    assert {name: value for name, value in result.items() if value is not None} == dict.fromkeys(SUMS, 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_of_not_finite_losses(bad: float) -> None:
    losses = np.array([[1.0, bad], [9.0, 16.0]])
    result = values(losses, MASK, np.ones(2))
    assert list(result.values()) == pytest.approx([bad] * len(result), nan_ok=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_losses_at_padding(bad: float) -> None:
    losses = np.array([[1.0, 4.0], [9.0, bad]])
    result = values(losses, MASK, np.ones(2))
    assert [result[name] for name in MULTIPLIED] == pytest.approx([np.nan] * len(MULTIPLIED), nan_ok=True)
    expected = values(LOSSES, MASK)
    assert {name: result[name] for name in SELECTED} == pytest.approx({name: expected[name] for name in SELECTED})


def test_perplexity_overflow_is_infinite() -> None:
    result = values(np.array([[1000.0]]), np.array([[True]]))
    assert result["perplexity"] == np.inf
    assert result["bits-per-token"] == pytest.approx(1000 / np.log(2))


def test_float16_losses_are_added_in_float64() -> None:
    losses = np.full((2, 200), 300, np.float16)  # Their sum is more than float16 can hold.
    result = values(losses, np.ones((2, 200), bool), np.ones(2, np.float16))
    assert result["sum"] == 120_000
    assert result["keras-3"] == result["torch-ignore-index-mean"] == result["mean-of-sample-means"] == 300
    assert result["bits-per-token"] == pytest.approx(300 / np.log(2))


def test_names_by_kind_of_losses() -> None:
    names = [item.name for item in compute_reductions(LOSSES[0], MASK[0])]
    assert names == ["keras-3", "sum", "mean-with-sample-weight", "none", *MULTIPLIED[3:], *SELECTED[:2]]
    assert [item.name for item in compute_reductions(LOSSES, MASK)] == [*names, "mean-of-sample-means"]
    assert next(item for item in compute_reductions(LOSSES[0], MASK[0]) if item.name == "none").formula.endswith(
        "(batch,)"
    )


# Comparisons with the libraries


def import_peer(name: str) -> Any:
    """Import the library of a reduction. If it is missing, skip the test, or fail with ``MASKCLI_PEERS=1``."""
    if os.environ.get("MASKCLI_PEERS") == "1":
        return importlib.import_module(name)
    return pytest.importorskip(name)


def make_masked_tensor(predictions: np.ndarray, mask: np.ndarray) -> Any:
    """Return a tensor that carries a mask."""
    import tensorflow as tf

    tensor = tf.constant(predictions)
    tensor._keras_mask = tf.constant(mask)
    return tensor


MASKS = [[[1, 1, 1, 1]] * 3, [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]], [[0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]]]
SAMPLE_WEIGHTS = [None, [1, 0.5, 3], [0, 2, 0], [[1, 2, 0, 4], [0.5, 0, 0, 1], [3, 1, 1, 0]]]
grid = pytest.mark.parametrize(("mask", "weights"), list(itertools.product(MASKS, SAMPLE_WEIGHTS)))


def make_squares(mask: Any, weights: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Return targets, predictions, their mean squared errors, the mask and the weights."""
    targets, predictions = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    losses = ((targets - predictions) ** 2).mean(axis=-1)
    return targets, predictions, losses, np.array(mask, bool), None if weights is None else np.array(weights)


def shape_for_keras_3(weights: np.ndarray | None) -> np.ndarray | None:
    """Return weights ``(batch,)`` as ``(batch, 1)``; Keras 3 would apply ``(batch,)`` to timesteps."""
    return weights[:, np.newaxis] if weights is not None and weights.ndim == 1 else weights


@grid
@pytest.mark.parametrize("name", KERAS)
def test_keras_3(name: str, mask: Any, weights: Any) -> None:
    from keras.losses import MeanSquaredError

    targets, predictions, losses, mask, weight_array = make_squares(mask, weights)
    loss = MeanSquaredError(reduction=KERAS[name], dtype="float64")
    reported = float(
        loss(targets, make_masked_tensor(predictions, mask), sample_weight=shape_for_keras_3(weight_array))
    )
    result = values(losses, mask, weight_array)[name]
    if result is None:
        assert reported == 0  # Keras reports 0 if nothing counts.
    else:
        assert result == pytest.approx(reported, rel=1e-6)


@grid
def test_keras_3_without_reduction(mask: Any, weights: Any) -> None:
    from keras.losses import MeanSquaredError

    targets, predictions, losses, mask, weight_array = make_squares(mask, weights)
    weights = shape_for_keras_3(weight_array)
    array = MeanSquaredError(reduction="none", dtype="float64")(targets, make_masked_tensor(predictions, mask), weights)
    expected = losses * mask * (1 if weights is None else weights)  # As in the formula.
    np.testing.assert_allclose(array, expected, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", KERAS)
def test_keras_3_multiplies_by_mask(name: str, bad: float) -> None:
    from keras.losses import MeanSquaredError

    targets, predictions, losses, mask, _ = make_squares(MASKS[1], None)
    targets[0, 3], losses[0, 3] = bad, bad
    reported = MeanSquaredError(reduction=KERAS[name], dtype="float64")(targets, make_masked_tensor(predictions, mask))
    assert np.isnan(float(reported))
    assert np.isnan(values(losses, mask)[name])  # type: ignore[arg-type]


@grid
def test_keras_2_by_its_source(mask: Any, weights: Any) -> None:
    """Compare with the steps of ``weighted_masked_objective``, in their order."""
    _, _, losses, mask, weight_array = make_squares(mask, weights)
    result = values(losses, mask, weight_array)["keras-2-masked-mean"]
    weight_array = np.ones(3) if weight_array is None else weight_array
    score = losses * mask / mask.mean()
    score = score.mean(axis=tuple(range(weight_array.ndim, score.ndim)))
    score = score * weight_array / (weight_array != 0).mean()
    assert result == pytest.approx(score.mean(), rel=1e-9)


@grid
def test_tf_keras(mask: Any, weights: Any) -> None:
    """Without a mask on the predictions it reduces as before 2.11, when the mask was only a weight."""
    loss = import_peer("tf_keras").losses.MeanSquaredError()
    targets, predictions, losses, mask, weight_array = make_squares(mask, weights)
    result = values(losses, mask, weight_array)
    assert result["keras-3"] == pytest.approx(
        float(loss(targets, make_masked_tensor(predictions, mask), sample_weight=weight_array)), rel=1e-6
    )
    spread = shape_for_keras_3(weight_array)
    as_weight = mask * (1.0 if spread is None else spread)
    assert result["all-timesteps"] == pytest.approx(float(loss(targets, predictions, as_weight)), rel=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_tf_keras_multiplies_by_mask(bad: float) -> None:
    loss = import_peer("tf_keras").losses.MeanSquaredError()
    targets, predictions, losses, mask, _ = make_squares(MASKS[1], None)
    targets[0, 3], losses[0, 3] = bad, bad
    assert np.isnan(float(loss(targets, predictions, mask.astype(float))))
    assert np.isnan(values(losses, mask)["all-timesteps"])  # type: ignore[arg-type]


IGNORED = -100


def make_tokens(mask: Any, class_weights: Any) -> tuple[Any, Any, np.ndarray, np.ndarray, np.ndarray | None]:
    """Return torch's logits ``(batch, classes, timesteps)`` and targets, and losses, mask and weights of timesteps."""
    torch = import_peer("torch")
    rng, mask = np.random.default_rng(0), np.array(mask, bool)
    logits, classes = torch.tensor(rng.normal(size=(3, 4, 4)) * 3), rng.integers(0, 4, (3, 4))
    losses = torch.nn.CrossEntropyLoss(reduction="none")(logits, torch.tensor(classes)).numpy()
    weights = None if class_weights is None else np.array(class_weights)[classes]
    return logits, torch.tensor(np.where(mask, classes, IGNORED)), losses, mask, weights


@pytest.mark.parametrize("class_weights", [None, [1.0, 0.5, 3.0, 2.0], [0.0, 2.0, 0.0, 1.0]])
@pytest.mark.parametrize("mask", MASKS)
def test_torch(mask: Any, class_weights: Any) -> None:
    logits, targets, losses, mask, weights = make_tokens(mask, class_weights)
    torch = import_peer("torch")
    weight_array = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float64)
    result = values(losses, mask, weights)
    for reduction in ("mean", "sum"):
        loss = torch.nn.CrossEntropyLoss(weight=weight_array, ignore_index=IGNORED, reduction=reduction)
        assert result[f"torch-ignore-index-{reduction}"] == pytest.approx(float(loss(logits, targets)), rel=1e-6)
    mean = torch.nn.functional.cross_entropy(logits, targets, ignore_index=IGNORED)
    assert result["perplexity"] == pytest.approx(float(torch.exp(mean)), rel=1e-6)
    assert result["bits-per-token"] == pytest.approx(float(mean / torch.log(torch.tensor(2.0))), rel=1e-6)


def test_torch_removes_masked_losses() -> None:
    logits, targets, losses, mask, _ = make_tokens(MASKS[1], None)
    torch = import_peer("torch")
    logits[0, :, 3], losses[0, 3] = np.nan, np.nan
    result = values(losses, mask)["torch-ignore-index-mean"]
    assert result == pytest.approx(float(torch.nn.CrossEntropyLoss()(logits, targets)), rel=1e-6)
    assert result is not None and np.isfinite(result)


def test_torch_when_nothing_counts() -> None:
    logits, targets, losses, mask, _ = make_tokens([[0] * 4] * 3, None)
    torch = import_peer("torch")
    assert np.isnan(float(torch.nn.CrossEntropyLoss()(logits, targets)))
    assert values(losses, mask)["torch-ignore-index-mean"] is None
