"""Measure the profile of a corpus, and its shards, in one process, in several, on Dask, and by other libraries.

    python benchmarks/corpus.py [--rows 10000000] [--runs 1] [--peers none]

The corpus is written by the benchmark: JSON Lines with a label and ids in 8 files, log-normal lengths, and ids whose
frequency falls with their rank, as in text. Every alternative is a whole process with all that it starts; they run in
turn, A B C A B C ..., so that a machine that slows down slows down all. The results of all alternatives are compared:
the histogram of lengths, the smallest, the largest and the number of different ids, and the checksum of the joined
shards. The time of Dask that does not grow with the corpus is that of its first rows; ``overhead`` is the share of the
processors' seconds by which Dask exceeds one process, without that time. The tables are those of docs/performance.md.
Times are not asserted; this measures, and does not test.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from corpus_peers import make_peers
from turns import MIB, Measurement, compute_median, compute_ratio, print_header, print_row, run_family, run_in_turn

FILES, SLICE = 8, 20_000
MAXLEN, LONGEST, VOCABULARY = 64, 512, 32_000
LABELS = ("web", "news", "code")
FEW = 2_000
"""Rows whose time is that of the start of all processes."""
ENGINES = {
    "one process": ["--processes", "1"],
    "two processes": ["--processes", "2"],
    "Dask, one worker": ["--workers", "1"],
    "Dask, two workers": ["--workers", "2"],
}
LIBRARIES = {"`datasets`": "datasets", "Dask": "distributed", "polars": "polars"}
"""The module that alternatives need whose name begins so."""


def write_rows(path: Path, first: int, rows: int) -> None:
    """Write rows of one file; the rows are the same for any division into slices of ``SLICE``."""
    with path.open("w") as file:
        for start in range(first, first + rows, SLICE):
            rng = np.random.default_rng(start)
            lengths = np.clip(rng.lognormal(2.7, 0.9, min(SLICE, first + rows - start)), 1, LONGEST).astype(int)
            labels = rng.choice(len(LABELS), len(lengths), p=(0.7, 0.2, 0.1)).tolist()
            ids = (VOCABULARY ** rng.random(int(lengths.sum()))).astype(int).tolist()
            end = 0
            for label, length in zip(labels, lengths.tolist(), strict=True):
                start_of_row, end = end, end + length
                file.write(f'{{"source": "{LABELS[label]}", "ids": {ids[start_of_row:end]}}}\n')


def write_corpus(folder: Path, rows: int) -> int:
    """Write the files of a corpus and return their bytes."""
    folder.mkdir()
    bounds = [rows * index // FILES for index in range(FILES + 1)]
    paths = [folder / f"part-{index}.jsonl" for index in range(FILES)]
    jobs = [(path, bounds[index], bounds[index + 1] - bounds[index]) for index, path in enumerate(paths)]
    # Other processes write: a process that this one starts begins with the peak memory of this one.
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.starmap(write_rows, jobs)
    return sum(path.stat().st_size for path in paths)


def make_commands(shards: int) -> dict[str, dict[str, list[str]]]:
    """Return the options of maskcli for each job and engine."""
    profile = ["profile", "in", "--field", "ids", "-o", "result.json"]
    pad = ["pad", "in", "--field", "ids", "--maxlen", str(MAXLEN), "--truncating", "post"]
    pad += ["--output", "out", "--shards", str(shards), "--quiet"]
    command = [sys.executable, "-m", "maskcli"]
    return {
        job: {f"`maskcli {job_name}`, {name}": [*command, *options, *engine] for name, engine in ENGINES.items()}
        for job, job_name, options in (("profile", "profile", profile), ("shards", "pad --shards", pad))
    }


def read_counts(folder: Path) -> str:
    """Return the histogram of lengths, and the smallest, the largest and the number of different ids."""
    document = json.loads((folder / "result.json").read_text())
    if "ids" in document and isinstance(document["ids"], list):
        return json.dumps([document["lengths"], document["ids"]])
    histogram, ids = document["lengths"]["histogram"], document["ids"]
    pairs = [list(pair) for pair in zip(histogram["lengths"], histogram["counts"], strict=True)]
    return json.dumps([pairs, [ids["smallest"]["value"], ids["largest"]["value"], ids["distinct"]]])


def read_shards(folder: Path) -> str:
    """Return the bytes and the checksum of all rows of the shards, joined."""
    checksum, size = hashlib.sha256(), 0
    paths = [path for path in sorted((folder / "out").glob("*.npy")) if path.stem.count(".") == 0]
    for path in paths:
        tokens = np.load(path, mmap_mode="r")
        if tokens.dtype != np.int32 or tokens.shape[1] != MAXLEN:
            return f"{tokens.dtype}{tokens.shape}"
        for start in range(0, len(tokens), 2**16):
            checksum.update(np.ascontiguousarray(tokens[start : start + 2**16]))
        size += tokens.nbytes
    return f"{size} {checksum.hexdigest()}"


class Runner:
    """Runs alternatives in a folder, and compares their results with the first one."""

    def __init__(self, folder: Path, commands: Mapping[str, Sequence[str]], read: Callable[[Path], str]) -> None:
        """Keep the folder, in which ``in`` is the corpus, and the function that reads the result of a job."""
        self.folder, self._commands, self._read = folder, commands, read
        self._first: str | None = None

    def run_once(self, name: str) -> Measurement:
        """Run an alternative by its name."""
        library = next((module for start, module in LIBRARIES.items() if start in name), None)
        if library is not None and importlib.util.find_spec(library) is None:
            return {"missing": f"no module {library}"}
        for path in (self.folder / "out", self.folder / "cache"):
            shutil.rmtree(path, ignore_errors=True)
        (self.folder / "result.json").unlink(missing_ok=True)
        (self.folder / "out").mkdir()
        with (self.folder / "log.txt").open("w+") as log:
            code, measurement = run_family(self._commands[name], cwd=self.folder, log=log)
            log.seek(0)
            if code:
                raise SystemExit(f"{name} failed: exit code {code}\n{log.read()[-3000:]}")
        # The memory of this process stays small, see ``write_corpus``.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            result = pool.apply(self._read, (self.folder,))
        self._first = self._first or result
        return {**measurement, "right": result == self._first}


def print_table(
    title: str, size: int, measured: Mapping[str, list[Measurement]], starts: Mapping[str, list[Measurement]]
) -> None:
    """Print the measurements of all alternatives of a job."""
    print_header(title, "seconds", "of the processors", "MB/s", "start", "largest process", "all", "÷ one process")
    base = next(iter(measured))
    for name, runs in measured.items():
        seconds = compute_median(runs)
        print_row(
            name,
            f"{seconds:.1f}",
            f"{compute_median(runs, 'cpu'):.1f}",
            f"{size / 1e6 / seconds:,.0f}",
            f"{compute_median(starts[name]):.1f}" if name in starts else "–",
            f"{compute_median(runs, 'bytes') / MIB:,.0f} MiB",
            f"{compute_median(runs, 'all_bytes') / MIB:,.0f} MiB",
            f"{compute_ratio(runs, measured[base]):.2f}",
        )
    print()
    is_long = base in starts and compute_median(measured[base], "cpu") > 3 * compute_median(starts[base], "cpu")
    for name in (name for name in measured if is_long and "maskcli" in name and "Dask" in name):
        print(f"{name}: overhead {compute_overhead(measured, starts, base, name):+.1%} of the processors' seconds")
    print()


def compute_overhead(
    measured: Mapping[str, list[Measurement]], starts: Mapping[str, list[Measurement]], base: str, name: str
) -> float:
    """Return the share by which an alternative takes more time of the processors, both without their start."""
    work = [
        [run["cpu"] - start["cpu"] for run, start in zip(measured[key], starts[key], strict=True)]
        for key in (base, name)
    ]
    return statistics.median(other / alone - 1 for alone, other in zip(*work, strict=True))


def measure_job(folder: Path, small: Path, job: str, options: argparse.Namespace, size: int) -> None:
    """Measure all alternatives of a job and print their table."""
    commands: dict[str, list[str]] = make_commands(options.shards)[job]
    ours = list(commands)
    if options.peers != "none":
        for index, (name, code) in enumerate(make_peers(MAXLEN, options.shards)[job].items()):
            path = folder / f"{job}_{index}.py"
            path.write_text(code.lstrip())
            commands[name] = [sys.executable, str(path)]
    read = read_counts if job == "profile" else read_shards
    starts = {}
    if options.rows > FEW:
        starts = run_in_turn(ours, options.runs, Runner(small, commands, read).run_once)
    measured = run_in_turn(commands, options.runs, Runner(folder, commands, read).run_once)
    print_table(f"{job}, {size / 1e6:,.0f} MB", size, measured, starts)


def main() -> None:
    """Write the corpus, run all alternatives in turn, and print a table of each job."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--jobs", nargs="+", choices=("profile", "shards"), default=["profile", "shards"])
    parser.add_argument("--peers", choices=("all", "none"), default="all")
    parser.add_argument(
        "--folder", type=Path, default=Path.cwd(), help="For the corpus, 1.3 GB, and shards, up to 8 GB."
    )
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    os.environ.update(POLARS_MAX_THREADS="2", HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder, small = Path(name), Path(name) / "small"
        small.mkdir()
        size = write_corpus(folder / "in", options.rows)
        write_corpus(small / "in", min(FEW, options.rows))
        print(json.dumps({"rows": options.rows, "MB": round(size / 1e6), "runs": options.runs}), flush=True)
        for job in options.jobs:
            measure_job(folder, small, job, options, size)


if __name__ == "__main__":
    main()
