"""``maskcli.loss`` against Keras itself: what it says of a model is what Keras makes of a clone of that model."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, losses, ops

import maskcli
from maskcli.errors import InputError, MaskcliError, ModelError, UsageError
from maskcli.losses import loss_run
from maskcli.losses.registry import match_outputs
from maskcli.records.loss import LossReport
from tests.traps import batch_size as batch_size_trap
from tests.traps import built
from tests.traps import metrics as metrics_trap

CHANCE = np.random.default_rng(0)
T = 6
LENGTHS = (6, 2, 4, 1, 3)
ROWS = len(LENGTHS)
VALID = np.arange(T) < np.array(LENGTHS)[:, None]
TOKENS = np.where(VALID, CHANCE.integers(1, 10, VALID.shape), 0)
FEATURES = np.where(VALID[..., None], CHANCE.normal(size=(ROWS, T, 2)), 0).astype("float32")
IDS = CHANCE.integers(0, 3, VALID.shape)
VECTORS = CHANCE.normal(size=(ROWS, T, 3)).astype("float32")
POOLED = CHANCE.normal(size=(ROWS, 2)).astype("float32")
WEIGHTS = CHANCE.random(VALID.shape).astype("float32")
ONE_HOT = np.eye(3, dtype="float32")[IDS]
Model = Any
Build = Callable[[], Model]


def made(build: Build) -> Model:
    """Build a model with the weights that it has each time; what Keras warns of meanwhile is its own affair."""
    keras.utils.set_random_seed(1)
    with warnings.catch_warnings(action="ignore"):
        return build()


def tokens_input() -> Any:
    return keras.Input((None,), dtype="int32", name="tokens")


def embedded(tokens: Any, **options: Any) -> Any:
    return layers.Embedding(10, 4, **{"mask_zero": True, **options})(tokens)


def compiled(model: Model, **options: Any) -> Model:
    model.compile(run_eagerly=True, **options)  # A graph takes longer than these few batches.
    return model


def dense(width: int = 3, kind: Any = keras.Model, options: Any = None, **judged: Any) -> Build:
    """A model of logits, ``(batch, timesteps, width)``."""

    def build() -> Model:
        tokens = tokens_input()
        return compiled(kind(tokens, layers.Dense(width, **(options or {}))(embedded(tokens))), **judged)

    return build


def recurrent(**judged: Any) -> Build:
    def build() -> Model:
        tokens = tokens_input()
        return compiled(keras.Model(tokens, layers.GRU(3, return_sequences=True)(embedded(tokens))), **judged)

    return build


def pooled(**judged: Any) -> Build:
    def build() -> Model:
        tokens = tokens_input()
        return compiled(
            keras.Model(tokens, layers.Dense(2)(layers.GlobalAveragePooling1D()(embedded(tokens)))), **judged
        )

    return build


def two(form: str, **judged: Any) -> Build:
    """A model with an output of timesteps and a pooled one."""

    def build() -> Model:
        tokens = tokens_input()
        hidden = embedded(tokens)
        tags, mood = layers.Dense(3, name="tags")(hidden), layers.GlobalAveragePooling1D()(hidden)
        mood = layers.Dense(2, name="mood")(mood)
        nest = {
            "list": [tags, mood],
            "dict": {"tags": tags, "mood": mood},
            "nest": {"z": {"a": tags}, "m": {"b": mood}},
        }
        return compiled(keras.Model(tokens, nest[form]), **judged)

    return build


def of_features(**judged: Any) -> Build:
    def build() -> Model:
        features = keras.Input((None, 2), name="features")
        return compiled(keras.Model(features, layers.Dense(3)(layers.Masking(0.0)(features))), **judged)

    return build


def with_explicit_mask(**judged: Any) -> Build:
    def build() -> Model:
        tokens, mask = tokens_input(), keras.Input((None,), dtype="bool", name="mask")
        hidden = layers.GRU(3, return_sequences=True)(embedded(tokens, mask_zero=False), mask=mask)
        return compiled(keras.Model([tokens, mask], hidden), **judged)

    return build


def stateful(**judged: Any) -> Build:
    def build() -> Model:
        tokens = keras.Input((T,), batch_size=ROWS, dtype="int32", name="tokens")
        return compiled(
            keras.Model(tokens, layers.GRU(3, return_sequences=True, stateful=True)(embedded(tokens))), **judged
        )

    return build


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.dense = layers.Embedding(10, 4, mask_zero=True), layers.Dense(3)

    def call(self, tokens: Any) -> Any:
        return self.dense(self.embedding(tokens))


class OwnStep(keras.Model):
    def test_step(self, data: Any) -> dict[str, Any]:
        x, y = data[0], data[1]
        self._loss_tracker.update_state(ops.mean(ops.abs(y - self(x))), sample_weight=ops.shape(x)[0])
        return {"loss": self._loss_tracker.result()}


class OwnLoss(keras.Model):
    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        return 3.0 * super().compute_loss(x, y, y_pred, sample_weight, training)


class OwnNest(keras.Model):
    """Steps that take targets by name."""

    def test_step(self, data: Any) -> dict[str, Any]:
        self._loss_tracker.update_state(ops.mean(ops.abs(data[1]["tags"])), sample_weight=ops.shape(data[0])[0])
        return {"loss": self._loss_tracker.result()}


class Summed(layers.Layer):
    """Adds a loss that grows with the batch."""

    supports_masking = True

    def call(self, hidden: Any) -> Any:
        self.add_loss(0.01 * ops.sum(hidden**2))
        return hidden


def own_nest() -> Model:
    tokens = tokens_input()
    hidden = embedded(tokens)
    return compiled(OwnNest(tokens, {"tags": layers.Dense(3)(hidden), "b": layers.Dense(1)(hidden)}), loss="mse")


def summed() -> Model:
    tokens = tokens_input()
    return compiled(keras.Model(tokens, Summed()(embedded(tokens))), loss="mse")


def halved(policy: str, **judged: Any) -> Build:
    def build() -> Model:
        tokens = tokens_input()
        return compiled(keras.Model(tokens, layers.Dense(3, dtype=policy)(embedded(tokens, dtype=policy))), **judged)

    return build


class WholeLoss(losses.Loss):
    """A loss that never asks its ``call``."""

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        del sample_weight
        return ops.mean(ops.square(y_true - y_pred))


def absolute(y_true: Any, y_pred: Any) -> Any:
    return ops.mean(ops.abs(y_true - y_pred), axis=-1)


def of_tensorflow(y_true: Any, y_pred: Any) -> Any:
    return tf.reduce_mean(tf.subtract(y_true, y_pred) ** 2, axis=-1)


def one_number(y_true: Any, y_pred: Any) -> Any:
    return ops.mean(ops.square(y_true - y_pred))


def sparse(**options: Any) -> Any:
    return losses.SparseCategoricalCrossentropy(from_logits=True, **options)


@dataclasses.dataclass(frozen=True)
class Case:
    """A model with what ``evaluate`` is given."""

    build: Build
    targets: Any
    weights: Any = None
    data: Any = dataclasses.field(default_factory=lambda: {"tokens": TOKENS})

    @property
    def x(self) -> Any:
        values = [values for name, values in self.data.items() if not name.endswith(".mask")]
        return values[0] if len(values) == 1 else values

    def evaluate(
        self, batch_size: int | None = None, order: Any = slice(None), model: Model | None = None
    ) -> dict[str, float]:
        """Return what Keras says of a clone, or of ``model``, with the rows in an order."""
        x, y, weights = keras.tree.map_structure(
            lambda rows: None if rows is None else rows[order], (self.x, self.targets, self.weights)
        )
        result: dict[str, float] = (model or made(self.build)).evaluate(
            x, y, sample_weight=weights, batch_size=batch_size, verbose=0, return_dict=True
        )
        return result

    def loss(self, **options: Any) -> LossReport:
        given = {"targets": self.targets, "sample_weight": self.weights, "shuffles": 0, **options}
        return maskcli.loss(self.data, model=made(self.build), **given)


PAIR = {"tags": VECTORS, "mood": POOLED}
BOTH = {"loss": {"tags": "mse", "mood": "mae"}, "loss_weights": {"tags": 0.3, "mood": 2.0}}
CASES = {
    "by name": Case(dense(loss="mse"), VECTORS),
    "recurrent": Case(recurrent(loss="mse"), VECTORS),
    "class": Case(dense(loss=losses.MeanAbsoluteError), VECTORS),
    "object": Case(dense(loss=losses.Huber(delta=0.5)), VECTORS),
    "negative": Case(dense(loss="cosine_similarity"), VECTORS),
    "function": Case(dense(loss=absolute), VECTORS),
    "function of tensorflow": Case(dense(loss=of_tensorflow), IDS[..., None].repeat(3, axis=-1)),
    "doubles": Case(dense(loss=of_tensorflow), VECTORS.astype("float64")),
    "one number": Case(dense(loss=one_number), VECTORS),
    "one number, weighted": Case(dense(loss=one_number), VECTORS, WEIGHTS),
    "own __call__": Case(dense(loss=WholeLoss()), VECTORS),
    "crossentropy": Case(dense(loss="crossentropy", options={"activation": "softmax"}), IDS),
    "ids": Case(dense(loss=sparse()), IDS),
    "ids in a column": Case(dense(loss=sparse()), IDS[..., None]),
    "ignore_class": Case(dense(loss=sparse(ignore_class=1)), IDS, WEIGHTS),
    "smoothing": Case(dense(loss=losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)), ONE_HOT),
    "one unit": Case(dense(1, loss=losses.BinaryCrossentropy(from_logits=True)), (IDS[..., None] > 0) * 1.0),
    **{
        f"{reduction}{', weighted' * weighted}": Case(
            dense(loss=losses.MeanAbsoluteError(reduction=reduction)), VECTORS, WEIGHTS if weighted else None
        )
        for reduction in ("sum_over_batch_size", "mean", "sum", "none", None, "mean_with_sample_weight")
        for weighted in (False, True)
    },
    "pooled": Case(pooled(loss="mse"), POOLED),
    "pooled, weighted": Case(pooled(loss="mse"), POOLED, WEIGHTS[:, 0]),
    "pooled ids": Case(pooled(loss=sparse()), IDS[:, 0] % 2),
    "list of outputs": Case(two("list", loss=["mse", "mae"], loss_weights=[0.3, 2.0]), [VECTORS, POOLED]),
    "list of outputs by name": Case(two("list", **BOTH), PAIR),
    "one object for both": Case(two("list", loss=[(one := losses.Huber()), one]), [VECTORS, POOLED]),
    "one loss for all": Case(two("list", loss="mse"), [VECTORS, POOLED]),
    "dict of outputs": Case(two("dict", **BOTH), PAIR),
    "nest of outputs": Case(
        two("nest", loss={"z": {"a": "mse"}, "m": {"b": "mae"}}), {"z": {"a": VECTORS}, "m": {"b": POOLED}}
    ),
    "first of two": Case(two("list", loss=["mse", None]), [VECTORS]),
    "second of two": Case(two("dict", loss={"mood": "mae"}), {"mood": POOLED}),
    "weight regularizer": Case(dense(loss="mse", options={"kernel_regularizer": "l2"}), VECTORS),
    "activity regularizer": Case(
        dense(loss="mse", options={"activity_regularizer": "l2", "kernel_regularizer": "l1"}), VECTORS
    ),
    "loss that grows with the batch": Case(summed, CHANCE.normal(size=(ROWS, T, 4))),
    "subclassed": Case(lambda: compiled(Subclassed(), loss="mse"), VECTORS),
    "own test_step": Case(dense(kind=OwnStep, loss="mse"), VECTORS),
    "own compute_loss": Case(dense(kind=OwnLoss, loss="mse"), VECTORS, WEIGHTS),
    "own test_step by name": Case(own_nest, {"tags": VECTORS, "b": VECTORS[..., :1]}),
    "features": Case(of_features(loss="mae"), VECTORS, data={"features": FEATURES}),
    "explicit mask": Case(with_explicit_mask(loss="mse"), VECTORS, data={"tokens": TOKENS, "mask": VALID}),
    **{policy: Case(halved(policy, loss="mse"), VECTORS) for policy in ("mixed_float16", "float16", "bfloat16")},
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "names", "expected"),
    [
        ("mse", ["0", "1"], ["mse", "mse"]),
        (["mse", None], ["0", "1"], ["mse", None]),
        (("mse", "mae"), ["tags", "mood"], ["mse", "mae"]),
        ({"tags": "mse"}, ["mood", "tags"], [None, "mse"]),
        ({"first": "mse", "second": "mae"}, ["0", "1"], ["mse", "mae"]),
        ({"mood": ["a", "b"]}, ["mood/0", "mood/1", "tags"], ["a", "b", None]),
        ({"mood": "a", "tags": {"x": "b"}}, ["mood/0", "mood/1", "tags/x", "tags/y"], ["a", "a", "b", None]),
        ([["a", "b"], "c"], ["0/0", "0/1", "1"], ["a", "b", "c"]),
        (["a", ["b"]], ["0", "1/0"], ["a", "b"]),
        (["a", "b", "c"], ["0/0", "0/1", "1"], ["a", "b", "c"]),
        ([["acc"], ["mae"]], ["mood", "tags"], [["acc"], ["mae"]]),
        (None, ["output"], [None]),
        (["mse"], ["output"], ["mse"]),
    ],
)
def test_what_compile_is_given_goes_to_outputs(given: Any, names: list[str], expected: list[Any]) -> None:
    assert match_outputs(given, names, ["first", "second"], "--loss") == expected


@pytest.mark.slow(share=1 / 4)
@pytest.mark.parametrize("name", CASES)
def test_evaluate_is_that_of_keras_at_every_batch_size(name: str) -> None:
    case = CASES[name]
    model, report = made(case.build), case.loss(batch_size=2)
    expected = {size: case.evaluate(size, model=model) for size in (1, 2, ROWS)}
    assert report.keras_evaluate == pytest.approx(expected[2]["loss"], rel=1e-6)
    assert [one.batch_size for one in report.batch_sizes] == [1, 2, ROWS]
    for one in report.batch_sizes:
        assert one.keras_evaluate == pytest.approx(expected[one.batch_size]["loss"], rel=2e-6), one
    for output in report.outputs:
        part = expected[2].get(f"{output.name}_loss", output.reported)
        assert output.reported == pytest.approx(part, rel=1e-6)


def test_other_losses_of_the_model_are_told_apart() -> None:
    case = CASES["weight regularizer"]
    report = case.loss()
    added = float(sum(made(case.build).losses))
    assert report.regularization == pytest.approx(added, rel=1e-6)
    assert report.first.reported == pytest.approx(report.keras_evaluate - added, rel=1e-5)
    assert CASES["by name"].loss().regularization == 0


def test_states_are_those_of_the_one_batch_that_fits() -> None:
    case = Case(stateful(loss="mse"), VECTORS)
    report = case.loss(batch_sizes=(ROWS,), shuffles=3)
    assert report.keras_evaluate == pytest.approx(case.evaluate(ROWS)["loss"], rel=1e-6)
    assert report.batch_size == ROWS
    assert [(one.batch_size, one.smallest, one.gradient) for one in report.batch_sizes] == [(ROWS, None, None)]


def test_more_rows_than_are_traced_in_the_one_batch_that_fits() -> None:
    def build() -> Model:
        tokens = keras.Input((3,), batch_size=40, dtype="int32", name="tokens")
        return compiled(keras.Model(tokens, layers.GRU(3, stateful=True)(embedded(tokens))), loss="mse")

    tokens = np.arange(120).reshape(40, 3) % 9 + 1
    case = Case(build, np.ones((40, 3)), data={"tokens": tokens})
    assert case.loss().keras_evaluate == pytest.approx(case.evaluate(40)["loss"], rel=1e-6)


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("loss", ["mse", losses.MeanSquaredError(), losses.MeanSquaredError, "MeanSquaredError"])
def test_an_uncompiled_model_with_a_loss_is_as_one_compiled_with_it(loss: Any) -> None:
    def bare() -> Model:
        tokens = tokens_input()
        return keras.Model(tokens, layers.Dense(3)(embedded(tokens)))

    report = maskcli.loss({"tokens": TOKENS}, model=made(bare), targets=VECTORS, loss=loss, batch_size=2)
    assert report.keras_evaluate == pytest.approx(CASES["by name"].evaluate(2)["loss"], rel=1e-6)
    assert report.first.loss == "mse" if loss == "mse" else "mean_squared_error"


def test_a_loss_that_is_asked_for_takes_the_place_of_that_of_the_model() -> None:
    case = Case(dense(kind=OwnStep, loss="mse"), VECTORS)
    assert case.loss(loss="mae").keras_evaluate == pytest.approx(Case(dense(loss="mae"), VECTORS).evaluate()["loss"])
    one = Case(two("dict", **BOTH), PAIR).loss(loss={"mood": "mae"})
    assert [output.name for output in one.outputs] == ["mood"]
    assert one.keras_evaluate == pytest.approx(2 * one.outputs[0].reported)


@pytest.mark.parametrize("options", [{"ignore_class": 1}, {"reduction": "sum"}, {"from_logits": True}])
def test_options_are_those_of_the_class(options: dict[str, Any]) -> None:
    options = {"from_logits": True, **options}
    loss = losses.SparseCategoricalCrossentropy(**options)
    report = Case(dense(), IDS).loss(loss="sparse_categorical_crossentropy", loss_options=options)
    assert report.keras_evaluate == pytest.approx(Case(dense(loss=loss), IDS).evaluate()["loss"], rel=1e-6)


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize(
    ("width", "targets"),
    [(3, IDS), (3, IDS[..., None]), (3, ONE_HOT), (3, ONE_HOT.astype(int)), (1, IDS[..., None] % 2), (6, IDS)],
)
def test_weights_of_classes_are_weights_of_timesteps(width: int, targets: Any) -> None:
    loss = {1: losses.BinaryCrossentropy(from_logits=True)}.get(width, sparse())
    if targets.shape[-1] == 3 == width:
        loss = losses.CategoricalCrossentropy(from_logits=True)
    classes = targets.argmax(-1) if targets.shape[-1] == 3 == width else targets.reshape(IDS.shape)
    weights = np.where(classes == 1, 2.5, np.where(classes == 0, 0.5, 1.0))
    case = Case(dense(width, loss=loss), targets)
    report = case.loss(class_weight={1: 2.5, 0: 0.5}, batch_size=2)
    np.testing.assert_array_equal(report.first.weights, weights.astype("float32"))
    assert report.keras_evaluate == pytest.approx(dataclasses.replace(case, weights=weights).evaluate(2)["loss"])


def test_weights_of_samples_count_for_their_timesteps() -> None:
    spread = Case(dense(loss="mse"), VECTORS, np.repeat(WEIGHTS[:, :1], T, axis=1))
    for given in (WEIGHTS[:, 0], WEIGHTS[:, :1]):
        report = dataclasses.replace(spread, weights=given).loss()
        assert report.keras_evaluate == pytest.approx(spread.evaluate()["loss"], rel=1e-6)
        assert any("np.repeat(weights" in remark.text for remark in report.remarks)
    assert not any("np.repeat(weights" in remark.text for remark in spread.loss().remarks)


def test_weights_of_outputs_by_name() -> None:
    weights = {"tags": WEIGHTS, "mood": WEIGHTS[:, 0]}
    case = Case(two("dict", **BOTH), PAIR, weights)
    assert case.loss(batch_size=2).keras_evaluate == pytest.approx(case.evaluate(2)["loss"], rel=1e-6)


def test_by_hand() -> None:
    """Every number of a small case is what NumPy makes of the predictions."""
    case = Case(recurrent(loss="mse"), VECTORS, WEIGHTS)
    model = made(case.build)
    predictions = model.predict(TOKENS, verbose=0)
    losses_of = ((predictions - VECTORS) ** 2).mean(-1)
    weighted = losses_of * WEIGHTS
    report, first = case.loss(), case.loss().first
    np.testing.assert_allclose(first.per_timestep, losses_of, rtol=1e-5)
    np.testing.assert_array_equal(first.counted, VALID)
    np.testing.assert_array_equal(first.mask, VALID)
    assert report.masked == report.exact == pytest.approx(weighted[VALID].mean(), rel=1e-6)
    assert report.unmasked == pytest.approx(
        float(model.loss and keras.losses.MeanSquaredError()(VECTORS, predictions, WEIGHTS)), rel=1e-6
    )
    assert first.weighted_mean == pytest.approx(weighted[VALID].sum() / WEIGHTS[VALID].sum(), rel=1e-6)
    assert first.padding_share == pytest.approx(weighted[~VALID].sum() / weighted.sum(), rel=1e-6)
    assert first.per_sample == tuple(
        (pytest.approx(row[valid].mean()), pytest.approx(row.mean()))
        for row, valid in zip(weighted, VALID, strict=True)
    )
    assert [group.shortest for group in first.by_length] == sorted(LENGTHS)
    assert sum(group.share or 0 for group in first.by_length) == pytest.approx(1)
    assert sum(group.timesteps for group in first.by_length) == VALID.sum()
    largest = np.sort(weighted[VALID])[::-1][:10]
    assert [one.loss for one in first.contributors] == pytest.approx(largest, rel=1e-6)
    assert first.shape == (ROWS, T, 3)
    assert first.dtype == "float32"


def without_any_mask(build: Callable[[bool], Model]) -> tuple[Model, Model]:
    return made(lambda: build(True)), made(lambda: build(False))


def lstm(masked: bool) -> Model:
    tokens = tokens_input()
    hidden = layers.Bidirectional(layers.LSTM(2, return_sequences=True))(embedded(tokens, mask_zero=masked))
    return compiled(keras.Model(tokens, layers.Dense(3)(hidden)), loss="mse")


def attending(masked: bool) -> Model:
    tokens = tokens_input()
    hidden = embedded(tokens, mask_zero=masked)
    return compiled(
        keras.Model(tokens, layers.Dense(3)(layers.MultiHeadAttention(1, 4)(hidden, hidden, use_causal_mask=True))),
        loss="mse",
    )


def pooling(masked: bool) -> Model:
    tokens = tokens_input()
    return compiled(
        keras.Model(tokens, layers.Dense(2)(layers.GlobalAveragePooling1D()(embedded(tokens, mask_zero=masked)))),
        loss="mse",
    )


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("build", [lstm, attending, pooling])
def test_unmasked_model_is_the_same_weights_without_masks(build: Callable[[bool], Model]) -> None:
    masked, bare = without_any_mask(build)
    targets = POOLED if build is pooling else VECTORS
    report = maskcli.loss({"tokens": TOKENS}, model=masked, targets=targets)
    assert report.unmasked_model == pytest.approx(bare.evaluate(TOKENS, targets, verbose=0), rel=1e-5)
    assert report.unmasked_model != pytest.approx(report.unmasked, rel=1e-5)
    predicted = masked.predict(TOKENS, verbose=0)
    assert report.unmasked == pytest.approx(float(np.mean((predicted - targets) ** 2)), rel=1e-5)


def test_unmasked_model_without_an_explicit_mask() -> None:
    case = Case(with_explicit_mask(loss="mse"), VECTORS, data={"tokens": TOKENS, "mask": VALID})
    everything = {"tokens": TOKENS, "mask": np.ones_like(VALID)}
    bare = dataclasses.replace(case, data=everything).evaluate()["loss"]
    assert case.loss().unmasked_model == pytest.approx(bare, rel=1e-5)


def test_the_trap_of_batch_sizes() -> None:
    trap = built(batch_size_trap)
    report = maskcli.loss(trap.arrays, model=trap.model, targets=trap.targets, batch_sizes=(1, 2))
    assert [one.keras_evaluate for one in report.batch_sizes] == pytest.approx([50.0, 100 / 11])
    assert report.exact == pytest.approx(100 / 11)
    assert [one.heaviest for one in report.batch_sizes] == [10.0, 1.0]
    assert any(
        "depends on the batch size: 50 in batches of 1 and 9.09091 in batches of 2" in remark.text
        for remark in report.remarks
    )


def test_many_small_differences_of_batches_are_not_called_rounding() -> None:
    chance = np.random.default_rng(1)
    lengths = chance.integers(45, 50, (400, 1))
    tokens = np.where(np.arange(50) < lengths, chance.integers(1, 10, (400, 50)), 0)
    case = Case(dense(loss="mse"), chance.normal(size=(400, 50, 3)), data={"tokens": tokens})
    batches, whole = case.loss(), case.loss(batch_size=400)
    assert batches.masked is not None
    assert 1e-6 < abs(batches.keras_evaluate / batches.masked - 1) < 400 * 50 * 2**-23
    assert "evaluate ran in batches of 32" in batches.remarks[-1].text
    assert not any("evaluate ran in batches" in remark.text for remark in whole.remarks)
    assert any(
        "is what Keras reports" in remark.text or "rounding of float32" in remark.text for remark in whole.remarks
    )


def test_shuffles_bracket_what_keras_makes_of_shuffled_rows() -> None:
    case = CASES["recurrent"]
    (one,) = case.loss(batch_sizes=(2,), shuffles=200).batch_sizes
    model, orders = made(case.build), [np.random.default_rng(seed).permutation(ROWS) for seed in range(5)]
    real = [case.evaluate(2, order, model)["loss"] for order in orders]
    assert one.smallest is not None
    assert one.largest is not None
    assert one.smallest - 1e-6 <= min(real) < max(real) <= one.largest + 1e-6
    assert one.smallest < one.largest
    assert one.std is not None
    assert one.std > 0


def gradient_of(model: Model, targets: Any, batch_size: int, loss: Any) -> list[Any]:
    """Return the mean of the gradients of batches by Keras's own loss, under the mask."""
    starts = range(0, ROWS, batch_size)
    added: list[Any] = []
    for start in starts:
        rows = slice(start, start + batch_size)
        with tf.GradientTape() as tape:
            value = loss(targets[rows], model(TOKENS[rows]))
        found = [
            np.asarray(tf.convert_to_tensor(one))
            for one in tape.gradient(value, [v.value for v in model.trainable_variables])
        ]
        added = [one / len(starts) + (added[i] if added else 0) for i, one in enumerate(found)]
    return added


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize(
    ("build", "targets", "loss"),
    [
        (recurrent(loss="mse"), VECTORS, losses.MeanSquaredError()),
        (dense(loss=sparse(ignore_class=1)), IDS, sparse(ignore_class=1)),
        (pooled(loss="mse"), POOLED, losses.MeanSquaredError()),
        (dense(loss=losses.MeanSquaredError(reduction="sum")), VECTORS, losses.MeanSquaredError(reduction="sum")),
        (halved("mixed_float16", loss="mse"), VECTORS, losses.MeanSquaredError()),
    ],
)
def test_gradients_are_those_of_batches_by_keras(build: Build, targets: Any, loss: Any) -> None:
    report = Case(build, targets).loss(batch_sizes=(1, 2, ROWS))
    assert report.gradient_rows == ROWS
    model = made(build)
    mean = losses.MeanSquaredError() if isinstance(loss, losses.MeanSquaredError) else loss
    exact = np.concatenate([one.ravel() for one in gradient_of(model, targets, ROWS, mean)]).astype("float64")
    near = 2e-3 if model.compute_dtype == "float16" or model.layers[-1].compute_dtype == "float16" else 1e-5
    for size in report.batch_sizes:
        own = np.concatenate([one.ravel() for one in gradient_of(model, targets, size.batch_size, loss)]).astype(
            "float64"
        )
        gradient = size.gradient
        assert gradient is not None
        assert gradient.norm == pytest.approx(np.linalg.norm(own), rel=near)
        assert gradient.relative == pytest.approx(np.linalg.norm(own) / np.linalg.norm(exact), rel=near)
        assert gradient.cosine == pytest.approx(own @ exact / np.linalg.norm(own) / np.linalg.norm(exact), abs=near)


