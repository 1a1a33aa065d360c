"""The callback: it sees the batches of a real ``fit``, and the training stays as it is, to the bit."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import maskcli
from maskcli.inputs.training_batches import BatchPeek

pytestmark = pytest.mark.slow(share=1 / 3)

RNG = np.random.default_rng(0)
ROWS, TIMESTEPS = 12, 5
LENGTHS = np.arange(ROWS) % (TIMESTEPS - 1) + 2
IDS = np.where(np.arange(TIMESTEPS) < LENGTHS[:, None], RNG.integers(1, 20, (ROWS, TIMESTEPS)), 0).astype("int32")
TARGETS = RNG.random((ROWS, 1)).astype("float32")
WEIGHTS = RNG.random(ROWS).astype("float32")
BATCH = 4


class CountingModel(keras.Model):
    """Counts how often its training step is traced."""

    traces = 0

    def train_step(self, data: Any) -> Any:
        self.traces += 1
        return super().train_step(data)


def make_model(scale: float = 2.0, **compilation: Any) -> Any:
    """Return a model that draws random numbers and has states; with a scale, a multiplication drops its mask."""
    keras.utils.set_random_seed(1)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.Embedding(20, 4, mask_zero=True, name="embedding")(tokens)
    x = layers.Dropout(0.3)(x)
    x = x if scale == 1.0 else x * scale
    x = layers.BatchNormalization()(layers.GlobalAveragePooling1D(name="mean")(x))
    model = CountingModel(tokens, layers.Dense(1)(x))
    model.compile("adam", "mse", **{"weighted_metrics": ["mae"], **compilation})
    return model


def as_arrays() -> dict[str, Any]:
    return {"x": IDS, "y": TARGETS, "sample_weight": WEIGHTS, "batch_size": BATCH}


def as_dataset() -> dict[str, Any]:
    rows = tf.data.Dataset.from_tensor_slices((IDS, TARGETS, WEIGHTS))
    return {"x": rows.shuffle(ROWS).batch(BATCH), "shuffle": False}


def as_generator() -> dict[str, Any]:
    def generate() -> Iterator[tuple[Any, ...]]:
        while True:
            rows = np.random.permutation(ROWS)[:BATCH]
            yield IDS[rows], TARGETS[rows] + random.random(), WEIGHTS[rows]

    return {"x": generate(), "steps_per_epoch": 3, "shuffle": False}


class Batches(keras.utils.PyDataset):
    def __len__(self) -> int:
        return ROWS // BATCH

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        rows = slice(index * BATCH, (index + 1) * BATCH)
        return IDS[rows], TARGETS[rows]


def train(callbacks: list[Any], make_data: Callable[[], dict[str, Any]], **compilation: Any) -> dict[str, Any]:
    """Train a model; return all that could differ: the history, every variable, and the next random numbers."""
    model = make_model(**compilation)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", maskcli.MaskCheckWarning)
        history = model.fit(**make_data(), epochs=2, verbose=0, callbacks=callbacks).history
    variables = [*model.variables, *model.optimizer.variables, *(v for m in model.metrics for v in m.variables)]
    drawn = (random.random(), np.random.random(), tf.random.uniform(()).numpy(), keras.random.uniform(()).numpy())
    return {
        "history": history,
        "variables": [np.asarray(variable).tobytes() for variable in variables],
        "drawn": tuple(map(float, drawn)),
        "traces": model.traces,
        "functions": (type(model.train_function).__name__, model.test_function, model.predict_function),
        "attributes": vars(model).keys(),
    }


@pytest.mark.parametrize(
    ("make_data", "compilation"),
    [
        (as_arrays, {}),
        (as_arrays, {"steps_per_execution": 2}),
        (as_arrays, {"run_eagerly": True}),
        (as_dataset, {"jit_compile": False}),
        (as_generator, {"jit_compile": False}),
        (lambda: {"x": Batches()}, {"jit_compile": False}),
    ],
    ids=["arrays", "several-steps", "eagerly", "dataset", "generator", "py-dataset"],
)
def test_training_is_the_same_to_the_bit(make_data: Callable[[], dict[str, Any]], compilation: dict[str, Any]) -> None:
    callback = maskcli.MaskCheck()
    with_callback = train([callback], make_data, **compilation)
    without = train([], make_data, **compilation)
    assert callback.report is not None
    assert not callback.report.passed
    rows = BATCH * compilation.get("steps_per_execution", 1)
    assert callback.report.data.rows == rows
    if make_data is as_generator:
        # A thread reads the endless generator ahead, and draws as many numbers as it has time for.
        del without["drawn"]
    for name, value in without.items():
        assert with_callback[name] == value, name


def test_finding_is_one_warning_with_its_line() -> None:
    """The warning has the line of ``fit``, and the finding that of the model, which was built before the callback."""
    model = make_model()
    callback = maskcli.MaskCheck()
    with pytest.warns(maskcli.MaskCheckWarning) as caught:
        model.fit(**as_arrays(), epochs=2, verbose=0, callbacks=[callback])
    assert len(caught) == 1
    message = str(caught[0].message)
    assert message.startswith("MSK101 mask-dropped: multiply")
    assert "\nat: " in message
    assert "test_mask_check.py:" in message
    assert caught[0].filename == __file__
    assert callback.report is not None
    assert callback.report.quick


def test_fail_stops_the_training() -> None:
    model = make_model()
    with pytest.raises(maskcli.FindingsError, match="MSK101 mask-dropped: multiply"):
        model.fit(**as_arrays(), verbose=0, callbacks=[maskcli.MaskCheck(fail=True)])
    assert not isinstance(model.train_function, BatchPeek)
    assert model.optimizer.iterations == 1


def test_right_model_is_silent() -> None:
    callback = maskcli.MaskCheck(fail=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_model(1.0).fit(**as_arrays(), verbose=0, callbacks=[callback])
    assert callback.report is not None
    assert callback.report.passed


def test_options_are_those_of_check() -> None:
    callback = maskcli.MaskCheck(fail=True, ignore=["MSK1"])
    make_model().fit(**as_arrays(), verbose=0, callbacks=[callback])
    assert callback.report is not None
    assert callback.report.status == "leak-ignored"


@pytest.mark.parametrize("weights", [None, (IDS != 0).astype("float32")], ids=["without", "weights"])
def test_loss_is_judged_with_sample_weights(weights: Any) -> None:
    """Weights of 0 leave padding out of the loss of a model whose output has no mask."""
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    model = keras.Model(tokens, layers.Dense(1)(layers.Embedding(20, 4)(tokens)))
    model.compile("sgd", "mse")
    callback = maskcli.MaskCheck(select=["MSK3"])
    fit = {"x": IDS, "y": RNG.random((ROWS, TIMESTEPS, 1)), "sample_weight": weights}
    if weights is None:
        with pytest.warns(maskcli.MaskCheckWarning, match="MSK301 loss-counts-padding"):
            model.fit(**fit, verbose=0, callbacks=[callback])
    else:
        model.fit(**fit, verbose=0, callbacks=[callback])
        assert callback.report is not None
        assert "MSK301" not in {finding.code for finding in callback.report.findings}


def test_data_is_checked_instead_of_batches() -> None:
    callback = maskcli.MaskCheck(data=[[1, 2, 3], [4]], on="first_epoch")
    seen = []
    order = keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_, **__: seen.append(callback.report))
    with pytest.warns(maskcli.MaskCheckWarning, match="MSK101"):
        make_model(run_eagerly=True).fit(**as_arrays(), verbose=0, callbacks=[callback, order])
    assert seen == [None] * 3
    assert callback.report is not None
    assert callback.report.data.rows == 2


def test_wrong_time_is_a_usage_error() -> None:
    with pytest.raises(ValueError, match="one of first_batch, first_epoch; received 'last'"):
        maskcli.MaskCheck(on="last")  # type: ignore[arg-type]


def test_data_that_cannot_be_checked_is_a_warning() -> None:
    model = make_model(run_eagerly=True)
    with pytest.warns(maskcli.MaskCheckWarning, match="MaskCheck could not check the model: "):
        model.fit(**as_arrays(), verbose=0, callbacks=[maskcli.MaskCheck(data=[["text"]])])
    with pytest.raises(maskcli.MaskcliError):
        model.fit(**as_arrays(), verbose=0, callbacks=[maskcli.MaskCheck(data=[["text"]], fail=True)])


def test_hidden_batches_require_data() -> None:
    """A distribution strategy splits batches over devices before ``fit`` has them."""
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope():
        model = make_model(run_eagerly=True)
    function = model.make_train_function() or model.train_function
    with pytest.raises(maskcli.MaskcliError, match=r"expected data=; (?s:.*) splits them over devices. Pass some rows"):
        model.fit(**as_arrays(), verbose=0, callbacks=[maskcli.MaskCheck()])
    assert model.train_function is function


def test_loop_that_does_not_step_requires_data() -> None:
    class OwnLoop(CountingModel):
        def fit(self, callbacks: Any) -> None:  # type: ignore[override]
            listed = keras.callbacks.CallbackList(callbacks, model=self)
            listed.on_train_begin()
            listed.on_train_batch_begin(0)
            listed.on_train_batch_end(0, {})

    model = make_model()
    model.__class__ = OwnLoop
    with pytest.raises(maskcli.MaskcliError, match="training loop does not call the train_function"):
        model.fit(callbacks=[maskcli.MaskCheck()])
    assert not isinstance(model.train_function, BatchPeek)
