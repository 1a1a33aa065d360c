"""A model that computes something else when it is compiled is found, and no other."""

from __future__ import annotations

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
