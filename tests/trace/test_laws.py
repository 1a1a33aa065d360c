"""Laws of masking, held against Keras itself and against NumPy."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest

import maskcli
from maskcli.trace.timesteps import compare_source, do_sources_agree, find_repeats

pytestmark = [pytest.mark.any_backend, pytest.mark.slow(share=1 / 2)]

ROWS = [[5, 3, 8, 2], [7], [4, 1, 6]]
SOURCES = ("embedding", "masking", "explicit")
MODELS = ("embedding-lstm", "embedding-dense")
LOSSES = (
    "mse",
    "mae",
    "huber",
    "binary_crossentropy",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def by_hand(name: str, targets: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Return each timestep's loss by the textbook formula, in float64."""
    outputs = outputs.astype(np.float64)
    error = np.abs(targets - outputs) if name in ("mse", "mae", "huber") else np.zeros(1)
    if name == "mse":
        return (error**2).mean(axis=-1)
    if name == "mae":
        return error.mean(axis=-1)
    if name == "huber":
        return np.where(error <= 1, error**2 / 2, error - 0.5).mean(axis=-1)
    if name == "binary_crossentropy":
        probabilities = 1 / (1 + np.exp(-outputs))
        return -(targets * np.log(probabilities) + (1 - targets) * np.log(1 - probabilities)).mean(axis=-1)
    one_hot = np.eye(outputs.shape[-1])[targets] if name.startswith("sparse") else targets
    return -(one_hot * log_softmax(outputs)).sum(axis=-1)


def made(name: str, width: int) -> np.ndarray:
    shape = (len(ROWS), 4, width)
    numbers = np.random.default_rng(1).uniform(0, 1, shape)
    if name == "categorical_crossentropy":
        return numbers / numbers.sum(axis=-1, keepdims=True)
    if name == "sparse_categorical_crossentropy":
        return np.random.default_rng(1).integers(0, width, shape[:2])
    return numbers * 5 if name in ("mse", "mae", "huber") else numbers


def outputs_of(report: maskcli.LossReport) -> np.ndarray:
    """Return the outputs that the loss was computed from, of the same model built again."""
    from maskcli.models.build import build

    built = build(report.model.settings)
    outputs = built.keras_model(built.inputs(report.batch.tokens, report.first.valid))
    return keras.ops.convert_to_numpy(outputs)


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize(
    ("name", "model", "source", "padding"),
    [
        *itertools.product(LOSSES, MODELS, ["embedding"], ["post"]),
        *itertools.product(["mse"], MODELS, SOURCES[1:], ["pre", "post"]),
    ],
)
def test_masked_loss_is_the_numpy_mean_over_valid_timesteps(name: str, model: str, source: str, padding: str) -> None:
    targets = made(name, 3)
    options = {"model": model, "mask_source": source, "padding": padding}
    report = maskcli.loss(ROWS, targets=targets, loss=name, units=3, **options)  # type: ignore[arg-type]
    kind = "float32" if targets.dtype.kind == "f" else "int64"
    losses = by_hand(name, targets.astype(kind), outputs_of(report))
    valid = report.batch.mask
    np.testing.assert_allclose(report.first.per_timestep, losses, rtol=2e-6)
    assert report.masked == pytest.approx(losses[valid].mean(), rel=1e-6)
    assert report.keras_evaluate == pytest.approx(report.masked, rel=1e-6)
    assert report.unmasked == pytest.approx(losses.mean(), rel=1e-6)
    assert report.first.per_sample[1][0] == pytest.approx(losses[1][valid[1]].mean(), rel=1e-6)


def test_without_a_mask_keras_counts_padding() -> None:
    report = maskcli.loss(ROWS, mask_source="none")
    assert report.first.mask is None
    assert report.keras_evaluate == pytest.approx(report.unmasked, rel=1e-6)
    assert report.unmasked_model == report.unmasked
    assert report.masked == pytest.approx(report.first.per_timestep[report.first.valid].mean())
    assert report.first.counted.sum() == 8
    assert [remark.kind for remark in report.remarks] == ["warning"]


def test_unmasked_model_is_the_same_weights_without_a_mask() -> None:
    masked, plain = maskcli.loss(ROWS), maskcli.loss(ROWS, mask_source="none")
    assert masked.unmasked_model == pytest.approx(plain.unmasked, rel=1e-12)
    assert masked.unmasked_model != masked.unmasked
    dense = maskcli.loss(ROWS, model="embedding-dense")
    assert dense.unmasked_model == dense.unmasked


