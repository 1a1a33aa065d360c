"""A training script with a custom layer: `python sample_data/train.py` trains on reviews.jsonl and saves the model."""

import argparse
import json
from pathlib import Path

import keras
import numpy as np

FOLDER = Path(__file__).parent


@keras.saving.register_keras_serializable(package="reviews")
class Scale(keras.layers.Layer):
    """Vectors times the square root of their size, as in transformers. It does not pass the mask on."""

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return ``x`` times the square root of its last axis."""
        return x * x.shape[-1] ** 0.5


def build_model(vocab_size: int = 32, units: int = 4) -> keras.Model:
    """Return a classifier of reviews."""
    ids = keras.Input((None,), dtype="int32", name="input_ids")
    x = keras.layers.Embedding(vocab_size, 8, mask_zero=True, name="embedding")(ids)
    x = Scale(name="scale")(x)
    x = keras.layers.LSTM(units, name="lstm")(x)
    model = keras.Model(ids, keras.layers.Dense(1, activation="sigmoid", name="positive")(x), name="reviews")
    model.compile("adam", "binary_crossentropy")
    return model


def main() -> None:
    """Train the model, and save it with and without its layers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args().epochs
    rows = [json.loads(line) for line in (FOLDER / "reviews.jsonl").read_text().splitlines()]
    keras.utils.set_random_seed(0)
    model = build_model()
    model.fit(np.array([row["input_ids"] for row in rows]), np.array([row["labels"] for row in rows]), epochs=epochs)
    model.save(FOLDER / "reviews.keras")
    model.save_weights(FOLDER / "reviews.weights.h5")


if __name__ == "__main__":
    main()
