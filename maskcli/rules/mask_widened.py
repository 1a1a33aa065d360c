"""A merge layer produces a mask that marks padding as valid.

`Concatenate` treats an input without a mask as valid everywhere, and marks a timestep as valid if any input is valid
there. Masked embeddings joined with unmasked features therefore carry a mask that is True at every timestep. The mask
seems to be still there, but it masks nothing. `Add` and other merges join masks in the same way: an
`Embedding(mask_zero=True)` of positions masks only position 0, and opens the mask of the words everywhere else.

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

import dataclasses
from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.evidence import ModelEvidence
from maskcli.records.wording import format_count
from maskcli.rules.base import make_finding
from maskcli.rules.blame import (
    compute_largest_change,
    describe_change,
    find_blames,
    find_output_widening_call,
    misaligns_mask,
    name_call,
)
from maskcli.rules.fixes import suggest_mask

CODE = "MSK102"
SEVERITY = "error"


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield the call whose output mask is wider than its input mask, if that changes a result or a loss."""
    culprit = next((cause.culprit for cause in find_blames(model) if cause.kind == "widened"), None)
    call, output = (culprit, None) if culprit is not None else find_output_widening_call(model)
    if call is None or call.mask_out is None or call.valid is None or misaligns_mask(call):
        return
    passed = int((call.mask_out & ~call.valid).sum())
    all_masked = all(mask is not None for mask in call.masks_in)
    other = "" if all_masked else ", or mask the other input too"
    effect = "a loss counts them" if culprit is None else f"padding changes results {describe_change(model, None)}"
    finding = make_finding(
        __name__,
        call=call.call,
        type_=call.type,
        message=f"{name_call(call)} widens the mask: it marks {format_count(passed, 'padded timestep')} as valid"
        f"{_explain(len(call.masks_in), all_masked)}. As a result {effect}.",
        fix=f"Pass the correct mask to the next layer, `layer(x, mask={suggest_mask(model, call)})`{other}.",
        passed_as_valid=passed,
        # The mask of an output counts for the loss, and lets no padding into results.
        max_abs_change=0.0 if culprit is None else compute_largest_change(model, None),
        **({} if output is None else {"output": output}),
    )
    harms = culprit is not None or bool(model.losses)
    yield finding if harms else dataclasses.replace(finding, severity="warning")


def _explain(inputs: int, all_masked: bool) -> str:
    if not all_masked:
        return ", because an input without a mask counts as valid everywhere"
    return ", because a timestep counts as valid if any input is valid there" if inputs > 1 else ""
