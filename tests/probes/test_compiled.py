"""A model that computes something else when it is compiled is found, and no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import maskcli
from maskcli.records.check import CheckReport
from maskcli.records.leak import Probe

pytestmark = pytest.mark.slow(share=1 / 2)

ROWS = [[1, 2, 3, 4], [5, 6]]


class OnlyEagerly(layers.Layer):
    """Keeps the mask in eager runs only."""

    def __init__(self) -> None:
        super().__init__(name="only_eagerly")
        self.supports_masking = True

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        del inputs
        return mask if tf.executing_eagerly() else None

    def call(self, inputs: Any) -> Any:
        return inputs * 1.0


class Tagger(keras.Model):
    """A subclassed model with one layer between its embedding and its mean."""

    def __init__(self, middle: Any) -> None:
        super().__init__()
        self.embedding, self.middle = layers.Embedding(10, 3, mask_zero=True), middle
        self.pool = layers.GlobalAveragePooling1D(name="pool")

    def call(self, tokens: Any) -> Any:
        return self.pool(self.middle(self.embedding(tokens)))


class Stepwise(layers.Layer):
    """Does not run as a compiled function."""

    def call(self, inputs: Any) -> Any:
        return inputs * float(inputs.numpy().size > 0)


class Same(layers.Layer):
    """Keeps the mask."""

    def __init__(self) -> None:
        super().__init__()
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        return inputs * 2.0


class Sample(layers.Layer):
    """Draws other numbers in each run, as an autoencoder does."""

    def __init__(self) -> None:
        super().__init__()
        self.supports_masking = True
        self.generator = keras.random.SeedGenerator(3)

    def call(self, inputs: Any) -> Any:
        return inputs + keras.random.normal(keras.ops.shape(inputs), seed=self.generator)


class InEagerRuns(layers.Layer):
    """Doubles what meets a condition, in eager runs only; keeps the mask."""

    def __init__(self, meets: Callable[[Any], bool]) -> None:
        super().__init__()
        self.supports_masking, self.meets, self.traces = True, meets, 0

    def call(self, inputs: Any) -> Any:
        self.traces += not tf.executing_eagerly()
        return inputs * 2.0 if self.meets(inputs) else inputs


class AsOneVector(Tagger):
    """Returns a vector for a batch of one row."""

    def call(self, tokens: Any) -> Any:
        pooled = super().call(tokens)
        return pooled[0] if tokens.shape[0] == 1 else pooled


def is_small(inputs: Any) -> bool:
    return tf.executing_eagerly() and float(tf.reduce_max(inputs)) < 6


def make_by_value(meets: Callable[[Any], bool]) -> Any:
    """Return a model whose vectors have the values of the ids."""
    model = Tagger(InEagerRuns(meets))
    model(np.array([[1, 2]]))
    model.embedding.set_weights([np.repeat(np.arange(10.0)[:, None], 3, axis=1)])
    return model


def find_probe(report: CheckReport) -> Probe:
    model = report.examination.model
    assert model is not None
    return next(probe for probe in model.further_probes if probe.name == "compiled")


def test_call_with_mask_only_eagerly_is_named() -> None:
    model = Tagger(OnlyEagerly())
    report = maskcli.check(ROWS, model=model)
    (finding,) = [finding for finding in report.findings if finding.code == "MSK402"]
    assert (finding.severity, finding.call, finding.type) == ("error", "pool", "GlobalAveragePooling1D")
    assert "receives a mask only when it runs eagerly" in finding.message
    ids = np.array([[1, 2, 3, 4], [5, 6, 0, 0]])
    difference = np.abs(np.asarray(model(ids)) - model.predict(ids, verbose=0))
    assert finding.evidence["max_abs_change"] == pytest.approx(difference.max(), rel=1e-5)
    assert finding.evidence["sample"] == int(difference.max(axis=1).argmax()) == 1


def test_equal_model_has_no_finding() -> None:
    report = maskcli.check(ROWS, model=Tagger(Same()))
    probe = find_probe(report)
    assert report.passed
    assert probe.applicable
    assert not probe.leaks
    assert probe.max_abs_change is not None
    assert probe.max_abs_change < 1e-6


def test_layers_of_keras_need_no_compiled_run() -> None:
    tokens = keras.Input((None,))
    model = keras.Model(tokens, layers.LSTM(3)(layers.Embedding(10, 3, mask_zero=True)(tokens)))
    probe = find_probe(maskcli.check(ROWS, model=model))
    assert not probe.applicable
    assert probe.why == "Keras's own layers run the same operations eagerly and compiled"


def test_model_that_does_not_compile_is_unproven() -> None:
    probe = find_probe(maskcli.check(ROWS, model=Tagger(Stepwise())))
    assert not probe.applicable
    assert str(probe.why).startswith("the model does not compile (")


def test_random_model_is_not_compared() -> None:
    report = maskcli.check(ROWS, model=Tagger(Sample()))
    assert find_probe(report).why == "two runs on the same data differ"
    assert [finding.code for finding in report.findings] == ["MSK115"]


def test_quick_check_leaves_compiled_run_out() -> None:
    assert not find_probe(maskcli.check(ROWS, model=Tagger(OnlyEagerly()), quick=True)).applicable


def test_compiled_functions_of_model_are_unchanged() -> None:
    model = Tagger(OnlyEagerly())
    model.compile(loss="mse")
    ids = np.array([[1, 2, 3, 4], [5, 6, 0, 0]])
    before, function = model.predict(ids, verbose=0), model.predict_function
    maskcli.check(ROWS, model=model)
    assert model.predict_function is function
    np.testing.assert_array_equal(model.predict(ids, verbose=0), before)


@pytest.mark.parametrize(
    ("meets", "function"),
    [
        pytest.param(is_small, "in a compiled function, which fit and predict run", id="value"),
        pytest.param(lambda x: x.shape[0] == 1, "for batches of any size, as fit and predict do", id="rows"),
        pytest.param(lambda x: x.shape[1] == 2, "for batches of any size, as fit and predict do", id="timesteps"),
    ],
)
def test_row_by_itself_is_compared(meets: Callable[[Any], bool], function: str) -> None:
    model = make_by_value(meets)
    rows = [[1, 2], [7, 8, 9]]
    (finding,) = [item for item in maskcli.check(rows, model=model).findings if item.code == "MSK402"]
    assert "Sample 0 by itself differs by 1.5 " in finding.message
    assert function in finding.message
    assert finding.evidence["sample"] == 0
    assert finding.evidence["alone"]
    batches = ((np.array(rows),) for rows in ([[7, 8, 9, 9], [9, 9, 9, 9]], [[7, 8, 9], [9, 9, 9]], [[1, 2]]))
    compiled = model.predict(batches, steps=3, verbose=0)[-1]  # Keras compiles for a second length with any length.
    assert np.abs(np.asarray(model(np.array([[1, 2]])))[0] - compiled).max() == 1.5


def test_other_shape_of_row_by_itself_is_named() -> None:
    (finding,) = [item for item in maskcli.check(ROWS, model=AsOneVector(Same())).findings if item.code == "MSK402"]
    assert "Sample 0 by itself has the shape (1, 3) instead of (3,)" in finding.message
    batches = ((np.array(rows),) for rows in ([[1, 2], [3, 4]], [[5, 6], [7, 8]], [[9, 1]]))
    assert AsOneVector(Same()).predict(batches, steps=3, verbose=0).shape == (5, 3)


def test_rows_by_themselves_take_one_compilation() -> None:
    model = make_by_value(lambda _: False)
    model.middle.traces = 0
    probe = find_probe(maskcli.check([[1, 2, 3, 4], [5, 6], [7]], model=model))
    assert probe.applicable
    assert not probe.leaks
    assert model.middle.traces == 1


def test_code_that_needs_numbers_of_timesteps_is_compared() -> None:
    class Stepwise(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return keras.ops.stack([inputs[:, step] * 2.0 for step in range(inputs.shape[1])], axis=1)

    probe = find_probe(maskcli.check(ROWS, model=Tagger(Stepwise())))
    assert probe.applicable
    assert not probe.leaks


def test_model_that_runs_eagerly_is_not_compiled() -> None:
    model = Tagger(OnlyEagerly())
    model.compile(loss="mse", run_eagerly=True)
    report = maskcli.check(ROWS, model=model)
    assert "MSK402" not in [finding.code for finding in report.findings]
    assert (
        find_probe(report).why == "the model is compiled with run_eagerly=True, so that fit and predict run it eagerly"
    )


@pytest.mark.parametrize("jit_compile", [True, False, "auto"])
def test_compiled_model_is_compared(jit_compile: Any) -> None:
    model = Tagger(OnlyEagerly())
    model.compile(loss="mse", jit_compile=jit_compile)
    (finding,) = [item for item in maskcli.check(ROWS, model=model).findings if item.code == "MSK402"]
    ids = np.array([[1, 2, 3, 4], [5, 6, 0, 0]])
    difference = np.abs(np.asarray(model(ids)) - model.predict(ids, verbose=0)).max()
    assert finding.evidence["max_abs_change"] == pytest.approx(difference, rel=1e-5)


def test_random_model_has_no_finding() -> None:
    class Random(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs * np.random.default_rng().random()

    report = maskcli.check(ROWS, model=Tagger(Random()))
    assert "MSK402" not in [finding.code for finding in report.findings]
    assert find_probe(report).why == "two runs on the same data differ"
