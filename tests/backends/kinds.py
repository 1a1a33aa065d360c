"""Small models that are compared between backends: those that are equal, and those whose masks depend on the backend.

A kind is a function that returns a model, compiled with a loss if it has targets, its data, and the targets or None.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

IDS = np.array([[1, 2, 3, 4], [5, 6, 0, 0], [7, 0, 0, 0], [8, 9, 2, 0]])
WITH_EMPTY = np.array([[1, 2, 3, 4], [5, 6, 0, 0], [0, 0, 0, 0]])
RNG = np.random.default_rng(3)
FEATURES = RNG.standard_normal((3, 4, 3)).astype("float32")
FEATURES[1, 2:] = 0
FEATURES[2, 1:] = 0

Kind = Callable[[], tuple[Any, Any, Any]]
EQUAL: dict[str, Kind] = {}
"""By name, kinds that are equal on all backends."""
DIFFERENT: dict[str, Kind] = {}
"""By name, kinds that differ."""


def embed(timesteps: int | None = 4, units: int = 3) -> tuple[Any, Any]:
    """Return an input of ids, and their vectors, which carry a mask."""
    tokens = keras.Input((timesteps,), dtype="int32", name="tokens")
    return tokens, layers.Embedding(10, units, mask_zero=True, name="embedding")(tokens)


def make_tagger(*parts: Callable[[], Any], units: int = 3) -> Kind:
    """Return a kind with these layers after an embedding."""

    def make() -> tuple[Any, Any, Any]:
        tokens, x = embed(units=units)
        for part in parts:
            x = part()(x)
        return keras.Model(tokens, x), IDS, None

    return make


def make_recurrent(layer: Callable[[], Any]) -> Kind:
    """Return a kind with a recurrent layer on features."""

    def make() -> tuple[Any, Any, Any]:
        features = keras.Input((4, 3), name="features")
        return keras.Model(features, layer()(layers.Masking()(features))), FEATURES, None

    return make


def make_subclassed(call: Callable[[Any, Any], Any], **parts: Callable[[], Any]) -> Kind:
    """Return a kind of a subclassed model: ``call(model, tokens)`` uses its ``parts`` and its embedding."""

    def make() -> tuple[Any, Any, Any]:
        class Model(keras.Model):
            def __init__(self) -> None:
                super().__init__()
                self.embedding = layers.Embedding(10, 3, mask_zero=True, name="embedding")
                for name, part in parts.items():
                    setattr(self, name, part())

            def call(self, tokens: Any) -> Any:
                return call(self, tokens)

        return Model(), IDS, None

    return make


SEQUENCES = {"return_sequences": True}
POOL = layers.GlobalAveragePooling1D
POINTWISE: dict[str, Callable[[], Any]] = {
    "dense": lambda: layers.Dense(2),
    "dropout": lambda: layers.Dropout(0.5),
    "layer_normalization": layers.LayerNormalization,
    "batch_normalization": layers.BatchNormalization,
    "unit_normalization": layers.UnitNormalization,
    "activation": lambda: layers.Activation("tanh"),
    "leaky_relu": layers.LeakyReLU,
    "time_distributed": lambda: layers.TimeDistributed(layers.Dense(2)),
    "gaussian_noise": lambda: layers.GaussianNoise(0.5),
    "spatial_dropout": lambda: layers.SpatialDropout1D(0.5),
    "rescaling": lambda: layers.Rescaling(2.0),
    "conv": lambda: layers.Conv1D(2, 3, padding="same"),
    "causal_conv": lambda: layers.Conv1D(2, 2, padding="causal"),
    "depthwise_conv": lambda: layers.DepthwiseConv1D(3, padding="same"),
    "max_pooling": lambda: layers.MaxPooling1D(2),
    "up_sampling": lambda: layers.UpSampling1D(2),
    "zero_padding": lambda: layers.ZeroPadding1D(1),
    "cropping": lambda: layers.Cropping1D(1),
    "reshape": lambda: layers.Reshape((2, 6)),
    "flatten": layers.Flatten,
    "permute": lambda: layers.Permute((2, 1)),
}
for _name, _part in POINTWISE.items():
    EQUAL[_name] = make_tagger(_part)
RECURRENT: dict[str, Callable[[], Any]] = {
    "lstm": lambda: layers.LSTM(3, **SEQUENCES),
    "lstm_last": lambda: layers.LSTM(3),
    "lstm_zeros": lambda: layers.LSTM(3, zero_output_for_mask=True, **SEQUENCES),
    "lstm_unrolled": lambda: layers.LSTM(3, unroll=True, **SEQUENCES),
    "gru": lambda: layers.GRU(3, **SEQUENCES),
    "gru_reset_before": lambda: layers.GRU(3, reset_after=False, **SEQUENCES),
    "gru_backwards": lambda: layers.GRU(3, go_backwards=True, **SEQUENCES),
    "simple_rnn": lambda: layers.SimpleRNN(3),
    "bidirectional": lambda: layers.Bidirectional(layers.LSTM(3, **SEQUENCES)),
    "bidirectional_last": lambda: layers.Bidirectional(layers.GRU(3), merge_mode="sum"),
    "stacked_cells": lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], **SEQUENCES),
}
for _name, _part in RECURRENT.items():
    EQUAL[_name] = make_recurrent(_part)
EQUAL["pooling"] = make_tagger(POOL)
EQUAL["maximum"] = make_tagger(layers.GlobalMaxPooling1D)
EQUAL["tagger"] = make_tagger(lambda: layers.LSTM(3, **SEQUENCES), lambda: layers.Dense(2))


def _kind(kinds: dict[str, Kind]) -> Callable[[Kind], Kind]:
    """Return a decorator that adds a kind."""

    def add(make: Kind) -> Kind:
        kinds[make.__name__] = make
        return make

    return add


@_kind(EQUAL)
def residual() -> tuple[Any, Any, Any]:
    tokens, x = embed()
    return keras.Model(tokens, POOL()(layers.Add()([x, layers.Dense(3)(x)]))), IDS, None


@_kind(EQUAL)
def concatenated() -> tuple[Any, Any, Any]:
    tokens, x = embed()
    return keras.Model(tokens, POOL()(layers.Concatenate()([x, layers.Dense(2)(x)]))), IDS, None


@_kind(EQUAL)
def multiplied() -> tuple[Any, Any, Any]:
    tokens, x = embed()
    return keras.Model(tokens, POOL()(x * 2.0)), IDS, None


@_kind(EQUAL)
def self_attention() -> tuple[Any, Any, Any]:
    tokens, x = embed(units=4)
    return keras.Model(tokens, layers.MultiHeadAttention(2, 2)(x, x)), IDS, None


@_kind(EQUAL)
def causal_attention() -> tuple[Any, Any, Any]:
    tokens, x = embed(units=4)
    attended = layers.MultiHeadAttention(2, 2)(x, x, use_causal_mask=True)
    return keras.Model(tokens, layers.LayerNormalization()(attended + x)), IDS, None


@_kind(EQUAL)
def grouped_attention() -> tuple[Any, Any, Any]:
    tokens, x = embed(units=4)
    return keras.Model(tokens, layers.GroupQueryAttention(2, 4, 2)(x, x)), IDS, None


@_kind(EQUAL)
def additive_attention() -> tuple[Any, Any, Any]:
    tokens, x = embed()
    return keras.Model(tokens, layers.AdditiveAttention()([x, x])), IDS, None


@_kind(EQUAL)
def two_outputs() -> tuple[Any, Any, Any]:
    tokens, x = embed()
    return keras.Model(tokens, {"tags": layers.Dense(2)(x), "mood": POOL()(x)}), IDS, None


@_kind(EQUAL)
def masked_loss() -> tuple[Any, Any, Any]:
    tokens, x = embed()
    model = keras.Model(tokens, layers.Dense(2, activation="softmax")(layers.GRU(3, return_sequences=True)(x)))
    model.compile(loss="sparse_categorical_crossentropy")
    return model, IDS, IDS % 2


@_kind(EQUAL)
def stateful() -> tuple[Any, Any, Any]:
    tokens = keras.Input(batch_shape=(4, 4), dtype="int32")
    x = layers.Embedding(10, 3, mask_zero=True)(tokens)
    return keras.Model(tokens, layers.LSTM(3, stateful=True, return_sequences=True)(x)), IDS, None


@_kind(EQUAL)
def empty_row() -> tuple[Any, Any, Any]:
    tokens, x = embed()
    return keras.Model(tokens, layers.LSTM(3)(x)), WITH_EMPTY, None


@_kind(EQUAL)
def half_precision() -> tuple[Any, Any, Any]:
    tokens, x = embed()
    dense = layers.Dense(2, dtype="mixed_bfloat16")
    return keras.Model(tokens, POOL(dtype="float32")(dense(x))), IDS, None


EQUAL["sum_in_code"] = make_subclassed(
    lambda model, tokens: model.dense(ops.mean(model.embedding(tokens)[:, 1:] * 2.0, axis=1)),
    dense=lambda: layers.Dense(2),
)


# Kinds that differ.


def make_unchanged(change: Callable[[Any], Any], data: Any = IDS) -> Kind:
    """Return a kind whose vectors go through something that returns them unchanged, before a pooling."""

    def make() -> tuple[Any, Any, Any]:
        tokens, x = embed()
        with warnings.catch_warnings(action="ignore"):
            model = keras.Model(tokens, POOL(name="pool")(change(x)))
        model.compile(loss="mse")
        return model, data, np.linspace(0, 1, 3 * len(data)).reshape(-1, 3).astype("float32")

    return make


DIFFERENT["reshape_to_same_shape"] = make_unchanged(lambda x: layers.Reshape((4, 3), name="same")(x))
DIFFERENT["permute_in_order"] = make_unchanged(lambda x: layers.Permute((1, 2), name="same")(x))
DIFFERENT["crop_nothing"] = make_unchanged(lambda x: layers.Cropping1D(0, name="same")(x))
DIFFERENT["unchanged_with_empty_row"] = make_unchanged(lambda x: layers.Reshape((4, 3), name="same")(x), WITH_EMPTY)
DIFFERENT["slice_of_all"] = make_subclassed(
    lambda model, tokens: model.pool(model.embedding(tokens)[:, :, :]), pool=lambda: POOL(name="pool")
)
DIFFERENT["stopped_gradient"] = make_subclassed(
    lambda model, tokens: model.pool(ops.stop_gradient(model.embedding(tokens))), pool=lambda: POOL(name="pool")
)
DIFFERENT["lstm_unrolled_zeros"] = make_recurrent(
    lambda: layers.LSTM(3, unroll=True, zero_output_for_mask=True, return_sequences=True, name="rnn")
)
DIFFERENT["bidirectional_unrolled"] = make_recurrent(
    lambda: layers.Bidirectional(layers.LSTM(3, unroll=True, return_sequences=True), name="rnn")
)
DIFFERENT["gru_unrolled_backwards"] = make_recurrent(
    lambda: layers.GRU(3, unroll=True, go_backwards=True, return_sequences=True, name="rnn")
)


def make_rematerialized(part: Callable[[], Any]) -> Kind:
    """Return a kind with a layer in a ``RematScope``."""

    def make() -> tuple[Any, Any, Any]:
        tokens, x = embed()
        with keras.RematScope("full"):
            layer = part()
        model = keras.Model(tokens, layer(x))
        model.compile(loss="mse")
        return model, IDS, np.linspace(0, 1, 12 * len(IDS)).reshape(-1, 4, 3).astype("float32")

    return make


DIFFERENT["dense_rematerialized"] = make_rematerialized(lambda: layers.Dense(3, name="part"))
DIFFERENT["lstm_rematerialized"] = make_rematerialized(lambda: layers.LSTM(3, return_sequences=True, name="part"))


def build(name: str) -> tuple[Any, Any, Any]:
    """Return the model, the data and the targets of a kind."""
    keras.utils.set_random_seed(1)
    return {**EQUAL, **DIFFERENT}[name]()
