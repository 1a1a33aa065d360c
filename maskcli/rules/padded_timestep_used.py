"""The model takes the last timestep, and in shorter rows that is padding.

`x[:, -1]` is the last column of the batch. Under post-padding the last token of a row stands at its length less one,
and what is taken is what became of padding. Behind an RNN that is given a mask it happens to be right, since that
repeats its last output; behind an Embedding, Dense, attention or convolution it is not.

Bad::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.Dense(2)(x)[:, -1])
    sequences = [[1, 2, 3, 4], [5, 6]]

Good::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    x = keras.layers.LSTM(4, return_sequences=True)(x)
    model = keras.Model(tokens, x[:, -1])
    sequences = [[1, 2, 3, 4], [5, 6]]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.rules.base import make_finding, pluralize
from maskcli.rules.blame import describe_largest_place, find_blame, name_call

CODE = "MSK108"
SEVERITY: Severity = "error"
ABOUT: Literal["model"] = "model"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find the call that takes one timestep, which is padding in some rows."""
    model = examination.model
    cause = find_blame(model) if model is not None else None
    if model is None or cause is None or cause.kind != "taken" or cause.culprit is None or model.taken is None:
        return
    taken, call = model.taken, cause.culprit
    first = taken.timestep == 0
    yield make_finding(
        __name__,
        call=call.call,
        type_=call.type,
        message=f"{name_call(call)} takes timestep {taken.timestep}, the {'first' if first else 'last'} of the batch, "
        f"which is padding in {pluralize(taken.padded_rows, 'row')} of {taken.rows}, first in sample {taken.sample}. "
        f"Results depend on it {describe_largest_place(model)}.",
        fix="Pad at the other side, or take each row's own: "
        + (
            "`x[:, -1]` under pre-padding."
            if first
            else "`keras.ops.take_along_axis(x, (lengths - 1)[:, None, None], axis=1)[:, 0]`, with "
            '`lengths = keras.ops.sum(keras.ops.cast(mask, "int32"), axis=1)`.'
        ),
        timestep=taken.timestep,
        padded_rows=taken.padded_rows,
        rows=taken.rows,
        max_abs_change=model.leak.max_abs_change if model.leak is not None else 0.0,
    )
