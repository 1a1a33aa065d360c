"""Measure reading text into integers and row splits, compared with other libraries.

    python benchmarks/parse.py [--rows 1000000] [--runs 5]

Every alternative runs in a process of its own, in turn, A B C A B C ..., so that a machine that slows down slows down
all. It first reads a file of a few rows, because a first call may load libraries and start threads; then the large
file is measured. The floor is reading the bytes. The results, ``values`` and ``row_splits``, are compared with the
written data. Libraries that are not installed are skipped, and so are forms that a library cannot read. Booleans and
fractions are rejected by maskcli, polars and pysimdjson themselves, and with orjson by a check in Python; duckdb and
``json.loads`` convert them to integers here. Memory is the peak above the memory before, measured only on Linux. Times
are not asserted; this measures, and does not test.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from inputs import HARDER, KINDS, MAIN, Kind, Rows
from turns import (
    MIB,
    Measurement,
    compute_median,
    compute_ratio,
    measure,
    print_header,
    print_row,
    read_measurement,
    run_in_turn,
)

FEW = 50


def read_bytes(path: Path, _kind: Kind) -> None:
    """Read only the bytes of the file."""
    path.read_bytes()


def maskcli(path: Path, _kind: Kind) -> Rows:
    """Read with maskcli."""
    from maskcli.sequences.files import read_sequences

    ragged = read_sequences([str(path)]).ragged
    return ragged.values, ragged.row_splits


def maskcli_on_one_processor(path: Path, kind: Kind) -> Rows:
    """Read with maskcli on a single processor."""
    if not hasattr(os, "sched_setaffinity"):
        raise ImportError("os.sched_setaffinity does not exist")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    return maskcli(path, kind)


def polars(path: Path, kind: Kind) -> Rows:
    """Read objects with polars, or split lines and cast."""
    import polars as pl

    ids = pl.List(pl.Int32)
    if kind.form == "object":
        column = pl.read_ndjson(path, schema={"ids": ids})["ids"]
    else:
        line, names = pl.col("line"), {"line": pl.String}
        frame = pl.scan_csv(path, has_header=False, separator="\x01", quote_char=None, schema=names)
        if kind.form != "cells":
            line = line.str.strip_chars("[]")
        if kind.form == "array":
            line = line.str.split("], [").explode()
        column = frame.select(line.str.split(kind.separator).cast(ids)).collect()["line"]
    return column.explode().to_numpy(), _make_splits(column.list.len().to_numpy())


def duckdb(path: Path, kind: Kind) -> Rows:
    """Query with duckdb, and convert to Arrow."""
    import duckdb

    lines = (
        r"FROM read_csv(?, header=false, delim='\x01', quote='', escape='', auto_detect=false, columns={l: 'VARCHAR'})"
    )
    query = {
        "list": "SELECT json FROM read_json(?, format='nd', records=false, columns={json: 'INTEGER[]'})",
        "array": "SELECT json FROM read_json(?, format='array', records=false, columns={json: 'INTEGER[]'})",
        "object": "SELECT ids FROM read_json(?, format='nd', columns={ids: 'INTEGER[]'})",
        "cells,": f"SELECT from_json('[' || l || ']', '[\"INTEGER\"]') {lines}",
        "cells ": f"SELECT string_split(l, ' ')::INTEGER[] {lines}",
    }[kind.form + (kind.separator if kind.form == "cells" else "")]
    with duckdb.connect() as connection:
        chunks = connection.sql(query, params=[str(path)]).to_arrow_table().column(0).chunks
    lengths = [np.diff(chunk.offsets.to_numpy()) for chunk in chunks]
    return np.concatenate([chunk.flatten().to_numpy() for chunk in chunks]), _make_splits(np.concatenate(lengths))


def pysimdjson(path: Path, kind: Kind) -> Rows:
    """Parse many lines at once as one array with pysimdjson; an array as a whole."""
    import simdjson

    parser, values, lengths = simdjson.Parser(), [], []
    for text in [path.read_bytes()] if kind.form == "array" else _read_lines_as_arrays(path):
        rows = parser.parse(text)
        if kind.form == "object":
            lists = [row["ids"] for row in rows]
            values += [np.frombuffer(row.as_buffer(of_type="i"), np.int64).astype(kind.dtype) for row in lists]
        else:
            lists = rows
            values.append(np.frombuffer(rows.as_buffer(of_type="i"), np.int64).astype(kind.dtype))
        lengths.append(np.fromiter(map(len, lists), np.int64))
        del rows, lists  # A parser can be used again only without references to its last document.
    return np.concatenate(values), _make_splits(np.concatenate(lengths))


def _read_lines_as_arrays(path: Path) -> Iterator[bytes]:
    left = b""
    with path.open("rb") as file:
        while more := file.read(MIB):
            lines, _, left = (left + more).rpartition(b"\n")
            if lines:
                yield b"[" + lines.replace(b"\n", b",") + b"]"


def orjson(path: Path, kind: Kind) -> Rows:
    """Parse each line with orjson, or an array as a whole, and check the types of the values."""
    import orjson

    rows = _load_rows(path, kind, orjson.loads, "rb")
    if set(map(type, itertools.chain.from_iterable(rows))) != {int}:
        raise SystemExit("not all values are integers")
    return _flatten(rows, kind)


def standard_library(path: Path, kind: Kind) -> Rows:
    """Parse each line with the standard library, or an array as a whole."""
    if kind.form != "cells":
        return _flatten(_load_rows(path, kind, json.loads, "r"), kind)
    with path.open() as lines:
        return _flatten([list(map(int, line.rstrip(",\n").split(kind.separator))) for line in lines], kind)


def _load_rows(path: Path, kind: Kind, loads: Callable[[Any], Any], mode: str) -> list[list[int]]:
    with path.open(mode) as file:
        if kind.form == "array":
            return loads(file.read())
        return [loads(line)["ids"] if kind.form == "object" else loads(line) for line in file]


def _flatten(rows: Sequence[Sequence[int]], kind: Kind) -> Rows:
    splits = _make_splits(np.fromiter(map(len, rows), np.int64, len(rows)))
    return np.fromiter(itertools.chain.from_iterable(rows), kind.dtype, splits[-1]), splits


def _make_splits(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


JSON = {"list", "object", "array"}
EVERY = JSON | {"cells"}
PLAIN = "`json.loads` or `str.split`, each line"
ALTERNATIVES: dict[str, tuple[Callable[[Path, Kind], Rows | None], set[str]]] = {
    "reading the bytes": (read_bytes, EVERY),
    "maskcli": (maskcli, EVERY),
    "maskcli, one processor": (maskcli_on_one_processor, EVERY),
    "polars": (polars, EVERY),
    "duckdb": (duckdb, EVERY),
    "pysimdjson, 1 MiB of lines": (pysimdjson, JSON),
    "orjson, each line": (orjson, JSON),
    PLAIN: (standard_library, EVERY),
}
"""The function of each alternative, and the forms that it reads."""


def run_alternative(name: str, kind: Kind, folder: Path, rows: int) -> Measurement:
    """Run one alternative once, and measure it."""
    read, _ = ALTERNATIVES[name]
    try:
        read(folder / f"few{kind.suffix}", kind)
    except ImportError as error:
        return {"missing": str(error)}
    result, measurement = measure(lambda: read(folder / f"all{kind.suffix}", kind))
    return {**measurement, "right": result is None or kind.is_right(result, rows)}


def compare(kind_name: str, names: Iterable[str], rows: int, runs: int) -> dict[str, list[Measurement]]:
    """Run alternatives in turn on one kind of file."""
    kind = KINDS[kind_name]
    with tempfile.TemporaryDirectory() as folder:
        kind.write(Path(folder) / f"few{kind.suffix}", FEW)
        kind.write(Path(folder) / f"all{kind.suffix}", rows)
        command = [sys.executable, __file__, f"--rows={rows}", "--only"]
        able = [name for name in names if kind.form in ALTERNATIVES[name][1]]
        return run_in_turn(able, runs, lambda name: read_measurement([*command, name, kind_name, folder]))


def main() -> None:
    """Run all alternatives on all kinds of files, and print two Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5, help="runs of each alternative")
    parser.add_argument("--only", nargs=3, metavar=("NAME", "KIND", "FOLDER"), help="one alternative, in this process")
    options = parser.parse_args()
    if options.only:
        name, kind, folder = options.only
        print(json.dumps(run_alternative(name, KINDS[kind], Path(folder), options.rows)))
        return
    measurements = {kind: compare(kind, ALTERNATIVES, options.rows, options.runs) for kind in MAIN}
    print_header("seconds", *MAIN, "peak")
    for name in ALTERNATIVES:
        if all_runs := [of_kind[name] for of_kind in measurements.values() if name in of_kind]:
            seconds = [
                f"{compute_median(of_kind[name]):.2f}" if name in of_kind else "–" for of_kind in measurements.values()
            ]
            peak = max(compute_median(runs, "bytes") for runs in all_runs)
            print_row(name, *seconds, f"{peak / MIB:,.0f} MiB")
    ratios = [compute_ratio(of_kind[PLAIN], of_kind["maskcli"]) for of_kind in measurements.values()]
    print_row("the last ÷ maskcli", *[f"{ratio:.1f}" for ratio in ratios], "")
    print()
    print_header("harder input", "maskcli", PLAIN, "ratio")
    for kind in HARDER:
        fifth = max(options.rows // 5, 1)
        maskcli_runs, plain_runs = compare(kind, ("maskcli", PLAIN), fifth, options.runs).values()
        ratio = compute_ratio(plain_runs, maskcli_runs)
        print_row(kind, f"{compute_median(maskcli_runs):.2f}", f"{compute_median(plain_runs):.2f}", f"{ratio:.1f}")


if __name__ == "__main__":
    main()
