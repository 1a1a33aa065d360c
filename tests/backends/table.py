"""The table of differences between backends in ``docs/backends.md``: ``python -m tests.backends.table``.

Each kind of model that differs is run with equal weights on all backends, and each cell has what was measured there.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from maskcli.records.comparison import SideDifference
from maskcli.records.sides import ModelSide
from tests.backends import kinds
from tests.backends.sides import BACKENDS, Sides
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "backends.md"
START, END = "<!-- measured by python -m tests.backends.table -->\n", "<!-- end of the measured table -->\n"
HEADER = "| model | TensorFlow | JAX | PyTorch |\n|---|---|---|---|\n"
EFFECTS = {
    "reshape_to_same_shape": "`Reshape` to the same shape, then a pooling",
    "permute_in_order": "`Permute((1, 2))`, then a pooling",
    "crop_nothing": "`Cropping1D(0)`, then a pooling",
    "slice_of_all": "`x[:, :, :]` in the code of a model, then a pooling",
    "stopped_gradient": "`keras.ops.stop_gradient` in the code of a model, then a pooling",
    "unchanged_with_empty_row": "such a `Reshape`, with a fully padded row",
    "lstm_unrolled_zeros": "`LSTM(unroll=True, zero_output_for_mask=True)`",
    "bidirectional_unrolled": "`Bidirectional(LSTM(unroll=True, return_sequences=True))`",
    "gru_unrolled_backwards": "`GRU(unroll=True, go_backwards=True)` with a mask",
    "dense_rematerialized": "`Dense` with a mask, made in `keras.RematScope`",
    "lstm_rematerialized": "`LSTM` with a mask, made in `keras.RematScope`",
}
"""A description of each kind that differs."""


def make_table(sides: Sides) -> str:
    """Return the table, measured now."""
    rows = []
    for name, effect in EFFECTS.items():
        by_backend = [sides.examine(name, backend) for backend in BACKENDS]
        differences = sides.compare(name, BACKENDS)
        changes = [None, *differences]
        cells = [_describe(side, change, by_backend) for side, change in zip(by_backend, changes, strict=True)]
        rows.append(f"| {' | '.join([effect, *cells])} |\n")
    return HEADER + "".join(rows)


def _describe(side: ModelSide, change: SideDifference | None, sides: list[ModelSide]) -> str:
    """Return the parts of a side that may differ between backends."""
    if not side.runs:
        return f"{side.errors[0].type}"
    texts = [_describe_mask(side, sides), *_describe_zeros(side), *_describe_padding(side)]
    if change is not None and change.worst is not None and change.worst.max_abs_change not in (None, float("inf")):
        padded = " at padding" if change.worst.at_padding else ""
        texts.append(f"outputs {change.worst.max_abs_change:.2g} apart from TensorFlow's{padded}")
    if side.compiled is not None:
        texts.append(f"`predict` {side.compiled.max_abs_change:.2g} apart from the call")
    if side.compiled_fails and side.compiled_why is not None:
        texts.append(f"`predict` and `fit` raise {re.findall(r'[(]([A-Za-z]+)', side.compiled_why)[0]}")
    if side.not_finite is not None:
        texts.append("NaN in that row")
    losses = {f"{item.keras_evaluate:.3f}" for item in sides if item.keras_evaluate is not None}
    if side.keras_evaluate is not None and side.not_finite is None and len(losses) > 1:
        texts.append(f"`evaluate` {side.keras_evaluate:.3f}")
    return ", ".join(filter(None, texts)) or "runs"


def _describe_mask(side: ModelSide, sides: list[ModelSide]) -> str:
    """Return whether the mask arrives at the pooling, where that depends on the backend."""
    masked = [next((call.mask_in is not None for call in item.calls if call.call == "pool"), None) for item in sides]
    if len(set(masked)) < 2:
        return ""
    return "mask kept" if masked[sides.index(side)] else "mask lost"


def _describe_zeros(side: ModelSide) -> list[str]:
    """Return where an unrolled layer that was asked for zeros at masked timesteps returns zeros."""
    call = next((call for call in side.calls if call.call == "rnn"), None)
    if call is None or call.mask_in is None or not call.settings.get("zero_output_for_mask"):
        return []
    zeros = call.results[0].values == 0
    if zeros[call.mask_in].any():
        return ["zeros at valid timesteps"]
    return ["zeros at masked timesteps" if zeros[~call.mask_in].all() else "no zeros at masked timesteps"]


def _describe_padding(side: ModelSide) -> list[str]:
    leak = side.leak
    if leak is None or not leak.leaks:
        return []
    return [f"padding leaks, {leak.max_abs_change:.2g}"]


def read_table(page: Path = PAGE) -> str:
    """Return the table of the page."""
    return page.read_text().partition(START)[2].partition(END)[0]


def write_table(page: Path = PAGE) -> None:
    """Measure the table, and write it into the page."""
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(Path(folder))
        try:
            table = make_table(sides)
        finally:
            sides.close()
    before, _, rest = page.read_text().partition(START)
    page.write_text(f"{before}{START}{table}{END}{rest.partition(END)[2]}")


assert EFFECTS.keys() == kinds.DIFFERENT.keys()

if __name__ == "__main__":
    write_table()
