"""Rows of a batch do not change each other; a model in which they do is found, with the call at fault."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import maskcli
from maskcli.records.evidence import MixedRows, ModelEvidence

pytestmark = pytest.mark.slow(share=1 / 4)

SQUARE = np.array([[1, 2, 6, 4, 3], [5, 6, 2, 0, 0], [3, 9, 8, 0, 0], [4, 4, 1, 2, 0], [7, 1, 5, 0, 0]])
"""As many rows as timesteps, so that rows and timesteps can be confused."""


def make_model(middle: Callable[[Any], Any], timesteps: int | None = None) -> Any:
    keras.utils.set_random_seed(3)
    tokens = keras.Input((timesteps,), dtype="int32", name="tokens")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = middle(layers.Dense(6)(layers.Embedding(10, 6, mask_zero=True)(tokens)))
        return keras.Model(tokens, layers.Dense(2)(x))


def examine(data: Any, model: Any) -> ModelEvidence:
    evidence = maskcli.check(data, model=model, select=["MSK116"]).examination.model
    assert evidence is not None
    return evidence


def find_mixed_rows(data: Any, model: Any) -> MixedRows | None:
    return examine(data, model).mixed_rows


class SoftmaxOverRows(layers.Layer):
    def call(self, x: Any) -> Any:
        return x * ops.softmax(x, axis=0)


class CenterOverRows(layers.Layer):
    def call(self, x: Any) -> Any:
        return x - ops.mean(x, axis=0, keepdims=True)


class ExchangeAxes(layers.Layer):
    """A reshape that takes the batch for time, as of a model that was written time-major."""

    def call(self, x: Any) -> Any:
        rows, timesteps, features = ops.shape(x)
        return ops.reshape(ops.transpose(ops.reshape(x, (timesteps, rows, features)), (1, 0, 2)), ops.shape(x))


class BatchStatistics(layers.Layer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.norm = layers.BatchNormalization(name="norm")

    def call(self, x: Any) -> Any:
        return self.norm(x, training=True)


class PaddingMaskForPairs(layers.Layer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True
        self.heads = layers.MultiHeadAttention(2, 3, name="heads")

    def call(self, x: Any, mask: Any = None) -> Any:
        return self.heads(x, x, attention_mask=mask)


class NextRow(layers.Layer):
    def call(self, x: Any) -> Any:
        return x + 0.1 * ops.roll(x, 2, axis=0)


MIXING = {
    "softmax": (SoftmaxOverRows, "mixer"),
    "mean": (CenterOverRows, "mixer"),
    "reshape": (ExchangeAxes, "mixer"),
    "statistics": (BatchStatistics, "mixer/norm"),
    "mask": (PaddingMaskForPairs, "mixer/heads"),
    "roll": (NextRow, "mixer"),
}


@pytest.mark.parametrize("kind", MIXING)
def test_mixing_call_is_named(kind: str) -> None:
    layer, path = MIXING[kind]
    for pool in (layers.LSTM(4), layers.LSTM(4, return_sequences=True)):
        mixed = find_mixed_rows(SQUARE, make_model(lambda x, pool=pool: pool(layer(name="mixer")(x))))
        assert mixed is not None
        assert mixed.first_call == path
        assert mixed.max_abs_change > mixed.tolerance


@pytest.mark.parametrize("kind", [kind for kind in MIXING if kind != "mask"])
def test_single_row_is_repeated(kind: str) -> None:
    layer, path = MIXING[kind]
    mixed = find_mixed_rows(SQUARE[:1], make_model(lambda x: layers.LSTM(4)(layer(name="mixer")(x))))
    assert mixed is not None
    assert (mixed.first_call, mixed.sample) == (path, 0)


def test_single_row_with_a_mask_of_pairs_is_found() -> None:
    model = make_model(lambda x: layers.LSTM(4)(PaddingMaskForPairs(name="mixer")(x)))
    mixed = find_mixed_rows(SQUARE[:1], model)
    assert mixed is not None
    assert mixed.first_call == "mixer/heads"


def test_mean_of_a_functional_model_is_named() -> None:
    mixed = find_mixed_rows(SQUARE, make_model(lambda x: layers.LSTM(4)(x - ops.mean(x, axis=0))))
    assert mixed is not None
    assert mixed.first_call == "mean"


def test_finding_names_the_call() -> None:
    model = make_model(lambda x: layers.LSTM(4)(x - ops.mean(x, axis=0)))
    (finding,) = maskcli.check(SQUARE, model=model, select=["MSK116"]).findings
    assert (finding.code, finding.severity, finding.call) == ("MSK116", "error", "mean")


def test_mask_that_mixes_rows_has_one_finding() -> None:
    model = make_model(lambda x: layers.LSTM(4)(PaddingMaskForPairs(name="mixer")(x)))
    findings = maskcli.check(SQUARE, model=model, select=["MSK116", "MSK118"]).findings
    assert [(finding.code, finding.call) for finding in findings] == [("MSK118", "mixer/heads")]
    assert "[:, None, :]" in findings[0].fix


# Right models.


class TimeMajor(layers.Layer):
    def call(self, x: Any) -> Any:
        return ops.transpose(ops.exp(ops.transpose(x, (1, 0, 2))), (1, 0, 2))


class Flat(layers.Layer):
    def call(self, x: Any) -> Any:
        shape = ops.shape(x)
        return ops.reshape(ops.tanh(ops.reshape(x, (-1, shape[-1]))), shape)


class Longest(layers.Layer):
    """A layer that cuts the batch to its longest row, and pads it again."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True

    def compute_output_shape(self, shape: Any) -> Any:
        return shape

    def call(self, x: Any, mask: Any = None) -> Any:
        longest = int(ops.max(ops.sum(ops.cast(mask, "int32"), axis=1)))
        return ops.pad(x[:, :longest], [[0, 0], [0, ops.shape(x)[1] - longest], [0, 0]])


