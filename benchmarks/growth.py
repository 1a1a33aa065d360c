"""Measure how the cost of each command grows with rows, timesteps, calls and depth.

    python benchmarks/growth.py [--runs 1]

Each command runs on data or a model of one size, and of four times that size; the table has the exponent of the growth
of its seconds, 1 if these are four times as many, and of the bytes of the page. Seconds are those of all CPU cores, of
the smallest of some runs after one that warms up. Attention computes pairs of timesteps, so that the model whose rows
grow longer has none. Nothing is asserted; this measures, and does not test.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from turns import print_header, print_row, read_measurement

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

FACTOR = 4
SIZES = {"rows": 256, "timesteps": 256, "calls": 40, "depth": 2}
COMMANDS = ("inspect", "check", "loss", "report")
FEATURES = 3


def make_case(axis: str, size: int) -> tuple[Any, Any]:
    """Return a model and ids, of which one axis has a size."""
    import keras
    import numpy as np
    from keras import layers

    keras.utils.set_random_seed(0)
    rows = size if axis == "rows" else 8
    timesteps = size if axis == "timesteps" else 16
    lengths = np.linspace(timesteps // 2, timesteps, rows).astype(int)
    mask = np.arange(timesteps) < lengths[:, None]
    ids = np.where(mask, np.random.default_rng(0).integers(1, 100, mask.shape), 0).astype("int32")
    if axis == "calls":
        return _make_residual_model(size // 2), ids
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.Embedding(100, 16, mask_zero=True)(tokens)
    if axis == "depth":
        for _ in range(size):
            x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 8)(x, x))
            x = layers.LayerNormalization()(x + layers.Dense(16)(layers.Dense(32, "gelu")(x)))
    else:
        x = layers.LSTM(16, return_sequences=True)(x)
    return keras.Model(tokens, layers.Dense(FEATURES)(x)), ids


def _make_residual_model(blocks: int) -> Any:
    """Return a subclassed model with two calls for each block: a layer, and an addition in its own code."""
    import keras

    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = keras.layers.Embedding(100, 16, mask_zero=True)
            self.parts = [keras.layers.Dense(16, "tanh") for _ in range(blocks)]
            self.head = keras.layers.Dense(FEATURES)

        def call(self, tokens: Any) -> Any:
            x = self.embedding(tokens)
            for part in self.parts:
                x = x + part(x)
            return self.head(x)

    return Model()


def run_case(command: str, axis: str, size: int, runs: int) -> dict[str, Any]:
    """Return the seconds of a command, and the bytes of its page."""
    import numpy as np

    import maskcli
    from maskcli.render.documents import dumps, make_document
    from maskcli.render.page import render_page

    warnings.simplefilter("ignore")
    model, ids = make_case(axis, size)
    options: dict[str, Any] = {"model": model}
    if command in ("loss", "report"):
        options |= {"targets": np.zeros((*ids.shape, FEATURES), "float32"), "loss": "mse"}

    def work() -> int:
        record = getattr(maskcli, command)(ids, **options)
        text = dumps(make_document(record))
        return len(render_page(record, text)) if command == "report" else len(text)

    seconds, size_in_bytes = [], work()
    for _ in range(runs):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return {"seconds": min(seconds), "bytes": size_in_bytes}


def main() -> None:
    """Measure each command along each axis, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1, help="runs to measure, after one that warms up")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        command, axis, size = options.case
        print(json.dumps(run_case(command, axis, int(size), options.runs)))
        return

    def measure(command: str, axis: str, size: int) -> dict[str, Any]:
        case = ["--case", command, axis, str(size), "--runs", str(options.runs)]
        return read_measurement([sys.executable, __file__, *case])

    def find_exponent(get: Callable[[dict[str, Any]], float], few: dict[str, Any], many: dict[str, Any]) -> str:
        return f"{math.log(get(many) / get(few), FACTOR):.2f}"

    titles = [f"{axis}, {size} to {size * FACTOR}" for axis, size in SIZES.items()]
    print_header("command", *titles)
    for command in COMMANDS:
        pairs = [(measure(command, axis, size), measure(command, axis, size * FACTOR)) for axis, size in SIZES.items()]
        print_row(command, *(find_exponent(lambda run: run["seconds"], *pair) for pair in pairs))
        print_row(f"{command}, bytes", *(find_exponent(lambda run: run["bytes"], *pair) for pair in pairs))


if __name__ == "__main__":
    main()
