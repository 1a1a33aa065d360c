"""How long it takes to pad sequences in memory, beside those who do the same, as ratios to writing the result once.

    python benchmarks/pad.py [--rows 1000000] [--timesteps 128] [--runs 5]

Every way runs in a process of its own, A B C A B C ..., so that a machine that slows down slows all; what it starts
from is made before the clock runs. The floor is ``numpy.full`` of the same result. Each result is compared with that of
plain NumPy before anything is printed, and libraries that are not installed are left out. Peak memory is what was added
to what the process held before, and is told on Linux alone. A virtual machine takes several times as long to give
memory that it has to get from its host, so as much as most ways want is had once before the clock runs. Nothing is
asserted of times: this measures, tests do not.
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
from turns import in_turn, median, ratio, said_by, timed

FLOOR = "`numpy.full` of the result"
HAD = 2**31
"""Bytes of memory that a process has had before the clock runs."""
Work = Callable[[], Any]
"""Returns the padded matrix, or it and a mask."""


class Data:
    """Ragged sequences of 1 to ``timesteps`` ids of 1 to 5 digits, in each form that somebody starts from."""

    def __init__(self, rows: int, timesteps: int, dtype: str = "int32") -> None:
        """Draw them, with one row of full length."""
        chance = np.random.default_rng(0)
        self.timesteps, self.rows, self.dtype = timesteps, rows, dtype
        self.lengths = chance.integers(1, timesteps + 1, rows)
        self.lengths[0] = timesteps
        self.splits = np.concatenate([[0], np.cumsum(self.lengths)])
        self.values = chance.integers(1, 30_000, self.splits[-1]).astype(dtype)

    def lists(self) -> list[list[int]]:
        """Return them as lists of lists."""
        flat, splits = self.values.tolist(), self.splits.tolist()
        return [flat[start:end] for start, end in itertools.pairwise(splits)]

    def plainly(self, padding: str = "post", value: int = 0) -> np.ndarray:
        """Return the result as plain NumPy has it."""
        steps = np.arange(self.timesteps)
        valid = steps < self.lengths[:, None] if padding == "post" else steps >= self.timesteps - self.lengths[:, None]
        tokens = np.full(valid.shape, value, self.dtype)
        tokens[valid] = self.values
        return tokens


def floor(data: Data) -> Work:
    """Write the result once."""
    return lambda: np.full((data.rows, data.timesteps), 0, data.dtype)


def boolean_mask(data: Data) -> Work:
    """Assign all values at once, under a mask."""
    return data.plainly


def maskcli(source: str = "ragged", stored: str | None = None, **options: Any) -> Callable[[Data], Work]:
    """Pad by maskcli, which returns the mask too, ids that are ``stored`` in a dtype."""

    def prepare(data: Data) -> Work:
        import maskcli

        ragged = maskcli.RaggedSequences(data.values.astype(stored or data.dtype), data.splits)
        given = {"ragged": lambda: ragged, "lists": data.lists, "arrow": lambda: _arrow(data)}[source]()

        def work() -> Any:
            batch = maskcli.pad(given, dtype=data.dtype, **options)
            return batch.tokens, batch.mask

        return work

    return prepare


def keras(data: Data) -> Work:
    """Pad lists by Keras."""
    from keras.utils import pad_sequences

    lists = data.lists()
    return lambda: pad_sequences(lists, padding="post", dtype=data.dtype)


def tensorflow(data: Data) -> Work:
    """Pad a ragged tensor."""
    import tensorflow as tf

    ragged = tf.RaggedTensor.from_row_splits(data.values, data.splits)
    return lambda: ragged.to_tensor().numpy()


def torch(data: Data) -> Work:
    """Pad a list of tensors, as a collate function does."""
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
    """Cut and fill an Arrow array."""
    import pyarrow.compute

    array = _arrow(data)
    padded = {"start": 0, "stop": data.timesteps, "return_fixed_size_list": True}

    def work() -> Any:
        fixed = pyarrow.compute.list_slice(array, **padded).flatten()
        return fixed.fill_null(0).to_numpy().reshape(data.rows, data.timesteps)

    return work


def _arrow(data: Data) -> Any:
    import pyarrow as pa

    return pa.ListArray.from_arrays(pa.array(data.splits.astype(np.int32)), pa.array(data.values))


WAYS: dict[str, tuple[Callable[[Data], Work], str, dict[str, Any]]] = {
    FLOOR: (floor, "int32", {}),
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
    f"{FLOOR}, int64": (floor, "int64", {}),
    "maskcli, ragged, int64": (maskcli(), "int64", {}),
    f"{FLOOR}, int16": (floor, "int16", {}),
    "maskcli, ragged, int16": (maskcli(), "int16", {}),
    "maskcli, ragged of int32, int16": (maskcli(stored="int32"), "int16", {}),
    "maskcli, ragged of int64, int16": (maskcli(stored="int64"), "int16", {}),
}


def child(name: str, rows: int, timesteps: int) -> None:
    """Run one way once, and print seconds, bytes and whether the result is right."""
    prepare, dtype, options = WAYS[name]
    data = Data(rows, timesteps, dtype)
    try:
        work = prepare(data)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}))
        return
    prepare(Data(50, timesteps, dtype))()  # what a first call loads and starts
    np.ones(HAD, np.uint8)
    result, said = timed(work)
    tokens = result[0] if isinstance(result, tuple) else result
    expected = np.zeros_like(tokens) if "full" in name else data.plainly(**options)
    right = tokens.dtype == expected.dtype and _digest(tokens) == _digest(expected)
    if isinstance(result, tuple):
        right = right and np.array_equal(result[1].sum(axis=1), data.lengths)
    print(json.dumps({**said, "right": bool(right)}))


def _digest(array: np.ndarray) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array)).hexdigest()


def main() -> None:
    """Run all ways in turn, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--timesteps", type=int, default=128)
    parser.add_argument("--runs", type=int, default=5, help="times that each way runs")
    parser.add_argument("--only", help="a way, in this process", choices=WAYS)
    asked = parser.parse_args()
    if asked.only:
        child(asked.only, asked.rows, asked.timesteps)
        return
    sizes = [f"--rows={asked.rows}", f"--timesteps={asked.timesteps}"]
    seen = in_turn(WAYS, asked.runs, lambda name: said_by([sys.executable, __file__, *sizes, "--only", name]))
    print("| padding | seconds | × floor | memory |\n|---|---|---|---|")
    floors = seen[FLOOR]
    for name, runs in seen.items():
        floors = runs if name.startswith(FLOOR) else floors
        gib = median(runs, "bytes") / 2**30
        print(f"| {name} | {median(runs):.2f} | {ratio(runs, floors):.1f} | {gib:.2f} GiB |", flush=True)


if __name__ == "__main__":
    main()
