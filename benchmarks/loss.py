"""Measure ``maskcli loss`` on large data, compared with a script that only calls ``Model.evaluate``.

    python benchmarks/loss.py [--rows 100000] [--runs 3]

Both are whole commands that load the same saved model and the same file. They run in turn, A B A B ...; the table has
the median of the ratios of all pairs in seconds of the processors, and the peak memory of both. The target is 1.3 for
the model whose layers receive no mask, 2.0 for others, and 1.5 with ``--batch-sizes``, for which the script evaluates
each batch size. Nothing is asserted; this measures, and does not test.
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
KINDS = ("Dense, no mask arrives", "LSTM", "two transformer blocks")
SMALL, COMPARED = 4096, (1, 32, 256)
"""Rows for several batch sizes, and these sizes."""
EVALUATE = """
import sys, keras, numpy
with numpy.load(sys.argv[1]) as data:
    model = keras.models.load_model(sys.argv[2])
    for size in map(int, sys.argv[3].split(",")):
        print(model.evaluate(data["tokens"], data["classes"], batch_size=size, verbose=0))
"""


def write_data(path: Path, rows: int) -> None:
    """Write padded sequences of 5 to 40 tokens, with a class for each token."""
    import numpy as np

    rng = np.random.default_rng(0)
    lengths = rng.integers(5, TIMESTEPS + 1, rows)
    tokens = rng.integers(1, WORDS, (rows, TIMESTEPS)).astype("int32")
    tokens[np.arange(TIMESTEPS) >= lengths[:, None]] = 0
    np.savez(path, tokens=tokens, classes=tokens % CLASSES)


def write_model(path: Path, kind: str) -> None:
    """Write a tagger: Embedding, layers of a kind, a probability for each class."""
    import keras

    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(WORDS, 64, mask_zero=True)(tokens)
    if kind == "LSTM":
        x = keras.layers.LSTM(64, return_sequences=True)(x)
    elif kind == "two transformer blocks":
        for _ in range(2):
            x = keras.layers.LayerNormalization()(x + keras.layers.MultiHeadAttention(4, 16)(x, x))
            x = keras.layers.LayerNormalization()(
                x + keras.layers.Dense(64)(keras.layers.Dense(128, activation="relu")(x))
            )
    else:
        x = keras.layers.Dense(256, activation="relu")(x)
    model = keras.Model(tokens, keras.layers.Dense(CLASSES, activation="softmax")(x))
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.save(path)


def main() -> None:
    """Measure each batch size, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[KERAS_DEFAULT, 256])
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data, model = Path(folder) / "data.npz", Path(folder) / "model.keras"
        print_header("layers", "batch size", "seconds", "only `evaluate`", "ratio", "peak memory", "only `evaluate`")
        for kind in options.kinds:
            write_model(model, kind)
            write_data(data, options.rows)
            for size in options.batch_sizes:
                compare(kind, str(size), ["--batch-size", str(size)], (data, model), options.runs)
            write_data(data, SMALL)
            sizes = ",".join(map(str, COMPARED))
            compare(kind, f"{sizes} ({SMALL:,} rows)", ["--batch-sizes", sizes], (data, model), options.runs, sizes)


def compare(
    kind: str, name: str, arguments: list[str], files: tuple[Path, Path], runs: int, sizes: str | None = None
) -> None:
    """Measure a command and its script in turn, and print a row; ``sizes`` are those of the script."""
    data, model = map(str, files)
    program = [str(Path(sys.executable).with_name("maskcli")), "loss", data, "--model", model, "--quiet"]
    command = [*program, "--targets-field", "classes", *arguments]
    script = [sys.executable, "-c", EVALUATE, data, model, sizes or name]
    command_runs, script_runs = run_pairs(lambda: run_command(command), lambda: run_command(script), runs)
    peaks = [max(run["bytes"] for run in measured) / MIB for measured in (command_runs, script_runs)]
    print_row(
        kind,
        name,
        f"{compute_median(command_runs, 'cpu'):.1f}",
        f"{compute_median(script_runs, 'cpu'):.1f}",
        f"{compute_ratio(command_runs, script_runs, 'cpu'):.2f}",
        *[f"{peak:,.0f} MiB" for peak in peaks],
    )


if __name__ == "__main__":
    main()