@pytest.mark.slow(share=1 / 3)
@pytest.mark.parametrize(("model", "source"), list(itertools.product(MODELS, SOURCES)))
@pytest.mark.parametrize("padding", ["pre", "post"])
def test_more_padding_changes_nothing_at_valid_timesteps(model: str, source: str, padding: str) -> None:
    options = {"model": model, "mask_source": source, "padding": padding}
    narrow = maskcli.inspect(ROWS, **options)  # type: ignore[arg-type]
    wide = maskcli.inspect(ROWS, maxlen=9, **options)  # type: ignore[arg-type]
    # XLA chooses its loops by shape, and so the last bit.
    precision = 0.0 if keras.backend.backend() == "tensorflow" else 1e-6
    valid = narrow.outputs[0].values[narrow.valid]
    np.testing.assert_allclose(wide.outputs[0].values[wide.valid], valid, rtol=precision, atol=precision / 100)
    assert wide.outputs[0].mask is not None
    np.testing.assert_array_equal(wide.outputs[0].mask, wide.valid)


def test_cross_entropies_of_an_lstm_go_through_logits() -> None:
    report = maskcli.loss(ROWS, targets="shift", loss="sparse_categorical_crossentropy")
    assert (report.model.settings.units, report.model.settings.logits) == (3, 9)
    assert outputs_of(report).shape == (3, 4, 9)
    assert report.first.mask is not None
    assert maskcli.loss(ROWS, targets="ones", loss="binary_crossentropy", units=5).model.settings.units == 5
    assert maskcli.loss(ROWS, targets="ones", loss="mse", units=5).model.settings.logits is None


def test_more_padding_does_change_an_unmasked_lstm() -> None:
    narrow = maskcli.inspect(ROWS, mask_source="none", padding="pre")
    wide = maskcli.inspect(ROWS, mask_source="none", padding="pre", maxlen=9)
    assert np.abs(wide.outputs[0].values[wide.valid] - narrow.outputs[0].values[narrow.valid]).max() > 1e-3


@pytest.mark.parametrize("padding", ["pre", "post"])
def test_the_last_output_is_that_of_the_last_valid_timestep(padding: str) -> None:
    pooled = maskcli.inspect(ROWS, return_sequences=False, padding=padding)  # type: ignore[arg-type]
    every = maskcli.inspect(ROWS, padding=padding)  # type: ignore[arg-type]
    np.testing.assert_array_equal(pooled.outputs[0].values, every.outputs[0].values[:, -1])
    assert (pooled.outputs[0].mask, pooled.outputs[0].repeats_previous) == (None, None)
    assert pooled.unmasked is not None
    assert pooled.unmasked.change.shape == (3,)
    assert pooled.unmasked.max_abs_change_valid > 0


def test_masked_outputs_repeat_or_are_zero() -> None:
    repeated = maskcli.inspect(ROWS).outputs[0]
    assert repeated.mask is not None
    assert repeated.repeats_previous is not None
    np.testing.assert_array_equal(repeated.repeats_previous, ~repeated.mask)
    zero = maskcli.inspect(ROWS, zero_output_for_mask=True).outputs[0]
    assert not zero.values[~repeated.mask].any()
    np.testing.assert_array_equal(zero.values[repeated.mask], repeated.values[repeated.mask])


def test_unmasked_moves_padding_alone_behind_and_valid_timesteps_before() -> None:
    post = maskcli.inspect(ROWS).unmasked
    pre = maskcli.inspect(ROWS, padding="pre").unmasked
    assert post is not None
    assert pre is not None
    # Other backends round the loops with and without a mask differently.
    assert post.max_abs_change_valid <= (0 if keras.backend.backend() == "tensorflow" else 1e-8)
    assert post.max_abs_change_padding is not None
    assert post.max_abs_change_padding > 1e-3
    assert pre.max_abs_change_valid > 1e-3


def test_another_padding_id_works_explicitly() -> None:
    inspection = maskcli.inspect([[0, 5, 0], [0]], value=9, mask_source="explicit")
    assert inspection.mask is not None
    assert inspection.mask.tolist() == [[True, True, True], [True, False, False]]
    assert inspection.embedding is not None
    assert inspection.embedding.padding_id == 9
    assert inspection.model.settings is not None
    assert inspection.model.settings.input_dim == 10
    masking = maskcli.inspect([[0, 5, 0], [0]], value=9, mask_source="masking")
    np.testing.assert_array_equal(masking.mask, inspection.mask)
    assert masking.embedding is not None
    assert not masking.embedding.padding_vector.any()


