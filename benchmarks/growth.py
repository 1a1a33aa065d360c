"""Measure how the cost of each command grows with rows, timesteps, calls and depth.

    python benchmarks/growth.py [--runs 1] [--commands COMMAND ...] [--axes AXIS ...]
    python benchmarks/growth.py --page

Each command runs on data or a model of one size, and of four times that size; the table has the exponent of the growth
of its seconds, 1 if these are four times as many, and of the bytes of the page. Seconds are those of all CPU cores, of
the smallest of some runs after one that warms up. Attention computes pairs of timesteps, so that the model whose rows
grow longer has none. Each block of the deep model receives the mask; those of the column ``faults`` lose it, each at
two additions, so that the check also searches for repairs. ``--page`` states the bytes of a page of 32 rows of 1,000
timesteps instead. Nothing is asserted; this measures, and does not test.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

from turns import print_header, print_row, read_measurement

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

FACTOR = 4
SIZES = {"rows": 256, "timesteps": 256, "calls": 40, "depth": 2, "faults": 2}
"""The smaller size of each axis; that of ``faults`` is the number of blocks."""
COMMANDS = ("inspect", "check", "loss", "report")
FEATURES = 3
PAGE = (32, 1000)
"""The rows and timesteps of the page whose bytes are stated."""


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
    if axis in ("depth", "faults"):
        # Attention takes the mask off the tensor that it returns, and an addition keeps none.
        pairs = None if axis == "faults" else keras.ops.expand_dims(keras.ops.not_equal(tokens, 0), 1)
        x = layers.Embedding(100, 16, mask_zero=pairs is None)(tokens)
        for _ in range(size):
            x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 8)(x, x, attention_mask=pairs))
            x = layers.LayerNormalization()(x + layers.Dense(16)(layers.Dense(32, "gelu")(x)))
    else:
        embedded = layers.Embedding(100, 16, mask_zero=True)(tokens)
        x = layers.LSTM(16, return_sequences=True)(embedded)
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


def measure_page() -> dict[str, Any]:
    """Return the seconds and the bytes of a page of ``PAGE``, of a model that leaks padding at each timestep."""
    import keras
    import numpy as np
    from keras import layers

    import maskcli
    from maskcli.render.documents import dumps, make_document
    from maskcli.render.page import render_page

    warnings.simplefilter("ignore")
    keras.utils.set_random_seed(0)
    rows, timesteps = PAGE
    mask = np.arange(timesteps) < np.linspace(timesteps // 2, timesteps, rows).astype(int)[:, None]
    ids = np.where(mask, np.random.default_rng(0).integers(1, 100, mask.shape), 0).astype("int32")
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.Conv1D(16, 3, padding="same")(layers.Embedding(100, 16, mask_zero=True)(tokens))
    model = keras.Model(tokens, layers.Dense(FEATURES)(x))
    targets = np.zeros((*ids.shape, FEATURES), "float32")
    start = time.process_time()
    record = maskcli.report(ids, model=model, samples=rows, targets=targets, loss="mse")
    page = render_page(record, dumps(make_document(record)))
    return {"seconds": time.process_time() - start, "bytes": len(page)}


def main() -> None:
    """Measure each command along each axis, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1, help="runs to measure, after one that warms up")
    parser.add_argument("--commands", nargs="+", default=COMMANDS, choices=COMMANDS)
    parser.add_argument("--axes", nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--page", action="store_true", help="measure only the page of 32 x 1,000")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.page:
        page = measure_page()
        print(f"a page of {PAGE[0]} x {PAGE[1]:,}: {page['bytes'] / 1e6:.2f} MB, {page['seconds']:.1f} CPU seconds")
    elif options.case:
        command, axis, size = options.case
        print(json.dumps(run_case(command, axis, int(size), options.runs)))
    else:
        measure_all(options.commands, options.axes, options.runs)


def measure_all(commands: Sequence[str], axes: Sequence[str], runs: int) -> None:
    """Print the exponents of each command along each axis, and their seconds to standard error."""
    sizes = {axis: size for axis, size in SIZES.items() if axis in axes}
    print_header("command", *(f"{axis}, {size} to {size * FACTOR}" for axis, size in sizes.items()))
    for command in commands:
        pairs = [measure_pair(command, axis, runs) for axis in sizes]
        print_row(command, *(find_exponent("seconds", pair) for pair in pairs))
        print_row(f"{command}, bytes", *(find_exponent("bytes", pair) for pair in pairs))
        seconds = ("–" if pair is None else " → ".join(f"{run['seconds']:.2f}" for run in pair) for pair in pairs)
        print(f"{command}: CPU seconds {', '.join(seconds)}", file=sys.stderr)


def measure_pair(command: str, axis: str, runs: int) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return the measurements of both sizes; None for faults and other commands than ``check``."""
    if axis == "faults" and command != "check":
        return None
    cases = ([command, axis, str(SIZES[axis] * factor)] for factor in (1, FACTOR))
    few, many = (read_measurement([sys.executable, __file__, "--case", *case, "--runs", str(runs)]) for case in cases)
    return few, many


def find_exponent(key: str, pair: tuple[dict[str, Any], dict[str, Any]] | None) -> str:
    """Return the exponent of the growth of a measurement."""
    return "–" if pair is None else f"{math.log(pair[1][key] / pair[0][key], FACTOR):.2f}"


if __name__ == "__main__":
    main()
