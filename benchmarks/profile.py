"""Measure `maskcli profile` of a file of lines, compared with reading and padding it, and with a script.

    python benchmarks/profile.py [--rows 1000000] [--runs 3]

Every alternative is a whole process. They run in turn, A B C A B C ..., so that a machine that slows down slows down
all. ``read`` parses the file by the readers of maskcli, and drops the result; ``pad`` also pads it and writes an
``.npy``. The ratios are medians of those within one turn, of the seconds of the processors, which other programs on the
machine change less than the seconds of the clock. The counts of all profiles are compared with those of the script.
Times are not asserted; this measures, and does not test.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
from pathlib import Path

from inputs import Ids
from turns import MIB, Measurement, compute_median, compute_ratio, print_header, print_row, run_in_turn, run_process

LINES = "in.jsonl"
READ = f"""
from maskcli.sequences.files import read_all
from maskcli.sequences.formats.base import Field
from maskcli.sequences.sources import Source
tokens = sum(chunk.result for chunk, _ in read_all([Source("{LINES}")], "auto", Field(), lambda rows: len(rows.values)))
"""
SCRIPT = f"""
import collections, json
lengths, ids, rows, duplicates = collections.Counter(), set(), set(), 0
with open("{LINES}") as lines:
    for line in lines:
        row = tuple(json.loads(line))
        lengths[len(row)] += 1
        ids.update(row)
        duplicates += row in rows
        rows.add(row)
counts = {{"sequences": lengths.total(), "tokens": sum(n * k for n, k in lengths.items()), "distinct": len(ids)}}
with open("script.json", "w") as file:
    json.dump({{**counts, "duplicates": duplicates}}, file)
"""
PROGRAM = "from maskcli.entry import main; main()"


def make_commands() -> dict[str, list[str]]:
    """Return the command line of each alternative."""
    maskcli = [sys.executable, "-c", PROGRAM]
    profile = [*maskcli, "profile", LINES, "-o", "profile.json"]
    return {
        "read": [sys.executable, "-c", READ],
        "pad": [*maskcli, "pad", LINES, "-o", "out.npy"],
        "profile, one process": [*profile, "--processes", "1"],
        "profile, two processes": [*profile, "--processes", "2"],
        "a script": [sys.executable, "-c", SCRIPT],
    }


def read_counts(folder: Path, name: str) -> dict[str, int]:
    """Return the counts that a profile, or the script, has written."""
    if name == "a script":
        counts: dict[str, int] = json.loads((folder / "script.json").read_text())
        return counts
    document = json.loads((folder / "profile.json").read_text())
    return {
        "sequences": document["sequences"],
        "tokens": document["tokens"],
        "distinct": document["ids"]["distinct"],
        "duplicates": document["duplicates"]["rows"],
    }


def write_lines(path: Path, rows: int) -> None:
    """Write a file of lists."""
    with path.open("w") as file:
        file.writelines(f"{row}\n" for row in Ids(rows).lists())


def main() -> None:
    """Run the alternatives in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    commands = make_commands()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Another process writes the file: a process that this one starts begins with the peak memory of this one.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.apply(write_lines, (folder / LINES, options.rows))
        size, results = (folder / LINES).stat().st_size, []

        def run_once(name: str) -> Measurement:
            code, measurement = run_process(commands[name], cwd=folder)
            if "profile" in name or name == "a script":
                results.append(read_counts(folder, name))
            return {**measurement, "right": code == 0 and all(counts == results[0] for counts in results)}

        runs = run_in_turn(commands, options.runs, run_once)
    print_header(f"{size / 1e6:.0f} MB", "seconds", "of the processors", "÷ read", "÷ pad", "peak MiB")
    for name, measurements in runs.items():
        print_row(
            name,
            f"{compute_median(measurements):.2f}",
            f"{compute_median(measurements, 'cpu'):.2f}",
            f"{compute_ratio(measurements, runs['read'], 'cpu'):.2f}",
            f"{compute_ratio(measurements, runs['pad'], 'cpu'):.2f}",
            f"{compute_median(measurements, 'bytes') / MIB:,.0f}",
        )


if __name__ == "__main__":
    main()
