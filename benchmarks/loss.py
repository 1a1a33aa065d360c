"""Measure ``maskcli loss`` on large data, compared with a script that only calls ``Model.evaluate``.

    python benchmarks/loss.py [--rows 100000] [--runs 3]

Both are whole commands that load the same saved model and the same file. They run in turn, A B A B ...; the table has
the median of the ratios of all pairs (target: at most 1.3), and the peak memory of both. Nothing is asserted; this
measures, and does not test.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from turns import MIB, compute_median, compute_ratio, print_header, print_row, run_command, run_pairs

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

TIMESTEPS, WORDS, CLASSES = 40, 5000, 20
KERAS_DEFAULT = 32
EVALUATE = """
import sys, keras, numpy
with numpy.load(sys.argv[1]) as data:
    model = keras.models.load_model(sys.argv[2])
    print(model.evaluate(data["tokens"], data["classes"], batch_size=int(sys.argv[3]), verbose=0))
"""


def write_data(path: Path, rows: int) -> None:
    """Write padded sequences of 5 to 40 tokens, with a class for each token."""
    import numpy as np

    rng = np.random.default_rng(0)
    lengths = rng.integers(5, TIMESTEPS + 1, rows)
    tokens = rng.integers(1, WORDS, (rows, TIMESTEPS)).astype("int32")
    tokens[np.arange(TIMESTEPS) >= lengths[:, None]] = 0
    np.savez(path, tokens=tokens, classes=tokens % CLASSES)


def write_model(path: Path) -> None:
    """Write a tagger: Embedding, LSTM, a probability for each class."""
    import keras

    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((None,), dtype="int32", name="tokens"),
        keras.layers.Embedding(WORDS, 64, mask_zero=True),
        keras.layers.LSTM(64, return_sequences=True),
        keras.layers.Dense(CLASSES, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.save(path)


def main() -> None:
    """Measure each batch size, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[KERAS_DEFAULT, 256])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data, model = Path(folder) / "data.npz", Path(folder) / "model.keras"
        write_data(data, options.rows)
        write_model(model)
        print_header("batch size", "seconds", "only `evaluate`", "ratio", "peak memory", "only `evaluate`")
        for size in options.batch_sizes:
            program = [str(Path(sys.executable).with_name("maskcli")), "loss", str(data), "--model", str(model)]
            command = [*program, "--targets-field", "classes", "--batch-size", str(size)]
            script = [sys.executable, "-c", EVALUATE, str(data), str(model), str(size)]
            command_runs, script_runs = run_pairs(
                lambda command=command: run_command(command), lambda script=script: run_command(script), options.runs
            )
            peaks = [max(run["bytes"] for run in runs) / MIB for runs in (command_runs, script_runs)]
            print_row(
                f"{size}, Keras's default" if size == KERAS_DEFAULT else str(size),
                f"{compute_median(command_runs):.1f}",
                f"{compute_median(script_runs):.1f}",
                f"{compute_ratio(command_runs, script_runs):.2f}",
                *[f"{peak:,.0f} MiB" for peak in peaks],
            )


if __name__ == "__main__":
    main()
