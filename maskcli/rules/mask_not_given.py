"""The mask is on the input of a layer that has a mask argument, and Keras does not hand it over.

Keras fills in `mask` only for a layer that is called with one tensor argument. An RNN called with `initial_state`, as
every decoder is, and a custom layer whose `call` takes two tensors are given none, and compute with padding. The mask
travels on behind them all the same, so that everything looks well: passed on is not used.

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

from collections.abc import Iterator
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.rules.base import make_finding
from maskcli.rules.blame import describe_change, describe_largest_change, find_blames, name_call

CODE = "MSK103"
SEVERITY: Severity = "error"
ABOUT: Literal["model"] = "model"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find the calls at which padding enters because their mask did not reach them."""
    model = examination.model
    for cause in find_blames(model) if model is not None else ():
        if model is None or cause.kind != "not-given" or cause.culprit is None:
            continue
        call = cause.culprit
        names = [name for name in call.mask_arguments if name != "attention_mask"]
        yield make_finding(
            __name__,
            call=call.call,
            type_=call.type,
            message=f"{name_call(call)} is not given the mask that its input carries: {', '.join(names)} stayed None, "
            f"since it was called with {len(call.shapes_in)} tensors. Padding changes its result "
            f"{describe_change(model, call)}.",
            fix=f"Hand it over: `{names[0]}=embedding.compute_mask(tokens)` in the call.",
            max_abs_change=describe_largest_change(model, call),
            tensors=len(call.shapes_in),
        )
