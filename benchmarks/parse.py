"""How long it takes to turn text into integers and where each row of them ends, beside those who do the same.

    python benchmarks/parse.py [--rows 1000000] [--runs 5]

Every way runs in a process of its own, A B C A B C ..., so that a machine that slows down slows all. It reads a file
of a few rows before the clock runs, which loads and starts what a first call does, and then the whole file. The floor
is to read the bytes. What a way returns, ``values`` and ``row_splits``, is compared with what was written; libraries
that are not installed are left out, and what one cannot read. A boolean or a fraction is refused by maskcli, polars and
pysimdjson on their own, and by a check in Python where orjson is used; duckdb and ``json.loads`` take it for an integer
here. Peak memory is what was added to what the process held before, and is told on Linux alone. Nothing is asserted of
times: this measures, tests do not.
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
from inputs import KINDS, MAIN, OTHERS, Kind, Rows
from turns import Said, in_turn, median, print_head, print_row, ratio, said_by, timed

FEW = 50
MIB = 2**20


def bytes_alone(path: Path, _kind: Kind) -> None:
    """Read the file, and no more."""
    path.read_bytes()


def maskcli(path: Path, _kind: Kind) -> Rows:
    """Read by maskcli."""
    from maskcli.sequences.files import read_sequences

    ragged = read_sequences([str(path)]).ragged
    return ragged.values, ragged.row_splits


def maskcli_alone(path: Path, kind: Kind) -> Rows:
    """Read by maskcli, which may use one processor."""
    if not hasattr(os, "sched_setaffinity"):
        raise ImportError("there is no os.sched_setaffinity")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    return maskcli(path, kind)


def polars(path: Path, kind: Kind) -> Rows:
    """Let polars read objects, or split lines and cast."""
    import polars as pl

    ids = pl.List(pl.Int32)
    if kind.form == "object":
        found = pl.read_ndjson(path, schema={"ids": ids})["ids"]
    else:
        line, names = pl.col("line"), {"line": pl.String}
        frame = pl.scan_csv(path, has_header=False, separator="\x01", quote_char=None, schema=names)
        if kind.form != "cells":
            line = line.str.strip_chars("[]")
        if kind.form == "array":
            line = line.str.split("], [").explode()
        found = frame.select(line.str.split(kind.separator).cast(ids)).collect()["line"]
    return found.explode().to_numpy(), _splits(found.list.len().to_numpy())


def duckdb(path: Path, kind: Kind) -> Rows:
    """Ask duckdb, for Arrow."""
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
    return np.concatenate([chunk.flatten().to_numpy() for chunk in chunks]), _splits(np.concatenate(lengths))


def pysimdjson(path: Path, kind: Kind) -> Rows:
    """Parse whole lines by pysimdjson, some at a time as one array; an array whole."""
    import simdjson

    parser, values, lengths = simdjson.Parser(), [], []
    for text in [path.read_bytes()] if kind.form == "array" else _arrays_of_lines(path):
        rows = parser.parse(text)
        if kind.form == "object":
            found = [row["ids"] for row in rows]
            values += [np.frombuffer(row.as_buffer(of_type="i"), np.int64).astype(kind.dtype) for row in found]
        else:
            found = rows
            values.append(np.frombuffer(rows.as_buffer(of_type="i"), np.int64).astype(kind.dtype))
        lengths.append(np.fromiter(map(len, found), np.int64))
        del rows, found  # A parser is free again when nothing of its last document is held.
    return np.concatenate(values), _splits(np.concatenate(lengths))


def _arrays_of_lines(path: Path) -> Iterator[bytes]:
    left = b""
    with path.open("rb") as file:
        while more := file.read(MIB):
            lines, _, left = (left + more).rpartition(b"\n")
            if lines:
                yield b"[" + lines.replace(b"\n", b",") + b"]"


def orjson(path: Path, kind: Kind) -> Rows:
    """Parse each line by orjson, or an array whole, and check what the values are."""
    import orjson

    rows = _rows(path, kind, orjson.loads, "rb")
    if set(map(type, itertools.chain.from_iterable(rows))) != {int}:
        raise SystemExit("not all are integers")
    return _flat(rows, kind)


def plainly(path: Path, kind: Kind) -> Rows:
    """Parse each line by the standard library, or an array whole."""
    if kind.form != "cells":
        return _flat(_rows(path, kind, json.loads, "r"), kind)
    with path.open() as lines:
        return _flat([list(map(int, line.rstrip(",\n").split(kind.separator))) for line in lines], kind)


def _rows(path: Path, kind: Kind, loads: Callable[[Any], Any], mode: str) -> list[list[int]]:
    with path.open(mode) as file:
        if kind.form == "array":
            return loads(file.read())
        return [loads(line)["ids"] if kind.form == "object" else loads(line) for line in file]


def _flat(rows: Sequence[Sequence[int]], kind: Kind) -> Rows:
    splits = _splits(np.fromiter(map(len, rows), np.int64, len(rows)))
    return np.fromiter(itertools.chain.from_iterable(rows), kind.dtype, splits[-1]), splits


def _splits(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


JSON = {"list", "object", "array"}
EVERY = JSON | {"cells"}
PLAIN = "`json.loads` or `str.split`, each line"
WAYS: dict[str, tuple[Callable[[Path, Kind], Rows | None], set[str]]] = {
    "reading the bytes": (bytes_alone, EVERY),
    "maskcli": (maskcli, EVERY),
    "maskcli, one processor": (maskcli_alone, EVERY),
    "polars": (polars, EVERY),
    "duckdb": (duckdb, EVERY),
    "pysimdjson, 1 MiB of lines": (pysimdjson, JSON),
    "orjson, each line": (orjson, JSON),
    PLAIN: (plainly, EVERY),
}
"""What each way does, and the forms that it reads."""


def child(way: str, kind: Kind, folder: Path, rows: int) -> Said:
    """Run one way once; return what is said of it."""
    read, _ = WAYS[way]
    try:
        read(folder / f"few{kind.suffix}", kind)
    except ImportError as error:
        return {"missing": str(error)}
    found, said = timed(lambda: read(folder / f"all{kind.suffix}", kind))
    return {**said, "right": found is None or kind.is_in(found, rows)}


def compared(name: str, ways: Iterable[str], rows: int, runs: int) -> dict[str, list[Said]]:
    """Run ways in turn on a kind of file."""
    kind = KINDS[name]
    with tempfile.TemporaryDirectory() as folder:
        kind.write(Path(folder) / f"few{kind.suffix}", FEW)
        kind.write(Path(folder) / f"all{kind.suffix}", rows)
        command = [sys.executable, __file__, f"--rows={rows}", "--only"]
        able = [way for way in ways if kind.form in WAYS[way][1]]
        return in_turn(able, runs, lambda way: said_by([*command, way, name, folder]))


def main() -> None:
    """Run all ways on all kinds, and print two tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5, help="times that each way runs")
    parser.add_argument("--only", nargs=3, metavar=("WAY", "KIND", "FOLDER"), help="one way, in this process")
    asked = parser.parse_args()
    if asked.only:
        way, kind, folder = asked.only
        print(json.dumps(child(way, KINDS[kind], Path(folder), asked.rows)))
        return
    seen = {name: compared(name, WAYS, asked.rows, asked.runs) for name in MAIN}
    print_head("seconds", *MAIN, "peak")
    for way in WAYS:
        if all_runs := [seen[name][way] for name in MAIN if way in seen[name]]:
            times = [f"{median(seen[name][way]):.2f}" if way in seen[name] else "–" for name in MAIN]
            print_row(way, *times, f"{max(median(runs, 'bytes') for runs in all_runs) / MIB:,.0f} MiB")
    ratios = [f"{ratio(runs[PLAIN], runs['maskcli']):.1f}" for runs in seen.values()]
    print_row("the last ÷ maskcli", *ratios, "")
    print()
    print_head("others, a fifth of the rows", "maskcli", PLAIN, "it ÷ maskcli")
    for name in OTHERS:
        ours, plain = compared(name, ("maskcli", PLAIN), max(asked.rows // 5, 1), asked.runs).values()
        print_row(name, f"{median(ours):.2f}", f"{median(plain):.2f}", f"{ratio(plain, ours):.1f}")


if __name__ == "__main__":
    main()
