"""A row without a valid timestep makes the output not finite.

The mean over no timesteps is 0/0. `GlobalAveragePooling1D` returns NaN for a row that is all padding, and with it the
loss of the batch is NaN: one training step then turns every weight into NaN.

Bad::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.GlobalAveragePooling1D()(x))
    sequences = [[1, 2, 3, 4], []]

Good::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.GlobalAveragePooling1D()(x))
    sequences = [[1, 2, 3, 4], [5]]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.rules.base import make_finding, pluralize
from maskcli.rules.blame import name_call

CODE = "MSK201"
SEVERITY: Severity = "error"
ABOUT: Literal["model"] = "model"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find the call of which the result is first not finite, in rows without a valid timestep alone."""
    model = examination.model
    empty = model.empty if model is not None else None
    call = model.call(empty.not_finite) if model is not None and empty is not None else None
    if empty is None or call is None:
        return
    yield make_finding(
        __name__,
        call=call.call,
        type_=call.type,
        message=f"{name_call(call)} returns numbers that are not finite for {pluralize(empty.rows, 'row')} "
        "without a valid "
        f"timestep, first sample {empty.sample}. One training step on it ruins every weight.",
        fix="Leave empty rows out of the data, or give them a token of their own, such as one for `empty`.",
        rows=empty.rows,
        sample=empty.sample,
    )
