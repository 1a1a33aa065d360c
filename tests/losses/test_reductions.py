"""Reductions: their laws, numbers worked out by hand, and what Keras, tf_keras and torch themselves make of losses.

tf_keras and torch are not always there. With ``MASKCLI_PEERS=1``, as ``.ci/run`` sets it, a missing one is a failure.
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

KERAS = {"keras-3": "sum_over_batch_size", "sum": "sum", "mean-with-sample-weight": "mean_with_sample_weight"}
MULTIPLIED = (*KERAS, "keras-2-masked-mean", "all-timesteps")
"""Those that multiply by the mask."""
LEFT_OUT = (
    "torch-ignore-index-mean",
    "torch-ignore-index-sum",
    "mean-of-sample-means",
    "perplexity",
    "bits-per-token",
)
"""Those to which a timestep that does not count is not there at all."""
SUMS = ("sum", "torch-ignore-index-sum")
UNWEIGHTED = ("perplexity", "bits-per-token")

LOSSES = np.array([[1.0, 4.0], [9.0, 16.0]])
COUNTED = np.array([[True, True], [True, False]])


def values(losses: Any, counted: Any, weights: Any = None) -> dict[str, float | None]:
    found = compute_reductions(losses, counted, weights, cross_entropy=True)
    return {one.name: one.value for one in found if one.name != "none"}


@st.composite
def batches(draw: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw losses, what counts (something does), and weights, of which some are zero."""
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 5)))
    counted = draw(arrays(bool, shape).filter(np.any))
    weight = st.just(0.0) | st.floats(0.1, 10)
    return draw(arrays(float, shape, elements=st.floats(0, 100))), counted, draw(arrays(float, shape, elements=weight))


def close(actual: dict[str, float | None], expected: dict[str, float | None]) -> None:
    assert list(actual) == list(expected)
    for name, value in expected.items():
        assert actual[name] == (None if value is None else pytest.approx(value, rel=1e-9, abs=1e-300)), name


# Laws


@given(batches())
def test_all_means_agree_where_everything_counts_alike(batch: Any) -> None:
    losses = batch[0]
    found = values(losses, np.ones(losses.shape, bool))
    for name in set(found) - {*SUMS, *UNWEIGHTED}:
        assert found[name] == pytest.approx(losses.mean()), name
    assert found["sum"] == found["torch-ignore-index-sum"] == pytest.approx(losses.sum())


@given(batches())
def test_means_are_those_of_what_counts(batch: Any) -> None:
    losses, counted, _ = batch
    found, kept = values(losses, counted), losses[counted]
    assert found["keras-3"] == pytest.approx(kept.mean())
    assert found["keras-3"] == found["mean-with-sample-weight"] == found["keras-2-masked-mean"]
    assert found["torch-ignore-index-mean"] == pytest.approx(kept.mean())
    assert found["all-timesteps"] == pytest.approx(kept.sum() / losses.size)
    rows = [row[keep].mean() for row, keep in zip(losses, counted, strict=True) if keep.any()]
    assert found["mean-of-sample-means"] == pytest.approx(np.mean(rows))


@given(batches())
def test_a_mean_times_its_divisor_is_the_sum(batch: Any) -> None:
    losses, counted, weights = batch
    assume((weights * counted).any())
    found = values(losses, counted, weights)
    assert found["sum"] == pytest.approx((losses * weights)[counted].sum())
    for name, divisor in (
        ("keras-3", counted.sum()),
        ("mean-with-sample-weight", weights[counted].sum()),
        ("torch-ignore-index-mean", weights[counted].sum()),
        ("all-timesteps", losses.size),
    ):
        assert found[name] * divisor == pytest.approx(found["sum"]), name  # type: ignore[operator]


@given(batches())
def test_weights_of_one_change_nothing(batch: Any) -> None:
    losses, counted, _ = batch
    expected = values(losses, counted)
    close(values(losses, counted, np.ones(losses.shape)), expected)
    close(values(losses, counted, np.ones(len(losses))), expected)


