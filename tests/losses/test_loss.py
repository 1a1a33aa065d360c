"""``maskcli.loss`` compared with Keras, which evaluates a clone of the same model."""

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
from maskcli.losses import batch_sizes, evaluate
from maskcli.losses.registry import match_outputs
from maskcli.records.loss import LossReport
from tests.traps import batch_size as batch_size_trap
from tests.traps import built
from tests.traps import metrics as metrics_trap

pytestmark = pytest.mark.slow(share=1 / 3)
RNG = np.random.default_rng(0)
T = 6
LENGTHS = (6, 2, 4, 1, 3)
ROWS = len(LENGTHS)
VALID = np.arange(T) < np.array(LENGTHS)[:, None]
TOKENS = np.where(VALID, RNG.integers(1, 10, VALID.shape), 0)
FEATURES = np.where(VALID[..., None], RNG.normal(size=(ROWS, T, 2)), 0).astype("float32")
IDS = RNG.integers(0, 3, VALID.shape)
VECTORS = RNG.normal(size=(ROWS, T, 3)).astype("float32")
POOLED = RNG.normal(size=(ROWS, 2)).astype("float32")
WEIGHTS = RNG.random(VALID.shape).astype("float32")
ONE_HOT = np.eye(3, dtype="float32")[IDS]
Model = Any
Build = Callable[[], Model]


def build_model(build: Build) -> Model:
    """Build a model with the same weights each time; warnings of Keras are ignored."""
    keras.utils.set_random_seed(1)
    with warnings.catch_warnings(action="ignore"):
        return build()


def tokens_input() -> Any:
    return keras.Input((None,), dtype="int32", name="tokens")


def embed(tokens: Any, **options: Any) -> Any:
    return layers.Embedding(10, 4, **{"mask_zero": True, **options})(tokens)


def compile_model(model: Model, **options: Any) -> Model:
    model.compile(run_eagerly=True, **options)  # A graph takes longer than these few batches.
    return model


def dense(width: int = 3, kind: Any = keras.Model, options: Any = None, **settings: Any) -> Build:
    """A model of logits, ``(batch, timesteps, width)``."""

    def build() -> Model:
        tokens = tokens_input()
        return compile_model(kind(tokens, layers.Dense(width, **(options or {}))(embed(tokens))), **settings)

    return build


def recurrent(**settings: Any) -> Build:
    def build() -> Model:
        tokens = tokens_input()
        return compile_model(keras.Model(tokens, layers.GRU(3, return_sequences=True)(embed(tokens))), **settings)

    return build


def pooling_model(**settings: Any) -> Build:
    def build() -> Model:
        tokens = tokens_input()
        return compile_model(
            keras.Model(tokens, layers.Dense(2)(layers.GlobalAveragePooling1D()(embed(tokens)))), **settings
        )

    return build


def two_outputs(form: str, **settings: Any) -> Build:
    """A model with an output of timesteps and a pooled one."""

    def build() -> Model:
        tokens = tokens_input()
        hidden = embed(tokens)
        tags, mood = layers.Dense(3, name="tags")(hidden), layers.GlobalAveragePooling1D()(hidden)
        mood = layers.Dense(2, name="mood")(mood)
        nest = {
            "list": [tags, mood],
            "dict": {"tags": tags, "mood": mood},
            "nest": {"z": {"a": tags}, "m": {"b": mood}},
        }
        return compile_model(keras.Model(tokens, nest[form]), **settings)

    return build


def feature_model(**settings: Any) -> Build:
    def build() -> Model:
        features = keras.Input((None, 2), name="features")
        return compile_model(keras.Model(features, layers.Dense(3)(layers.Masking(0.0)(features))), **settings)

    return build


def with_explicit_mask(**settings: Any) -> Build:
    def build() -> Model:
        tokens, mask = tokens_input(), keras.Input((None,), dtype="bool", name="mask")
        hidden = layers.GRU(3, return_sequences=True)(embed(tokens, mask_zero=False), mask=mask)
        return compile_model(keras.Model([tokens, mask], hidden), **settings)

    return build