def test_gradients_weigh_outputs_and_weights() -> None:
    case = CASES["dict of outputs"]
    model = made(case.build)
    with tf.GradientTape() as tape:
        outputs = model(TOKENS)
        value = 0.3 * losses.MeanSquaredError()(VECTORS, outputs["tags"]) + 2.0 * losses.MeanAbsoluteError()(
            POOLED, outputs["mood"]
        )
    found = tape.gradient(value, [variable.value for variable in model.trainable_variables])
    norm = np.sqrt(sum(np.sum(np.asarray(tf.convert_to_tensor(one)) ** 2) for one in found))
    (size,) = case.loss(batch_sizes=(ROWS,)).batch_sizes
    assert size.gradient is not None
    assert size.gradient.norm == pytest.approx(norm, rel=1e-5)
    assert size.gradient.relative == pytest.approx(1)
    assert size.gradient.cosine == pytest.approx(1)
    weighted = Case(dense(loss="mse"), VECTORS, WEIGHTS * 3)
    (size,), (plain,) = (
        weighted.loss(batch_sizes=(ROWS,)).batch_sizes,
        Case(dense(loss="mse"), VECTORS, WEIGHTS).loss(batch_sizes=(ROWS,)).batch_sizes,
    )
    assert size.gradient is not None
    assert plain.gradient is not None
    assert size.gradient.norm == pytest.approx(3 * plain.gradient.norm, rel=1e-5)


