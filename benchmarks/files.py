"""Measure padding from a file of sequences to a file of the batch, compared with a script that does the same.

    python benchmarks/files.py [--rows 1000000] [--runs 5]

Every alternative is a whole process. They run in turn, A B C A B C ..., so that a machine that slows down slows down
all; the output of each is on the disk before the next one starts. The floor is a process in which NumPy writes zeros of
the same shape. Two alternatives are measured inside their process: including reading, but without imports, a first call
and writing. All results are compared with those of plain NumPy. The speed-up is relative to the script, the last
alternative of its group. Peak memory is that of the whole process, imports included. Times are not asserted; this
measures, and does not test.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from inputs import LONGEST, Ids
from turns import (
    MIB,
    Measurement,
    compute_median,
    compute_ratio,
    print_header,
    print_row,
    run_in_turn,
    run_process,
)

LINES, COLUMN, FEW = "in.jsonl", "in.parquet", "few.parquet"
TOKENS, MASK = "out.npy", "mask.npy"

LINES_BY_KERAS = f"""
import json, keras, numpy
with open("{LINES}") as lines:
    rows = [json.loads(line) for line in lines]
tokens = keras.utils.pad_sequences(rows, padding="post")
numpy.save("{TOKENS}", tokens)
numpy.save("{MASK}", tokens != 0)
"""
COLUMN_BY_KERAS = f"""
import keras, numpy, pyarrow.parquet
rows = pyarrow.parquet.read_table("{COLUMN}")["ids"].to_pylist()
numpy.save("{TOKENS}", keras.utils.pad_sequences(rows, padding="post"))
"""
INSIDE = f"""
import json, time, numpy, %s
from pyarrow.parquet import read_table
def work(path):
    return %s
