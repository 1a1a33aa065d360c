"""Measure the time of whole commands, compared with importing the libraries that they need.

    python benchmarks/startup.py [--runs 9]

A command and its imports run in turn, A B A B ..., so that a machine that slows down slows down both. The table has the
median of the ratios of all pairs, in seconds of the processors. The target is 1.5 for `pad`, 1.2 for commands with a
model, and 0.5 for commands that need no NumPy.
The first pair only warms up: it leaves bytecode, as pip does when it installs maskcli. Nothing is asserted; this
measures, and does not test.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
from pathlib import Path

from turns import compute_median, compute_ratio, print_header, print_row, run_command, run_on_terminal, run_pairs

LIGHT, HEAVY = "import numpy, click, rich.table", "import tensorflow, keras"
LOOK_UPS = (["rules"], ["explain", "MSK101"], ["models"], ["check", "--help"])
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
TERMINAL = {**ENVIRONMENT, "TERM": "xterm-256color"}
TEN_LINES = "".join(" ".join(map(str, range(1, line + 2))) + "\n" for line in range(10))


def main() -> None:
    """Measure all commands, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9, help="pairs to run, after one that warms up")
    runs = parser.parse_args().runs
    program = str(Path(sys.executable).with_name("maskcli"))
    with tempfile.TemporaryDirectory() as folder:
        ten_lines = Path(folder) / "ten.txt"
        ten_lines.write_text(TEN_LINES)
        page = str(Path(folder) / "r.html")
        commands = [
            ("`maskcli --help`", [program, "--help"], LIGHT),
            ("`maskcli pad` of ten lines", [program, "pad", str(ten_lines)], LIGHT),
            ("`maskcli inspect`", [program, "inspect", "--sample"], HEAVY),
            ("`maskcli loss`", [program, "loss", "--sample"], HEAVY),
            ("`maskcli report`", [program, "report", "--sample", "--quiet", "--output", page], HEAVY),
            *((f"`maskcli {' '.join(look_up)}`", [program, *look_up], LIGHT) for look_up in LOOK_UPS),
        ]
        cases = [(name, functools.partial(run_command, command, ENVIRONMENT), base) for name, command, base in commands]
        for look_up in LOOK_UPS:
            work = functools.partial(run_on_terminal, [program, *look_up], TERMINAL)
            cases.append((f"`maskcli {' '.join(look_up)}` on a terminal", work, LIGHT))
        print_header("command", "seconds", "compared with", "ratio")
        for name, work, imports in cases:
            measurements, import_measurements = run_pairs(
                work,
                lambda imports=imports: run_command([sys.executable, "-c", imports], ENVIRONMENT),
                runs + 1,
            )
            ratio = compute_ratio(measurements[1:], import_measurements[1:], "cpu")
            print_row(name, f"{compute_median(measurements[1:], 'cpu'):.2f}", f"`{imports}`", f"{ratio:.2f}")


if __name__ == "__main__":
    main()
