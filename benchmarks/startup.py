"""How long whole commands take, as ratios to importing the libraries they cannot do without.

    python benchmarks/startup.py [--runs 9]

Each command is run in turn with its floor, A B A B ..., so that a machine that slows down slows both; the ratio is
taken pair by pair, and its median is printed beside the goal. The pair that warms up leaves bytecode behind, as pip
does where it installs maskcli. Nothing is asserted: this measures, tests do not.
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

LIGHT = [sys.executable, "-c", "import numpy, click, rich.table"]
HEAVY = [sys.executable, "-c", "import tensorflow, keras"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
TEN_LINES = "".join(" ".join(map(str, range(1, line + 2))) + "\n" for line in range(10))


def seconds(command: list[str]) -> float:
    """Return the wall time of one run of a process, whose output is thrown away."""
    start = time.perf_counter()
    subprocess.run(command, check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def compare(command: list[str], floor: list[str], runs: int) -> tuple[float, float, float]:
    """Return the median seconds of ``command`` and of ``floor``, and the median of their ratios; one pair warms up."""
    pairs = [(seconds(command), seconds(floor)) for _ in range(runs + 1)][1:]
    mine, others = zip(*pairs, strict=True)
    return statistics.median(mine), statistics.median(others), statistics.median(a / b for a, b in pairs)


def main() -> None:
    """Measure and print one line for each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9, help="pairs to run, after one that warms up")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        ten = Path(folder) / "ten.txt"
        ten.write_text(TEN_LINES)
        program = [str(Path(sys.executable).with_name("maskcli"))]
        cases = [
            ("maskcli --help", [*program, "--help"], LIGHT, 1.5),
            ("maskcli pad ten.txt", [*program, "pad", str(ten)], LIGHT, 1.5),
            ("maskcli inspect", [*program, "inspect"], HEAVY, 1.2),
            ("maskcli loss", [*program, "loss"], HEAVY, 1.2),
        ]
        print(f"{'command':<22}{'seconds':>9}{'floor':>9}{'ratio':>8}{'goal':>7}")
        for name, command, floor, goal in cases:
            mine, other, ratio = compare(command, floor, runs)
            print(f"{name:<22}{mine:>9.3f}{other:>9.3f}{ratio:>8.2f}{goal:>7.1f}", flush=True)


if __name__ == "__main__":
    main()
