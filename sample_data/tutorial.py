"""The programs of docs/tutorial.md: `python sample_data/tutorial.py` prints the mask of an Embedding."""

import keras
import numpy as np


def show_mask() -> None:
    """Print the mask that an Embedding makes, and its vector of id 0."""
    ids = np.array([[7, 2, 9], [4, 0, 0]])
    embedding = keras.layers.Embedding(10, 2, mask_zero=True)
    vectors = embedding(ids)
    print("mask:", embedding.compute_mask(ids).numpy().tolist())
    print("vector of id 0 is zero:", bool(np.all(vectors[1, 1] == 0)))


def broken() -> keras.Model:
    """Return a model that loses the mask."""
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = keras.layers.Embedding(40, 8, mask_zero=True, name="embedding")(ids)
    x = x * 2.0
    x = keras.layers.GlobalAveragePooling1D(name="mean")(x)
    return keras.Model(ids, keras.layers.Dense(1, name="score")(x))


class Twice(keras.layers.Layer):
    """Twice its input, under the same mask."""

    def __init__(self, **kwargs: object) -> None:
        """Declare that the mask of the input is also that of the output."""
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Return twice the input."""
        return inputs * 2.0


def repaired() -> keras.Model:
    """Return the same model, which keeps the mask."""
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = keras.layers.Embedding(40, 8, mask_zero=True, name="embedding")(ids)
    x = Twice(name="twice")(x)
    x = keras.layers.GlobalAveragePooling1D(name="mean")(x)
    return keras.Model(ids, keras.layers.Dense(1, name="score")(x))


if __name__ == "__main__":
    show_mask()
