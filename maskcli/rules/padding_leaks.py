"""A call computes with padding although the mask is there.

Padding is replaced by other values under the same masks, added, and cut off. Where a result at a valid timestep, or a
pooled one, changes, padding is part of it. This rule names calls that have a mask and let padding in all the same: a
layer of one's own that takes `mask` and does not use it, a maximum over zeros that stand for padding, a layer that
passes the mask on and mixes timesteps.

Bad::

    import keras

    class Mean(keras.layers.Layer):
        def call(self, inputs, mask=None):
            return keras.ops.mean(inputs, axis=1)

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, Mean()(x))
    sequences = [[1, 2, 3, 4], [5, 6]]

Good::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.GlobalAveragePooling1D()(x))
    sequences = [[1, 2, 3, 4], [5, 6]]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.records.evidence import ModelEvidence
from maskcli.records.leak import Leak
from maskcli.records.trace import Call
from maskcli.rules.base import make_finding
from maskcli.rules.blame import describe_change, describe_largest_change, find_blames, name_call

CODE = "MSK107"
SEVERITY: Severity = "error"
ABOUT: Literal["model"] = "model"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find the calls that have a mask and let padding in all the same."""
    model = examination.model
    for cause in find_blames(model) if model is not None else ():
        if model is None or model.leak is None:
            return
        if cause.kind == "leaks":
            yield _finding(model, model.leak, cause.culprit)
        elif cause.kind == "bad-source" and not any(source.missed or source.of_ids for source in model.sources):
            yield _finding(model, model.leak, cause.at)  # No rule on sources knows what is wrong with it.


def _finding(model: ModelEvidence, leak: Leak, call: Call | None) -> Finding:
    if call is None:
        who, how = f"{model.name} ({model.type})", "in code between its layers"
    else:
        who, how = name_call(call), "although it is given the mask" if call.given else "although its input has a mask"
    return make_finding(
        __name__,
        call=call.call if call is not None else None,
        type_=call.type if call is not None else model.type,
        message=f"{who} lets padding in {how}: it changes results {describe_change(model, call)}.",
        fix="Leave masked timesteps out: multiply by `keras.ops.cast(mask, x.dtype)[..., None]` before a sum, divide "
        "by the number of valid timesteps, and put `keras.ops.where(mask[..., None], x, -1e9)` before a maximum.",
        max_abs_change=describe_largest_change(model, call),
        sample=leak.sample,
        timestep=leak.timestep,
    )
