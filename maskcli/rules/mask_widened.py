"""A merge makes a mask that calls padding valid.

`Concatenate` takes an input without a mask for one that is valid everywhere, and what comes out is valid wherever any
input is. Masked embeddings beside unmasked features so carry a mask that is True at every timestep: it looks as if the
mask were still there, and it masks nothing.

Bad::

    import keras
    import numpy as np

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    features = keras.Input((None, 2), name="features")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    x = keras.layers.Concatenate()([x, features])
    model = keras.Model([tokens, features], keras.layers.LSTM(3)(x))
    ids = np.array([[1, 2, 3, 4], [5, 6, 0, 0]])
    arrays = {"tokens": ids, "features": np.ones((2, 4, 2), "float32")}
    arrays["features.mask"] = ids != 0

Good::

    import keras
    import numpy as np

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    features = keras.Input((None, 2), name="features")
    embedding = keras.layers.Embedding(10, 4, mask_zero=True)
    x = keras.layers.Concatenate()([embedding(tokens), features])
    outputs = keras.layers.LSTM(3)(x, mask=embedding.compute_mask(tokens))
    model = keras.Model([tokens, features], outputs)
    ids = np.array([[1, 2, 3, 4], [5, 6, 0, 0]])
    arrays = {"tokens": ids, "features": np.ones((2, 4, 2), "float32")}
    arrays["features.mask"] = ids != 0
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.rules.base import make_finding, pluralize
from maskcli.rules.blame import find_blame, find_widening_call, lets_padding_pass, name_call

CODE = "MSK102"
SEVERITY: Severity = "error"
ABOUT: Literal["model"] = "model"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find the call whose mask is wider than the one it was given, where a result or a loss suffers from it."""
    model = examination.model
    if model is None:
        return
    cause = find_blame(model)
    call = cause.culprit if cause is not None and cause.kind == "widened" else None
    if call is None and any(lets_padding_pass(output.mask, output.valid) for output in model.outputs):
        call = find_widening_call(model)
    if call is None or call.mask_out is None or call.valid is None:
        return
    passed = int((call.mask_out & ~call.valid).sum())
    yield make_finding(
        __name__,
        call=call.call,
        type_=call.type,
        message=f"{name_call(call)} widens the mask: it calls {pluralize(passed, 'padded timestep')} valid, "
        "because an input "
        "without a mask counts as valid everywhere.",
        fix="Hand the next layer the mask that is right: `layer(x, mask=embedding.compute_mask(tokens))`; or mask the "
        "other input too, `keras.layers.Masking()(features)`.",
        passed_as_valid=passed,
        max_abs_change=model.leak.max_abs_change if model.leak is not None else 0.0,
    )
