"""A layer has a mask argument, but does not receive the mask of its input.

Keras fills in `mask` only for a layer that is called with one tensor argument. An RNN called with `initial_state`, as
in every decoder, and a custom layer whose `call` takes two tensors receive no mask and compute with padding. The mask
is still passed on to the next layer, so everything looks right.

Bad::

    import keras
    import numpy as np

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    h, c = keras.Input((3,), name="h"), keras.Input((3,), name="c")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    outputs = keras.layers.LSTM(3)(x, initial_state=[h, c])
    model = keras.Model([tokens, h, c], outputs)
    state = np.ones((2, 3), "float32")
    ids = np.array([[1, 2, 3, 4], [5, 6, 0, 0]])
    arrays = {"tokens": ids, "h": state, "c": state}

Good::

    import keras
    import numpy as np

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    h, c = keras.Input((3,), name="h"), keras.Input((3,), name="c")
    embedding = keras.layers.Embedding(10, 4, mask_zero=True)
    mask = embedding.compute_mask(tokens)
    lstm = keras.layers.LSTM(3)
    outputs = lstm(embedding(tokens), mask=mask, initial_state=[h, c])
    model = keras.Model([tokens, h, c], outputs)
    state = np.ones((2, 3), "float32")
    ids = np.array([[1, 2, 3, 4], [5, 6, 0, 0]])
    arrays = {"tokens": ids, "h": state, "c": state}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.evidence import ModelEvidence
from maskcli.records.trace import Call
from maskcli.rules.base import make_finding
from maskcli.rules.blame import (
    compute_largest_change,
    describe_change,
    find_blames,
    find_suspects,
    list_padding_arguments,
    name_call,
)
from maskcli.rules.fixes import suggest_mask

CODE = "MSK103"
SEVERITY = "error"


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield the calls where padding enters because the mask did not reach them."""
    for cause in find_blames(model):
        if cause.kind == "not-given" and cause.culprit is not None:
            effect = f"Padding changes results {describe_change(model, cause.culprit)}."
            yield _report_call(
                model, cause.culprit, effect, max_abs_change=compute_largest_change(model, cause.culprit)
            )
    for cause in find_suspects(model):
        if cause.kind == "not-given" and cause.culprit is not None:
            effect = "No probe could show whether padding then changes results."
            yield dataclasses.replace(_report_call(model, cause.culprit, effect), severity="warning")


def _report_call(model: ModelEvidence, call: Call, effect: str, **evidence: float) -> Finding:
    names = list_padding_arguments(call)
    return make_finding(
        __name__,
        call=call.call,
        type_=call.type,
        message=f"{name_call(call)} does not receive the mask of its input: {', '.join(names)} is None because the "
        f"layer was called with {len(call.shapes_in)} tensors. {effect}",
        fix=f"Pass the mask explicitly: `{names[0]}={suggest_mask(model, call)}` in the call.",
        tensors=len(call.shapes_in),
        **evidence,
    )