@given(batches(), st.floats(0.1, 10))
def test_larger_weights_scale_all_but_weighted_means(batch: Any, factor: float) -> None:
    losses, counted, weights = batch
    before, after = values(losses, counted, weights), values(losses, counted, weights * factor)
    for name, value in before.items():
        constant = name in ("mean-with-sample-weight", "torch-ignore-index-mean", *UNWEIGHTED)
        expected = value if constant or value is None else value * factor
        assert after[name] == pytest.approx(expected), name


@given(batches())
def test_weights_of_samples_are_those_of_their_timesteps(batch: Any) -> None:
    losses, counted, weights = batch
    weights = weights[:, 0]
    spread = np.repeat(weights[:, np.newaxis], losses.shape[1], axis=1)
    expected = values(losses, counted, spread)
    close(values(losses, counted, weights), expected)
    close(values(losses, counted, weights[:, np.newaxis]), expected)


@given(batches(), st.floats(0, 100))
def test_a_finite_loss_that_does_not_count_changes_nothing(batch: Any, other: float) -> None:
    losses, counted, weights = batch
    close(values(np.where(counted, losses, other), counted, weights), values(losses, counted, weights))


@given(batches())
def test_losses_of_samples_are_reduced_as_those_of_one_timestep(batch: Any) -> None:
    losses, counted, weights = (array[:, 0] for array in batch)
    expected = values(losses[:, np.newaxis], counted[:, np.newaxis], weights)
    del expected["mean-of-sample-means"]
    close(values(losses, counted, weights), expected)


@given(batches())
def test_perplexity_is_two_to_the_bits(batch: Any) -> None:
    found = values(batch[0], batch[1])
    assert found["perplexity"] == pytest.approx(2 ** found["bits-per-token"])  # type: ignore[operator]
    assert found["perplexity"] == pytest.approx(np.exp(batch[0][batch[1]].mean()))


@pytest.mark.parametrize("weights", [None, [[1, 0.5], [2, 0]], [[2, 2], [0, 2]]])
def test_a_formula_says_what_is_computed(weights: list[list[float]] | None) -> None:
    """Run each formula as the NumPy that it stands for."""
    given_weights = None if weights is None else np.array(weights, float)
    words: dict[str, Any] = {"loss": LOSSES, "weight": given_weights, "mask": COUNTED, "all": np.ones((2, 2))}
    words |= {"sum": np.sum, "count": np.sum, "mean": np.mean, "exp": np.exp, "ln2": np.log(2)}
    words["keras3"] = values(LOSSES, COUNTED, given_weights)["keras-3"]
    for one in compute_reductions(LOSSES, COUNTED, given_weights, cross_entropy=True):
        assert len(one.formula) <= 46
        assert ("weight" in one.formula) == (weights is not None and one.name not in UNWEIGHTED)
        if one.name not in ("none", "mean-of-sample-means"):
            text = one.formula.replace("×", "*").replace("≠", "!=").replace("ln 2", "ln2").replace("keras-3", "keras3")
            assert one.value == pytest.approx(eval(text, {}, words)), one.name  # noqa: S307


# Numbers