def stateful(**settings: Any) -> Build:
    def build() -> Model:
        tokens = keras.Input((T,), batch_size=ROWS, dtype="int32", name="tokens")
        return compile_model(
            keras.Model(tokens, layers.GRU(3, return_sequences=True, stateful=True)(embed(tokens))), **settings
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


class BatchLoss(layers.Layer):
    """Adds a loss that grows with the batch."""

    supports_masking = True

    def call(self, hidden: Any) -> Any:
        self.add_loss(0.01 * ops.sum(hidden**2))
        return hidden


def named_step_model() -> Model:
    tokens = tokens_input()
    hidden = embed(tokens)
    return compile_model(OwnNest(tokens, {"tags": layers.Dense(3)(hidden), "b": layers.Dense(1)(hidden)}), loss="mse")


def batch_loss_model() -> Model:
    tokens = tokens_input()
    return compile_model(keras.Model(tokens, BatchLoss()(embed(tokens))), loss="mse")


def low_precision(policy: str, **settings: Any) -> Build:
    def build() -> Model:
        tokens = tokens_input()
        return compile_model(
            keras.Model(tokens, layers.Dense(3, dtype=policy)(embed(tokens, dtype=policy))), **settings
        )

    return build


class WholeLoss(losses.Loss):
    """A loss that does not use its ``call``."""

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        del sample_weight
        return ops.mean(ops.square(y_true - y_pred))


def absolute_loss(y_true: Any, y_pred: Any) -> Any:
    return ops.mean(ops.abs(y_true - y_pred), axis=-1)


def tensorflow_loss(y_true: Any, y_pred: Any) -> Any:
    return tf.reduce_mean(tf.subtract(y_true, y_pred) ** 2, axis=-1)


def one_number(y_true: Any, y_pred: Any) -> Any:
    return ops.mean(ops.square(y_true - y_pred))


def sparse(**options: Any) -> Any:
    return losses.SparseCategoricalCrossentropy(from_logits=True, **options)


@dataclasses.dataclass(frozen=True)
class Case:
    """A model with the arguments of ``evaluate``."""

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
        """Evaluate a clone, or ``model``, by Keras, with the rows in an order."""
        x, y, weights = keras.tree.map_structure(
            lambda rows: None if rows is None else rows[order], (self.x, self.targets, self.weights)
        )
        result: dict[str, float] = (model or build_model(self.build)).evaluate(
            x, y, sample_weight=weights, batch_size=batch_size, verbose=0, return_dict=True
        )
        return result

    def loss(self, **options: Any) -> LossReport:
        arguments = {"targets": self.targets, "sample_weight": self.weights, "shuffles": 0, **options}
        return maskcli.loss(self.data, model=build_model(self.build), **arguments)


PAIR = {"tags": VECTORS, "mood": POOLED}
BOTH = {"loss": {"tags": "mse", "mood": "mae"}, "loss_weights": {"tags": 0.3, "mood": 2.0}}
CASES = {
    "by name": Case(dense(loss="mse"), VECTORS),
    "recurrent": Case(recurrent(loss="mse"), VECTORS),
    "class": Case(dense(loss=losses.MeanAbsoluteError), VECTORS),
    "object": Case(dense(loss=losses.Huber(delta=0.5)), VECTORS),
    "negative": Case(dense(loss="cosine_similarity"), VECTORS),
    "function": Case(dense(loss=absolute_loss), VECTORS),
    "function of tensorflow": Case(dense(loss=tensorflow_loss), IDS[..., None].repeat(3, axis=-1)),
    "doubles": Case(dense(loss=tensorflow_loss), VECTORS.astype("float64")),
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
    "pooled": Case(pooling_model(loss="mse"), POOLED),
    "pooled, weighted": Case(pooling_model(loss="mse"), POOLED, WEIGHTS[:, 0]),
    "pooled ids": Case(pooling_model(loss=sparse()), IDS[:, 0] % 2),
    "list of outputs": Case(two_outputs("list", loss=["mse", "mae"], loss_weights=[0.3, 2.0]), [VECTORS, POOLED]),
    "list of outputs by name": Case(two_outputs("list", **BOTH), PAIR),
    "one object for both": Case(two_outputs("list", loss=[(huber := losses.Huber()), huber]), [VECTORS, POOLED]),
    "one loss for all": Case(two_outputs("list", loss="mse"), [VECTORS, POOLED]),
    "dict of outputs": Case(two_outputs("dict", **BOTH), PAIR),
    "nest of outputs": Case(
        two_outputs("nest", loss={"z": {"a": "mse"}, "m": {"b": "mae"}}), {"z": {"a": VECTORS}, "m": {"b": POOLED}}
    ),
    "first of two": Case(two_outputs("list", loss=["mse", None]), [VECTORS]),
    "second of two": Case(two_outputs("dict", loss={"mood": "mae"}), {"mood": POOLED}),
    "weight regularizer": Case(dense(loss="mse", options={"kernel_regularizer": "l2"}), VECTORS),
    "activity regularizer": Case(
        dense(loss="mse", options={"activity_regularizer": "l2", "kernel_regularizer": "l1"}), VECTORS
    ),
    "loss that grows with the batch": Case(batch_loss_model, RNG.normal(size=(ROWS, T, 4))),
    "subclassed": Case(lambda: compile_model(Subclassed(), loss="mse"), VECTORS),
    "own test_step": Case(dense(kind=OwnStep, loss="mse"), VECTORS),
    "own compute_loss": Case(dense(kind=OwnLoss, loss="mse"), VECTORS, WEIGHTS),
    "own test_step by name": Case(named_step_model, {"tags": VECTORS, "b": VECTORS[..., :1]}),
    "features": Case(feature_model(loss="mae"), VECTORS, data={"features": FEATURES}),
    "explicit mask": Case(with_explicit_mask(loss="mse"), VECTORS, data={"tokens": TOKENS, "mask": VALID}),
    **{policy: Case(low_precision(policy, loss="mse"), VECTORS) for policy in ("mixed_float16", "float16", "bfloat16")},
}  # fmt: skip


@pytest.mark.parametrize(
    ("argument", "names", "expected"),
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
def test_match_outputs(argument: Any, names: list[str], expected: list[Any]) -> None:
    assert match_outputs(argument, names, ["first", "second"], "--loss") == expected


@pytest.mark.slow(share=1 / 4)
@pytest.mark.parametrize("name", CASES)
def test_loss_equals_keras_at_every_batch_size(name: str) -> None:
    case = CASES[name]
    model, report = build_model(case.build), case.loss(batch_size=2)
    expected = {size: case.evaluate(size, model=model) for size in (1, 2, ROWS)}
    assert report.keras_evaluate == pytest.approx(expected[2]["loss"], rel=1e-6)
    assert [size.batch_size for size in report.batch_sizes] == [1, 2, ROWS]
    for size in report.batch_sizes:
        assert size.keras_evaluate == pytest.approx(expected[size.batch_size]["loss"], rel=2e-6), size
    for output in report.outputs:
        part = expected[2].get(f"{output.name}_loss", output.reported)
        assert output.reported == pytest.approx(part, rel=1e-6)


def test_regularization_is_separate() -> None:
    case = CASES["weight regularizer"]
    report = case.loss()
    added = float(sum(build_model(case.build).losses))
    assert report.regularization == pytest.approx(added, rel=1e-6)
    assert report.first.reported == pytest.approx(report.keras_evaluate - added, rel=1e-5)
    assert CASES["by name"].loss().regularization == 0


def test_stateful_model_runs_one_batch_size() -> None:
    case = Case(stateful(loss="mse"), VECTORS)
    report = case.loss(batch_sizes=(ROWS,), shuffles=3)
    assert report.keras_evaluate == pytest.approx(case.evaluate(ROWS)["loss"], rel=1e-6)
    assert report.batch_size == ROWS
    assert [(size.batch_size, size.smallest, size.gradient) for size in report.batch_sizes] == [(ROWS, None, None)]


def test_fixed_batch_larger_than_traced_rows() -> None:
    def build() -> Model:
        tokens = keras.Input((3,), batch_size=40, dtype="int32", name="tokens")
        return compile_model(keras.Model(tokens, layers.GRU(3, stateful=True)(embed(tokens))), loss="mse")

    tokens = np.arange(120).reshape(40, 3) % 9 + 1
    case = Case(build, np.ones((40, 3)), data={"tokens": tokens})
    assert case.loss().keras_evaluate == pytest.approx(case.evaluate(40)["loss"], rel=1e-6)


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("loss", ["mse", losses.MeanSquaredError(), losses.MeanSquaredError, "MeanSquaredError"])
def test_loss_option_of_uncompiled_model(loss: Any) -> None:
    def bare() -> Model:
        tokens = tokens_input()
        return keras.Model(tokens, layers.Dense(3)(embed(tokens)))

    report = maskcli.loss({"tokens": TOKENS}, model=build_model(bare), targets=VECTORS, loss=loss, batch_size=2)
    assert report.keras_evaluate == pytest.approx(CASES["by name"].evaluate(2)["loss"], rel=1e-6)
    assert report.first.loss == "mse" if loss == "mse" else "mean_squared_error"


def test_loss_option_replaces_compiled_loss() -> None:
    case = Case(dense(kind=OwnStep, loss="mse"), VECTORS)
    assert case.loss(loss="mae").keras_evaluate == pytest.approx(Case(dense(loss="mae"), VECTORS).evaluate()["loss"])
    report = Case(two_outputs("dict", **BOTH), PAIR).loss(loss={"mood": "mae"})
    assert [output.name for output in report.outputs] == ["mood"]
    assert report.keras_evaluate == pytest.approx(2 * report.outputs[0].reported)


@pytest.mark.parametrize("options", [{"ignore_class": 1}, {"reduction": "sum"}, {"from_logits": True}])
def test_loss_options_of_class(options: dict[str, Any]) -> None:
    options = {"from_logits": True, **options}
    loss = losses.SparseCategoricalCrossentropy(**options)
    report = Case(dense(), IDS).loss(loss="sparse_categorical_crossentropy", loss_options=options)
    assert report.keras_evaluate == pytest.approx(Case(dense(loss=loss), IDS).evaluate()["loss"], rel=1e-6)


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize(
    ("width", "targets"),
    [(3, IDS), (3, IDS[..., None]), (3, ONE_HOT), (3, ONE_HOT.astype(int)), (1, IDS[..., None] % 2), (6, IDS)],
)
def test_class_weights_are_timestep_weights(width: int, targets: Any) -> None:
    loss = {1: losses.BinaryCrossentropy(from_logits=True)}.get(width, sparse())
    if targets.shape[-1] == 3 == width:
        loss = losses.CategoricalCrossentropy(from_logits=True)
    classes = targets.argmax(-1) if targets.shape[-1] == 3 == width else targets.reshape(IDS.shape)
    weights = np.where(classes == 1, 2.5, np.where(classes == 0, 0.5, 1.0))
    case = Case(dense(width, loss=loss), targets)
    report = case.loss(class_weight={1: 2.5, 0: 0.5}, batch_size=2)
    np.testing.assert_array_equal(report.first.weights, weights.astype("float32"))
    assert report.keras_evaluate == pytest.approx(dataclasses.replace(case, weights=weights).evaluate(2)["loss"])


def test_sample_weights_are_repeated() -> None:
    spread = Case(dense(loss="mse"), VECTORS, np.repeat(WEIGHTS[:, :1], T, axis=1))
    for weights in (WEIGHTS[:, 0], WEIGHTS[:, :1]):
        report = dataclasses.replace(spread, weights=weights).loss()
        assert report.keras_evaluate == pytest.approx(spread.evaluate()["loss"], rel=1e-6)
        assert any("np.repeat(weights" in remark.text for remark in report.remarks)
    assert not any("np.repeat(weights" in remark.text for remark in spread.loss().remarks)


def test_sample_weights_by_output() -> None:
    weights = {"tags": WEIGHTS, "mood": WEIGHTS[:, 0]}
    case = Case(two_outputs("dict", **BOTH), PAIR, weights)
    assert case.loss(batch_size=2).keras_evaluate == pytest.approx(case.evaluate(2)["loss"], rel=1e-6)


def test_loss_output_by_hand() -> None:
    """Every number of a small case follows from the predictions by NumPy."""
    case = Case(recurrent(loss="mse"), VECTORS, WEIGHTS)
    model = build_model(case.build)
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
    assert [item.loss for item in first.contributors] == pytest.approx(largest, rel=1e-6)
    assert first.shape == (ROWS, T, 3)
    assert first.dtype == "float32"


def build_with_and_without_mask(build: Callable[[bool], Model]) -> tuple[Model, Model]:
    return build_model(lambda: build(True)), build_model(lambda: build(False))


def lstm_model(masked: bool) -> Model:
    tokens = tokens_input()
    hidden = layers.Bidirectional(layers.LSTM(2, return_sequences=True))(embed(tokens, mask_zero=masked))
    return compile_model(keras.Model(tokens, layers.Dense(3)(hidden)), loss="mse")


def attention_model(masked: bool) -> Model:
    tokens = tokens_input()
    hidden = embed(tokens, mask_zero=masked)
    return compile_model(
        keras.Model(tokens, layers.Dense(3)(layers.MultiHeadAttention(1, 4)(hidden, hidden, use_causal_mask=True))),
        loss="mse",
    )


def pooled_model_of_mask(masked: bool) -> Model:
    tokens = tokens_input()
    return compile_model(
        keras.Model(tokens, layers.Dense(2)(layers.GlobalAveragePooling1D()(embed(tokens, mask_zero=masked)))),
        loss="mse",
    )


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("build", [lstm_model, attention_model, pooled_model_of_mask])
def test_unmasked_model_has_same_weights(build: Callable[[bool], Model]) -> None:
    masked, bare = build_with_and_without_mask(build)
    targets = POOLED if build is pooled_model_of_mask else VECTORS
    report = maskcli.loss({"tokens": TOKENS}, model=masked, targets=targets)
    assert report.unmasked_model == pytest.approx(bare.evaluate(TOKENS, targets, verbose=0), rel=1e-5)
    assert report.unmasked_model != pytest.approx(report.unmasked, rel=1e-5)
    predicted = masked.predict(TOKENS, verbose=0)
    assert report.unmasked == pytest.approx(float(np.mean((predicted - targets) ** 2)), rel=1e-5)


def test_unmasked_model_with_explicit_mask() -> None:
    case = Case(with_explicit_mask(loss="mse"), VECTORS, data={"tokens": TOKENS, "mask": VALID})
    everything = {"tokens": TOKENS, "mask": np.ones_like(VALID)}
    bare = dataclasses.replace(case, data=everything).evaluate()["loss"]
    assert case.loss().unmasked_model == pytest.approx(bare, rel=1e-5)


def with_layer(layer: Callable[[], Any]) -> Build:
    """A model with a layer between its embedding and its outputs."""

    def build() -> Model:
        tokens = tokens_input()
        return compile_model(keras.Model(tokens, layers.Dense(3)(layer()(embed(tokens)))), loss="mse")

    return build


class ReadsMask(layers.Layer):
    def call(self, inputs: Any) -> Any:
        mask = getattr(inputs, "_keras_mask", None)
        return inputs if mask is None else inputs * ops.cast(mask, inputs.dtype)[..., None]


@pytest.mark.parametrize(
    ("build", "runs"),
    [
        (dense(loss="mse"), 1),
        (feature_model(loss="mse"), 1),
        (recurrent(loss="mse"), 2),
        (with_layer(ReadsMask), 2),
        (with_layer(lambda: layers.Lambda(ReadsMask().call)), 2),
    ],
)
def test_masks_that_reach_no_call_need_no_second_run(build: Build, runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluations, progress, wrap = [], [], evaluate._wrap_model
    monkeypatch.setattr(evaluate, "_wrap_model", lambda *args: evaluations.append(args) or wrap(*args))
    data = {"features": np.eye(10)[TOKENS][..., :2]} if "feature" in build.__qualname__ else {"tokens": TOKENS}
    case = Case(build, VECTORS, data=data)
    report = case.loss(progress=lambda *counts: progress.append(counts))
    assert (len(evaluations), progress[-1]) == (runs, (runs * ROWS, runs * ROWS))
    assert report.unmasked_model is not None
    assert (report.unmasked_model == report.unmasked) is (runs == 1)


def test_batch_size_trap() -> None:
    trap = built(batch_size_trap)
    report = maskcli.loss(trap.arrays, model=trap.model, targets=trap.targets, batch_sizes=(1, 2))
    assert [size.keras_evaluate for size in report.batch_sizes] == pytest.approx([50.0, 100 / 11])
    assert report.exact == pytest.approx(100 / 11)
    assert [size.heaviest for size in report.batch_sizes] == [10.0, 1.0]
    assert any(
        "depends on the batch size: 50 in batches of 1 and 9.09091 in batches of 2" in remark.text
        for remark in report.remarks
    )


def test_small_batch_differences_are_not_rounding() -> None:
    rng = np.random.default_rng(1)
    lengths = rng.integers(45, 50, (400, 1))
    tokens = np.where(np.arange(50) < lengths, rng.integers(1, 10, (400, 50)), 0)
    case = Case(dense(loss="mse"), rng.normal(size=(400, 50, 3)), data={"tokens": tokens})
    batches, whole = case.loss(), case.loss(batch_size=400)
    assert batches.masked is not None
    assert 1e-6 < abs(batches.keras_evaluate / batches.masked - 1) < 400 * 50 * 2**-23
    assert "evaluate ran in batches of 32" in batches.remarks[-1].text
    assert not any("evaluate ran in batches" in remark.text for remark in whole.remarks)
    assert any("equals the mean" in remark.text or "rounding of float32" in remark.text for remark in whole.remarks)


def test_shuffles_bracket_keras() -> None:
    case = CASES["recurrent"]
    (size,) = case.loss(batch_sizes=(2,), shuffles=200).batch_sizes
    model, orders = build_model(case.build), [np.random.default_rng(seed).permutation(ROWS) for seed in range(5)]
    real = [case.evaluate(2, order, model)["loss"] for order in orders]
    assert size.smallest is not None
    assert size.largest is not None
    assert size.smallest - 1e-6 <= min(real) < max(real) <= size.largest + 1e-6
    assert size.smallest < size.largest
    assert size.std is not None
    assert size.std > 0


def gradient_of(model: Model, targets: Any, batch_size: int, loss: Any) -> list[Any]:
    """Return the mean of the gradients of batches by Keras's own loss, with the mask."""
    starts = range(0, ROWS, batch_size)
    added: list[Any] = []
    for start in starts:
        rows = slice(start, start + batch_size)
        with tf.GradientTape() as tape:
            value = loss(targets[rows], model(TOKENS[rows]))
        gradients = [
            np.asarray(tf.convert_to_tensor(gradient))
            for gradient in tape.gradient(value, [v.value for v in model.trainable_variables])
        ]
        added = [gradient / len(starts) + (added[i] if added else 0) for i, gradient in enumerate(gradients)]
    return added


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize(
    ("build", "targets", "loss"),
    [
        (recurrent(loss="mse"), VECTORS, losses.MeanSquaredError()),
        (dense(loss=sparse(ignore_class=1)), IDS, sparse(ignore_class=1)),
        (pooling_model(loss="mse"), POOLED, losses.MeanSquaredError()),
        (dense(loss=losses.MeanSquaredError(reduction="sum")), VECTORS, losses.MeanSquaredError(reduction="sum")),
        (low_precision("mixed_float16", loss="mse"), VECTORS, losses.MeanSquaredError()),
    ],
)
def test_gradients_equal_keras(build: Build, targets: Any, loss: Any) -> None:
    report = Case(build, targets).loss(batch_sizes=(1, 2, ROWS))
    assert report.gradient_rows == ROWS
    model = build_model(build)
    mean = losses.MeanSquaredError() if isinstance(loss, losses.MeanSquaredError) else loss
    exact = np.concatenate([gradient.ravel() for gradient in gradient_of(model, targets, ROWS, mean)]).astype("float64")
    near = 2e-3 if model.compute_dtype == "float16" or model.layers[-1].compute_dtype == "float16" else 1e-5
    for size in report.batch_sizes:
        actual = np.concatenate(
            [gradient.ravel() for gradient in gradient_of(model, targets, size.batch_size, loss)]
        ).astype("float64")
        gradient = size.gradient
        assert gradient is not None
        assert gradient.norm == pytest.approx(np.linalg.norm(actual), rel=near)
        assert gradient.relative == pytest.approx(np.linalg.norm(actual) / np.linalg.norm(exact), rel=near)
        assert gradient.cosine == pytest.approx(
            actual @ exact / np.linalg.norm(actual) / np.linalg.norm(exact), abs=near
        )


def test_gradients_of_weighted_outputs() -> None:
    case = CASES["dict of outputs"]
    model = build_model(case.build)
    with tf.GradientTape() as tape:
        outputs = model(TOKENS)
        value = 0.3 * losses.MeanSquaredError()(VECTORS, outputs["tags"]) + 2.0 * losses.MeanAbsoluteError()(
            POOLED, outputs["mood"]
        )
    gradients = tape.gradient(value, [variable.value for variable in model.trainable_variables])
    norm = np.sqrt(sum(np.sum(np.asarray(tf.convert_to_tensor(gradient)) ** 2) for gradient in gradients))
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


def test_gradients_take_one_backward_pass_for_each_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    differentiate = tf.GradientTape.gradient

    def count(tape: Any, target: Any, sources: Any, **options: Any) -> Any:
        passes.append(len(sources))
        return differentiate(tape, target, sources, **options)

    monkeypatch.setattr(tf.GradientTape, "gradient", count)
    for build, targets in ((dense(loss="mse"), VECTORS), (recurrent(loss="mse"), VECTORS)):
        passes.clear()
        Case(build, targets).loss(batch_sizes=(1, 2, ROWS))
        # The first pass is that of the exact loss.
        assert passes == [len(build_model(build).trainable_variables)] * 4


def test_gradients_of_long_rows_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(recurrent(loss="mse"), VECTORS)
    eager = case.loss(batch_sizes=(1, 2))
    monkeypatch.setattr("maskcli.losses.gradients.EAGER_STEPS", 0)
    compiled = case.loss(batch_sizes=(1, 2))
    for size, expected in zip(compiled.batch_sizes, eager.batch_sizes, strict=True):
        assert dataclasses.astuple(size.gradient) == pytest.approx(dataclasses.astuple(expected.gradient), rel=1e-6)


def test_no_gradients_of_frozen_model() -> None:
    def frozen() -> Model:
        model = dense(loss="mse")()
        model.trainable = False
        return model

    for build in (frozen, dense(loss=one_number)):
        report = Case(build, VECTORS).loss(batch_sizes=(1,))
        assert report.gradient_rows == 0
        assert report.batch_sizes[0].gradient is None


class Times(keras.metrics.Metric):
    """A metric whose configuration lacks an argument of its constructor."""

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
    "several": (lambda: ["mae", absolute_loss, keras.metrics.MeanSquaredError(name="own")], VECTORS),
    "cannot be copied": (lambda: [Times(3.0), keras.metrics.MeanMetricWrapper(absolute_loss, name="wrapped")], VECTORS),
}
"""Functions that make metrics: a metric of another model would not start from zero."""


def with_metrics(name: str) -> Case:
    metrics, targets = METRICS[name]
    settings = {"loss": sparse()} if targets is IDS else BINARY if targets.shape[-1] == 1 else {"loss": "mse"}
    return Case(lambda: dense(1 if settings is BINARY else 3, metrics=metrics(), **settings)(), targets)


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("name", METRICS)
def test_metrics_equal_keras(name: str) -> None:
    case = with_metrics(name)
    expected = {metric: value for metric, value in case.evaluate(2).items() if metric != "loss"}
    report = case.loss(batch_size=2)
    assert {metric.name: metric.reported for metric in report.metrics} == pytest.approx(expected, rel=1e-6)
    if name == "cannot be copied":
        assert [metric.valid for metric in report.metrics] == [None, None]
        return
    predictions = build_model(case.build).predict(TOKENS, verbose=0)[VALID]
    bare = keras.Sequential([keras.Input(predictions.shape[1:]), layers.Identity()])
    bare.compile(loss=sparse() if case.targets is IDS else "mse", metrics=METRICS[name][0](), run_eagerly=True)
    on_valid = bare.evaluate(predictions, case.targets[VALID], verbose=0, return_dict=True)
    for metric in report.metrics:
        assert metric.valid == pytest.approx(on_valid[metric.name], rel=1e-5), metric.name
        assert metric.differs == (abs(metric.reported - metric.valid) > 1e-5 * abs(metric.reported))


def test_weighted_metrics_receive_weights() -> None:
    settings = {"loss": "mse", "metrics": ["mae"], "weighted_metrics": ["mae"]}
    case = Case(dense(**settings), VECTORS, WEIGHTS)
    expected, report = case.evaluate(2), case.loss(batch_size=2)
    assert {metric.weighted: metric.reported for metric in report.metrics} == pytest.approx(
        {False: expected["mae"], True: expected["weighted_mae"]}, rel=1e-6
    )
    report = Case(dense(loss="mse"), VECTORS, WEIGHTS).loss(metrics=("mae",), batch_size=2)
    assert [(metric.weighted, metric.reported) for metric in report.metrics] == [
        (metric.weighted, pytest.approx(metric.reported)) for metric in report.metrics
    ]


def test_user_metric_is_restored() -> None:
    metric = Times(2.0)
    metric.total.assign(7.0)
    case = Case(dense(loss="mse"), VECTORS)
    (metric_report,) = case.loss(metrics=(metric,)).metrics
    assert metric_report.reported == pytest.approx(
        2 * build_model(case.build).predict(TOKENS, verbose=0).sum(), rel=1e-5
    )
    assert float(metric.result()) == 7


def test_metrics_of_several_outputs() -> None:
    case = Case(two_outputs("dict", **BOTH, metrics={"tags": ["mae", "mse"], "mood": "mae"}), PAIR)
    expected = case.evaluate(2)
    result = {f"{metric.output}_{metric.name}": metric.reported for metric in case.loss(batch_size=2).metrics}
    assert result == pytest.approx({name: expected[name] for name in ("tags_mae", "tags_mse", "mood_mae")}, rel=1e-6)


def test_metrics_trap() -> None:
    trap = built(metrics_trap)
    report = maskcli.loss(trap.arrays, model=trap.model, targets=trap.targets)
    result = {metric.type: (metric.reported, metric.valid, metric.differs) for metric in report.metrics}
    assert result["BinaryAccuracy"] == (1.0, 1.0, False)
    assert result["Recall"] == (0.5, 1.0, True)
    assert result["RootMeanSquaredError"] == (pytest.approx(0.5802, rel=1e-3), pytest.approx(0.1, rel=1e-5), True)


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("name", ["own test_step", "ignore_class", "weight regularizer", "several", "cannot be copied"])
def test_model_is_unchanged(name: str) -> None:
    case = with_metrics(name) if name in METRICS else CASES[name]
    model = build_model(case.build)
    arguments = {"sample_weight": case.weights, "batch_size": 2, "verbose": 0, "return_dict": True}
    expected = model.evaluate(case.x, case.targets, **arguments)
    weights, loss = [w.copy() for w in model.get_weights()], model.loss
    held = dict(vars(loss)) if isinstance(loss, losses.Loss) else None
    states = [np.asarray(variable) for variable in model.metrics_variables]
    assert any(state.any() for state in states)
    maskcli.loss(case.data, model=model, targets=case.targets, sample_weight=case.weights, batch_sizes=(1, 3))
    assert model.loss is loss
    assert held is None or vars(loss) == held
    for weight, before in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(weight, before)
    for variable, before in zip(model.metrics_variables, states, strict=True):
        np.testing.assert_array_equal(np.asarray(variable), before)
    assert model.evaluate(case.x, case.targets, **arguments) == expected


def test_states_and_seeds_are_unchanged() -> None:
    def build() -> Model:
        tokens = keras.Input((T,), batch_size=ROWS, dtype="int32", name="tokens")
        rnn = layers.GRU(3, return_sequences=True, stateful=True, dropout=0.5)
        return compile_model(keras.Model(tokens, rnn(embed(tokens))), loss="mse")

    model = build_model(build)
    model(TOKENS, training=True)
    before = [np.asarray(v) for v in (*model.variables, *model.layers[-1].states)]
    assert before[-1].any()
    maskcli.loss({"tokens": TOKENS}, model=model, targets=VECTORS)
    for variable, saved in zip((*model.variables, *model.layers[-1].states), before, strict=True):
        np.testing.assert_array_equal(np.asarray(variable), saved)


@pytest.mark.slow(share=1 / 3)
@pytest.mark.parametrize("name", ["recurrent", "ignore_class", "dict of outputs"])
def test_graph_equals_eager(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
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

    results = []
    for steps in (0, 10**9):
        monkeypatch.setattr(evaluate, "EAGER_STEPS", steps)
        report = CASES[name].loss(batch_size=2, metrics=() if name == "ignore_class" else ("mae",))
        results.append([*numbers(report), *(metric.valid or metric.reported for metric in report.metrics)])
    assert results[0] == pytest.approx(results[1], rel=1e-5)


def fixed_predictions(predictions: Any, **settings: Any) -> tuple[dict[str, Any], Build]:
    """Return data and a model that predicts these numbers, with a mask of tokens; 99 is NaN, and 98 infinite."""

    class Masked(layers.Layer):
        def call(self, inputs: Any) -> Any:
            values = ops.where(inputs[0] == 99, np.nan, inputs[0])
            return ops.where(inputs[0] == 98, np.inf, values)

        def compute_mask(self, inputs: Any, previous: Any = None) -> Any:
            del previous
            return ops.not_equal(inputs[1], 0)

    def build() -> Model:
        values, tokens = keras.Input((T, 3), name="values"), keras.Input((T,), dtype="int32", name="tokens")
        return compile_model(keras.Model([values, tokens], Masked()([values, tokens])), **settings)

    return {"values": predictions, "values.mask": VALID, "tokens": TOKENS}, build


def test_remark_on_nan_at_padding() -> None:
    data, build = fixed_predictions(np.where(VALID[..., None], VECTORS + 1, 99), loss="mse")
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
    for size in report.batch_sizes:
        assert size.keras_evaluate == pytest.approx(case.evaluate(size.batch_size)["loss"], nan_ok=True)


def test_remark_on_nan_that_counts() -> None:
    predictions = VECTORS + 1
    predictions[0, 1, 0] = 99
    predictions[1, 1, 2] = 98
    data, build = fixed_predictions(predictions, loss="mse")
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
    for size in report.batch_sizes:
        assert size.keras_evaluate == pytest.approx(case.evaluate(size.batch_size)["loss"], rel=2e-6)
    assert report.first.per_sample[empty[0]][0] is None
    everything = len(empty) == ROWS
    assert (report.masked is None) == everything
    assert any("No timestep is left to count" in remark.text for remark in report.remarks) == everything
    assert everything == (report.batch_sizes[0].heaviest is None)


def test_batch_loss_has_no_timesteps() -> None:
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
    whole = maskcli.loss(ragged, model=build_model(dense(loss="mse")), targets=VECTORS.tolist())
    assert maskcli.loss(ragged, model=build_model(dense(loss="mse")), targets=targets).keras_evaluate == pytest.approx(
        expected
    )
    assert whole.keras_evaluate == pytest.approx(expected)
    weights = [row[:length].tolist() for row, length in zip(WEIGHTS, LENGTHS, strict=True)]
    weighted = maskcli.loss(ragged, model=build_model(dense(loss="mse")), targets=targets, sample_weight=weights)
    assert weighted.keras_evaluate == pytest.approx(Case(dense(loss="mse"), padded, WEIGHTS).evaluate()["loss"])
    before = maskcli.loss(
        ragged, model=build_model(dense(loss="mse")), targets=targets, sample_weight=weights, padding="pre"
    )
    assert before.keras_evaluate == pytest.approx(weighted.keras_evaluate)
    numbers = [[float(token) for token in row] for row in ragged]
    column = maskcli.loss(ragged, model=build_model(dense(1, loss="mse")), targets=numbers)
    assert column.keras_evaluate == pytest.approx(
        Case(dense(1, loss="mse"), TOKENS[..., None] * 1.0).evaluate()["loss"]
    )


def stale_mask_model() -> Model:
    """A model whose pooled output still carries the mask of timesteps."""

    class Mean(layers.Layer):
        supports_masking = True

        def call(self, hidden: Any) -> Any:
            return ops.mean(hidden, axis=1)

    tokens = tokens_input()
    return compile_model(keras.Model(tokens, Mean()(embed(tokens))), loss="mse")


LONGER = [[1, 2, 3], [4, 5]]
BAD = {
    "rows of targets": (dense(loss="mse"), {"targets": VECTORS[:3]}, InputError),
    "no numbers": (dense(loss="mse"), {"targets": [["a"] * T] * ROWS}, InputError),
    "ragged targets": (dense(loss="mse"), {"targets": [[1], [1, 2], [1], [1], [1]]}, InputError),
    "width of targets": (dense(loss="mse"), {"targets": VECTORS[..., :2]}, InputError),
    "timesteps of targets": (dense(loss="mse"), {"targets": VECTORS[:, :4]}, InputError),
    "no targets": (dense(loss="mse"), {"targets": None}, UsageError),
    "a field that the data lacks": (dense(loss="mse"), {"targets": None, "targets_field": "tags"}, InputError),
    "weights that the data lacks": (dense(loss="mse"), {"sample_weight_field": "w"}, InputError),
    "targets of one of two": (two_outputs("dict", **BOTH), {"targets": {"tags": VECTORS}}, UsageError),
    "targets of nothing": (two_outputs("dict", **BOTH), {"targets": {**PAIR, "mod": POOLED}}, UsageError),
    "three targets of two": (two_outputs("list", **BOTH), {"targets": [VECTORS, POOLED, POOLED]}, UsageError),
    "weights": (dense(loss="mse"), {"sample_weight": WEIGHTS[:, :2]}, InputError),
    "rows of weights": (dense(loss="mse"), {"sample_weight": WEIGHTS[:2]}, InputError),
    "weights of timesteps": (pooling_model(loss="mse"), {"targets": POOLED, "sample_weight": WEIGHTS}, InputError),
    "loss": (dense(), {"loss": "mean_square_error"}, UsageError),
    "no loss of any output": (two_outputs("dict", loss={"tags": None}), {"targets": PAIR}, UsageError),
    "no loss": (lambda: keras.Sequential([tokens_input(), layers.Embedding(10, 3)]), {}, UsageError),
    "loss of nothing": (two_outputs("dict"), {"loss": {"tag": "mse"}, "targets": PAIR}, UsageError),
    "losses": (two_outputs("list"), {"loss": ["mse"], "targets": [VECTORS, POOLED]}, UsageError),
    "option": (dense(), {"loss": "mse", "loss_options": {"ignore_class": 1}}, UsageError),
    "value of an option": (dense(), {"loss": "mse", "loss_options": {"reduction": "total"}}, UsageError),
    "options of an object": (dense(loss=losses.Huber()), {"loss_options": {"delta": 1}}, UsageError),
    "metric": (dense(loss="mse"), {"metrics": ("acuracy",)}, UsageError),
    "metric of other targets": (dense(loss="mse"), {"metrics": (lambda y, p: ops.matmul(y, p),)}, UsageError),
    "classes and weights": (dense(loss="mse"), {"class_weight": {1: 2.0}, "sample_weight": WEIGHTS}, UsageError),
    "classes of two outputs": (two_outputs("dict", **BOTH), {"class_weight": {1: 2.0}, "targets": PAIR}, UsageError),
    "batch size": (dense(loss="mse"), {"batch_size": 0}, UsageError),
    "batch sizes": (dense(loss="mse"), {"batch_sizes": (1, 0)}, UsageError),
    "shuffles": (dense(loss="mse"), {"shuffles": -1}, UsageError),
    "mean over time": (dense(loss=lambda y, p: ops.mean(ops.square(y - p), axis=(1, 2))), {}, ModelError),
    "targets without a last axis": (dense(1, loss="mse"), {"targets": IDS}, ModelError),
    "mean over samples": (dense(loss=lambda y, p: ops.mean(ops.square(y - p), axis=(0, 2))), {}, ModelError),
    "a mask without timesteps": (stale_mask_model, {"targets": RNG.normal(size=(ROWS, 4))}, ModelError),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_options_have_error(name: str) -> None:
    build, options, kind = BAD[name]
    with pytest.raises(MaskcliError) as caught:
        maskcli.loss({"tokens": TOKENS}, model=build_model(build), **{"targets": VECTORS, **options})
    error = caught.value
    assert type(error) is kind, error
    assert error.where or name.endswith("that the data lacks")  # Arrays from Python have no place.
    assert all((error.expected, error.received, error.fix)), error


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.array([[0, 1, 9], [0, 0, 0]]), r"Classes are 0 to 2 .* a target is 9 \(row 0, timestep 2\)"),
        (np.array([0, 1]), r"a class id for each prediction: targets of shape \(batch, 3\)"),
    ],
)
def test_remedy_names_the_targets_that_fit(targets: np.ndarray, message: str) -> None:
    model = build_model(dense(loss="sparse_categorical_crossentropy"))
    with pytest.raises(InputError, match=message) as caught:
        maskcli.loss({"tokens": TOKENS[:2, :3]}, model=model, targets=targets)
    assert "Op:" not in str(caught.value)


def test_remark_on_model_that_needs_its_mask() -> None:
    class Needy(layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.supports_masking = True

        def call(self, inputs: Any, mask: Any = None) -> Any:
            return inputs * ops.cast(mask[..., None], inputs.dtype)

    def build() -> Model:
        tokens = tokens_input()
        return compile_model(keras.Model(tokens, layers.Dense(3)(Needy()(embed(tokens)))), loss="mse")

    report = Case(build, VECTORS).loss()
    assert report.unmasked is not None
    assert report.unmasked_model is None
    assert any("does not run without masks" in remark.text for remark in report.remarks)
    assert not any("does not run" in remark.text for remark in Case(dense(loss="mse"), VECTORS).loss().remarks)


def test_many_batches_need_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_sizes, "MOST_EVALUATIONS", 2)
    case = Case(dense(loss=one_number), VECTORS)
    assert [size.batch_size for size in case.loss().batch_sizes] == [ROWS]
    assert [size.batch_size for size in case.loss(batch_sizes=(1, ROWS)).batch_sizes] == [1, ROWS]
    followed = Case(dense(loss="mse"), VECTORS)
    assert [size.batch_size for size in followed.loss().batch_sizes] == [1, ROWS]


def test_loss_keeps_replaced_call() -> None:
    loss = losses.MeanSquaredError()
    call = loss.call = lambda y_true, y_pred: ops.mean(ops.abs(y_true - y_pred), axis=-1)
    report = Case(dense(loss=loss), VECTORS).loss()
    assert loss.call is call
    assert report.masked == pytest.approx(Case(dense(loss="mae"), VECTORS).loss().masked, rel=1e-6)


def test_list_of_losses_in_an_h5_file(tmp_path: Any) -> None:
    keras.utils.set_random_seed(1)
    tokens = keras.Input((T,), dtype="int32", name="tokens")
    x = layers.Embedding(10, 4, mask_zero=True)(tokens)
    with warnings.catch_warnings(
        action="ignore"
    ):  # The pooling drops the mask, because HDF5 cannot hold its operation.
        pooled = layers.Dense(1, name="mood")(layers.GlobalMaxPooling1D()(x))
    model = keras.Model(tokens, [layers.Dense(3, name="tags")(x), pooled])
    model.compile(loss=["mse", "mae"])
    with warnings.catch_warnings(action="ignore"):  # Keras calls .h5 legacy.
        model.save(tmp_path / "two.h5")
    targets = [VECTORS, POOLED[:, :1]]
    with warnings.catch_warnings(action="ignore"):
        report = maskcli.loss(TOKENS, model=str(tmp_path / "two.h5"), targets=targets)
        evaluated = model.evaluate(TOKENS, targets, verbose=0)[0]
    assert [output.loss for output in report.outputs] == ["mean_squared_error", "mean_absolute_error"]
    assert report.keras_evaluate == pytest.approx(evaluated, rel=1e-6)
    assert report.model.notes == ()


def test_predictions_of_pictures() -> None:
    """Predictions (batch, timesteps, height, width): the mean of the last axis, then of the height, is a timestep's."""
    keras.utils.set_random_seed(1)
    frames = keras.Input((None, 4, 6, 1), name="frames")
    x = layers.ConvLSTM2D(1, 3, padding="same", return_sequences=True)(layers.Masking(0.0)(frames))
    model = keras.Model(frames, ops.squeeze(x, -1))
    model.compile(loss="mse")
    values = np.random.default_rng(0).uniform(0.2, 1.0, (3, 5, 4, 6, 1)).astype("float32")
    values[1, 3:] = 0.0
    targets = np.random.default_rng(1).uniform(size=(3, 5, 4, 6)).astype("float32")
    report = maskcli.loss({"frames": values}, model=model, targets=targets)
    assert report.keras_evaluate == pytest.approx(model.evaluate(values, targets, verbose=0), rel=1e-6)
    squares = (np.asarray(model(values)) - targets) ** 2
    np.testing.assert_allclose(report.first.per_timestep, squares.mean(axis=(2, 3)), rtol=1e-5)


def test_ignore_class_that_occurs_nowhere() -> None:
    ignoring, plain = (Case(dense(loss=sparse(**options)), IDS) for options in ({"ignore_class": 99}, {}))
    report = ignoring.loss()
    assert report.keras_evaluate == pytest.approx(plain.evaluate()["loss"], rel=1e-6)
    assert not np.any(report.first.ignored)
    np.testing.assert_array_equal(report.first.counted, plain.loss().first.counted)


@pytest.mark.parametrize("eager", [True, False])
def test_steps_run_as_the_model_is_compiled(eager: bool) -> None:
    """Python code of a model that is compiled to run eagerly may fail in a graph; few rows need no graph anyway."""
    model = keras.Sequential([keras.Input((None, 2)), layers.Dense(1)])
    model.compile(loss="mse", run_eagerly=eager, jit_compile=False)
    large, small = (evaluate._choose_compilation(model, (), is_small=is_small) for is_small in (False, True))
    assert large == {"run_eagerly": eager, "jit_compile": False}
    assert small == {"run_eagerly": True, "jit_compile": False}
