"""Measure a second check on JAX and PyTorch, compared with TensorFlow: ``python -m benchmarks.backends [CASE ...]``.

Each backend runs in a process of its own, in turn, with one thread: threads that wait for each other count as work.
The first check compiles, and is measured as well. Seconds are those of the CPU, so that other processes of the machine
count little. Nothing is asserted; this measures, and does not test.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
import warnings
from typing import Any

from benchmarks.turns import print_header, print_row, read_measurement

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

BACKENDS = ("tensorflow", "jax", "torch")
CASES = ("recurrent", "blocks", "code")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
CHECKS = 3
"""Further checks of each process, of which the fastest counts."""


def make_case(name: str) -> tuple[Any, Any]:
    """Return a model and its data: rows whose lengths go from a third of the timesteps to all of them."""
    import keras
    import numpy as np
    from keras import layers

    keras.utils.set_random_seed(0)
    lengths = np.linspace(8, 24, 16).astype(int)
    mask = np.arange(24) < lengths[:, None]
    ids = np.where(mask, np.random.default_rng(0).integers(1, 100, mask.shape), 0).astype("int32")
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.Embedding(100, 32, mask_zero=True)(tokens)
    if name == "recurrent":
        x = layers.Bidirectional(layers.LSTM(32, return_sequences=True))(x)
        return keras.Model(tokens, layers.Dense(1)(layers.LSTM(32)(x))), ids
    if name == "blocks":
        for _ in range(2):
            x = layers.LayerNormalization()(x + layers.MultiHeadAttention(4, 8)(x, x))
            x = layers.LayerNormalization()(x + layers.Dense(32)(layers.Dense(128, "gelu")(x)))
        return keras.Model(tokens, layers.Dense(1)(layers.GlobalAveragePooling1D()(x))), ids

    class Classifier(keras.Model):
        """Has operations of its own between its layers."""

        def __init__(self) -> None:
            super().__init__()
            self.embedding = layers.Embedding(100, 32, mask_zero=True)
            self.hidden, self.head = layers.Dense(32, "relu"), layers.Dense(1)

        def call(self, tokens: Any) -> Any:
            """Pool under the mask."""
            weights = keras.ops.cast(tokens != 0, "float32")[..., None]
            x = self.hidden(self.embedding(tokens) * 2.0)
            return self.head(keras.ops.sum(x * weights, axis=1) / keras.ops.sum(weights, axis=1))

    return Classifier(), ids


def run_case(name: str) -> dict[str, float]:
    """Return the seconds of the first check, and of a further one."""
    import maskcli

    warnings.simplefilter("ignore")
    model, ids = make_case(name)
    model(ids)
    seconds = []
    for _ in range(1 + CHECKS):
        start = time.process_time()
        maskcli.check(ids, model=model)
        seconds.append(time.process_time() - start)
    return {"first": seconds[0], "seconds": min(seconds[1:])}


def main() -> None:
    """Measure each case, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=CASES, help=", ".join(CASES))
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each backend")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(run_case(options.case)))
        return
    os.environ.update(ONE_THREAD)
    print_header("model", "backend", "first check, s", "second check, s", "÷ TensorFlow's")
    installed = [backend for backend in BACKENDS if importlib.util.find_spec(backend) is not None]
    for case in options.cases:
        runs: dict[str, list[dict[str, float]]] = {backend: [] for backend in installed}
        for _ in range(options.rounds):
            for backend in installed:
                os.environ["KERAS_BACKEND"] = backend
                runs[backend].append(read_measurement([sys.executable, "-m", "benchmarks.backends", "--case", case]))
        base = statistics.median(run["seconds"] for run in runs[BACKENDS[0]])
        for backend, measured in runs.items():
            first, second = (statistics.median(run[key] for run in measured) for key in ("first", "seconds"))
            print_row(case, backend, f"{first:.1f}", f"{second:.2f}", f"{second / base:.1f}")


if __name__ == "__main__":
    main()
