"""All variables of a model are unchanged after any run, bit by bit."""

from __future__ import annotations

import importlib
import random
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import maskcli
from maskcli.backends.choice import get_backend
from maskcli.trace.generators import begin_random_run, preserve_random_state, share_generators
from maskcli.trace.recorder import record_run
from maskcli.trace.state import preserve_state

pytestmark = [pytest.mark.any_backend, pytest.mark.slow(share=1 / 2)]

tf: Any = importlib.import_module("tensorflow") if keras.backend.backend() == "tensorflow" else None
ROWS = [[1, 2, 3, 1, 2, 1], [4, 5]]
TOKENS = np.array([[1, 2, 3, 1, 2, 1], [4, 5, 0, 0, 0, 0]], "int32")
VERBS: tuple[Callable[..., Any], ...] = (maskcli.inspect, maskcli.check)


class Remembering(layers.Layer):
    """Has a variable of every kind, and changes all of them in every call."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = keras.random.SeedGenerator(3)
        self.of_tensorflow = None if tf is None else tf.Variable(0.0, trainable=False)
        self.frozen_count = self.add_weight(shape=(), initializer="zeros", trainable=False)
        self.trained = self.add_weight(shape=(), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        for variable in (self.of_tensorflow, self.frozen_count, self.trained):
            if variable is not None:
                variable.assign(variable + 1.0)
        return inputs + 0.0 * keras.random.normal(keras.ops.shape(inputs), seed=self.generator)


def model_of(*after: Any) -> Any:
    """Return a model that loses its mask, so that every call is probed by itself."""
    keras.utils.set_random_seed(0)
    tokens = keras.Input(batch_shape=(2, None), dtype="int32", name="tokens")
    with warnings.catch_warnings(action="ignore"):
        x = layers.Conv1D(6, 1)(layers.Embedding(10, 6, mask_zero=True)(tokens))
        for layer in after:
            x = layer(x)
        model = keras.Model(tokens, x)
        model(TOKENS)
    return model


def stateful() -> Any:
    """Return a model with as many state units as timesteps: only a probe shows that they are pooled."""
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
            if mask is not None and get_backend().is_eager():
                raise ValueError("broken")
            return outputs

    tokens = keras.Input(batch_shape=(2, None), dtype="int32", name="tokens")
    with warnings.catch_warnings(action="ignore"):
        return keras.Model(tokens, Broken()(layers.Embedding(10, 6, mask_zero=True)(tokens)))


MODELS = (stateful, bidirectional, statistics, remembering, frozen)


def variables(model: Any) -> dict[str, np.ndarray]:
    """Return copies of all variables of a model, without help of maskcli."""
    result = {f"weight {index}": variable for index, variable in enumerate(model.variables)}
    for layer in model._flatten_layers():
        kept = [value for value in vars(layer).values() if tf is not None and isinstance(value, tf.Variable)]
        for index, state in enumerate([*keras.tree.flatten(getattr(layer, "states", None)), *kept]):
            if state is not None:
                result[f"{layer.name} {index}"] = state
    return {name: np.asarray(variable).copy() for name, variable in result.items()}


def changed(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> list[str]:
    assert before.keys() == after.keys()
    return [name for name, value in before.items() if value.tobytes() != after[name].tobytes()]


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
@pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)
def test_run_restores_all_variables(build: Callable[[], Any], verb: Callable[..., Any]) -> None:
    model = build()
    before = variables(model)
    verb(ROWS, model=model)
    assert not changed(before, variables(model))


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
def test_error_restores_all_variables(verb: Callable[..., Any]) -> None:
    model = broken_by_its_mask()
    before = variables(model)
    with warnings.catch_warnings(action="ignore"):
        try:
            report = verb(ROWS, model=model)
        except maskcli.MaskcliError:
            report = None
    assert report is None or {finding.code for finding in report.findings} == {"MSK106"}
    assert not changed(before, variables(model))


@pytest.mark.parametrize("build", [stateful, bidirectional, statistics])
def test_check_of_stateful_model(build: Callable[[], Any]) -> None:
    evidence = maskcli.check(ROWS, model=build()).examination.model
    assert evidence is not None
    assert evidence.leak is not None
    assert {probe.name for probe in evidence.leak.probes if probe.leaks} >= {"replace", "columns"}


def test_new_states_start_at_zero() -> None:
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
    np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (first.output, model(TOKENS))))


@pytest.mark.skipif(tf is None, reason="it changes a variable of TensorFlow in place")
def test_trained_weights_can_be_left_out() -> None:
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


def test_shared_generators_are_left_to_other_threads() -> None:
    model = keras.Sequential([keras.layers.Dense(1)])
    with share_generators():
        before = random.getstate(), np.random.get_state()[1].tolist()
        with preserve_random_state():
            begin_random_run(model)
            assert (random.getstate(), np.random.get_state()[1].tolist()) == before
            drawn = random.random(), np.random.random()
        assert (random.random(), np.random.random()) != drawn
    with preserve_random_state():
        drawn = random.random(), np.random.random()
    assert (random.random(), np.random.random()) == drawn
