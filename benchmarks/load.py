"""Load: many runs, eight at once, a thousand layers, a million rows, and a million timesteps.

``python benchmarks/load.py --pads 10000 --inspects 200`` prints the rows of the table in docs/performance.md.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).parents[1]
DEEP = """
import keras

def make_block():
    x = inputs = keras.Input((None, 8))
    for _ in range(100):
        x = keras.layers.Dense(8, activation="tanh")(x)
    return keras.Model(inputs, x)

def build():
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(100, 8, mask_zero=True)(tokens)
    for _ in range(10):
        x = make_block()(x)
    return keras.Model(tokens, keras.layers.GlobalAveragePooling1D()(x))
"""
"""Ten nested models of a hundred layers: Keras itself cannot build a chain of a thousand (RecursionError)."""


def run(arguments: Sequence[str], folder: Path) -> tuple[int, float, float]:
    """Run maskcli as a process; return its exit code, seconds, and peak of memory in MiB."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "maskcli", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, time.monotonic() - started, usage.ru_maxrss / 1024


def repeat_inside(arguments: Sequence[str], times: int) -> str:
    """Run a command many times in this process; describe its exit codes, speed, and growth of memory and files."""
    from maskcli import cli

    codes = {cli.run(arguments) for _ in range(min(times, 20))}
    memory, files = read_memory(), count_files()
    started = time.monotonic()
    codes |= {cli.run(arguments) for _ in range(times)}
    seconds = time.monotonic() - started
    grown = read_memory() - memory
    return (
        f"exit codes {sorted(map(int, codes))}, {1000 * seconds / times:.1f} ms each, {grown:+.1f} MiB, "
        f"{count_files() - files:+d} open files"
    )


def read_memory() -> float:
    """Return the resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def count_files() -> int:
    """Return the number of open files of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


def run_at_once(arguments: Callable[[int], Sequence[str]], times: int, folder: Path) -> str:
    """Run processes, eight at once; describe their exit codes and times."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda index: run(arguments(index), folder), range(times)))
    codes, seconds, peaks = zip(*results, strict=True)
    return f"exit codes {sorted(set(codes))}, at most {max(seconds):.1f} s, {max(peaks):,.0f} MiB each"


def run_once(arguments: Sequence[str], folder: Path) -> str:
    """Run one process; describe its exit code, time and memory."""
    code, seconds, peak = run(arguments, folder)
    return f"exit code {code}, {seconds:.1f} s, {peak:,.0f} MiB"


def write_data(folder: Path) -> None:
    """Write a small file, a million rows, and a row of a million timesteps."""
    import numpy as np

    rng = np.random.default_rng(0)
    (folder / "small.txt").write_text("1 2 3\n4 5\n6\n")
    with (folder / "rows.jsonl").open("w") as file:
        for length in rng.integers(1, 20, 10**6):
            file.write(f"{list(range(1, length + 1))}\n")
    np.save(folder / "steps.npy", rng.integers(1, 100, (1, 10**6)).astype(np.int32))
    (folder / "deep.py").write_text(DEEP)


def main() -> None:
    """Print a line for each kind of load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pads", type=int, default=10_000, help="runs of pad in one process (default 10,000)")
    parser.add_argument("--inspects", type=int, default=200, help="runs of inspect in one process (default 200)")
    parser.add_argument("--at-once", type=int, default=16, help="processes of each command, eight at once (default 16)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder)
        small, out = str(folder / "small.txt"), str(folder / "out.npy")
        deep = ["--model", "deep.py:build"]
        loads: dict[str, Callable[[], str]] = {
            f"{options.pads:,} runs of `pad`": lambda: repeat_inside(
                ["pad", small, "--output", out, "--quiet"], options.pads
            ),
            f"{options.inspects:,} runs of `inspect`": lambda: repeat_inside(
                ["inspect", small, "--quiet"], options.inspects
            ),
            f"{options.at_once} processes of `pad`, 8 at once": lambda: run_at_once(
                lambda index: ["pad", small, "--output", f"{index}.npy"], options.at_once, folder
            ),
            f"{options.at_once} processes of `pad` to one file": lambda: run_at_once(
                lambda _: ["pad", small, "--output", "one.npy"], options.at_once, folder
            ),
            f"{options.at_once} processes of `inspect`, 8 at once": lambda: run_at_once(
                lambda _: ["inspect", small], options.at_once, folder
            ),
            "1,000 layers, `inspect`": lambda: run_once(["inspect", small, *deep], folder),
            "1,000 layers, `check`": lambda: run_once(["check", small, *deep], folder),
            "1,000,000 rows, `pad`": lambda: run_once(["pad", "rows.jsonl", "--output", "rows.npy"], folder),
            "1,000,000 rows, `inspect --model embedding-dense`": lambda: run_once(
                ["inspect", "rows.jsonl", "--model", "embedding-dense"], folder
            ),
            "1,000,000 timesteps, `pad`": lambda: run_once(["pad", "steps.npy", "--output", "steps2.npy"], folder),
            "1,000,000 timesteps, `inspect --model embedding-dense`": lambda: run_once(
                ["inspect", "steps.npy", "--model", "embedding-dense"], folder
            ),
            "1,000,000 timesteps, `inspect` (LSTM): refused": lambda: run_once(["inspect", "steps.npy"], folder),
            "20,000 timesteps, `inspect` (LSTM)": lambda: run_once(
                ["inspect", "steps.npy", "--maxlen", "20000"], folder
            ),
        }
        print("| load | result |\n|---|---|")
        for title, measure in loads.items():
            print(f"| {title} | {measure()} |", flush=True)


if __name__ == "__main__":
    main()
