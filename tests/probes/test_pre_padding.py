"""Pre-padding shifts positions, which is no leak; another choice of timesteps is one."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from keras import layers, ops

from maskcli.records.inputs import ModelInput
from tests.probes.test_verdict import ROWS, WORDS, judge, pad


class Choose(layers.Layer):
    """Returns the last valid timestep, or that at the number of valid ones: right with post-padding only."""

    def __init__(self, by_count: bool) -> None:
        super().__init__()
        self.by_count = by_count

    def call(self, x: Any, mask: Any) -> Any:
        numbers = ops.cast(mask, "int32")
        steps = ops.arange(ops.shape(x)[1])
        last = ops.sum(numbers, axis=1) - 1 if self.by_count else ops.max(numbers * steps, axis=1)
        chosen = ops.cast(ops.expand_dims(last, 1) == steps, x.dtype)
        return ops.sum(x * ops.expand_dims(chosen, -1), axis=1)


class Place(layers.Layer):
    """Adds a vector for each position, for all rows alike."""

    def build(self, shape: Any) -> None:
        self.table = self.add_weight(shape=(32, shape[-1]), initializer="normal", name="table")

    def call(self, x: Any) -> Any:
        return x + self.table[: ops.shape(x)[1]]


@pytest.mark.parametrize("places", [False, True])
@pytest.mark.parametrize(("by_count", "verdict"), [(True, "leaks"), (False, "clean")])
def test_choice_of_a_timestep(places: bool, by_count: bool, verdict: str) -> None:
    keras.utils.set_random_seed(0)
    tokens = pad(ROWS)[:, ::-1].copy()
    words = keras.Input((None,), dtype="int32", name="words")
    valid = ops.not_equal(words, 0)
    x = layers.Embedding(WORDS, 4)(words)
    x = Place()(x) if places else x
    x = layers.Attention()([x, x], mask=[valid, valid])
    x = Choose(by_count)(x * x, valid)
    assert judge(keras.Model(words, x), ModelInput("words", tokens, tokens != 0, "ids")).verdict == verdict


@pytest.mark.parametrize(("gives_mask", "verdict"), [(True, "clean"), (False, "leaks")])
def test_last_timestep_after_attention_with_positions(gives_mask: bool, verdict: str) -> None:
    """Recommenders pad before the items and take the last one, which would be padding on the other side."""
    keras.utils.set_random_seed(0)
    tokens = pad(ROWS)[:, ::-1].copy()
    words = keras.Input((None,), dtype="int32", name="words")
    keep = ops.not_equal(words, 0)
    x = Place()(layers.Embedding(WORDS, 4)(words))
    mask = keep[:, None, :] if gives_mask else None
    x = x + layers.MultiHeadAttention(1, 4)(x, x, attention_mask=mask, use_causal_mask=True)
    x = layers.Dense(3)(x)[:, -1]
    assert judge(keras.Model(words, x), ModelInput("words", tokens, tokens != 0, "ids")).verdict == verdict


class RunningMean(layers.Layer):
    """Averages the timesteps up to each one, of which padding counts as zeros, or does not count."""

    def __init__(self, counts_padding: bool) -> None:
        super().__init__()
        self.counts_padding = counts_padding

    def call(self, x: Any, mask: Any) -> Any:
        numbers = ops.cast(ops.expand_dims(mask, -1), x.dtype)
        steps = ops.cast(ops.arange(ops.shape(x)[1])[:, None] + 1, x.dtype)
        counts = steps if self.counts_padding else ops.maximum(ops.cumsum(numbers, axis=1), 1)
        return ops.cumsum(x * numbers, axis=1) / counts


@pytest.mark.parametrize(("counts_padding", "verdict"), [(True, "leaks"), (False, "clean")])
def test_mean_over_padding_before_the_data_is_no_position(counts_padding: bool, verdict: str) -> None:
    keras.utils.set_random_seed(0)
    tokens = pad(ROWS)[:, ::-1].copy()
    words = keras.Input((None,), dtype="int32", name="words")
    x = RunningMean(counts_padding)(layers.Embedding(WORDS, 4)(words), ops.not_equal(words, 0))
    model = keras.Model(words, layers.Dense(2)(x))
    assert judge(model, ModelInput("words", tokens, tokens != 0, "ids")).verdict == verdict
