"""Measure a traced run, compared with the plain forward pass of the same model.

    python benchmarks/tracing.py [--runs 7]

Both run eagerly in one process, in turn, A B A B ...; the table has the median of the ratios of all pairs (target: at
most 3). Nothing is asserted; this measures, and does not test.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from turns import compute_ratio, measure, print_header, print_row, run_pairs

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def deep(calls: int) -> Any:
    """Return nested models of a hundred layers each, with ``calls`` calls in all; Keras cannot build a deeper graph."""
    import keras

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(100, 16, mask_zero=True)(tokens)
    for _ in range(calls // 100):
        inside = part = keras.Input((None, 16))
        for _ in range(50):
            inside = keras.layers.LayerNormalization()(keras.layers.Dense(16, activation="relu")(inside))
        x = keras.Model(part, inside)(x)
    return keras.Model(tokens, keras.layers.GlobalAveragePooling1D()(x))


def transformer() -> Any:
    """Return six transformer blocks, with operators between their layers."""
    import keras

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(100, 32, mask_zero=True)(tokens)
    for _ in range(6):
        x = keras.layers.LayerNormalization()(x + keras.layers.MultiHeadAttention(4, 8)(x, x))
        x = keras.layers.LayerNormalization()(x + keras.layers.Dense(32)(keras.layers.Dense(64, activation="gelu")(x)))
    return keras.Model(tokens, keras.layers.GlobalAveragePooling1D()(x))


def recurrent() -> Any:
    """Return two recurrent layers, which run timestep by timestep."""
    import keras

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(100, 32, mask_zero=True)(tokens)
    x = keras.layers.Bidirectional(keras.layers.LSTM(16, return_sequences=True))(x)
    return keras.Model(tokens, keras.layers.LSTM(16)(x))


def subclassed() -> Any:
    """Return a subclassed model, of which each operation between layers is recorded."""
    import keras

    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = keras.layers.Embedding(100, 32, mask_zero=True)
            self.layers_inside = [keras.layers.Dense(32) for _ in range(50)]

        def call(self, tokens: Any) -> Any:
            x = self.embedding(tokens)
            for layer in self.layers_inside:
                x = keras.ops.relu(layer(x) * 0.5 + 0.1) + x
            return keras.ops.mean(x, axis=1)

    return Model()


def main() -> None:
    """Measure each model, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7, help="pairs to run, after one that warms up")
    runs = parser.parse_args().runs

    import warnings

    import keras
    import numpy as np

    from maskcli.records.inputs import ModelInput
    from maskcli.trace.run import trace_model

    warnings.simplefilter("ignore")  # Keras wrongly warns about nested models.
    tokens = np.random.default_rng(0).integers(1, 100, (32, 50)).astype("int32")
    tokens[::2, 25:] = 0
    inputs = (ModelInput("tokens", tokens, tokens != 0, "ids"),)
    keras.utils.set_random_seed(0)
    cases: tuple[tuple[str, Any], ...] = (
        ("ten nested models of a hundred layers", deep(1000)),
        ("six transformer blocks", transformer()),
        ("Bidirectional LSTM, LSTM", recurrent()),
        ("subclassed, with operators between its layers", subclassed()),
    )
    print_header("model", "calls", "ratio")
    for name, model in cases:
        model(tokens)
        calls = len(trace_model(model, inputs).calls)
        traced, plain = run_pairs(
            lambda model=model: measure(lambda: trace_model(model, inputs))[1],
            lambda model=model: measure(lambda: model(tokens, training=False))[1],
            runs + 1,
        )
        print_row(name, f"{calls:,}", f"{compute_ratio(traced[1:], plain[1:]):.2f}")


if __name__ == "__main__":
    main()
