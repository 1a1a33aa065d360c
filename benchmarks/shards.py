"""Measure padding of JSON Lines into shards, and packing, compared with the scripts that people write for it.

    python benchmarks/shards.py [--rows 1000000] [--shards 8] [--runs 3]

Every alternative is a whole process. They run in turn, A B C A B C ..., so that a machine that slows down slows down
all. The shards of all alternatives are joined and compared; of packed rows, the tokens are counted, because the rows
differ, and their fill is printed. maskcli also writes lengths, checksums and a manifest, and reads the file twice and
once more for its checksum. Times are not asserted; this measures, and does not test.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from turns import MIB, Measurement, compute_median, compute_ratio, print_header, print_row, run_in_turn, run_process

LINES, LONGEST, PACK = "in.jsonl", 512, 512

BY_LOOP = """
import json, numpy
with open("in.jsonl") as lines:
    rows = [json.loads(line)["ids"] for line in lines]
width = max(map(len, rows))
for index in range({shards}):
    part = rows[index * len(rows) // {shards} : (index + 1) * len(rows) // {shards}]
    tokens = numpy.zeros((len(part), width), "int32")
    for row, ids in enumerate(part):
        tokens[row, : len(ids)] = ids
    numpy.save(f"out/tokens-{{index:05d}}.npy", tokens)
"""
BY_PYARROW = """
import numpy, pyarrow.json
column = pyarrow.json.read_json("in.jsonl")["ids"].combine_chunks()
values, splits = column.values.to_numpy(), column.offsets.to_numpy()
lengths = numpy.diff(splits)
width = lengths.max()
for index in range({shards}):
    start, end = index * len(lengths) // {shards}, (index + 1) * len(lengths) // {shards}
    tokens = numpy.zeros((end - start, width), "int32")
    tokens[numpy.arange(width) < lengths[start:end, None]] = values[splits[start] : splits[end]]
    numpy.save(f"out/tokens-{{index:05d}}.npy", tokens)
"""
PACK_IN_ORDER = """
import json, numpy
rows, row = [], []
def finish():
    tokens = numpy.zeros(512, "int32")
    segments = numpy.zeros(512, "int32")
    start = 0
    for number, ids in enumerate(row, 1):
        tokens[start : start + len(ids)] = ids
        segments[start : start + len(ids)] = number
        start += len(ids)
    rows.append((tokens, segments))
room = 512
with open("in.jsonl") as lines:
    for line in lines:
        ids = json.loads(line)["ids"]
        if len(ids) > room:
            finish()
            row, room = [], 512
        row.append(ids)
        room -= len(ids)
finish()
numpy.save("out/tokens-0.npy", numpy.stack([tokens for tokens, _ in rows]))
numpy.save("out/segments-0.npy", numpy.stack([segments for _, segments in rows]))
"""


def write_lines(rows: int) -> None:
    """Write sequences of log-normal lengths."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(3.5, 1, rows), 1, LONGEST).astype(int)
    with Path(LINES).open("w") as file:
        for length in lengths.tolist():
            file.write(f'{{"ids": {rng.integers(1, 30_000, length).tolist()}}}\n')


def list_alternatives(shards: int) -> dict[str, dict[str, list[str]]]:
    """Return groups of commands that do the same."""
    command = [sys.executable, "-m", "maskcli", "pad", LINES, "--output", "out", "--quiet"]
    python = [sys.executable, "-c"]
    return {
        "shards": {
            "`maskcli pad --shards`": [*command, "--shards", str(shards)],
            "`pyarrow.json`, NumPy": [*python, BY_PYARROW.format(shards=shards)],
            "`json.loads`, a loop": [*python, BY_LOOP.format(shards=shards)],
        },
        "packed": {
            f"`maskcli pad --pack {PACK}`": [*command, "--pack", str(PACK)],
            "`json.loads`, a loop in order": [*python, PACK_IN_ORDER],
        },
    }


def read_result(group: str) -> tuple[str, float]:
    """Return the result that all commands of a group share, and the share of valid timesteps."""
    names = [path for path in sorted(Path("out").glob("*.npy")) if path.stem.count(".") == 0]
    tokens = np.concatenate([np.load(path) for path in names if not path.name.startswith("segments")])
    fill = float((tokens != 0).mean())
    if group == "packed":
        return str(int((tokens != 0).sum())), fill
    return f"{tokens.shape} {tokens.dtype} {hashlib.sha256(tokens).hexdigest()}", fill


first_results: dict[str, str] = {}
"""The result of the first run of each group, with which all others are compared."""


def run_once(group: str, command: list[str]) -> Measurement:
    """Run an alternative in an empty directory."""
    shutil.rmtree("out", ignore_errors=True)
    Path("out").mkdir()
    status, measurement = run_process(command)
    if status:
        raise SystemExit(f"{command} failed: exit code {status}")
    # The peak of a child process starts with the memory of its parent, which must stay small.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        measurement["result"], measurement["fill"] = pool.apply(read_result, (group,))
    right = first_results.setdefault(group, measurement["result"]) == measurement["result"]
    return {**measurement, "right": right}


def run_named(group: str, commands: dict[str, list[str]], name: str) -> Measurement:
    """Run an alternative by its name."""
    return run_once(group, commands[name])


def main() -> None:
    """Print a table of each group."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        os.chdir(folder)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.apply(write_lines, (options.rows,))
        size = Path(LINES).stat().st_size
        print(json.dumps({"rows": options.rows, "MiB": round(size / MIB), "runs": options.runs}))
        for group, commands in list_alternatives(options.shards).items():
            measured = run_in_turn(commands, options.runs, partial(run_named, group, commands))
            print_header(group, "seconds", "MiB/s", "peak MiB", "filled", "of maskcli's time")
            ours = next(iter(measured.values()))
            for name, runs in measured.items():
                seconds = compute_median(runs, "seconds")
                print_row(
                    name,
                    f"{seconds:.2f}",
                    f"{size / MIB / seconds:.0f}",
                    f"{compute_median(runs, 'bytes') / MIB:.0f}",
                    f"{runs[0]['fill']:.2%}",
                    f"{compute_ratio(runs, ours):.2f}",
                )
        os.chdir("/")


if __name__ == "__main__":
    main()
