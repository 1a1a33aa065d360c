"""Models of one length: constants with timesteps are cut to those of a row, which then runs without its padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import maskcli
from maskcli.records.check import CheckReport

pytestmark = pytest.mark.slow(share=1 / 2)

STEPS = 6
ROWS = np.array([[3, 1, 4, 0, 0, 0], [5, 2, 0, 0, 0, 0], [6, 7, 8, 9, 1, 2], [2, 2, 7, 1, 0, 0]])
Build = Callable[[bool], Any]
BUILDS: dict[str, Build] = {}


def build(function: Build) -> Build:
    """Enter a builder, whose model leaves padding out if its argument is True."""
    BUILDS[function.__name__] = function
    return function


def start(width: int = 5) -> tuple[Any, Any, Any]:
    words = keras.Input((STEPS,), dtype="int32", name="words")
    return words, ops.not_equal(words, 0), layers.Embedding(12, width, name="lookup")(words)


def attend(x: Any, mask: Any, right: bool, **options: Any) -> Any:
    mask = ops.expand_dims(mask, 1) if right else None
    return layers.MultiHeadAttention(2, 3, name="attend")(x, x, attention_mask=mask, **options)


def pool(x: Any, mask: Any) -> Any:
    return layers.GlobalAveragePooling1D(name="pool")(x, mask=mask)


@build
def table_of_positions(right: bool) -> Any:
    words, mask, x = start()
    x = x + layers.Embedding(STEPS, 5, name="where")(ops.arange(STEPS))
    return keras.Model(words, pool(attend(x, mask, right), mask))


@build
def table_of_as_many_positions_as_features(right: bool) -> Any:
    words, mask, x = start(STEPS)
    x = x + layers.Embedding(STEPS, STEPS, name="where")(ops.arange(STEPS))
    return keras.Model(words, pool(attend(x, mask, right), mask))


@build
def causal_mask_made_in_advance(right: bool) -> Any:
    words, mask, x = start()
    earlier = ops.convert_to_tensor(np.tril(np.ones((STEPS, STEPS), bool)))
    scores = ops.matmul(layers.Dense(4, name="q")(x), ops.transpose(layers.Dense(4, name="k")(x), (0, 2, 1)))
    allowed = ops.logical_and(earlier, ops.expand_dims(mask, 1)) if right else earlier
    scores = ops.where(allowed, scores, -1e9)
    y = ops.matmul(ops.softmax(scores), x)
    return keras.Model(words, pool(y, mask) if right else ops.mean(y, axis=1))


class WeighSteps(layers.Layer):
    """Weighs each timestep by a score with a bias of its own."""

    def __init__(self, right: bool, **options: Any) -> None:
        super().__init__(**options)
        self.right, self.supports_masking = right, True

    def build(self, shape: Any) -> None:
        self.bias = self.add_weight(shape=(shape[1],), initializer="random_normal")

    def call(self, x: Any, mask: Any = None) -> Any:
        weights = ops.exp(ops.tanh(ops.sum(x, axis=-1) + self.bias))
        if self.right:
            weights = weights * ops.cast(mask, weights.dtype)
        weights = weights / ops.sum(weights, axis=1, keepdims=True)
        return ops.sum(x * weights[:, :, None], axis=1)

    def compute_mask(self, *_: Any, **__: Any) -> None:
        return None


@build
def weight_of_each_timestep(right: bool) -> Any:
    """After the RNN, padding repeats the last state, so that only its amount leaks."""
    words = keras.Input((STEPS,), dtype="int32", name="words")
    x = layers.GRU(4, return_sequences=True)(layers.Embedding(12, 5, mask_zero=True)(words))
    return keras.Model(words, WeighSteps(right, name="weigh")(x))


class AddWave(layers.Layer):
    """Adds an array that was computed in advance."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.wave = np.sin(np.arange(STEPS)[:, None] / np.arange(1, 6)).astype("float32")

    def call(self, x: Any) -> Any:
        return x + self.wave


@build
def array_in_a_layer(right: bool) -> Any:
    words, mask, x = start()
    return keras.Model(words, pool(attend(AddWave(name="wave")(x), mask, right), mask))


@build
def repeated_query(right: bool) -> Any:
    words, mask, x = start()
    query = ops.repeat(ops.max(ops.where(mask[..., None], x, -1e9), axis=1, keepdims=True), STEPS, axis=1)
    scores = ops.squeeze(layers.Dense(1, name="score")(ops.concatenate([query, x], axis=-1)), -1)
    weights = ops.softmax(ops.where(mask, scores, -1e9) if right else scores)
    return keras.Model(words, ops.sum(weights[:, :, None] * x, axis=1))


@build
def repeated_query_and_positions(right: bool) -> Any:
    words, mask, x = start()
    x = x + layers.Embedding(STEPS, 5, name="where")(ops.arange(STEPS))
    query = ops.repeat(ops.max(ops.where(mask[..., None], x, -1e9), axis=1, keepdims=True), STEPS, axis=1)
    scores = ops.squeeze(layers.Dense(1, name="score")(ops.concatenate([query, x], axis=-1)), -1)
    weights = ops.softmax(ops.where(mask, scores, -1e9) if right else scores)
    return keras.Model(words, ops.sum(weights[:, :, None] * x, axis=1))


class MeanOfTable(layers.Layer):
    """Scales by the mean of as many numbers as there are timesteps, which are none of theirs."""

    def build(self, _: Any) -> None:
        self.table = self.add_weight(shape=(STEPS,), initializer="random_normal")

    def call(self, x: Any) -> Any:
        return x * ops.mean(self.table)


@build
def mean_of_a_weight_of_as_many_numbers(right: bool) -> Any:
    words, mask, x = start()
    x = MeanOfTable(name="scale")(x + layers.Embedding(STEPS, 5, name="where")(ops.arange(STEPS)))
    return keras.Model(words, pool(attend(x, mask, right), mask))


def run_check(name: str, right: bool, side: str) -> CheckReport:
    keras.utils.set_random_seed(4)
    model = BUILDS[name](right)
    rows = ROWS if side == "post" else np.array([np.roll(row, (row == 0).sum()) for row in ROWS])
    return maskcli.check({"words": rows}, model=model)


@pytest.mark.parametrize("side", ["post", "pre"])
@pytest.mark.parametrize("name", BUILDS)
def test_right_model_of_one_length_is_clean(name: str, side: str) -> None:
    report = run_check(name, True, side)
    assert report.leak is not None
    alone = next(probe for probe in report.leak.probes if probe.name == "alone")
    assert alone.applicable, alone.why
    assert report.leak.verdict == "clean"


@pytest.mark.parametrize("name", BUILDS)
def test_row_alone_leaks_in_a_model_of_one_length(name: str) -> None:
    report = run_check(name, False, "post")
    assert report.leak is not None
    assert next(probe for probe in report.leak.probes if probe.name == "alone").leaks
    assert report.repairs


def test_cause_of_a_leak_by_amount_in_a_model_of_one_length() -> None:
    report = run_check("weight_of_each_timestep", False, "post")
    assert report.leak is not None
    assert [probe.name for probe in report.leak.probes if probe.leaks] == ["alone"]
    assert [(finding.code, finding.call) for finding in report.findings] == [("MSK107", "weigh")]
