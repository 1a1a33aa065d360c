"""How long it takes from a file of sequences to a file of the padded batch, beside a script that does the same.

    python benchmarks/files.py [--rows 1000000] [--runs 5]

Every way is a whole process, A B C A B C ..., so that a machine that slows down slows all; what the one before wrote
is on the disk when the next one starts. The floor is a process in which NumPy writes zeros of the shape of the results.
Two ways are timed inside their process: reading included, imports and a first call not, and their result is written
when the clock has stopped. All results are compared with what plain NumPy makes of the ids. Peak memory is that of the
whole process, with what it imports. Nothing is asserted of times: this measures, tests do not.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from inputs import LONGEST, Ids
from turns import Said, in_turn, median, print_head, print_row, ratio

MIB = 2**20
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


def floor(rows: int, *names: str) -> str:
    """Return the program that writes zeros in place of these results."""
    dtypes = {TOKENS: "int32", MASK: "bool"}
    saved = [f"numpy.save('{name}', numpy.zeros(({rows}, {LONGEST}), '{dtypes[name]}'))" for name in names]
    return "import numpy; " + "; ".join(saved)


@dataclasses.dataclass(frozen=True)
class Way:
    """One way from file to file.

    Attributes:
        arguments: of Python.
        results: the files that it writes; none of these is looked at in a floor.
    """

    arguments: list[str]
    results: tuple[str, ...] = ()


def groups(rows: int) -> list[dict[str, Way]]:
    """Return ways that do the same, with the floor first, where there is one, and the peer last."""
    command = ["-m", "maskcli", "pad"]
    both = [LINES, "--output", TOKENS, "--mask-output", MASK, "--quiet"]
    ours = ("maskcli", 'maskcli.pad(read_table(path)["ids"]).tokens')
    script = ("keras", 'keras.utils.pad_sequences(read_table(path)["ids"].to_pylist(), padding="post")')
    return [
        {
            "floor: `numpy.save` of tokens and mask": Way(["-c", floor(rows, TOKENS, MASK)]),
            "JSON Lines: `maskcli pad`": Way([*command, *both], (TOKENS, MASK)),
            f"JSON Lines: `maskcli pad --maxlen {LONGEST}`": Way(
                [*command, *both, "--maxlen", str(LONGEST)], (TOKENS, MASK)
            ),
            "JSON Lines: `json.loads`, `pad_sequences`": Way(["-c", LINES_BY_KERAS], (TOKENS, MASK)),
        },
        {
            "floor: `numpy.save` of tokens": Way(["-c", floor(rows, TOKENS)]),
            "Parquet: `maskcli pad`": Way([*command, COLUMN, "--output", TOKENS, "--quiet"], (TOKENS,)),
            "Parquet: `to_pylist`, `pad_sequences`": Way(["-c", COLUMN_BY_KERAS], (TOKENS,)),
        },
        {
            "inside a process: `maskcli.pad(read_table(...)[...])`": Way(["-c", INSIDE % ours], (TOKENS,)),
            "inside a process: `to_pylist`, `pad_sequences`": Way(["-c", INSIDE % script], (TOKENS,)),
        },
    ]


def apart(work: Callable[..., Any], *given: Any) -> Any:
    """Return what a function returns in a process of its own: what this one holds is counted as its children's."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, given)


def make(folder: Path, rows: int, parquet: bool) -> None:
    """Write the inputs, and the results that are expected of them."""
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
    """Return whether results are those that are expected."""
    pairs = ((np.load(folder / name), np.load(folder / f"expected {name}")) for name in names)
    return all(got.dtype == expected.dtype and np.array_equal(got, expected) for got, expected in pairs)


def once(way: Way, folder: Path) -> Said:
    """Run a way once; return what is said of it."""
    for name in (TOKENS, MASK):
        (folder / name).unlink(missing_ok=True)
    os.sync()
    command, quietly = [sys.executable, *way.arguments], os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    with (folder / "printed").open("w+") as printed, (folder / "errors").open("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=printed, stderr=errors, cwd=folder, env=quietly)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        told, wrong = (file.seek(0) or file.read() for file in (printed, errors))
    if status:
        raise SystemExit(f"{command} failed:\n{wrong}")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    right = apart(are_right, folder, way.results)
    return {"seconds": seconds, "bytes": peak, "right": right, **(json.loads(told) if told else {})}


def main() -> None:
    """Run all ways in turn, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5, help="times that each way runs")
    asked = parser.parse_args()
    parquet = importlib.util.find_spec("pyarrow") is not None
    if not parquet:
        print("Parquet: left out, pyarrow is not installed", file=sys.stderr)
    print_head("file to file", "seconds", "× floor", "script ÷ it", "peak")
    with tempfile.TemporaryDirectory() as folder:
        apart(make, Path(folder), asked.rows, parquet)
        for ways in groups(asked.rows)[: None if parquet else 1]:
            seen = in_turn(ways, asked.runs, lambda name, ways=ways: once(ways[name], Path(folder)))
            first, *_, peer = seen.values()
            for name, runs in seen.items():
                has_floor, is_floor = next(iter(seen)).startswith("floor"), name.startswith("floor")
                floors = f"{ratio(runs, first):.1f}" if has_floor else "–"
                script = "–" if is_floor else f"{ratio(peer, runs):.1f}"
                print_row(name, f"{median(runs):.2f}", floors, script, f"{median(runs, 'bytes') / MIB:,.0f} MiB")


if __name__ == "__main__":
    main()
