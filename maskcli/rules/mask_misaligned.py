"""A mask of timesteps is laid along the wrong axis.

`Softmax` over classes takes the mask of its input as one over classes: `(batch, timesteps)` does not fit
`(batch, timesteps, classes)`. Keras builds such a model without a word and raises when it runs, or, where the numbers
happen to agree, masks classes instead of timesteps and changes results that are valid. The activation of a `Dense`
layer knows no mask and does what is meant.

Bad::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    x = keras.layers.Dense(3)(x)
    model = keras.Model(tokens, keras.layers.Softmax()(x))
    sequences = [[1, 2, 3, 4], [5, 6]]

Good::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.Dense(3, activation="softmax")(x))
    sequences = [[1, 2, 3, 4], [5, 6]]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.rules.base import make_finding
from maskcli.rules.blame import name_call

CODE = "MSK106"
SEVERITY: Severity = "error"
ABOUT: Literal["model"] = "model"

FIX = (
    'Give it no mask: `Dense(n, activation="softmax")` instead of a Softmax layer, or `keras.ops.softmax(x)` in a '
    "layer with supports_masking = True."
)


def judge(examination: Examination) -> Iterator[Finding]:
    """Find calls that a mask breaks, or makes wrong at valid timesteps."""
    model = examination.model
    if model is None:
        return
    if model.failure is not None:
        broken = model.failure
        yield make_finding(
            __name__,
            call=broken.call,
            type_=broken.type,
            message=f"{broken.call} ({broken.type}) is given a mask of shape {broken.mask_shapes[0]} for an input of "
            f"shape {broken.input_shapes[0]} and raises; without the mask it runs. Keras says: {broken.error}",
            fix=FIX,
            mask_shape=list(broken.mask_shapes[0]),
            shape=list(broken.input_shapes[0]),
        )
    for misused in model.misused:
        call = model.call(misused.call)
        if call is not None:
            yield make_finding(
                __name__,
                call=call.call,
                type_=call.type,
                message=f"{name_call(call)} works on each timestep alone, and yet its mask changes results at valid "
                f"timesteps by up to {misused.change:.3g}: it is laid along the wrong axis.",
                fix=FIX,
                max_abs_change=misused.change,
            )