RIGHT: dict[str, Callable[[Any], Any]] = {
    "lstm": lambda x: layers.LSTM(4)(x),
    "bidirectional": lambda x: layers.Bidirectional(layers.GRU(3, return_sequences=True))(x),
    "attention": lambda x: layers.MultiHeadAttention(2, 3)(x, x),
    "causal": lambda x: layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True),
    "convolution": lambda x: layers.GlobalMaxPooling1D()(layers.Conv1D(4, 3, padding="same")(x)),
    "normalization": lambda x: layers.BatchNormalization()(layers.LayerNormalization()(x)),
    "softmax over time": lambda x: layers.Softmax(axis=1)(x) * x,
    "time-major": lambda x: layers.LSTM(4)(TimeMajor()(x)),
    "flat": lambda x: layers.LSTM(4)(Flat()(x)),
    "longest": lambda x: layers.LSTM(4)(Longest()(x)),
    "noise": lambda x: layers.Dropout(0.5)(layers.GaussianNoise(0.3)(x), training=True),
    "distributed": lambda x: layers.TimeDistributed(layers.Dense(3))(x),
}


@pytest.mark.parametrize("kind", RIGHT)
@pytest.mark.parametrize("rows", [5, 3, 1])
def test_right_model_does_not_mix_rows(kind: str, rows: int) -> None:
    assert find_mixed_rows(SQUARE[:rows], make_model(RIGHT[kind])) is None


def test_model_applied_row_by_row_never_mixes() -> None:
    """The law: a mixing model that runs on one row at a time is right."""
    inner = make_model(lambda x: layers.LSTM(4)(CenterOverRows()(x)))

    class RowByRow(keras.Model):
        def call(self, tokens: Any) -> Any:
            rows = [inner(tokens[row : row + 1]) for row in range(tokens.shape[0])]
            return ops.concatenate(rows, axis=0)

    assert find_mixed_rows(SQUARE, inner) is not None
    assert find_mixed_rows(SQUARE, RowByRow()) is None


def test_fixed_batch_and_state_are_no_mixing() -> None:
    tokens = keras.Input((5,), batch_size=5, dtype="int32", name="tokens")
    x = layers.Embedding(10, 4, mask_zero=True)(tokens)
    x = layers.LSTM(3, stateful=True, return_sequences=True)(x)
    assert find_mixed_rows(SQUARE, keras.Model(tokens, layers.GRU(3, stateful=True)(x))) is None


def test_time_major_output_is_not_judged() -> None:
    """An output whose first axis is time has as many rows as the batch by coincidence."""
    model = make_model(lambda x: ops.transpose(layers.LSTM(4, return_sequences=True)(x), (1, 0, 2)))
    assert find_mixed_rows(SQUARE, model) is None


def test_static_and_timed_inputs_stay_together() -> None:
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    side = keras.Input((3,), name="side")
    x = layers.LSTM(4)(layers.Embedding(10, 4, mask_zero=True)(tokens))
    model = keras.Model({"tokens": tokens, "side": side}, layers.Dense(2)(layers.Concatenate()([x, side])))
    rng = np.random.default_rng(0)
    data = {"tokens": SQUARE, "side": rng.normal(size=(5, 3)).astype("float32")}
    assert find_mixed_rows(data, model) is None


def test_probe_is_listed_but_is_no_leak() -> None:
    report = maskcli.check(SQUARE, model=make_model(lambda x: layers.LSTM(4)(SoftmaxOverRows(name="mixer")(x))))
    assert report.leak is not None
    (probe,) = [probe for probe in report.leak.probes if probe.name == "rows"]
    assert (probe.applicable, probe.leaks, probe.first_call) == (True, True, "mixer")
