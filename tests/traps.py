"""Traps of Keras, as small models: each with its data and its fault."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

TOKENS = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 0, 0, 0, 0]])
STATE = np.ones((2, 3), "float32")


@dataclasses.dataclass(frozen=True)
class Trap:
    """A model, its inputs by name, the rule that must name it, the class of the culprit, and options of the check."""

    model: Any
    arrays: dict[str, Any]
    code: str
    culprit: str
    targets: Any = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


def embedding(width: int = 4, **options: Any) -> Any:
    return layers.Embedding(10, width, mask_zero=True, **options)


def tokens_of(timesteps: int | None = 6) -> Any:
    return keras.Input((timesteps,), name="tokens")


def initial_state() -> Trap:
    tokens, h, c = tokens_of(None), keras.Input((3,), name="h"), keras.Input((3,), name="c")
    model = keras.Model([tokens, h, c], layers.LSTM(3)(embedding()(tokens), initial_state=[h, c]))
    return Trap(model, {"tokens": TOKENS, "h": STATE, "c": STATE}, "MSK103", "LSTM")


def position_embeddings() -> Trap:
    tokens, positions = tokens_of(), keras.Input((6,), name="positions")
    ones = {"embeddings_initializer": "ones"}
    summed = layers.Add()([embedding(8, **ones)(tokens), layers.Embedding(6, 8, **ones)(positions)])
    model = keras.Model([tokens, positions], layers.MultiHeadAttention(1, 8)(summed, summed))
    return Trap(model, {"tokens": TOKENS, "positions": np.tile(np.arange(6), (2, 1))}, "MSK101", "Add")


def operator() -> Trap:
    features = keras.Input((3, 1), name="features")
    model = keras.Model(features, layers.Masking(0.0)(features) * 1.0)
    model.compile(loss="mae")
    data, targets = np.array([[[1.0], [0.0], [1.0]]]), np.array([[[0.0], [1.0], [1.0]]])
    return Trap(model, {"features": data}, "MSK101", "Multiply", targets)


def convolution() -> Trap:
    tokens = tokens_of()
    hidden = layers.Conv1D(4, 3, padding="same")(embedding()(tokens))
    return Trap(keras.Model(tokens, layers.LSTM(3)(hidden)), {"tokens": TOKENS}, "MSK101", "Conv1D")


def empty_row() -> Trap:
    model = keras.Sequential([tokens_of(3), embedding(), layers.GlobalAveragePooling1D(), layers.Dense(1)])
    return Trap(model, {"tokens": np.array([[1, 2, 0], [0, 0, 0]])}, "MSK201", "GlobalAveragePooling1D")


def batch_size() -> Trap:
    tokens = np.array([[1] * 10, [2] + [0] * 9])
    targets = np.zeros((2, 10, 1))
    targets[1, 0] = 10
    model = keras.Sequential([tokens_of(10), embedding(1, embeddings_initializer="zeros")])
    model.compile(loss="mse", metrics=["mse"])
    return Trap(model, {"tokens": tokens}, "MSK302", "Sequential", targets, {"batch_size": 1})


def metrics() -> Trap:
    model = keras.Sequential([keras.Input((3, 1), name="features"), layers.Masking(0.0)])
    model.compile(
        loss="binary_crossentropy",
        metrics=["accuracy", keras.metrics.Recall(), keras.metrics.RootMeanSquaredError()],
    )
    features, targets = np.array([[[0.9], [0.0], [0.0]]]), np.array([[[1.0], [0.0], [1.0]]])
    return Trap(model, {"features": features}, "MSK303", "Recall", targets)


def concatenate() -> Trap:
    tokens, features = tokens_of(), keras.Input((6, 2), name="features")
    model = keras.Model([tokens, features], layers.Concatenate()([embedding()(tokens), features]))
    return Trap(model, {"tokens": TOKENS, "features": np.zeros((2, 6, 2), "float32")}, "MSK102", "Concatenate")


def sliced_in_code() -> Trap:
    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.lstm = embedding(), layers.LSTM(3)

        def call(self, tokens: Any) -> Any:
            return self.lstm(self.embedding(tokens)[:, :, :2])

    return Trap(Model(), {"tokens": TOKENS}, "MSK101", "StridedSlice")


def mean_in_code() -> Trap:
    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.dense = embedding(), layers.Dense(2)

        def call(self, tokens: Any) -> Any:
            return self.dense(keras.ops.mean(self.embedding(tokens), axis=1))

    return Trap(Model(), {"tokens": TOKENS}, "MSK101", "Mean")


def flatten() -> Trap:
    model = keras.Sequential([tokens_of(), embedding(), layers.Flatten(), layers.Dense(2)])
    return Trap(model, {"tokens": TOKENS}, "MSK101", "Flatten")


def max_over_zeros() -> Trap:
    tokens = tokens_of(None)
    states = layers.LSTM(3, return_sequences=True, zero_output_for_mask=True)(embedding()(tokens))
    return Trap(
        keras.Model(tokens, layers.GlobalMaxPooling1D()(states)), {"tokens": TOKENS}, "MSK101", "GlobalMaxPooling1D"
    )


TRAPS: tuple[Callable[[], Trap], ...] = (
    initial_state,
    position_embeddings,
    operator,
    convolution,
    empty_row,
    batch_size,
    metrics,
    concatenate,
    sliced_in_code,
    mean_in_code,
    flatten,
    max_over_zeros,
)


def built(make: Callable[[], Trap]) -> Trap:
    """Build a trap with seeded weights, without Keras's warnings."""
    keras.utils.set_random_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()