def test_gradients_are_left_out_where_there_are_none() -> None:
    def frozen() -> Model:
        model = dense(loss="mse")()
        model.trainable = False
        return model

    for build in (frozen, dense(loss=one_number)):
        report = Case(build, VECTORS).loss(batch_sizes=(1,))
        assert report.gradient_rows == 0
        assert report.batch_sizes[0].gradient is None


class Times(keras.metrics.Metric):
    """A metric whose configuration does not tell what it was made with."""

    def __init__(self, factor: float = 1.0, name: str = "times", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.factor, self.total = factor, self.add_weight(name="total", initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        del y_true, sample_weight
        self.total.assign_add(self.factor * ops.sum(ops.cast(y_pred, "float32")))

    def result(self) -> Any:
        return self.total


BINARY = {"loss": "mse", "options": {"activation": "sigmoid"}}
METRICS: dict[str, tuple[Callable[[], list[Any]], Any]] = {
    "accuracy": (lambda: ["accuracy"], IDS),
    "recall": (lambda: [keras.metrics.Recall(0.45, name="recall")], IDS[..., None] % 2),
    "auc": (lambda: [keras.metrics.AUC(num_thresholds=20, name="auc")], IDS[..., None] % 2),
    "root": (lambda: [keras.metrics.RootMeanSquaredError(name="root")], VECTORS),
    "union": (lambda: [keras.metrics.MeanIoU(3, sparse_y_pred=False, name="union")], IDS),
    "several": (lambda: ["mae", absolute, keras.metrics.MeanSquaredError(name="own")], VECTORS),
    "not to be made anew": (lambda: [Times(3.0), keras.metrics.MeanMetricWrapper(absolute, name="wrapped")], VECTORS),
}
"""Metrics, which are made for each model: one with states of another would not start from nothing."""


def with_metrics(name: str) -> Case:
    metrics, targets = METRICS[name]
    judged = {"loss": sparse()} if targets is IDS else BINARY if targets.shape[-1] == 1 else {"loss": "mse"}
    return Case(lambda: dense(1 if judged is BINARY else 3, metrics=metrics(), **judged)(), targets)


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("name", METRICS)
def test_metrics_are_those_of_evaluate_and_of_valid_timesteps(name: str) -> None:
    case = with_metrics(name)
    expected = {metric: value for metric, value in case.evaluate(2).items() if metric != "loss"}
    report = case.loss(batch_size=2)
    assert {metric.name: metric.reported for metric in report.metrics} == pytest.approx(expected, rel=1e-6)
    if name == "not to be made anew":
        assert [metric.valid for metric in report.metrics] == [None, None]
        return
    predictions = made(case.build).predict(TOKENS, verbose=0)[VALID]
    bare = keras.Sequential([keras.Input(predictions.shape[1:]), layers.Identity()])
    bare.compile(loss=sparse() if case.targets is IDS else "mse", metrics=METRICS[name][0](), run_eagerly=True)
    on_valid = bare.evaluate(predictions, case.targets[VALID], verbose=0, return_dict=True)
    for metric in report.metrics:
        assert metric.valid == pytest.approx(on_valid[metric.name], rel=1e-5), metric.name
        assert metric.differs == (abs(metric.reported - metric.valid) > 1e-5 * abs(metric.reported))


def test_weighted_metrics_are_given_the_weights() -> None:
    judged = {"loss": "mse", "metrics": ["mae"], "weighted_metrics": ["mae"]}
    case = Case(dense(**judged), VECTORS, WEIGHTS)
    expected, report = case.evaluate(2), case.loss(batch_size=2)
    assert {metric.weighted: metric.reported for metric in report.metrics} == pytest.approx(
        {False: expected["mae"], True: expected["weighted_mae"]}, rel=1e-6
    )
    asked = Case(dense(loss="mse"), VECTORS, WEIGHTS).loss(metrics=("mae",), batch_size=2)
    assert [(metric.weighted, metric.reported) for metric in asked.metrics] == [
        (metric.weighted, pytest.approx(metric.reported)) for metric in report.metrics
    ]


def test_a_metric_of_the_user_starts_from_nothing_and_stays_as_it_is() -> None:
    metric = Times(2.0)
    metric.total.assign(7.0)
    case = Case(dense(loss="mse"), VECTORS)
    (found,) = case.loss(metrics=(metric,)).metrics
    assert found.reported == pytest.approx(2 * made(case.build).predict(TOKENS, verbose=0).sum(), rel=1e-5)
    assert float(metric.result()) == 7


def test_metrics_of_several_outputs_are_told_apart() -> None:
    case = Case(two("dict", **BOTH, metrics={"tags": ["mae", "mse"], "mood": "mae"}), PAIR)
    expected = case.evaluate(2)
    found = {f"{metric.output}_{metric.name}": metric.reported for metric in case.loss(batch_size=2).metrics}
    assert found == pytest.approx({name: expected[name] for name in ("tags_mae", "tags_mse", "mood_mae")}, rel=1e-6)


def test_the_trap_of_metrics() -> None:
    trap = built(metrics_trap)
    report = maskcli.loss(trap.arrays, model=trap.model, targets=trap.targets)
    found = {metric.type: (metric.reported, metric.valid, metric.differs) for metric in report.metrics}
    assert found["BinaryAccuracy"] == (1.0, 1.0, False)
    assert found["Recall"] == (0.5, 1.0, True)
    assert found["RootMeanSquaredError"] == (pytest.approx(0.5802, rel=1e-3), pytest.approx(0.1, rel=1e-5), True)


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize(
    "name", ["own test_step", "ignore_class", "weight regularizer", "several", "not to be made anew"]
)
def test_a_model_is_left_as_it_was(name: str) -> None:
    case = with_metrics(name) if name in METRICS else CASES[name]
    model = made(case.build)
    arguments = {"sample_weight": case.weights, "batch_size": 2, "verbose": 0, "return_dict": True}
    expected = model.evaluate(case.x, case.targets, **arguments)
    weights, loss = [w.copy() for w in model.get_weights()], model.loss
    held = dict(vars(loss)) if isinstance(loss, losses.Loss) else None
    states = [np.asarray(variable) for variable in model.metrics_variables]
    assert any(state.any() for state in states)
    maskcli.loss(case.data, model=model, targets=case.targets, sample_weight=case.weights, batch_sizes=(1, 3))
    assert model.loss is loss
    assert held is None or vars(loss) == held
    for one, other in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(model.metrics_variables, states, strict=True):
        np.testing.assert_array_equal(np.asarray(one), other)
    assert model.evaluate(case.x, case.targets, **arguments) == expected


def test_states_and_seeds_are_left_as_they_were() -> None:
    def build() -> Model:
        tokens = keras.Input((T,), batch_size=ROWS, dtype="int32", name="tokens")
        rnn = layers.GRU(3, return_sequences=True, stateful=True, dropout=0.5)
        return compiled(keras.Model(tokens, rnn(embedded(tokens))), loss="mse")

    model = made(build)
    model(TOKENS, training=True)
    before = [np.asarray(v) for v in (*model.variables, *model.layers[-1].states)]
    assert before[-1].any()
    maskcli.loss({"tokens": TOKENS}, model=model, targets=VECTORS)
    for one, other in zip((*model.variables, *model.layers[-1].states), before, strict=True):
        np.testing.assert_array_equal(np.asarray(one), other)


@pytest.mark.slow(share=1 / 3)
@pytest.mark.parametrize("name", ["recurrent", "ignore_class", "dict of outputs"])
def test_graphs_and_eager_runs_are_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def numbers(report: LossReport) -> list[float]:
        first = report.first
        assert first.per_timestep is not None
        return [
            report.keras_evaluate,
            report.masked,
            report.unmasked,
            report.unmasked_model,
            *first.per_timestep.ravel(),
        ]

    found = []
    for steps in (0, 10**9):
        monkeypatch.setattr(loss_run, "EAGER_STEPS", steps)
        report = CASES[name].loss(batch_size=2, metrics=() if name == "ignore_class" else ("mae",))
        found.append([*numbers(report), *(metric.valid or metric.reported for metric in report.metrics)])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def of_predictions(predictions: Any, **judged: Any) -> tuple[dict[str, Any], Build]:
    """Return data and a model that predicts these numbers, with a mask made of tokens; 99 is NaN, and 98 infinite."""

    class Masked(layers.Layer):
        def call(self, given: Any) -> Any:
            values = ops.where(given[0] == 99, np.nan, given[0])
            return ops.where(given[0] == 98, np.inf, values)

        def compute_mask(self, given: Any, previous: Any = None) -> Any:
            del previous
            return ops.not_equal(given[1], 0)

    def build() -> Model:
        values, tokens = keras.Input((T, 3), name="values"), keras.Input((T,), dtype="int32", name="tokens")
        return compiled(keras.Model([values, tokens], Masked()([values, tokens])), **judged)

    return {"values": predictions, "values.mask": VALID, "tokens": TOKENS}, build


def test_nan_at_padding_alone_is_said() -> None:
    data, build = of_predictions(np.where(VALID[..., None], VECTORS + 1, 99), loss="mse")
    case = Case(build, VECTORS, data=data)
    report = case.loss()
    assert np.isnan(case.evaluate()["loss"])
    assert np.isnan(report.keras_evaluate)
    assert report.masked == report.exact == pytest.approx(1, rel=1e-5)
    assert report.unmasked is not None
    assert np.isnan(report.unmasked)
    assert report.first.not_finite == (0, int((~VALID).sum()))
    assert report.first.padding_share is None
    assert any("NaN times zero is NaN" in remark.text for remark in report.remarks)
    for one in report.batch_sizes:
        assert one.keras_evaluate == pytest.approx(case.evaluate(one.batch_size)["loss"], nan_ok=True)


def test_nan_that_counts_is_said() -> None:
    predictions = VECTORS + 1
    predictions[0, 1, 0] = 99
    predictions[1, 1, 2] = 98
    data, build = of_predictions(predictions, loss="mse")
    report = Case(build, VECTORS, data=data).loss()
    assert report.masked is not None
    assert np.isnan(report.masked)
    assert np.isnan(report.keras_evaluate)
    assert report.first.not_finite == (2, 0)
    assert report.first.contributors == ()
    assert any(
        "2 timesteps have predictions that are not finite, first at sample 0, timestep 1" in remark.text
        for remark in report.remarks
    )


@pytest.mark.parametrize("empty", [[1], [0, 1, 2, 3, 4]])
def test_rows_without_tokens(empty: list[int]) -> None:
    tokens = TOKENS.copy()
    tokens[empty] = 0
    case = Case(dense(loss="mse"), VECTORS, data={"tokens": tokens})
    report = case.loss(batch_size=2)
    for one in report.batch_sizes:
        assert one.keras_evaluate == pytest.approx(case.evaluate(one.batch_size)["loss"], rel=2e-6)
    assert report.first.per_sample[empty[0]][0] is None
    everything = len(empty) == ROWS
    assert (report.masked is None) == everything
    assert any("No timestep is left to count" in remark.text for remark in report.remarks) == everything
    assert everything == (report.batch_sizes[0].heaviest is None)


def test_a_loss_of_a_whole_batch_has_no_timesteps() -> None:
    report = CASES["one number"].loss()
    first = report.first
    assert first.per_timestep is first.counted is first.masked is first.exact is first.unmasked is None
    assert first.valid is not None
    assert "makes one number of a whole batch" in report.remarks[0].text
    assert "19" not in report.remarks[0].text
    assert f"{(~VALID).sum()} masked timesteps" in report.remarks[0].text


def test_targets_as_lists() -> None:
    ragged = [row[:length].tolist() for row, length in zip(TOKENS, LENGTHS, strict=True)]
    targets = [row[:length].tolist() for row, length in zip(VECTORS, LENGTHS, strict=True)]
    padded = np.where(VALID[..., None], VECTORS, 0)
    expected = Case(dense(loss="mse"), padded).loss().keras_evaluate
    whole = maskcli.loss(ragged, model=made(dense(loss="mse")), targets=VECTORS.tolist())
    assert maskcli.loss(ragged, model=made(dense(loss="mse")), targets=targets).keras_evaluate == pytest.approx(
        expected
    )
    assert whole.keras_evaluate == pytest.approx(expected)
    weights = [row[:length].tolist() for row, length in zip(WEIGHTS, LENGTHS, strict=True)]
    weighted = maskcli.loss(ragged, model=made(dense(loss="mse")), targets=targets, sample_weight=weights)
    assert weighted.keras_evaluate == pytest.approx(Case(dense(loss="mse"), padded, WEIGHTS).evaluate()["loss"])
    before = maskcli.loss(ragged, model=made(dense(loss="mse")), targets=targets, sample_weight=weights, padding="pre")
    assert before.keras_evaluate == pytest.approx(weighted.keras_evaluate)
    numbers = [[float(token) for token in row] for row in ragged]
    column = maskcli.loss(ragged, model=made(dense(1, loss="mse")), targets=numbers)
    assert column.keras_evaluate == pytest.approx(
        Case(dense(1, loss="mse"), TOKENS[..., None] * 1.0).evaluate()["loss"]
    )


def leftover() -> Model:
    """A pooled output on which the mask of timesteps was left."""

    class Mean(layers.Layer):
        supports_masking = True

        def call(self, hidden: Any) -> Any:
            return ops.mean(hidden, axis=1)

    tokens = tokens_input()
    return compiled(keras.Model(tokens, Mean()(embedded(tokens))), loss="mse")


LONGER = [[1, 2, 3], [4, 5]]
BAD = {
    "rows of targets": (dense(loss="mse"), {"targets": VECTORS[:3]}, InputError),
    "no numbers": (dense(loss="mse"), {"targets": [["a"] * T] * ROWS}, InputError),
    "ragged targets": (dense(loss="mse"), {"targets": [[1], [1, 2], [1], [1], [1]]}, InputError),
    "width of targets": (dense(loss="mse"), {"targets": VECTORS[..., :2]}, InputError),
    "timesteps of targets": (dense(loss="mse"), {"targets": VECTORS[:, :4]}, InputError),
    "no targets": (dense(loss="mse"), {"targets": None}, UsageError),
    "a field without a file": (dense(loss="mse"), {"targets": None, "targets_field": "tags"}, UsageError),
    "weights without a file": (dense(loss="mse"), {"sample_weight_field": "w"}, UsageError),
    "targets of one of two": (two("dict", **BOTH), {"targets": {"tags": VECTORS}}, UsageError),
    "targets of nothing": (two("dict", **BOTH), {"targets": {**PAIR, "mod": POOLED}}, UsageError),
    "three targets of two": (two("list", **BOTH), {"targets": [VECTORS, POOLED, POOLED]}, UsageError),
    "weights": (dense(loss="mse"), {"sample_weight": WEIGHTS[:, :2]}, InputError),
    "rows of weights": (dense(loss="mse"), {"sample_weight": WEIGHTS[:2]}, InputError),
    "weights of timesteps": (pooled(loss="mse"), {"targets": POOLED, "sample_weight": WEIGHTS}, InputError),
    "loss": (dense(), {"loss": "mean_square_error"}, UsageError),
    "no loss of any output": (two("dict", loss={"tags": None}), {"targets": PAIR}, UsageError),
    "no loss": (lambda: keras.Sequential([tokens_input(), layers.Embedding(10, 3)]), {}, UsageError),
    "loss of nothing": (two("dict"), {"loss": {"tag": "mse"}, "targets": PAIR}, UsageError),
    "losses": (two("list"), {"loss": ["mse"], "targets": [VECTORS, POOLED]}, UsageError),
    "option": (dense(), {"loss": "mse", "loss_options": {"ignore_class": 1}}, UsageError),
    "value of an option": (dense(), {"loss": "mse", "loss_options": {"reduction": "total"}}, UsageError),
    "options of an object": (dense(loss=losses.Huber()), {"loss_options": {"delta": 1}}, UsageError),
    "metric": (dense(loss="mse"), {"metrics": ("acuracy",)}, UsageError),
    "metric of other targets": (dense(loss="mse"), {"metrics": (lambda y, p: ops.matmul(y, p),)}, UsageError),
    "classes and weights": (dense(loss="mse"), {"class_weight": {1: 2.0}, "sample_weight": WEIGHTS}, UsageError),
    "classes of two outputs": (two("dict", **BOTH), {"class_weight": {1: 2.0}, "targets": PAIR}, UsageError),
    "batch size": (dense(loss="mse"), {"batch_size": 0}, UsageError),
    "batch sizes": (dense(loss="mse"), {"batch_sizes": (1, 0)}, UsageError),
    "shuffles": (dense(loss="mse"), {"shuffles": -1}, UsageError),
    "mean over time": (dense(loss=lambda y, p: ops.mean(ops.square(y - p), axis=(1, 2))), {}, ModelError),
    "targets without a last axis": (dense(1, loss="mse"), {"targets": IDS}, ModelError),
    "mean over samples": (dense(loss=lambda y, p: ops.mean(ops.square(y - p), axis=(0, 2))), {}, ModelError),
    "a mask without timesteps": (leftover, {"targets": CHANCE.normal(size=(ROWS, 4))}, ModelError),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_judged_is_said(name: str) -> None:
    build, options, kind = BAD[name]
    with pytest.raises(MaskcliError) as caught:
        maskcli.loss({"tokens": TOKENS}, model=made(build), **{"targets": VECTORS, **options})
    error = caught.value
    assert type(error) is kind, error
    assert all((error.where, error.expected, error.received, error.fix)), error


def test_a_model_that_needs_its_mask_has_no_unmasked_loss_and_says_so() -> None:
    class Needy(layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.supports_masking = True

        def call(self, inputs: Any, mask: Any = None) -> Any:
            return inputs * ops.cast(mask[..., None], inputs.dtype)

    def build() -> Model:
        tokens = tokens_input()
        return compiled(keras.Model(tokens, layers.Dense(3)(Needy()(embedded(tokens)))), loss="mse")

    report = Case(build, VECTORS).loss()
    assert report.unmasked is not None
    assert report.unmasked_model is None
    assert any("Without masks the model does not run" in remark.text for remark in report.remarks)
    assert not any("does not run" in remark.text for remark in Case(dense(loss="mse"), VECTORS).loss().remarks)


def test_many_batches_are_evaluated_anew_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_run, "MOST_EVALUATIONS", 2)
    case = Case(dense(loss=one_number), VECTORS)
    assert [one.batch_size for one in case.loss().batch_sizes] == [ROWS]
    assert [one.batch_size for one in case.loss(batch_sizes=(1, ROWS)).batch_sizes] == [1, ROWS]
    followed = Case(dense(loss="mse"), VECTORS)
    assert [one.batch_size for one in followed.loss().batch_sizes] == [1, ROWS]


def test_a_loss_keeps_the_call_that_it_was_given() -> None:
    loss = losses.MeanSquaredError()
    given = loss.call = lambda y_true, y_pred: ops.mean(ops.abs(y_true - y_pred), axis=-1)
    report = Case(dense(loss=loss), VECTORS).loss()
    assert loss.call is given
    assert report.masked == pytest.approx(Case(dense(loss="mae"), VECTORS).loss().masked, rel=1e-6)
