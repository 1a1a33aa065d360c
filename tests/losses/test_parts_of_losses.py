"""Parts of losses and metrics that compute with Keras: records of one output, without a model."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

import maskcli
from maskcli.losses.batch_sizes import _compute_exact_factors
from maskcli.losses.binding import OutputLoss
from maskcli.losses.evaluate import RecordedLoss
from maskcli.losses.loss_output import make_loss_output
from maskcli.losses.per_output import RANDOM, _try_weights, examine_metrics
from maskcli.records.evidence import OutputEvidence
from maskcli.records.loss import Targets
from maskcli.trace.outputs import ModelOutput

VALID = np.arange(8) < np.array([[8], [5], [2]])
PREDICTIONS = np.random.default_rng(0).uniform(size=(3, 8, 1)).astype("float32")
TARGETS = np.random.default_rng(1).uniform(size=(3, 8, 1)).astype("float32")
LOSSES = np.square(PREDICTIONS - TARGETS)[..., 0].astype("float64")


def bind(loss: Any, **options: Any) -> OutputLoss:
    output = ModelOutput(0, "tags", PREDICTIONS, np.arange(3), "float32", None, VALID, True, None)
    return OutputLoss(output, "mse", loss, None, Targets(TARGETS, 1, "given"), None, **{"valid": VALID, **options})


def test_weights_replace_the_mask_of_a_mean_only() -> None:
    """Weights of 0 at padding give the mean over valid timesteps; a sum, and a loss with weights, is no such mean."""
    recorded = RecordedLoss(LOSSES)
    mean, total = keras.losses.MeanSquaredError(), keras.losses.MeanSquaredError(reduction="sum")
    assert _try_weights(bind(mean), recorded) == pytest.approx(0, abs=1e-6)
    assert _try_weights(bind(total), recorded) is None
    assert _try_weights(dataclasses.replace(bind(mean), weights=np.ones((3, 8))), recorded) is None
    assert _try_weights(bind(mean, by_timestep=True), recorded) is None


@pytest.mark.parametrize("mask", [None, np.ones_like(VALID)], ids=["no mask", "a mask of all"])
def test_exact_gradient_is_that_of_valid_timesteps(mask: Any) -> None:
    """Each valid timestep has the same part in the exact mean, and padding none, whichever mask the output carries."""
    factors = _compute_exact_factors(bind(keras.losses.MeanSquaredError()), RecordedLoss(LOSSES, mask))
    np.testing.assert_allclose(factors, VALID / VALID.sum())


def test_exact_gradient_is_that_of_the_mask_where_padding_is_unknown() -> None:
    loss = bind(keras.losses.MeanSquaredError(), valid=None)
    np.testing.assert_allclose(_compute_exact_factors(loss, RecordedLoss(LOSSES, VALID)), VALID / VALID.sum())


@pytest.mark.parametrize("ignores", [True, False])
def test_mean_without_masks_leaves_out_what_the_loss_ignores(ignores: bool) -> None:
    """A loss with ``ignore_class`` has a mask of its own, which it also has in a model without masks."""
    kept = np.arange(24).reshape(3, 8) % 3 > 0
    unmasked = RecordedLoss(LOSSES + 1, own_mask=kept if ignores else None)
    record = make_loss_output(bind(keras.losses.MeanSquaredError()), RecordedLoss(LOSSES), unmasked)
    assert record.unmasked_model == pytest.approx((LOSSES + 1)[kept if ignores else ...].mean())


class MeanOfAll(keras.metrics.Metric):
    """The cross-entropy of class ids, which ignores the mask."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.total = self.add_weight(name="total", initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        del sample_weight
        self.total.assign(ops.mean(ops.sparse_categorical_crossentropy(y_true, y_pred)))

    def result(self) -> Any:
        return self.total


@pytest.mark.parametrize("classes", [2, 3])
def test_targets_that_are_made_up_are_ids_of_the_classes(classes: int) -> None:
    """A metric of class ids cannot be tried with the id of a class that the output does not have."""
    values = np.random.default_rng(2).dirichlet(np.ones(classes), VALID.shape).astype("float32")
    output = OutputEvidence("tags", values.shape, VALID, VALID, None, None)
    tokens = keras.Input((8, 1))
    model = keras.Model(tokens, keras.layers.Dense(classes)(tokens))
    (evidence,) = examine_metrics(model, [MeanOfAll(name="all")], [(output, values)], {})
    assert (evidence.name, evidence.targets, evidence.ignores_mask) == ("all", RANDOM, True)


@pytest.mark.parametrize(
    ("loss", "counts"),
    [
        ("sparse_categorical_crossentropy", False),
        (keras.losses.CategoricalCrossentropy(name="start"), False),
        (keras.losses.KLDivergence(), False),
        ("mse", True),
        (keras.losses.BinaryCrossentropy(), True),
    ],
)
def test_probabilities_of_timesteps_have_a_loss_for_each_row(loss: Any, counts: bool) -> None:
    """The position of an answer is a class of its row; a mean over numbers of timesteps counts each of them."""
    words = keras.Input((None,), dtype="int32", name="words")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(words)
    logits = ops.squeeze(keras.layers.Dense(1)(x), -1) - 1e9 * ops.cast(ops.equal(words, 0), "float32")
    model = keras.Model(words, ops.softmax(logits))
    sequences = [[3, 1, 4], [5], [6, 7]]
    assert not maskcli.check(sequences, model=model).findings
    model.compile(loss=loss)
    report = maskcli.check(sequences, model=model)
    assert [finding.code for finding in report.findings] == (["MSK101"] if counts else [])
