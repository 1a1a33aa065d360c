"""For a row without a valid timestep, the result is computed from padding.

If every timestep of a row is masked, the softmax of an attention layer gives all of them the same weight, so the layer
returns the mean of padding. The row gets a result that looks like any other.

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

from maskcli.records.check import Finding
from maskcli.records.evidence import ModelEvidence
from maskcli.records.wording import format_count
from maskcli.rules.base import make_finding
from maskcli.rules.blame import name_call

CODE = "MSK202"
SEVERITY = "warning"


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield the call whose result in empty rows depends on their padding, in a model that does not leak."""
    empty = model.empty
    if empty is None or model.leak is None or model.leak.leaks or not empty.max_abs_change:
        return
    call = model.call(empty.of_padding)
    if call is None:
        return
    rows = format_count(empty.rows, "row")
    yield make_finding(
        __name__,
        call=call.call,
        type_=call.type,
        message=f"{name_call(call)} computes a result from padding for {rows} without a valid timestep, first in "
        f"sample {empty.sample}. It changes by up to {empty.max_abs_change:.3g} when padding is replaced.",
        fix="Remove empty rows from the data, or give each one a token, such as an id that means `empty`.",
        rows=empty.rows,
        sample=empty.sample,
        max_abs_change=empty.max_abs_change,
    )
