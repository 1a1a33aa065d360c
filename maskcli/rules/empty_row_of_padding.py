"""For a row without a valid timestep, the result is made of padding.

Attention over nothing is not nothing: when every timestep is masked, a softmax gives all the same weight, and what
comes out is the mean of padding. The row gets a result that looks like any other.

Bad::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    zeros = keras.layers.Embedding(10, 4)(tokens) * 0.0
    query = keras.layers.GlobalAveragePooling1D(keepdims=True)(zeros)
    x = keras.layers.MultiHeadAttention(1, 4)(query, x)
    model = keras.Model(tokens, keras.layers.Reshape((4,))(x))
    sequences = [[1, 2, 3, 4], []]

Good::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    zeros = keras.layers.Embedding(10, 4)(tokens) * 0.0
    query = keras.layers.GlobalAveragePooling1D(keepdims=True)(zeros)
    x = keras.layers.MultiHeadAttention(1, 4)(query, x)
    model = keras.Model(tokens, keras.layers.Reshape((4,))(x))
    sequences = [[1, 2, 3, 4], [5]]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.rules.base import make_finding, pluralize
from maskcli.rules.blame import name_call

CODE = "MSK202"
SEVERITY: Severity = "warning"
ABOUT: Literal["model"] = "model"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find pooled results of empty rows that move with their padding, in a model that has a mask and does not leak."""
    model = examination.model
    empty = model.empty if model is not None else None
    if model is None or empty is None or model.leak is None or model.leak.leaks or not empty.max_abs_change:
        return
    call = model.call(empty.of_padding)
    if call is None:
        return
    yield make_finding(
        __name__,
        call=call.call,
        type_=call.type,
        message=f"{name_call(call)} makes a result of padding for {pluralize(empty.rows, 'row')} without a "
        "valid timestep, "
        f"first sample {empty.sample}: it moves by up to {empty.max_abs_change:.3g} when padding is replaced.",
        fix="Leave empty rows out of the data, or give them a token of their own, such as one for `empty`.",
        rows=empty.rows,
        sample=empty.sample,
        max_abs_change=empty.max_abs_change,
    )