def test_by_hand() -> None:
    found = compute_reductions(LOSSES, COUNTED, cross_entropy=True)
    assert [(one.name, one.formula) for one in found] == [
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
    assert [one.value for one in found] == pytest.approx(numbers)
    assert all(one.source for one in found)


def test_by_hand_with_weights() -> None:
    found = values(LOSSES, COUNTED, np.array([[1, 0.5], [2, 4]]))
    close(
        found,
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
"""What ``evaluate`` of a Masking layer reported of LOSSES and COUNTED: with Keras 2.2.4, and, the same in all three,
with Keras 2.3.1 and the tf.keras of TensorFlow 1.15.5 and 2.10.1. TensorFlow 2.11.1 reported ``keras-3``."""


@pytest.mark.parametrize(("weights", "keras_2", "tf_keras"), MEASURED)
def test_what_older_keras_reported(weights: Any, keras_2: float, tf_keras: float) -> None:
    found = values(LOSSES, COUNTED, None if weights is None else np.array(weights))
    assert found["keras-2-masked-mean"] == pytest.approx(keras_2, rel=1e-6)
    assert found["all-timesteps"] == pytest.approx(tf_keras, rel=1e-6)


def test_keras_2_divides_twice_where_mask_and_weights_are_zero() -> None:
    once = values(LOSSES, COUNTED, np.array([[1.0, 1.0], [1.0, 1.0]]))
    twice = values(LOSSES, COUNTED, np.array([[1.0, 1.0], [1.0, 0.0]]))
    assert once["keras-3"] == twice["keras-3"] == once["keras-2-masked-mean"] == pytest.approx(14 / 3)
    assert twice["keras-2-masked-mean"] == pytest.approx(14 / 3 / 0.75)


def test_nothing_counts() -> None:
    found = values(LOSSES, np.zeros((2, 2), bool), np.ones(2))
    assert found["all-timesteps"] == 0
    assert {name for name, value in found.items() if value is None} == set(found) - {*SUMS, "all-timesteps"}
    assert [found[name] for name in SUMS] == [0, 0]
    close(values(LOSSES, np.zeros((2, 2), bool)), found)


def test_no_weight_is_left() -> None:
    found = values(LOSSES, COUNTED, np.array([[0.0, 0.0], [0.0, 4.0]]))
    assert found["keras-3"] == found["keras-2-masked-mean"] == found["mean-of-sample-means"] == 0
    assert found["mean-with-sample-weight"] is found["torch-ignore-index-mean"] is None
    assert values(LOSSES, COUNTED, np.zeros(2))["keras-2-masked-mean"] is None


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
def test_no_losses(shape: tuple[int, ...]) -> None:
    found = values(np.ones(shape), np.ones(shape, bool), np.ones(shape))
    assert {name: value for name, value in found.items() if value is not None} == dict.fromkeys(SUMS, 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_comes_through(bad: float) -> None:
    losses = np.array([[1.0, bad], [9.0, 16.0]])
    found = values(losses, COUNTED, np.ones(2))
    assert list(found.values()) == pytest.approx([bad] * len(found), nan_ok=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_at_padding_is_multiplied_or_left_out(bad: float) -> None:
    losses = np.array([[1.0, 4.0], [9.0, bad]])
    found = values(losses, COUNTED, np.ones(2))
    assert [found[name] for name in MULTIPLIED] == pytest.approx([np.nan] * len(MULTIPLIED), nan_ok=True)
    left_out = values(LOSSES, COUNTED)
    assert {name: found[name] for name in LEFT_OUT} == pytest.approx({name: left_out[name] for name in LEFT_OUT})


def test_perplexity_without_end_is_infinite() -> None:
    found = values(np.array([[1000.0]]), np.array([[True]]))
    assert found["perplexity"] == np.inf
    assert found["bits-per-token"] == pytest.approx(1000 / np.log(2))


def test_small_numbers_are_added_in_float64() -> None:
    losses = np.full((2, 200), 300, np.float16)  # Their sum is more than float16 can hold.
    found = values(losses, np.ones((2, 200), bool), np.ones(2, np.float16))
    assert found["sum"] == 120_000
    assert found["keras-3"] == found["torch-ignore-index-mean"] == found["mean-of-sample-means"] == 300
    assert found["bits-per-token"] == pytest.approx(300 / np.log(2))


def test_names_without_cross_entropy_or_timesteps() -> None:
    names = [one.name for one in compute_reductions(LOSSES[0], COUNTED[0])]
    assert names == ["keras-3", "sum", "mean-with-sample-weight", "none", *MULTIPLIED[3:], *LEFT_OUT[:2]]
    assert [one.name for one in compute_reductions(LOSSES, COUNTED)] == [*names, "mean-of-sample-means"]
    assert next(one for one in compute_reductions(LOSSES[0], COUNTED[0]) if one.name == "none").formula.endswith(
        "(batch,)"
    )


# The real things


def peer(name: str) -> Any:
    """Import what a reduction is taken from; where it is missing, skip, unless it was asked for."""
    if os.environ.get("MASKCLI_PEERS") == "1":
        return importlib.import_module(name)
    return pytest.importorskip(name)


def masked(predictions: np.ndarray, mask: np.ndarray) -> Any:
    """Return a tensor that carries a mask."""
    import tensorflow as tf

    tensor = tf.constant(predictions)
    tensor._keras_mask = tf.constant(mask)
    return tensor


MASKS = [[[1, 1, 1, 1]] * 3, [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]], [[0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]]]
SAMPLE_WEIGHTS = [None, [1, 0.5, 3], [0, 2, 0], [[1, 2, 0, 4], [0.5, 0, 0, 1], [3, 1, 1, 0]]]
grid = pytest.mark.parametrize(("mask", "weights"), list(itertools.product(MASKS, SAMPLE_WEIGHTS)))


def squares(mask: Any, weights: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Return targets, predictions, their mean squared errors, the mask and the weights."""
    targets, predictions = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    losses = ((targets - predictions) ** 2).mean(axis=-1)
    return targets, predictions, losses, np.array(mask, bool), None if weights is None else np.array(weights)


def for_keras_3(weights: np.ndarray | None) -> np.ndarray | None:
    """Return weights ``(batch,)`` as ``(batch, 1)``: as they are, Keras 3 takes them for those of timesteps."""
    return weights[:, np.newaxis] if weights is not None and weights.ndim == 1 else weights


@grid
@pytest.mark.parametrize("name", KERAS)
def test_keras_3(name: str, mask: Any, weights: Any) -> None:
    from keras.losses import MeanSquaredError

    targets, predictions, losses, counted, given_weights = squares(mask, weights)
    loss = MeanSquaredError(reduction=KERAS[name], dtype="float64")
    reported = float(loss(targets, masked(predictions, counted), sample_weight=for_keras_3(given_weights)))
    found = values(losses, counted, given_weights)[name]
    if found is None:
        assert reported == 0  # Of nothing Keras makes 0.
    else:
        assert found == pytest.approx(reported, rel=1e-6)


@grid
def test_keras_3_makes_an_array(mask: Any, weights: Any) -> None:
    from keras.losses import MeanSquaredError

    targets, predictions, losses, counted, given_weights = squares(mask, weights)
    weights = for_keras_3(given_weights)
    made = MeanSquaredError(reduction="none", dtype="float64")(targets, masked(predictions, counted), weights)
    expected = losses * counted * (1 if weights is None else weights)  # As the formula has it.
    np.testing.assert_allclose(made, expected, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", KERAS)
def test_keras_3_multiplies_what_does_not_count(name: str, bad: float) -> None:
    from keras.losses import MeanSquaredError

    targets, predictions, losses, counted, _ = squares(MASKS[1], None)
    targets[0, 3], losses[0, 3] = bad, bad
    reported = MeanSquaredError(reduction=KERAS[name], dtype="float64")(targets, masked(predictions, counted))
    assert np.isnan(float(reported))
    assert np.isnan(values(losses, counted)[name])  # type: ignore[arg-type]


@grid
def test_keras_2_as_it_was_written(mask: Any, weights: Any) -> None:
    """Hold it against the steps of ``weighted_masked_objective``, in their order."""
    _, _, losses, counted, given_weights = squares(mask, weights)
    found = values(losses, counted, given_weights)["keras-2-masked-mean"]
    given_weights = np.ones(3) if given_weights is None else given_weights
    score = losses * counted / counted.mean()
    score = score.mean(axis=tuple(range(given_weights.ndim, score.ndim)))
    score = score * given_weights / (given_weights != 0).mean()
    assert found == pytest.approx(score.mean(), rel=1e-9)


@grid
def test_tf_keras(mask: Any, weights: Any) -> None:
    """Without a mask on the predictions it reduces as it did before 2.11, when the mask was but a weight."""
    loss = peer("tf_keras").losses.MeanSquaredError()
    targets, predictions, losses, counted, given_weights = squares(mask, weights)
    found = values(losses, counted, given_weights)
    assert found["keras-3"] == pytest.approx(
        float(loss(targets, masked(predictions, counted), sample_weight=given_weights)), rel=1e-6
    )
    spread = for_keras_3(given_weights)
    as_weight = counted * (1.0 if spread is None else spread)
    assert found["all-timesteps"] == pytest.approx(float(loss(targets, predictions, as_weight)), rel=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_tf_keras_multiplies_what_does_not_count(bad: float) -> None:
    loss = peer("tf_keras").losses.MeanSquaredError()
    targets, predictions, losses, counted, _ = squares(MASKS[1], None)
    targets[0, 3], losses[0, 3] = bad, bad
    assert np.isnan(float(loss(targets, predictions, counted.astype(float))))
    assert np.isnan(values(losses, counted)["all-timesteps"])  # type: ignore[arg-type]


IGNORED = -100


def tokens(mask: Any, class_weights: Any) -> tuple[Any, Any, np.ndarray, np.ndarray, np.ndarray | None]:
    """Return torch's logits ``(batch, classes, timesteps)`` and targets, and losses, mask and weights of timesteps."""
    torch = peer("torch")
    rng, counted = np.random.default_rng(0), np.array(mask, bool)
    logits, classes = torch.tensor(rng.normal(size=(3, 4, 4)) * 3), rng.integers(0, 4, (3, 4))
    losses = torch.nn.CrossEntropyLoss(reduction="none")(logits, torch.tensor(classes)).numpy()
    weights = None if class_weights is None else np.array(class_weights)[classes]
    return logits, torch.tensor(np.where(counted, classes, IGNORED)), losses, counted, weights


@pytest.mark.parametrize("class_weights", [None, [1.0, 0.5, 3.0, 2.0], [0.0, 2.0, 0.0, 1.0]])
@pytest.mark.parametrize("mask", MASKS)
def test_torch(mask: Any, class_weights: Any) -> None:
    logits, targets, losses, counted, weights = tokens(mask, class_weights)
    torch = peer("torch")
    given_weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float64)
    found = values(losses, counted, weights)
    for reduction in ("mean", "sum"):
        loss = torch.nn.CrossEntropyLoss(weight=given_weights, ignore_index=IGNORED, reduction=reduction)
        assert found[f"torch-ignore-index-{reduction}"] == pytest.approx(float(loss(logits, targets)), rel=1e-6)
    mean = torch.nn.functional.cross_entropy(logits, targets, ignore_index=IGNORED)
    assert found["perplexity"] == pytest.approx(float(torch.exp(mean)), rel=1e-6)
    assert found["bits-per-token"] == pytest.approx(float(mean / torch.log(torch.tensor(2.0))), rel=1e-6)


def test_torch_leaves_out_what_does_not_count() -> None:
    logits, targets, losses, counted, _ = tokens(MASKS[1], None)
    torch = peer("torch")
    logits[0, :, 3], losses[0, 3] = np.nan, np.nan
    found = values(losses, counted)["torch-ignore-index-mean"]
    assert found == pytest.approx(float(torch.nn.CrossEntropyLoss()(logits, targets)), rel=1e-6)
    assert found is not None and np.isfinite(found)


def test_torch_of_nothing() -> None:
    logits, targets, losses, counted, _ = tokens([[0] * 4] * 3, None)
    torch = peer("torch")
    assert np.isnan(float(torch.nn.CrossEntropyLoss()(logits, targets)))
    assert values(losses, counted)["torch-ignore-index-mean"] is None
