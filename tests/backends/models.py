"""Models for the tests of backends; those whose masks depend on the backend have that in their docstring."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
from keras import layers, ops

IDS = np.array([[1, 2, 3, 4], [5, 6, 0, 0], [7, 0, 0, 0]])


def make_embedding() -> Any:
    return layers.Embedding(10, 3, mask_zero=True)


def sum_in_code() -> tuple[Any, Any]:
    keras.utils.set_random_seed(2)

    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.dense = make_embedding(), layers.Dense(2)

        def call(self, tokens: Any) -> Any:
            vectors = self.embedding(tokens)
            shifted = vectors[:, 1:] * 2.0
            return self.dense(ops.mean(shifted, axis=1))

    return Model(), IDS


def first_timestep() -> tuple[Any, Any]:
    keras.utils.set_random_seed(2)

    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.rnn = make_embedding(), layers.GRU(3, return_sequences=True)

        def call(self, tokens: Any) -> Any:
            return self.rnn(self.embedding(tokens))[:, 0]

    return Model(), IDS


def last_timestep() -> tuple[Any, Any]:
    model, _ = first_timestep()
    model.call = lambda tokens: model.rnn(model.embedding(tokens))[:, -1] + model.embedding(tokens)[:, -1]
    return model, IDS


def stateful() -> tuple[Any, Any]:
    tokens = keras.Input(batch_shape=(3, 4), dtype="int32")
    rnn = layers.LSTM(3, stateful=True, return_sequences=True)
    return keras.Model(tokens, layers.Dropout(0.5)(layers.Dense(2)(rnn(make_embedding()(tokens))))), IDS


def attention() -> tuple[Any, Any]:
    tokens = keras.Input((4,), dtype="int32")
    vectors = layers.Embedding(10, 4, mask_zero=True)(tokens)
    attended = layers.MultiHeadAttention(2, 2)(vectors, vectors)
    return keras.Model(tokens, layers.LayerNormalization()(attended + vectors)), IDS


def bidirectional() -> tuple[Any, Any]:
    tokens = keras.Input((None,), dtype="int32")
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(make_embedding()(tokens))
    return keras.Model(tokens, layers.GlobalAveragePooling1D()(x)), IDS


def masked_loss() -> tuple[Any, Any, Any]:
    tokens = keras.Input((None,), dtype="int32")
    x = layers.LSTM(3, return_sequences=True)(make_embedding()(tokens))
    model = keras.Model(tokens, layers.Dense(2, activation="softmax")(x))
    model.compile(loss="sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    return model, IDS, IDS % 2


def put_before_pooling(layer: Any) -> tuple[Any, Any]:
    """Return a model with a layer that returns its input: JAX returns the same array, whose mask Keras keeps by ``id``."""
    parts = [make_embedding(), layer, layers.GlobalAveragePooling1D()]
    with warnings.catch_warnings(action="ignore"):
        return keras.Sequential([keras.Input((4,), dtype="int32"), *parts]), IDS


def reshaped() -> tuple[Any, Any]:
    return put_before_pooling(layers.Reshape((4, 3)))


def permuted() -> tuple[Any, Any]:
    return put_before_pooling(layers.Permute((1, 2)))


def cropped() -> tuple[Any, Any]:
    return put_before_pooling(layers.Cropping1D(0))


def unroll(layer: Any) -> tuple[Any, Any]:
    """Return a model with a layer that PyTorch cannot run with a mask: Keras flips a tuple of masks as a tensor."""
    return keras.Sequential([keras.Input((4,), dtype="int32"), make_embedding(), layer]), IDS


def unrolled_both_ways() -> tuple[Any, Any]:
    return unroll(layers.Bidirectional(layers.LSTM(3, unroll=True, return_sequences=True)))


def unrolled_backwards() -> tuple[Any, Any]:
    return unroll(layers.GRU(3, unroll=True, go_backwards=True))


def padded_before() -> tuple[Any, Any]:
    """Code of its own with an LSTM, and padding before the tokens, which cuDNN does not take."""
    keras.utils.set_random_seed(2)

    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.rnn = make_embedding(), layers.LSTM(3, name="rnn")

        def call(self, tokens: Any) -> Any:
            return self.rnn(self.embedding(tokens) * 2.0)

    return Model(), IDS[:, ::-1].copy()


def stopped_gradient() -> tuple[Any, Any]:
    """A gradient that stops: JAX returns the same array eagerly, and another one when it is compiled."""
    keras.utils.set_random_seed(2)

    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.pool = make_embedding(), layers.GlobalAveragePooling1D(name="pool")

        def call(self, tokens: Any) -> Any:
            return self.pool(ops.stop_gradient(self.embedding(tokens)))

    return Model(), IDS


def unknown_class() -> tuple[Any, Any, Any]:
    """Class ids out of range: TensorFlow and PyTorch raise, JAX computes a number."""
    tokens = keras.Input((None,), dtype="int32")
    model = keras.Model(tokens, layers.Dense(2, activation="softmax")(make_embedding()(tokens)))
    model.compile(loss="sparse_categorical_crossentropy")
    return model, IDS, IDS
