"""How long ``maskcli loss`` takes on large data, beside a script that calls ``Model.evaluate`` and nothing else.

    python benchmarks/losing.py [--rows 100000] [--runs 3]

Both are whole commands that load the same saved model and the same file, in turn, A B A B ...; the ratio is taken
pair by pair, and its median is printed beside the goal, with the most memory that each held. Nothing is asserted: this
measures, tests do not.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

GOAL = 1.3
TIMESTEPS, WORDS, CLASSES = 40, 5000, 20
EVALUATE = """
import sys, keras, numpy
with numpy.load(sys.argv[1]) as data:
    model = keras.models.load_model(sys.argv[2])
    print(model.evaluate(data["tokens"], data["classes"], batch_size=int(sys.argv[3]), verbose=0))
"""


def write_data(path: Path, rows: int) -> None:
    """Write sequences of 5 to 40 tokens, padded, with a class for each."""
    import numpy as np

    chance = np.random.default_rng(0)
    lengths = chance.integers(5, TIMESTEPS + 1, rows)
    tokens = chance.integers(1, WORDS, (rows, TIMESTEPS)).astype("int32")
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


def run(command: list[str]) -> tuple[float, float]:
    """Return the wall time of a process in seconds, and the most memory it held in MiB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} failed: {status}")
    unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - start, usage.ru_maxrss * unit / 2**20


def main() -> None:
    """Measure and print one line for each batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 256])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data, model = Path(folder) / "data.npz", Path(folder) / "model.keras"
        write_data(data, asked.rows)
        write_model(model)
        print(f"{'batch size':>10}{'seconds':>9}{'evaluate':>10}{'ratio':>7}{'goal':>6}{'MiB':>7}{'evaluate':>10}")
        for size in asked.batch_sizes:
            program = [str(Path(sys.executable).with_name("maskcli")), "loss", str(data), "--model", str(model)]
            mine = [*program, "--targets-field", "classes", "--batch-size", str(size)]
            other = [sys.executable, "-c", EVALUATE, str(data), str(model), str(size)]
            pairs = [(run(mine), run(other)) for _ in range(asked.runs)]
            ours, theirs = (statistics.median(pair[place][0] for pair in pairs) for place in (0, 1))
            ratio = statistics.median(a[0] / b[0] for a, b in pairs)
            held = [max(pair[place][1] for pair in pairs) for place in (0, 1)]
            print(
                f"{size:>10}{ours:>9.1f}{theirs:>10.1f}{ratio:>7.2f}{GOAL:>6.1f}{held[0]:>7.0f}{held[1]:>10.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