work("{FEW}")
start = time.perf_counter()
tokens = work("{COLUMN}")
print(json.dumps({{"seconds": time.perf_counter() - start}}))
numpy.save("{TOKENS}", tokens)
"""


def make_floor(rows: int, *names: str) -> str:
    """Return a program that writes zeros instead of these results."""
    dtypes = {TOKENS: "int32", MASK: "bool"}
    saved = [f"numpy.save('{name}', numpy.zeros(({rows}, {LONGEST}), '{dtypes[name]}'))" for name in names]
    return "import numpy; " + "; ".join(saved)


@dataclasses.dataclass(frozen=True)
class Alternative:
    """One way from file to file.

    Attributes:
        arguments: of Python.
        results: the files that it writes and that are compared; none for a floor.
    """

    arguments: list[str]
    results: tuple[str, ...] = ()


def list_groups(rows: int) -> list[dict[str, Alternative]]:
    """Return groups of alternatives that do the same; first the floor, if there is one, and last the script."""
    command = ["-m", "maskcli", "pad"]
    both = [LINES, "--output", TOKENS, "--mask-output", MASK, "--quiet"]
    ours = ("maskcli", 'maskcli.pad(read_table(path)["ids"]).tokens')
    script = ("keras", 'keras.utils.pad_sequences(read_table(path)["ids"].to_pylist(), padding="post")')
    return [
        {
            "floor: `numpy.save` of tokens and mask": Alternative(["-c", make_floor(rows, TOKENS, MASK)]),
            "JSON Lines: `maskcli pad`": Alternative([*command, *both], (TOKENS, MASK)),
            f"JSON Lines: `maskcli pad --maxlen {LONGEST}`": Alternative(
                [*command, *both, "--maxlen", str(LONGEST)], (TOKENS, MASK)
            ),
            "JSON Lines: `json.loads`, `pad_sequences`": Alternative(["-c", LINES_BY_KERAS], (TOKENS, MASK)),
        },
        {
            "floor: `numpy.save` of tokens": Alternative(["-c", make_floor(rows, TOKENS)]),
            "Parquet: `maskcli pad`": Alternative([*command, COLUMN, "--output", TOKENS, "--quiet"], (TOKENS,)),
            "Parquet: `to_pylist`, `pad_sequences`": Alternative(["-c", COLUMN_BY_KERAS], (TOKENS,)),
        },
        {
            "inside a process: `maskcli.pad(read_table(...)[...])`": Alternative(["-c", INSIDE % ours], (TOKENS,)),
            "inside a process: `to_pylist`, `pad_sequences`": Alternative(["-c", INSIDE % script], (TOKENS,)),
        },
    ]


def run_in_child(work: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a function in a process of its own.

    The memory of this process must stay small, because the peak of its child processes starts with it.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def write_inputs(folder: Path, rows: int, parquet: bool) -> None:
    """Write the inputs, and the expected results."""
    ids = Ids(rows)
    with (folder / LINES).open("w") as out:
        out.writelines(json.dumps(row) + "\n" for row in ids.lists())
    mask = np.arange(LONGEST) < np.diff(ids.row_splits)[:, None]
    tokens = np.zeros(mask.shape, np.int32)
    tokens[mask] = ids.values
    np.save(folder / f"expected {TOKENS}", tokens)
    np.save(folder / f"expected {MASK}", mask)
    if parquet:
        import pyarrow as pa
        import pyarrow.parquet

        table = pa.table({"ids": pa.ListArray.from_arrays(pa.array(ids.row_splits, pa.int32()), pa.array(ids.values))})
        pyarrow.parquet.write_table(table, folder / COLUMN)
        pyarrow.parquet.write_table(table[:50], folder / FEW)


def are_right(folder: Path, names: tuple[str, ...]) -> bool:
    """Return whether results equal the expected ones."""
    pairs = ((np.load(folder / name), np.load(folder / f"expected {name}")) for name in names)
    return all(array.dtype == expected.dtype and np.array_equal(array, expected) for array, expected in pairs)


def run_once(alternative: Alternative, folder: Path) -> Measurement:
    """Run an alternative once, and measure it."""
    for name in (TOKENS, MASK):
        (folder / name).unlink(missing_ok=True)
    os.sync()
    command, quiet = [sys.executable, *alternative.arguments], os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    with (folder / "stdout").open("w+") as stdout, (folder / "stderr").open("w+") as stderr:
        code, measurement = run_process(command, stdout=stdout, stderr=stderr, cwd=folder, env=quiet)
        printed, errors = (file.seek(0) or file.read() for file in (stdout, stderr))
    if code:
        raise SystemExit(f"{command} failed:\n{errors}")
    measurement["right"] = run_in_child(are_right, folder, alternative.results)
    # An alternative that measures itself prints its seconds.
    return measurement | (json.loads(printed) if printed else {})


def main() -> None:
    """Run all alternatives in turn, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5, help="runs of each alternative")
    options = parser.parse_args()
    parquet = importlib.util.find_spec("pyarrow") is not None
    if not parquet:
        print("Parquet: skipped, pyarrow is not installed", file=sys.stderr)
    print_header("file to file", "seconds", "× floor", "speed-up", "peak")
    with tempfile.TemporaryDirectory() as folder:
        run_in_child(write_inputs, Path(folder), options.rows, parquet)
        for group in list_groups(options.rows)[: None if parquet else 1]:
            measurements = run_in_turn(
                group, options.runs, lambda name, group=group: run_once(group[name], Path(folder))
            )
            first_runs, *_, script_runs = measurements.values()
            has_floor = next(iter(measurements)).startswith("floor")
            for name, runs in measurements.items():
                to_floor = f"{compute_ratio(runs, first_runs):.1f}" if has_floor else "–"
                speed_up = "–" if name.startswith("floor") else f"{compute_ratio(script_runs, runs):.1f}"
                peak = f"{compute_median(runs, 'bytes') / MIB:,.0f} MiB"
                print_row(name, f"{compute_median(runs):.2f}", to_floor, speed_up, peak)


if __name__ == "__main__":
    main()
