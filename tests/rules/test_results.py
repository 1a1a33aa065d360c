"""Losses and metrics in findings: each output with its own targets, as Keras and NumPy compute them."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import maskcli
from maskcli.api import loss_evidence
from maskcli.records.check import CheckReport, Finding
from maskcli.records.evidence import LossEvidence

pytestmark = pytest.mark.slow(share=1 / 2)

ROWS = [[3, 1, 4, 1, 5, 9, 2], [6, 5], [8, 9, 7]]
STEPS = 7
VALID = np.array([[step < len(row) for step in range(STEPS)] for row in ROWS])


def make_words() -> tuple[Any, Any]:
    """Return an input of ids and their masked vectors."""
    keras.utils.set_random_seed(2)
    words = keras.Input((None,), dtype="int32", name="words")
    return words, layers.Embedding(11, 6, mask_zero=True, name="vectors")(words)


def make_scorer(loss: Any = "mse", **options: Any) -> Any:
    words, x = make_words()
    model = keras.Model(words, layers.Dense(1, name="score")(layers.GRU(5, return_sequences=True)(x)))
    model.compile(loss=loss, **options)
    return model


def make_classifier(loss: Any, **options: Any) -> Any:
    words, x = make_words()
    model = keras.Model(words, layers.Dense(4, activation="softmax", name="kinds")(x))
    model.compile(loss=loss, **options)
    return model


def run_check(model: Any, data: Any = ROWS, **options: Any) -> CheckReport:
    with warnings.catch_warnings(action="ignore"):
        return maskcli.check(data, model=model, **options)


def select(report: CheckReport, code: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.code == code]


def pad(rows: list[list[int]] = ROWS) -> np.ndarray:
    return np.array([[*row, *[0] * (max(map(len, rows)) - len(row))] for row in rows])


def find_loss(report: CheckReport, output: str) -> LossEvidence:
    model = report.examination.model
    assert model is not None
    return next(loss for loss in model.losses if loss.output == output)


# The batch size.

SLOPE = np.arange(3 * STEPS, dtype=float).reshape(3, STEPS, 1)


def test_batch_size_is_info_in_one_batch() -> None:
    """One batch of all rows has the exact loss; that other sizes differ is true of every right model."""
    model = make_scorer()
    report = run_check(model, targets=SLOPE)
    (finding,) = select(report, "MSK302")
    assert (finding.severity, report.passed, report.status) == ("info", True, "passed")
    squares = (np.asarray(model(pad())) - SLOPE)[..., 0] ** 2
    assert finding.evidence["exact"] == pytest.approx(squares[VALID].mean(), rel=1e-5)
    by_row = np.mean([squares[row][VALID[row]].mean() for row in range(3)])
    assert finding.evidence["by_batch_size"]["1"] == pytest.approx(by_row, rel=1e-5)
    assert finding.evidence["reported"] == pytest.approx(model.evaluate(pad(), SLOPE, verbose=0), rel=1e-6)


@pytest.mark.parametrize(("noise", "severity"), [(1.0, "warning"), (1e-3, "info")])
def test_batch_size_distorts_by_percent(noise: float, severity: str) -> None:
    """A warning needs more than 1 % between the loss at --batch-size and the exact one."""
    model = make_scorer()
    targets = np.asarray(model(pad())) + 1.0
    targets[1] += noise
    report = run_check(model, targets=targets, batch_size=1)
    (finding,) = select(report, "MSK302")
    distance = abs(finding.evidence["reported"] / finding.evidence["exact"] - 1)
    assert (distance > 0.01) == (severity == "warning")
    assert (finding.severity, finding.evidence["batch_size"]) == (severity, 1)
    assert report.passed == (severity == "info")


def test_batch_size_of_a_sum_is_info() -> None:
    """A sum grows with the batch, so that no mean is distorted."""
    model = make_scorer(keras.losses.MeanSquaredError(reduction="sum"))
    assert [finding.severity for finding in select(run_check(model, targets=SLOPE, batch_size=1), "MSK302")] == ["info"]


def test_batch_size_without_padding_is_silent() -> None:
    rows = [row[:2] for row in ROWS]
    assert not select(run_check(make_scorer(), rows, targets=SLOPE[:, :2], batch_size=1), "MSK302")


# Several outputs.


def make_pair(loss: Any) -> Any:
    """Return a model with classes that keep the mask, and a score that loses it."""
    words, x = make_words()
    kinds = layers.Dense(4, activation="softmax", name="kinds")(x)
    score = layers.Dense(1, name="score")(x) * 1.0
    model = keras.Model(words, {"kinds": kinds, "score": score})
    model.compile(loss=loss)
    return model


PAIR = {"kinds": pad() % 4, "score": SLOPE}


@pytest.mark.parametrize("loss", [{"kinds": "sparse_categorical_crossentropy", "score": "mse"}])
def test_every_output_has_its_own_targets(loss: Any) -> None:
    model = make_pair(loss)
    report = run_check(model, targets=PAIR)
    predictions = {name: np.asarray(values) for name, values in model(pad()).items()}
    probabilities = np.take_along_axis(predictions["kinds"], PAIR["kinds"][..., None], -1)[..., 0]
    squares = (predictions["score"] - SLOPE)[..., 0] ** 2
    kinds, score = find_loss(report, "kinds"), find_loss(report, "score")
    assert kinds.masked == pytest.approx(-np.log(probabilities)[VALID].mean(), rel=1e-5)
    assert kinds.reported == pytest.approx(kinds.masked, rel=1e-5)
    assert score.masked == pytest.approx(squares[VALID].mean(), rel=1e-5)
    assert score.reported == pytest.approx(squares.mean(), rel=1e-5)
    (finding,) = select(report, "MSK301")
    assert f"Keras reports {score.reported:.6g}; the mean over valid timesteps is {score.masked:.6g}" in finding.message
    assert "counts 9 padded timesteps of 21 in output score, which carries no mask" in finding.message


def test_loss_of_one_output_needs_one_target() -> None:
    model = make_pair({"kinds": "sparse_categorical_crossentropy"})
    report = run_check(model, targets=PAIR)
    assert report.examination.model is not None
    assert [loss.output for loss in report.examination.model.losses] == ["kinds"]


def test_wrong_number_of_targets() -> None:
    model = make_pair({"kinds": "sparse_categorical_crossentropy", "score": "mse"})
    with pytest.raises(maskcli.errors.UsageError, match="kinds, score"):
        run_check(model, targets=[PAIR["kinds"]])


# Losses that are not finite, or cannot be computed.


def test_masked_target_that_overflows() -> None:
    """Keras multiplies the loss of a masked timestep by zero, and infinity times zero is NaN."""
    targets = np.where(VALID[..., None], SLOPE, 1e30)
    report = run_check(make_scorer(), targets=targets)
    (finding,) = select(report, "MSK304")
    assert (finding.severity, report.status) == ("error", "failed")
    assert "The loss mse is nan: 9 masked timesteps have a loss that is not finite" in finding.message
    assert np.isnan(finding.evidence["reported"])
    squares = (np.asarray(make_scorer()(pad())) - SLOPE)[..., 0] ** 2
    assert finding.evidence["exact"] == pytest.approx(squares[VALID].mean(), rel=1e-4)


def test_unmasked_target_that_overflows() -> None:
    words, x = make_words()
    model = keras.Model(words, layers.Dense(1)(x) * 1.0)
    model.compile(loss="mse")
    report = run_check(model, targets=np.where(VALID[..., None], SLOPE, np.inf))
    (finding,) = select(report, "MSK304")
    assert "9 padded timesteps count, and their loss is not finite. The mean over valid timesteps is" in finding.message
    assert select(report, "MSK301")


def test_unmasked_loss_that_is_a_function() -> None:
    """Keras copies a loss by its configuration, which does not lead back to a function that is not registered."""

    def square(y_true: Any, y_pred: Any) -> Any:
        return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)

    words, x = make_words()
    model = keras.Model(words, layers.Dense(1)(x) * 1.0)
    model.compile(loss=square)
    (finding,) = select(run_check(model, targets=SLOPE), "MSK301")
    assert "The loss square counts 9 padded timesteps of 21" in finding.message


def test_valid_target_that_is_nan() -> None:
    targets = SLOPE.copy()
    targets[1, 0] = np.nan
    (finding,) = select(run_check(make_scorer(), targets=targets), "MSK304")
    assert "The loss mse is nan, at 1 timestep of 21." in finding.message
    assert finding.evidence["not_finite"] == 1


def test_empty_row_is_reported_once() -> None:
    """MSK201 reports that a row without tokens makes the output NaN; the loss has the same cause."""
    words, x = make_words()
    model = keras.Model(words, layers.Dense(1)(layers.GlobalAveragePooling1D(name="mean")(x)))
    model.compile(loss="mse")
    codes = {finding.code for finding in run_check(model, [*ROWS, []], targets=np.zeros((4, 1))).findings}
    assert "MSK201" in codes
    assert "MSK304" not in codes


def test_label_out_of_range() -> None:
    labels = np.where(VALID, pad() % 4, -100)
    (finding,) = select(run_check(make_classifier("sparse_categorical_crossentropy"), targets=labels), "MSK305")
    assert finding.severity == "error"
    assert "cannot be computed with these targets" in finding.message
    assert "-100" in finding.message


def test_failing_output_leaves_others_judged() -> None:
    model = make_pair({"kinds": "sparse_categorical_crossentropy", "score": "mse"})
    report = run_check(model, targets={"kinds": np.full((3, STEPS), 9), "score": SLOPE})
    (failed,) = select(report, "MSK305")
    assert "The loss sparse_categorical_crossentropy of output kinds cannot" in failed.message
    assert find_loss(report, "score").reported is not None
    assert select(report, "MSK301")


def test_targets_of_another_shape() -> None:
    (finding,) = select(
        run_check(make_classifier("categorical_crossentropy"), targets=np.zeros((3, STEPS, 5))), "MSK305"
    )
    assert "it expects targets that fit the predictions (batch, 7, 4) of output" in finding.message


def test_unknown_id_is_no_fault_of_targets() -> None:
    """An id without a vector, in a row that was not probed, makes evaluate raise, whatever the targets."""
    rows = [*MANY, [99]]
    report = run_check(make_scorer(), rows, targets=np.zeros((41, 5, 1)))
    codes = {finding.code for finding in report.findings}
    assert "MSK004" in codes
    assert "MSK305" not in codes
    assert report.notes


# Targets that the loss ignores.


def make_oracle() -> Any:
    """Return a model that predicts class ``id % 4`` and is right at every timestep."""
    words = keras.Input((None,), dtype="int32", name="words")
    table = layers.Embedding(11, 4, name="table")
    model = keras.Model(words, table(words))
    table.set_weights([4.0 * np.eye(4, dtype="float32")[np.arange(11) % 4]])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-100)
    model.compile(loss=loss, metrics=["sparse_categorical_accuracy"])
    return model


LABELS = np.where(VALID & (np.arange(STEPS) % 3 == 0), pad() % 4, -100)


def test_metric_counts_ignored_targets() -> None:
    report = run_check(make_oracle(), targets=LABELS)
    (finding,) = select(report, "MSK303")
    ignored = int((LABELS == -100).sum())
    assert finding.evidence["valid"] == 1.0
    assert finding.evidence["with_mask"] == pytest.approx(1 - ignored / LABELS.size)
    assert f"counts {ignored} targets that the loss ignores in the output" in finding.message
    assert not select(report, "MSK301")


def test_loss_metrics_follow_ignored_targets() -> None:
    (metric,) = maskcli.loss(ROWS, model=make_oracle(), targets=LABELS).metrics
    assert metric.valid == 1.0
    assert metric.reported == pytest.approx(1 - (LABELS == -100).mean())


def test_metric_without_ignored_targets_is_silent() -> None:
    assert not select(run_check(make_oracle(), targets=np.where(VALID, pad() % 4, 1)), "MSK303")


# Outputs (batch, timesteps), and (batch, features) of the same shape.


def test_output_of_timesteps_without_features() -> None:
    """The mean squared error of a (batch, timesteps) output is one number per row, which includes padding."""
    words, x = make_words()
    model = keras.Model(words, keras.ops.squeeze(layers.Dense(1)(layers.GRU(5, return_sequences=True)(x)), -1))
    model.compile(loss="mse")
    report = run_check(model, targets=SLOPE[..., 0])
    squares = (np.asarray(model(pad())) - SLOPE[..., 0]) ** 2
    loss = find_loss(report, "output")
    assert (loss.counted_padding, loss.timesteps) == (9, 21)
    assert loss.masked == pytest.approx(squares[VALID].mean(), rel=1e-5)
    assert loss.reported == pytest.approx(model.evaluate(pad(), SLOPE[..., 0], verbose=0), rel=1e-6)
    assert select(report, "MSK301")
    (output,) = maskcli.loss(ROWS, model=model, targets=SLOPE[..., 0]).outputs
    assert output.exact == pytest.approx(loss.masked, rel=1e-6)


def test_output_of_features_as_many_as_timesteps() -> None:
    """A pooled output has no timesteps, although its width is their number."""
    words, x = make_words()
    model = keras.Model(words, layers.GRU(STEPS)(x))
    model.compile(loss="mse")
    report = run_check(model, targets=SLOPE[..., 0])
    loss = find_loss(report, "output")
    assert (loss.counted_padding, report.passed) == (0, True)
    assert loss.masked == pytest.approx(((np.asarray(model(pad())) - SLOPE[..., 0]) ** 2).mean(), rel=1e-5)


# Figures of some rows.

MANY = [[1 + (row + step) % 10 for step in range(1 + row % 5)] for row in range(40)]


def test_figures_of_probed_rows_say_so() -> None:
    words = keras.Input((None,), dtype="int32")
    model = keras.Model(words, layers.GRU(3)(layers.Embedding(11, 4)(words)))
    (finding,) = select(run_check(model, MANY), "MSK104")
    assert "but no mask, in 16 of 40 rows." in finding.message


def test_losses_are_of_all_rows() -> None:
    targets = np.arange(200.0).reshape(40, 5, 1)
    model = make_scorer()
    loss = find_loss(run_check(model, MANY, targets=targets), "output")
    assert loss.rows == (40, 40)
    assert loss.reported == pytest.approx(model.evaluate(pad(MANY), targets, verbose=0), rel=1e-6)


def test_losses_of_first_rows_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_evidence, "MOST_ROWS", 25)
    report = run_check(make_scorer(), MANY, targets=np.arange(200.0).reshape(40, 5, 1))
    assert find_loss(report, "output").rows == (25, 40)
    assert "Losses are those of the first 25 of 40 rows." in report.notes
    assert ", in 25 of 40 rows." in select(report, "MSK302")[0].message


@pytest.mark.parametrize("divides_by_valid", [True, False])
def test_loss_that_is_zero_at_padding_and_divides_by_all_timesteps(divides_by_valid: bool) -> None:
    def square(y_true: Any, y_pred: Any) -> Any:
        mask = keras.ops.cast(keras.ops.not_equal(y_true, -1.0), "float32")
        losses = keras.ops.square(y_true - y_pred) * mask
        if divides_by_valid:
            return keras.ops.sum(losses) / keras.ops.sum(mask)
        return keras.ops.mean(losses, axis=-1)

    words, x = make_words()
    model = keras.Model(words, layers.Dense(1)(x) * 1.0)
    model.compile(loss=square)
    targets = np.where(VALID[..., None], SLOPE, -1.0).astype("float32")
    findings = select(run_check(model, targets=targets), "MSK301")
    assert len(findings) == (not divides_by_valid)
    for finding in findings:
        assert finding.severity == "warning"
        assert finding.evidence["counted_padding"] == 0
        share = VALID.mean()
        assert finding.evidence["reported"] == pytest.approx(finding.evidence["masked"] * share, rel=1e-5)
        assert f"divides by all {VALID.size} timesteps of the output, with {(~VALID).sum()} padded" in finding.message
