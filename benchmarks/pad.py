"""Measure padding in memory, compared with other libraries, relative to writing the result once.

    python benchmarks/pad.py [--rows 1000000] [--timesteps 128] [--runs 5]

Every alternative runs in a process of its own, in turn, A B C A B C ..., so that a machine that slows down slows down
all. Its input is created before the time is measured. The floor is ``numpy.full`` of the same result. Each result is
compared with that of plain NumPy, and libraries that are not installed are skipped. Memory is the peak above the memory
before, measured only on Linux. A virtual machine is several times slower with memory that it first gets from its host,
so each process first touches as much memory as most alternatives need. Times are not asserted; this measures, and does
not test.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from turns import compute_median, compute_ratio, measure, print_header, print_row, read_measurement, run_in_turn

FLOOR = "`numpy.full` of the result"
TOUCHED = 2**31
"""Bytes of memory that a process touches before its time is measured."""
Work = Callable[[], Any]
"""Returns the padded matrix, or that and a mask."""


class Data:
    """Ragged sequences of 1 to ``timesteps`` ids of 1 to 5 digits, in several forms."""

    def __init__(self, rows: int, timesteps: int, dtype: str = "int32") -> None:
        """Draw the ids; the first row has full length."""
        rng = np.random.default_rng(0)
        self.timesteps, self.rows, self.dtype = timesteps, rows, dtype
        self.lengths = rng.integers(1, timesteps + 1, rows)
        self.lengths[0] = timesteps
        self.splits = np.concatenate([[0], np.cumsum(self.lengths)])
        self.values = rng.integers(1, 30_000, self.splits[-1]).astype(dtype)

    def lists(self) -> list[list[int]]:
        """Return the sequences as lists."""
        flat, splits = self.values.tolist(), self.splits.tolist()
        return [flat[start:end] for start, end in itertools.pairwise(splits)]

    def pad_with_numpy(self, padding: str = "post", value: int = 0) -> np.ndarray:
        """Return the padded matrix of plain NumPy."""
        timesteps, lengths = np.arange(self.timesteps), self.lengths[:, None]
        valid = timesteps < lengths if padding == "post" else timesteps >= self.timesteps - lengths
        tokens = np.full(valid.shape, value, self.dtype)
        tokens[valid] = self.values
        return tokens


def fill_result(data: Data) -> Work:
    """Write the result once."""
    return lambda: np.full((data.rows, data.timesteps), 0, data.dtype)


def boolean_mask(data: Data) -> Work:
    """Assign all values at once, with a boolean mask."""
    return data.pad_with_numpy


def maskcli(source: str = "ragged", stored: str | None = None, **options: Any) -> Callable[[Data], Work]:
    """Pad with maskcli, which also returns the mask; ``stored`` is the dtype of the ids."""

    def prepare(data: Data) -> Work:
        import maskcli

        ragged = maskcli.RaggedSequences(data.values.astype(stored or data.dtype), data.splits)
        sequences = {"ragged": lambda: ragged, "lists": data.lists, "arrow": lambda: _make_arrow(data)}[source]()

        def work() -> Any:
            batch = maskcli.pad(sequences, dtype=data.dtype, **options)
            return batch.tokens, batch.mask

        return work

    return prepare


def keras(data: Data) -> Work:
    """Pad lists with Keras."""
    from keras.utils import pad_sequences

    lists = data.lists()
    return lambda: pad_sequences(lists, padding="post", dtype=data.dtype)


def tensorflow(data: Data) -> Work:
    """Pad a ragged tensor."""
    import tensorflow as tf

    ragged = tf.RaggedTensor.from_row_splits(data.values, data.splits)
    return lambda: ragged.to_tensor().numpy()


def torch(data: Data) -> Work:
    """Pad a list of tensors, like a collate function."""
    import torch

    rows = list(torch.split(torch.from_numpy(data.values), data.lengths.tolist()))
    return lambda: torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).numpy()


def awkward(data: Data) -> Work:
    """Pad an awkward array."""
    import awkward

    layout = awkward.contents.ListOffsetArray(
        awkward.index.Index64(data.splits), awkward.contents.NumpyArray(data.values)
    )
    array = awkward.Array(layout)
    return lambda: awkward.to_numpy(awkward.fill_none(awkward.pad_none(array, data.timesteps, clip=True), 0)).astype(
        data.dtype
    )


def pyarrow(data: Data) -> Work:
    """Slice an Arrow array to fixed size, and fill its nulls."""
    import pyarrow.compute

    array = _make_arrow(data)
    padded = {"start": 0, "stop": data.timesteps, "return_fixed_size_list": True}

    def work() -> Any:
        fixed = pyarrow.compute.list_slice(array, **padded).flatten()
        return fixed.fill_null(0).to_numpy().reshape(data.rows, data.timesteps)

    return work


def _make_arrow(data: Data) -> Any:
    import pyarrow as pa

    return pa.ListArray.from_arrays(pa.array(data.splits.astype(np.int32)), pa.array(data.values))


ALTERNATIVES: dict[str, tuple[Callable[[Data], Work], str, dict[str, Any]]] = {
    FLOOR: (fill_result, "int32", {}),
    "maskcli, ragged": (maskcli(), "int32", {}),
    "maskcli, ragged, `pre`, value 7": (maskcli(padding="pre", value=7), "int32", {"padding": "pre", "value": 7}),
    "maskcli, ragged of int64": (maskcli(stored="int64"), "int32", {}),
    "maskcli, Arrow": (maskcli("arrow"), "int32", {}),
    "maskcli, lists": (maskcli("lists"), "int32", {}),
    "boolean-mask assignment, ragged": (boolean_mask, "int32", {}),
    "pyarrow `list_slice`, Arrow": (pyarrow, "int32", {}),
    "`keras.utils.pad_sequences`, lists": (keras, "int32", {}),
    "`tf.RaggedTensor.to_tensor`": (tensorflow, "int32", {}),
    "awkward `pad_none`": (awkward, "int32", {}),
    "torch `pad_sequence`, tensors": (torch, "int32", {}),
    f"{FLOOR}, int64": (fill_result, "int64", {}),
    "maskcli, ragged, int64": (maskcli(), "int64", {}),
    f"{FLOOR}, int16": (fill_result, "int16", {}),
    "maskcli, ragged, int16": (maskcli(), "int16", {}),
    "maskcli, ragged of int32, int16": (maskcli(stored="int32"), "int16", {}),
    "maskcli, ragged of int64, int16": (maskcli(stored="int64"), "int16", {}),
}


def run_alternative(name: str, rows: int, timesteps: int) -> None:
    """Run one alternative once, and print its measurement as JSON."""
    prepare, dtype, options = ALTERNATIVES[name]
    data = Data(rows, timesteps, dtype)
    try:
        work = prepare(data)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}))
        return
    prepare(Data(50, timesteps, dtype))()  # A first call may load libraries and start threads.
    np.ones(TOUCHED, np.uint8)
    result, measurement = measure(work)
    tokens = result[0] if isinstance(result, tuple) else result
    expected = np.zeros_like(tokens) if "full" in name else data.pad_with_numpy(**options)
    right = tokens.dtype == expected.dtype and _hash(tokens) == _hash(expected)
    if isinstance(result, tuple):
        right = right and np.array_equal(result[1].sum(axis=1), data.lengths)
    print(json.dumps({**measurement, "right": bool(right)}))


def _hash(array: np.ndarray) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array)).hexdigest()


def main() -> None:
    """Run all alternatives in turn, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--timesteps", type=int, default=128)
    parser.add_argument("--runs", type=int, default=5, help="runs of each alternative")
    parser.add_argument("--only", help="one alternative, in this process", choices=ALTERNATIVES)
    options = parser.parse_args()
    if options.only:
        run_alternative(options.only, options.rows, options.timesteps)
        return
    sizes = [f"--rows={options.rows}", f"--timesteps={options.timesteps}"]
    command = [sys.executable, __file__, *sizes, "--only"]
    measurements = run_in_turn(ALTERNATIVES, options.runs, lambda name: read_measurement([*command, name]))
    print_header("padding", "seconds", "× floor", "memory")
    floor_runs = measurements[FLOOR]
    for name, runs in measurements.items():
        if name.startswith(FLOOR):
            floor_runs = runs
        memory = f"{compute_median(runs, 'bytes') / 2**30:.2f} GiB"
        print_row(name, f"{compute_median(runs):.2f}", f"{compute_ratio(runs, floor_runs):.1f}", memory)


if __name__ == "__main__":
    main()