@pytest.mark.parametrize("source", ["embedding", "all"])
def test_another_padding_id_cannot_be_told_by_an_embedding(source: str) -> None:
    with pytest.raises(ValueError, match=r"masks only id 0\. Pad with 0, or use mask_source='explicit'"):
        maskcli.inspect([[1, 2]], value=9, mask_source=source)


def test_seeds_decide_the_weights() -> None:
    first, again, other = (maskcli.inspect(ROWS, seed=seed).outputs[0].values for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


def test_batches_are_averaged_by_sample_and_the_report_says_so() -> None:
    whole = maskcli.loss(ROWS)
    ones = maskcli.loss(ROWS, batch_size=1)
    assert ones.masked == whole.masked
    sample_means = [masked for masked, _ in ones.first.per_sample if masked is not None]
    assert ones.keras_evaluate == pytest.approx(np.mean(sample_means), rel=1e-6)
    assert ones.keras_evaluate != pytest.approx(whole.keras_evaluate, rel=1e-2)
    assert any("averaged their means by sample, not by valid timestep" in remark.text for remark in ones.remarks)
    assert whole.remarks[0].text == "Keras's reported loss equals the mean over valid timesteps."


def test_reductions_are_of_what_the_mask_lets_count() -> None:
    report = maskcli.loss([[5, 3], [7]], model="embedding-dense")
    losses, total = report.first.per_timestep, report.first.per_timestep[report.first.valid].sum()
    values = {r.name: r.value for r in report.first.reductions}
    assert values["keras-3"] == pytest.approx(total / 3)
    assert values["all-timesteps"] == pytest.approx(total / 4)
    assert values["sum"] == pytest.approx(total)
    assert values["mean-of-sample-means"] == pytest.approx((losses[0].mean() + losses[1, 0]) / 2)
    assert "perplexity" not in values


def test_the_loss_follows_the_mask_even_where_it_hides_a_real_token() -> None:
    report = maskcli.loss([[1, 0, 2]], model="embedding-dense")
    assert report.first.mask is not None
    assert report.first.mask.tolist() == [[True, False, True]]
    assert report.first.valid.tolist() == [[True, True, True]]
    assert report.masked == pytest.approx(report.first.per_timestep[0, [0, 2]].mean(), rel=1e-12)
    assert report.keras_evaluate == pytest.approx(report.masked, rel=1e-6)
    assert report.remarks[0].text.startswith("Id 0 is also a real token, at sample 0, timestep 1")


def test_losses_that_are_not_finite_are_said() -> None:
    report = maskcli.loss([[1, 2]], targets=[[1e30, 1e30]])
    assert report.masked == float("inf")
    assert any(
        remark.text == "The loss is not finite: the mean is inf, and Keras reports inf." for remark in report.remarks
    )


def test_mask_sources_that_give_no_mask_do_not_agree_with_those_that_do() -> None:
    values = np.zeros((1, 2, 3), "float32")
    first = compare_source("embedding", np.array([[True, False]]), values, None)
    other = compare_source("explicit", None, values, first)
    assert other.differing_timesteps == 2
    assert not do_sources_agree((first, other), 2)
    assert do_sources_agree((first, first), 2)


def test_nothing_valid_is_said() -> None:
    report = maskcli.loss([[0, 0]])
    assert report.masked is None
    assert report.first.counted.sum() == 0
    assert any("there is no mean. Keras reports 0" in remark.text for remark in report.remarks)


def test_a_row_without_valid_timesteps_has_no_masked_mean() -> None:
    report = maskcli.loss([[1, 2], []])
    assert report.first.per_sample[1][0] is None
    assert report.first.per_sample[1][1] > 0


def test_repeats_previous_carries_an_unmasked_output_on() -> None:
    values = np.array([[[1.0, 2], [1, 2], [1, 3], [1, 3], [1, 3]]])
    mask = np.array([[True, False, False, False, True]])
    assert find_repeats(values, mask).tolist() == [[False, True, False, False, False]]
    assert find_repeats(values, ~mask).tolist() == [[False, False, False, False, True]]
    assert not find_repeats(values, None).any()
