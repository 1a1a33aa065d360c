"""Whatever is tried with a model, all its variables are as they were, to the bit."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import maskcli
from maskcli.trace.recorder import record_run
from maskcli.trace.state import preserve_state

ROWS = [[1, 2, 3, 1, 2, 1], [4, 5]]
TOKENS = np.array([[1, 2, 3, 1, 2, 1], [4, 5, 0, 0, 0, 0]], "int32")
VERBS: tuple[Callable[..., Any], ...] = (maskcli.inspect, maskcli.check)


class Remembering(layers.Layer):
    """Keeps a number of every kind, and moves each in every call."""

    def __init__(self) -> None:
        super().__init__()
        self.chance = keras.random.SeedGenerator(3)
        self.of_tensorflow = tf.Variable(0.0, trainable=False)
        self.counted = self.add_weight(shape=(), initializer="zeros", trainable=False)
        self.trained = self.add_weight(shape=(), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        for variable in (self.of_tensorflow, self.counted, self.trained):
            variable.assign(variable + 1.0)
        return inputs + 0.0 * keras.random.normal(keras.ops.shape(inputs), seed=self.chance)


def model_of(*behind: Any) -> Any:
    """Return a model that loses its mask, so that every call is tried by itself."""
    keras.utils.set_random_seed(0)
    tokens = keras.Input(batch_shape=(2, None), dtype="int32", name="tokens")
    with warnings.catch_warnings(action="ignore"):
        x = layers.Conv1D(6, 1)(layers.Embedding(10, 6, mask_zero=True)(tokens))
        for layer in behind:
            x = layer(x)
        model = keras.Model(tokens, x)
        model(TOKENS)
    return model


def stateful() -> Any:
    """Return one whose states have as many numbers as rows have timesteps: whether they are pooled must be tried."""
    return model_of(layers.Dropout(0.5, seed=1), layers.LSTM(6, stateful=True))


def bidirectional() -> Any:
    return model_of(layers.Bidirectional(layers.GRU(3, stateful=True)))


def statistics() -> Any:
    normalised = layers.SpectralNormalization(layers.Dense(6))
    return model_of(layers.GaussianDropout(0.5), layers.BatchNormalization(), normalised, layers.LSTM(6, stateful=True))


def remembering() -> Any:
    return model_of(Remembering(), layers.LSTM(6))


def frozen() -> Any:
    model = statistics()
    model.trainable = False
    return model


def broken_by_its_mask() -> Any:
    class Broken(Remembering):
        def call(self, inputs: Any, mask: Any = None) -> Any:
            outputs = super().call(inputs)
            if mask is not None and tf.executing_eagerly():
                raise ValueError("broken")
            return outputs

    tokens = keras.Input(batch_shape=(2, None), dtype="int32", name="tokens")
    with warnings.catch_warnings(action="ignore"):
        return keras.Model(tokens, Broken()(layers.Embedding(10, 6, mask_zero=True)(tokens)))


MODELS = (stateful, bidirectional, statistics, remembering, frozen)


def variables(model: Any) -> dict[str, np.ndarray]:
    """Return copies of all that a model keeps, found without any help of maskcli."""
    found = {f"weight {index}": variable for index, variable in enumerate(model.variables)}
    for layer in model._flatten_layers():
        kept = [value for value in vars(layer).values() if isinstance(value, tf.Variable)]
        for index, state in enumerate([*keras.tree.flatten(getattr(layer, "states", None)), *kept]):
            if state is not None:
                found[f"{layer.name} {index}"] = state
    return {name: np.asarray(variable).copy() for name, variable in found.items()}


def changed(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> list[str]:
    assert before.keys() == after.keys()
    return [name for name, value in before.items() if value.tobytes() != after[name].tobytes()]


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
@pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)
def test_all_variables_are_as_they_were(build: Callable[[], Any], verb: Callable[..., Any]) -> None:
    model = build()
    before = variables(model)
    verb(ROWS, model=model)
    assert not changed(before, variables(model))


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
def test_also_after_an_error(verb: Callable[..., Any]) -> None:
    model = broken_by_its_mask()
    before = variables(model)
    with warnings.catch_warnings(action="ignore"):
        try:
            report = verb(ROWS, model=model)
        except maskcli.MaskcliError:
            report = None
    assert report is None or {found.code for found in report.findings} == {"MSK106"}
    assert not changed(before, variables(model))


@pytest.mark.parametrize("build", [stateful, bidirectional, statistics])
def test_a_model_with_states_is_judged_as_any_other(build: Callable[[], Any]) -> None:
    evidence = maskcli.check(ROWS, model=build()).examination.model
    assert evidence is not None
    assert evidence.leak is not None
    assert {probe.name for probe in evidence.leak.probes if probe.leaks} >= {"replace", "columns"}


def test_states_that_a_first_run_makes_start_at_zero() -> None:
    class Unbuilt(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = layers.Embedding(10, 6, mask_zero=True)
            self.lstm = layers.LSTM(6, stateful=True)

        def call(self, tokens: Any) -> Any:
            return self.lstm(self.embedding(tokens))

    model = Unbuilt()
    first = record_run(model, TOKENS)
    assert first.error is None
    assert not any(np.asarray(state).any() for state in model.lstm.states)
    np.testing.assert_array_equal(np.asarray(first.output), np.asarray(model(TOKENS)))


def test_weights_that_are_trained_are_left_out_where_that_is_asked() -> None:
    layer = layers.Dense(2)
    layer.build((None, 3))
    before = np.asarray(layer.kernel).copy()
    with preserve_state(layer):
        layer.kernel.value.assign_add(before + 1.0)
        layer.kernel.value.scatter_nd_update([[0, 0]], [7.0])
    np.testing.assert_array_equal(np.asarray(layer.kernel), before)
    with preserve_state(layer, trained=False):
        layer.kernel.assign(before + 1.0)
    np.testing.assert_array_equal(np.asarray(layer.kernel), before + 1.0)
