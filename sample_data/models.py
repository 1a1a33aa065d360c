"""Models to try maskcli on: `maskcli check sample_data/rhyme.jsonl --model sample_data.models:scaled`."""

import keras
import numpy as np


def right() -> keras.Model:
    """Embedding, LSTM, pooling: each is given the mask, and padding reaches no result."""
    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(40, 8, mask_zero=True, name="embedding")(tokens)
    x = keras.layers.LSTM(4, return_sequences=True, name="lstm")(x)
    return keras.Model(tokens, keras.layers.GlobalAveragePooling1D(name="mean")(x), name="right")


def scaled() -> keras.Model:
    """The same with a factor behind the embedding, as in every transformer: an operator, which loses the mask."""
    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(40, 8, mask_zero=True, name="embedding")(tokens)
    x = x * 8**0.5
    x = keras.layers.LSTM(4, return_sequences=True, name="lstm")(x)
    return keras.Model(tokens, keras.layers.GlobalAveragePooling1D(name="mean")(x), name="scaled")


def tagger() -> keras.Model:
    """A class for each timestep: the mask is there, and a convolution before it looks at padding."""
    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(40, 8, mask_zero=True, name="embedding")(tokens)
    x = keras.layers.Conv1D(8, 3, padding="same", name="conv")(x)
    model = keras.Model(tokens, keras.layers.Dense(3, name="classes")(x), name="tagger")
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def spotter() -> keras.Model:
    """A probability for each timestep, under a mask that the loss sees; two of its metrics do not look at it."""
    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    wide = keras.initializers.RandomNormal(stddev=2.0)
    x = keras.layers.Embedding(40, 8, mask_zero=True, embeddings_initializer=wide, name="embedding")(tokens)
    x = keras.layers.LSTM(4, return_sequences=True, name="lstm")(x)
    model = keras.Model(tokens, keras.layers.Dense(1, activation="sigmoid", name="noun")(x), name="spotter")
    metrics = [
        "accuracy",
        keras.metrics.Precision(0.49, name="precision"),
        keras.metrics.RootMeanSquaredError(name="rmse"),
    ]
    model.compile(loss="binary_crossentropy", metrics=metrics)
    return model


def attender() -> keras.Model:
    """A class for each timestep, by attention: positions carry no mask, and their sum with the tokens carries none."""
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(40, 8, mask_zero=True, name="embedding")(tokens)
    places = keras.ops.cumsum(keras.ops.ones_like(tokens), axis=1) - 1
    x = keras.layers.Add(name="sum")([x, keras.layers.Embedding(64, 8, name="positions")(places)])
    for name in ("block_1", "block_2"):
        x = _block(name)(x)
    model = keras.Model(tokens, keras.layers.Dense(3, name="classes")(x), name="attender")
    chance = np.random.default_rng(0)  # Keras's own seeds give other weights from version to version here.
    for variable in model.trainable_variables:
        if len(variable.shape) > 1:
            variable.assign(chance.normal(0, 0.5, variable.shape))
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def _block(name: str) -> keras.Model:
    inputs = keras.Input((None, 8), name="inputs")
    attention = keras.layers.MultiHeadAttention(2, 4, name="attention")
    x = keras.layers.Add(name="residual")([inputs, attention(inputs, inputs)])
    return keras.Model(inputs, keras.layers.LayerNormalization(name="norm")(x), name=name)
