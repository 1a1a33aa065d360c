"""Measure the JSON of large arrays, compared with ``json.dumps`` of their lists.

    python benchmarks/documents.py [--rows 100000] [--runs 5]

Both encode the same arrays of (rows, 20) in one process, in turn, A B A B ...; the table has the median of the ratios
of all pairs, and the bytes of each number (target: a ratio of at most 0.5). Nothing is asserted; this measures, and
does not test.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from turns import Measurement, compute_median, compute_ratio, measure, print_header, print_row, run_pairs

from maskcli.render.documents import iterate_json

TIMESTEPS = 20


def main() -> None:
    """Measure each dtype, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    values = np.random.default_rng(0).normal(size=(options.rows, TIMESTEPS))
    print_header("array", "seconds", "`json.dumps`", "ratio", "bytes", "`json.dumps`")
    for name, array in (
        ("float32", values.astype("float32")),
        ("float64", values),
        ("int32", (values * 10_000).astype("int32")),
        ("bool", values > 0),
    ):

        def encode(array: np.ndarray = array) -> Measurement:
            size, measurement = measure(lambda: sum(map(len, iterate_json({"values": array}))))
            return {**measurement, "size": size}

        def encode_whole(array: np.ndarray = array) -> Measurement:
            text, measurement = measure(lambda: json.dumps({"values": array.tolist()}).encode())
            return {**measurement, "size": len(text)}

        ours, whole = run_pairs(encode, encode_whole, options.runs)
        print_row(
            name,
            f"{compute_median(ours):.2f}",
            f"{compute_median(whole):.2f}",
            f"{compute_ratio(ours, whole):.2f}",
            f"{ours[0]['size'] / values.size:.1f}",
            f"{whole[0]['size'] / values.size:.1f}",
        )


if __name__ == "__main__":
    main()
