"""A long run: ``python -m tests.fuzz --inputs 1000000 --seed 0``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from tests.fuzz.compare import SUFFIXES, draw_input, judge


def read_arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000, help="number of inputs (default 10,000)")
    parser.add_argument("--first", type=int, default=0, help="index of the first input, to continue a run")
    parser.add_argument("--seed", type=int, default=0, help="seed of all inputs (default 0)")
    parser.add_argument("--keep", type=Path, help="folder for the inputs at which maskcli is at fault")
    parser.add_argument("--progress", type=Path, help="file for the counts so far, as JSON")
    return parser.parse_args()


def main() -> int:
    """Try the inputs and return the exit code: 1 if maskcli is at fault with any."""
    arguments = read_arguments()
    warnings.filterwarnings("ignore", "Duplicate name", UserWarning)  # Archives with such members are made on purpose.
    counts: Counter[str] = Counter()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for index in range(arguments.first, arguments.first + arguments.inputs):
            case = draw_input(arguments.seed, index)
            outcome = judge(case, Path(folder))
            counts[outcome.kind] += 1
            if outcome.is_fault:
                print(
                    f"{outcome.kind}, {case.entry}, input {index}: {case.data[:300]!r}\n{outcome.message}", flush=True
                )
                if arguments.keep:
                    arguments.keep.mkdir(parents=True, exist_ok=True)
                    name = f"{arguments.seed}-{index}.{SUFFIXES.get(case.entry, case.entry)}"
                    (arguments.keep / name).write_bytes(case.data)
            if arguments.progress and index % 1000 == 999:
                arguments.progress.write_text(json.dumps({"index": index + 1, **counts}))
    print(json.dumps({"inputs": arguments.inputs, **counts, "seconds": round(time.monotonic() - started)}))
    return int(any(counts[kind] for kind in ("traceback", "hang", "wrong value")))


if __name__ == "__main__":
    sys.exit(main())
