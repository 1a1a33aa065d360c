"""How much longer a traced run takes than the plain forward pass that it observes.

    python benchmarks/tracing.py [--runs 7]

Both run eagerly in one process, in turn, A B A B ...; the ratio is taken pair by pair, and its median is printed beside
the goal. Nothing is asserted: this measures, tests do not.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

GOAL = 3.0


def deep(calls: int) -> Any:
    """Return a model of about so many calls of layers, in parts of a hundred: Keras nests no deeper in one graph."""
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
    """Return six blocks of attention, with the operators between them."""
    import keras

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(100, 32, mask_zero=True)(tokens)
    for _ in range(6):
        x = keras.layers.LayerNormalization()(x + keras.layers.MultiHeadAttention(4, 8)(x, x))
        x = keras.layers.LayerNormalization()(x + keras.layers.Dense(32)(keras.layers.Dense(64, activation="gelu")(x)))
    return keras.Model(tokens, keras.layers.GlobalAveragePooling1D()(x))


def recurrent() -> Any:
    """Return two recurrent layers, which run step by step."""
    import keras

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(100, 32, mask_zero=True)(tokens)
    x = keras.layers.Bidirectional(keras.layers.LSTM(16, return_sequences=True))(x)
    return keras.Model(tokens, keras.layers.LSTM(16)(x))


def subclassed() -> Any:
    """Return a model whose code between layers is watched operation by operation."""
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


def seconds(run: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print one line for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7, help="pairs to run, after one that warms up")
    runs = parser.parse_args().runs

    import warnings

    import keras
    import numpy as np

    from maskcli.records.inputs import ModelInput
    from maskcli.trace.run import trace_model

    warnings.simplefilter("ignore")  # Keras warns of nested models, wrongly.
    tokens = np.random.default_rng(0).integers(1, 100, (32, 50)).astype("int32")
    tokens[::2, 25:] = 0
    inputs = (ModelInput("tokens", tokens, tokens != 0, "ids"),)
    keras.utils.set_random_seed(0)
    cases: tuple[tuple[str, Any], ...] = (
        ("1,000 calls", deep(1000)),
        ("transformer", transformer()),
        ("recurrent", recurrent()),
        ("subclassed", subclassed()),
    )
    print(f"{'model':<14}{'calls':>7}{'traced s':>10}{'plain s':>9}{'ratio':>8}{'goal':>6}")
    for name, model in cases:
        model(tokens)
        calls = len(trace_model(model, tokens, inputs).calls)
        pairs = [
            (seconds(lambda: trace_model(model, tokens, inputs)), seconds(lambda: model(tokens, training=False)))  # noqa: B023
            for _ in range(runs + 1)
        ][1:]
        mine, plain = (statistics.median(each) for each in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"{name:<14}{calls:>7}{mine:>10.3f}{plain:>9.3f}{ratio:>8.2f}{GOAL:>6.1f}", flush=True)


if __name__ == "__main__":
    main()
